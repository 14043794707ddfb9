# SPDX-License-Identifier: Apache-2.0
"""OpenAI's wire format, which most others speak as well: images, chat, responses.

    /images/generations  JSON           b64_json or url, or events (image_generation.completed)
    /images/edits        JSON or a form
    /images/variations   a form
    /chat/completions    JSON           choices, or events that end with [DONE]
    /responses           JSON           output, or events that end with response.completed

An address in an answer is an output, too: what was put out is the address, so its digest is what is
recorded; the picture behind it was never here.
"""

import json
from decimal import Decimal, InvalidOperation
from typing import Any, BinaryIO, Final

from sealtrail.models import decimal_text
from sealtrail.providers.bodies import is_form, json_of, read_form, read_json
from sealtrail.providers.exchange import (
    JSON,
    Asked,
    Headers,
    Kind,
    StreamReader,
    Told,
    Unspeakable,
    count,
    denied,
    failed,
    given,
    made,
    output,
    plain_code,
    plain_line,
    plain_token,
    text_value,
    without_none,
)
from sealtrail.providers.openai_requests import (
    Talk,
    image_params,
    is_picture,
    pictures,
    role,
    talk_of_chat,
    talk_of_response,
)
from sealtrail.providers.openai_streams import (
    ChatStream,
    ImageStream,
    ResponseStream,
    drawn,
    picture_of,
    picture_of_url,
    pictures_of,
    why_ended,
)

_OPERATIONS: Final = {
    "images/generations": "generate",
    "images/edits": "edit",
    "images/variations": "variation",
    "chat/completions": "chat",
    "responses": "chat",
}
_HARMLESS: Final = ("models", "files", "batches", "responses")

#: Codes under which a request is refused for what it asks, not for how it is spelled.
_REFUSALS: Final = frozenset(
    {"content_policy_violation", "moderation_blocked", "content_filter", "image_safety_violation"}
)

#: So many of xAI's ticks are a dollar.
_TICKS: Final = 10**10


class OpenAi:
    """Reads what speaks OpenAI's format under any provider's name."""

    def __init__(self, name: str = "openai") -> None:
        self.name = name

    def kind(self, method: str, path: str) -> Kind:
        path = _plain_path(path)
        if method == "POST" and path in _OPERATIONS:
            return "call"
        if method in {"GET", "HEAD"} and path.partition("/")[0] in _HARMLESS:
            return "harmless"
        return "unknown"

    def asked(self, path: str, headers: Headers, body: BinaryIO) -> Asked:
        path = _plain_path(path)
        if path.startswith("images/"):
            return self._asked_image(path, headers, body)
        request = read_json(body)
        if path == "responses":
            if request.get("background"):
                raise Unspeakable("what is made in the background is fetched past this record")
            return self._asked_chat(path, request, talk_of_response(request))
        return self._asked_chat(path, request, talk_of_chat(request))

    def told(self, asked: Asked, status: int, headers: Headers, body: bytes) -> Told:
        answer = json_of(body)
        told = self._told(asked, status, answer, body, self.facts(headers, answer))
        return Told(type=told.type, body=told.body, sealed=told.sealed | self.sealed(answer))

    def _told(self, asked: Asked, status: int, answer: JSON, body: bytes, facts: JSON) -> Told:
        if status >= 400 or answer.get("error"):
            return _error(status, answer, facts)
        if asked.operation != "chat":
            return _images(answer, body, facts)
        return _chat(answer, body, facts)

    def stream(self, asked: Asked) -> StreamReader:
        if asked.operation != "chat":
            return ImageStream(asked, self)
        reader = ResponseStream if asked.form == "responses" else ChatStream
        return reader(asked, self)

    def refusal(self, code: str, message: str, status: int) -> tuple[JSON, bytes]:
        kind = "invalid_request_error" if status < 500 else "server_error"
        error = {"message": message, "type": kind, "param": None, "code": code}
        headers = {"content-type": "application/json", "x-should-retry": "false"}
        return headers, json.dumps({"error": error}).encode()

    def facts(self, headers: Headers, answer: JSON) -> JSON:
        """Return what an answer says of its provider and of what was used."""
        provider = without_none(
            {
                "request_id": plain_token(headers.get("x-request-id")),
                "model_returned": plain_line(answer.get("model")),
                "system_fingerprint": plain_line(answer.get("system_fingerprint")),
            }
        )
        facts: JSON = {"provider": provider} if provider else {}
        used = self.usage(answer)
        return facts | ({"usage": used} if used else {})

    def sealed(self, answer: JSON) -> JSON:
        """Return sealed values that an answer gives, whatever came of it."""
        del answer
        return {}

    def usage(self, answer: JSON) -> JSON:
        """Return the members of `usage` that an answer gives."""
        used = answer.get("usage")
        used = used if isinstance(used, dict) else {}
        return without_none(
            {
                "input_tokens": count(used.get("prompt_tokens", used.get("input_tokens"))),
                "output_tokens": count(used.get("completion_tokens", used.get("output_tokens"))),
            }
        )

    def _model(self, name: Any) -> JSON:
        named = plain_line(name)
        return {"provider": self.name, "name": named or "unnamed", "version": "hosted"}

    def _asked_image(self, path: str, headers: Headers, body: BinaryIO) -> Asked:
        sealed: JSON = {}
        if is_form(headers):
            form = read_form(headers, body)
            request: JSON = dict(form.fields)
            if any(not is_picture(file.field) for file in form.files):
                raise Unspeakable("a file of the form stands where a text is read")
            files = ((role(file.field), file.sha256) for file in form.files)
            inputs = given(files, sealed)
        else:
            request = read_json(body)
            inputs = given(pictures(request), sealed)
        prompt = request.get("prompt")
        if prompt is not None:
            sealed["prompt.user"] = text_value(prompt)
        if isinstance(request.get("negative_prompt"), str):
            sealed["prompt.negative"] = text_value(request["negative_prompt"])
        return Asked(
            model=self._model(request.get("model")),
            operation=_OPERATIONS[path],
            input_type=("text+image" if prompt is not None else "image") if inputs else "text",
            params=image_params(request),
            inputs=inputs,
            sealed=sealed,
            said=[one for one in (prompt, request.get("negative_prompt")) if isinstance(one, str)],
            stream=str(request.get("stream", "")).lower() == "true",
        )

    def _asked_chat(self, form: str, request: JSON, talk: Talk) -> Asked:
        sealed = dict(talk.sealed)
        inputs = given(talk.inputs, sealed)
        return Asked(
            model=self._model(request.get("model")),
            operation="chat",
            input_type="text+image" if inputs else "text",
            params=talk.params,
            inputs=inputs,
            sealed=sealed,
            said=talk.said,
            stream=request.get("stream") is True,
            form=form,
        )


