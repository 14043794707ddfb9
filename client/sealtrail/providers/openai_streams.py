# SPDX-License-Identifier: Apache-2.0
"""OpenAI's answers in events: chat completions, responses, pictures."""

from typing import Any, Final, Protocol

from sealtrail.providers.bodies import data_url, unbase64
from sealtrail.providers.exchange import (
    JSON,
    Asked,
    Headers,
    Told,
    denied,
    failed,
    output,
    plain_code,
)
from sealtrail.providers.sse import EventStream, Voices

#: What later events say of the whole answer; the last three are NanoGPT's.
_NOTED: Final = ("model", "system_fingerprint", "usage", "cost", "paymentSource",
                 "remainingBalance")  # fmt: skip


class Found(Protocol):
    """Reads what an answer says about itself."""

    def facts(self, headers: Headers, answer: JSON) -> JSON:
        """Return members of the outcome: provider and usage."""

    def sealed(self, answer: JSON) -> JSON:
        """Return its sealed values."""


class _OpenAiStream(EventStream):
    def __init__(self, asked: Asked, found: Found) -> None:
        super().__init__(asked)
        self._found = found
        self._said: JSON = {}  #: Model, fingerprint, usage and cost, as the events name them.
        self._spoken, self._refused = Voices(), Voices()
        self._error: JSON | None = None
        self._reasons: dict[int, str] = {}  #: Of each choice, why it ended.

    def told(self, status: int, headers: Headers, *, aborted: bool) -> Told:
        told = super().told(status, headers, aborted=aborted)
        sealed = {**told.sealed, **self._found.sealed(self._said)}
        return Told(type=told.type, body=told.body, sealed=sealed)

    def gather(self, headers: Headers) -> None:
        self.facts = self._found.facts(headers, self._said)
        if self._reasons:
            self.facts["finish_reason"] = self._reasons[min(self._reasons)]
        self.outputs += self._spoken.outputs()

    def finished(self, headers: Headers) -> Told | None:
        del headers
        facts = {name: value for name, value in self.facts.items() if name != "finish_reason"}
        if self._error is not None:
            code = plain_code(self._error.get("code")) or plain_code(self._error.get("type"))
            if self.outputs:
                return self.cut_short(code or "error")
            message = self._error.get("message")
            return failed(200, code, message if isinstance(message, str) else "", facts=facts)
        if self._refused.text and not self.outputs:
            return denied("model-refusal", self._refused.text, facts=facts)
        if self._reasons and set(self._reasons.values()) == {"content_filter"}:
            # What was said before goes with the denial; a picture is an output all the same.
            if len(self.outputs) > len(self._spoken.outputs()):
                return self.cut_short("content_filter")
            return denied("content_filter", self._spoken.text, facts=facts)
        return None

    def _note(self, data: JSON) -> None:
        for name in _NOTED:
            if data.get(name) is not None:
                self._said[name] = data[name]


def picture_of(text: Any) -> bytes | None:
    """Return a picture that stands in an answer, in Base64 or as a `data:` URL of it."""
    found = data_url(text)
    return unbase64(text) if found is None else found[0]


def picture_of_url(url: Any) -> bytes | None:
    """Return the picture that an address holds itself; None for one that points elsewhere."""
    found = data_url(url)
    return None if found is None else found[0]


def pictures_of(message: JSON) -> list[bytes]:
    """Return the pictures that a message of a chat holds beside its words, as some send them."""
    listed = message.get("images")
    links = [one.get("image_url") for one in _objects(listed)]
    urls = [one.get("url") if isinstance(one, dict) else one for one in links]
    return [found[0] for url in urls if (found := data_url(url)) is not None]


def drawn(response: JSON) -> list[JSON]:
    """Return the pictures that a response has drawn by its tool for it, as outputs."""
    found = [
        picture_of(item.get("result"))
        for item in _objects(response.get("output"))
        if item.get("type") == "image_generation_call"
    ]
    return [output(picture) for picture in found if picture is not None]


