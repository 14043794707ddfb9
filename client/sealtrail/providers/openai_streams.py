# SPDX-License-Identifier: Apache-2.0
"""OpenAI's answers in events: chat completions, responses, pictures."""

from collections.abc import Callable
from typing import Any

from sealtrail.providers.bodies import unbase64
from sealtrail.providers.exchange import (
    JSON,
    Asked,
    Headers,
    Told,
    denied,
    failed,
    made,
    output,
    plain_code,
)
from sealtrail.providers.sse import EventStream, Spoken

#: Reads provider and usage out of headers and the last object of an answer.
Facts = Callable[[Headers, JSON], JSON]


class _OpenAiStream(EventStream):
    def __init__(self, asked: Asked, facts: Facts) -> None:
        super().__init__(asked)
        self._facts = facts
        self._said: JSON = {}  #: Model, fingerprint and usage, as the events name them.
        self._spoken, self._refused = Spoken(), Spoken()
        self._error: JSON | None = None
        self._reason: str = ""

    def told(self, status: int, headers: Headers, *, aborted: bool) -> Told:
        self.facts = self._facts(headers, self._said)
        if self._reason:
            self.facts["finish_reason"] = self._reason
        spoken = self._spoken.output()
        if spoken is not None:
            self.outputs.append(spoken)
        return super().told(status, headers, aborted=aborted)

    def finished(self, headers: Headers) -> Told | None:
        del headers
        facts = {name: value for name, value in self.facts.items() if name != "finish_reason"}
        if self._error is not None:
            code = plain_code(self._error.get("code")) or plain_code(self._error.get("type"))
            message = self._error.get("message")
            return failed(200, code, message if isinstance(message, str) else "", facts=facts)
        if self._refused.text and not self._spoken.text:
            return denied("model-refusal", self._refused.text, facts=facts)
        if self._reason == "content_filter":
            return denied("content_filter", "", facts=facts)
        return None

    def _note(self, data: JSON) -> None:
        for name in ("model", "system_fingerprint", "usage"):
            if data.get(name):
                self._said[name] = data[name]


def drawn(response: JSON) -> list[JSON]:
    """Return the pictures that a response has drawn by its tool for it, as outputs."""
    items = response.get("output")
    found = [
        unbase64(item.get("result"))
        for item in (items if isinstance(items, list) else ())
        if isinstance(item, dict) and item.get("type") == "image_generation_call"
    ]
    return [output(picture) for picture in found if picture is not None]


class ChatStream(_OpenAiStream):
    """Chat completions: deltas, then `[DONE]`."""

    def event(self, name: str, data: Any) -> bool:
        del name
        if data == "[DONE]":
            return True
        if not isinstance(data, dict):
            return False
        if isinstance(data.get("error"), dict):
            self._error = data["error"]
            return True
        self._note(data)
        choices = data.get("choices")
        for choice in choices if isinstance(choices, list) else ():
            if not isinstance(choice, dict):
                continue
            delta = choice.get("delta")
            if isinstance(delta, dict):
                self._spoken.add(delta.get("content"))
                self._refused.add(delta.get("refusal"))
            self._reason = plain_code(choice.get("finish_reason")) or self._reason
        return False


class ResponseStream(_OpenAiStream):
    """Responses: typed events, then `response.completed`, `.incomplete` or `.failed`."""

    def event(self, name: str, data: Any) -> bool:
        if not isinstance(data, dict):
            return False
        kind = str(data.get("type") or name)
        if kind == "response.output_text.delta":
            self._spoken.add(data.get("delta"))
        elif kind == "response.refusal.delta":
            self._refused.add(data.get("delta"))
        elif kind == "response.image_generation_call.partial_image":
            picture = unbase64(data.get("partial_image_b64"))
            self.outputs += [] if picture is None else [output(picture)]
        elif kind == "error":
            self._error = data
            return True
        response = data.get("response")
        if isinstance(response, dict):
            self._note(response)
        if kind not in {"response.completed", "response.incomplete", "response.failed"}:
            return False
        response = response if isinstance(response, dict) else {}
        self._reason = plain_code(response.get("status"))
        self.outputs += drawn(response)
        if kind == "response.failed":
            error = response.get("error")
            self._error = error if isinstance(error, dict) else {"code": "failed"}
        return True


class ImageStream(_OpenAiStream):
    """Pictures: partial ones, then `image_generation.completed` or `image_edit.completed`."""

    def event(self, name: str, data: Any) -> bool:
        if not isinstance(data, dict):
            return bool(data == "[DONE]")
        kind = str(data.get("type") or name)
        if kind == "error" or isinstance(data.get("error"), dict):
            self._error = data["error"] if isinstance(data.get("error"), dict) else data
            return True
        self._note(data)
        picture = unbase64(data.get("b64_json"))
        if picture is not None:
            self.outputs.append(output(picture))
        return kind.endswith(".completed")

    def finished(self, headers: Headers) -> Told | None:
        told = super().finished(headers)
        if told is not None:
            return told
        facts = {**self.facts, "usage": {**self.facts.get("usage", {}), "images": 1}}
        return made([*self.outputs, self._stream_output()], facts=facts)