def _plain_path(path: str) -> str:
    """Return what stands behind the version; before it, others have a part of their own."""
    _, version, rest = path.strip("/").rpartition("v1/")
    return rest if version else path.strip("/")


def _images(answer: JSON, body: bytes, facts: JSON) -> Told:
    data = answer.get("data")
    outputs, is_held_back = [], bool(answer.get("block_reason"))
    for one in data if isinstance(data, list) else ():
        if not isinstance(one, dict):
            continue
        url = one.get("url")
        picture = picture_of(one.get("b64_json")) or picture_of_url(url)
        if picture is not None:
            outputs.append(output(picture))
        elif isinstance(url, str) and url:
            outputs.append(output(url.encode(errors="replace"), mime="text/uri-list"))
        is_held_back = is_held_back or one.get("respect_moderation") is False
    if is_held_back and not outputs:  # As xAI says it: 200, and nothing to show.
        reason = answer.get("block_reason")
        text = reason if isinstance(reason, str) else ""
        return denied("respect_moderation", text, facts=facts)
    facts.setdefault("usage", {})["images"] = len(outputs)
    return made([*outputs, output(body, mime="application/json")], facts=facts)


def _chat(answer: JSON, body: bytes, facts: JSON) -> Told:
    choices = answer.get("choices")
    messages, reasons = [], []
    for choice in choices if isinstance(choices, list) else ():
        if isinstance(choice, dict):
            reasons.append(choice.get("finish_reason"))
            message = choice.get("message")
            messages.append(message if isinstance(message, dict) else {})
    texts = [one["content"] for one in messages if isinstance(one.get("content"), str)]
    refused = [one["refusal"] for one in messages if isinstance(one.get("refusal"), str)]
    items = answer.get("output")
    for item in items if isinstance(items, list) else ():
        parts = item.get("content") if isinstance(item, dict) else None
        for part in parts if isinstance(parts, list) else ():
            if isinstance(part, dict) and isinstance(part.get("text"), str):
                texts.append(part["text"])
            elif isinstance(part, dict) and isinstance(part.get("refusal"), str):
                refused.append(part["refusal"])
    shown = [output(one) for message in messages for one in pictures_of(message)] + drawn(answer)
    reasons = reasons or [why_ended(answer)]
    texts = [text for text in texts if text]
    if refused and not texts and not shown:
        return denied("model-refusal", refused[0], facts=facts)
    if all(reason == "content_filter" for reason in reasons) and not shown:
        # What was said before the filter came goes with the denial.
        return denied("content_filter", "\n".join(texts), facts=facts)
    if reason := plain_code(reasons[0]):
        facts["finish_reason"] = reason
    outputs = [output(text.encode(errors="replace"), mime="text/plain") for text in texts]
    return made([*outputs, *shown, output(body, mime="application/json")], facts=facts)


def _error(status: int, answer: JSON, facts: JSON) -> Told:
    error = answer.get("error")
    error = (
        error if isinstance(error, dict) else {"message": error if isinstance(error, str) else ""}
    )
    code = plain_code(error.get("code")) or plain_code(error.get("type"))
    message = str(error.get("message") or "")
    if str(error.get("code")) in _REFUSALS:
        return denied(code, message, facts=facts)
    return failed(status, code, message, facts=facts)


class NanoGpt(OpenAi):
    """NanoGPT: OpenAI's format, and beside it what the call cost and who paid."""

    def __init__(self, name: str = "nanogpt") -> None:
        super().__init__(name)

    def sealed(self, answer: JSON) -> JSON:
        sealed: JSON = {}
        if plain_line(answer.get("paymentSource")) is not None:
            sealed["usage.payment_source"] = text_value(answer["paymentSource"])
        balance = answer.get("remainingBalance")
        if isinstance(balance, (int, float, str)) and not isinstance(balance, bool):
            sealed["usage.remaining_balance"] = text_value(str(balance))
        return sealed

    def usage(self, answer: JSON) -> JSON:
        return super().usage(answer) | _dollars(answer.get("cost"))


class XAi(OpenAi):
    """xAI: OpenAI's format, and in its usage what the call cost, in ticks."""

    def __init__(self, name: str = "xai") -> None:
        super().__init__(name)

    def usage(self, answer: JSON) -> JSON:
        used = answer.get("usage")
        ticks = count(used.get("cost_in_usd_ticks")) if isinstance(used, dict) else None
        cost = None if ticks is None else Decimal(ticks) / _TICKS
        return super().usage(answer) | _dollars(cost)


def _dollars(cost: Any) -> JSON:
    if cost is None or isinstance(cost, bool):
        return {}
    try:
        return {"cost": decimal_text(cost), "currency": "USD"}
    except (ValueError, InvalidOperation):
        return {}