def why_ended(response: JSON) -> str:
    """Return why a response ended: `completed`, or what made it incomplete."""
    status, details = response.get("status"), response.get("incomplete_details")
    reason = details.get("reason") if status == "incomplete" and isinstance(details, dict) else None
    return plain_code(reason) or plain_code(status)


def _objects(value: Any) -> list[JSON]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


class ChatStream(_OpenAiStream):
    """Chat completions: deltas, then `[DONE]`."""

    def event(self, name: str, data: Any) -> bool:
        del name
        if isinstance(data, str) and data.startswith("[DONE]"):  # As their own SDK has it.
            return True
        if not isinstance(data, dict):
            return False
        if data.get("error"):
            error = data["error"]
            self._error = error if isinstance(error, dict) else {"message": error}
            return True
        self._note(data)
        for choice in _objects(data.get("choices")):
            at = choice["index"] if type(choice.get("index")) is int else 0
            delta = choice.get("delta")
            if isinstance(delta, dict):
                self._spoken.add(delta.get("content"), at)
                self._refused.add(delta.get("refusal"), at)
                self.outputs += [output(picture) for picture in pictures_of(delta)]
            reason = plain_code(choice.get("finish_reason"))
            if reason:
                self._reasons[at] = reason
        return False

    def must_end(self) -> bool:
        return not self._reasons  # Some servers leave `[DONE]` out.


class ResponseStream(_OpenAiStream):
    """Responses: typed events, then `response.completed`, `.incomplete` or `.failed`."""

    def event(self, name: str, data: Any) -> bool:
        if not isinstance(data, dict):
            return False
        kind = str(data.get("type") or name)
        if kind in {"response.output_text.delta", "response.refusal.delta"}:
            heard = self._refused if "refusal" in kind else self._spoken
            heard.add(data.get("delta"), data.get("output_index"), data.get("content_index"))
        elif kind == "response.image_generation_call.partial_image":
            picture = unbase64(data.get("partial_image_b64"))
            self.outputs += [] if picture is None else [output(picture)]
        elif kind == "response.output_item.done":
            self._draw({"output": [data.get("item")]})
        elif kind == "error":
            self._error = data["error"] if isinstance(data.get("error"), dict) else data
            return True
        response = data.get("response")
        response = response if isinstance(response, dict) else {}
        self._note(response)
        if kind not in {"response.completed", "response.incomplete", "response.failed"}:
            return False
        self._end(response, failed=kind == "response.failed")
        return True

    def _end(self, response: JSON, *, failed: bool) -> None:
        if reason := why_ended(response):
            self._reasons[0] = reason
        self._draw(response)
        if failed:
            error = response.get("error")
            self._error = error if isinstance(error, dict) else {"code": "failed"}

    def _draw(self, response: JSON) -> None:
        """Add what was drawn; the last event says once more what came before."""
        known = {one["sha256"] for one in self.outputs}
        self.outputs += [one for one in drawn(response) if one["sha256"] not in known]


class ImageStream(_OpenAiStream):
    """Pictures: partial ones, then `image_generation.completed` or `image_edit.completed`, each."""

    def __init__(self, asked: Asked, found: Found) -> None:
        super().__init__(asked, found)
        self._completed = 0

    def event(self, name: str, data: Any) -> bool:
        if not isinstance(data, dict):
            return isinstance(data, str) and data.startswith("[DONE]")
        kind = str(data.get("type") or name)
        if kind == "error" or data.get("error"):
            self._error = data["error"] if isinstance(data.get("error"), dict) else data
            return True
        self._note(data)
        picture = picture_of(data.get("b64_json"))
        if picture is not None:
            self.outputs.append(output(picture))
        self._completed += kind.endswith(".completed")
        return kind.endswith(".completed") and self._completed >= int(self.asked.params.get("n", 1))

    def gather(self, headers: Headers) -> None:
        super().gather(headers)
        if self._completed:
            self.facts.setdefault("usage", {})["images"] = self._completed

    def must_end(self) -> bool:
        return not self._completed
