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
from decimal import InvalidOperation
from typing import Any, BinaryIO, Final

from sealtrail.models import decimal_text
from sealtrail.providers.bodies import data_url, is_form, json_of, read_form, read_json, unbase64
from sealtrail.providers.exchange import (
    JSON,
    Asked,
    Headers,
    Kind,
    StreamReader,
    Told,
    Unspeakable,
    count,
    decimal,
    denied,
    failed,
    given,
    made,
    output,
    plain_code,
    plain_line,
    plain_token,
    sources,
    text_value,
    without_none,
)
from sealtrail.providers.openai_streams import ChatStream, ImageStream, ResponseStream, drawn

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
            return self._asked_chat(path, request, *_response_input(request))
        return self._asked_chat(path, request, *_chat_input(request))

    def told(self, asked: Asked, status: int, headers: Headers, body: bytes) -> Told:
        answer = json_of(body)
        facts = self.facts(headers, answer)
        if status >= 400 or answer.get("error"):
            return _error(status, answer, facts)
        if asked.operation != "chat":
            return _images(answer, body, facts)
        return _chat(answer, body, facts)

    def stream(self, asked: Asked) -> StreamReader:
        if asked.operation != "chat":
            return ImageStream(asked, self.facts)
        reader = ResponseStream if asked.form == "responses" else ChatStream
        return reader(asked, self.facts)

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
            files = ((_role(file.field), file.sha256) for file in form.files)
            inputs = given(files, sealed)
        else:
            request = read_json(body)
            inputs = given(sources(_pictures(request)), sealed)
        prompt = request.get("prompt")
        if prompt is not None:
            sealed["prompt.user"] = text_value(prompt)
        return Asked(
            model=self._model(request.get("model")),
            operation=_OPERATIONS[path],
            input_type=("text+image" if prompt is not None else "image") if inputs else "text",
            params=_image_params(request),
            inputs=inputs,
            sealed=sealed,
            stream=str(request.get("stream", "")).lower() == "true",
        )

    def _asked_chat(
        self, form: str, request: JSON, sealed: JSON, pictures: list[bytes], params: JSON
    ) -> Asked:
        inputs = given(sources(pictures), sealed)
        return Asked(
            model=self._model(request.get("model")),
            operation="chat",
            input_type="text+image" if inputs else "text",
            params=params,
            inputs=inputs,
            sealed=sealed,
            stream=request.get("stream") is True,
            form=form,
        )


def _plain_path(path: str) -> str:
    """Return what stands behind the version; before it, others have a part of their own."""
    _, version, rest = path.strip("/").rpartition("v1/")
    return rest if version else path.strip("/")


def _role(field: str) -> str:
    return "mask" if field.startswith("mask") else "source"


def _image_params(request: JSON) -> JSON:
    width, x, height = str(request.get("size", "")).partition("x")
    sized = x and width.isdecimal() and height.isdecimal()
    amount = str(request.get("n", ""))
    return without_none(
        {
            "width": int(width) if sized and int(width) else None,
            "height": int(height) if sized and int(height) else None,
            "n": int(amount) if amount.isdecimal() and 1 <= int(amount) <= 64 else None,
        }
    )


def _chat_params(request: JSON, most: str) -> JSON:
    seed = request.get("seed")
    return without_none(
        {
            "temperature": decimal(request.get("temperature")),
            "top_p": decimal(request.get("top_p")),
            "max_tokens": count(request.get(most, request.get("max_tokens"))),
            "n": count(request.get("n")) or None,
            "seed": str(seed % 2**64) if type(seed) is int else None,
        }
    )


def _chat_input(request: JSON) -> tuple[JSON, list[bytes], JSON]:
    """Return sealed texts, pictures and parameters of a chat."""
    messages = request.get("messages")
    messages = (
        [one for one in messages if isinstance(one, dict)] if isinstance(messages, list) else []
    )
    return (*_texts(messages), _chat_params(request, "max_completion_tokens"))


def _response_input(request: JSON) -> tuple[JSON, list[bytes], JSON]:
    asked = request.get("input")
    messages = [{"role": "user", "content": asked}] if isinstance(asked, str) else asked
    messages = (
        [one for one in messages if isinstance(one, dict)] if isinstance(messages, list) else []
    )
    if isinstance(request.get("instructions"), str):
        messages = [{"role": "system", "content": request["instructions"]}, *messages]
    return (*_texts(messages), _chat_params(request, "max_output_tokens"))


def _texts(messages: list[JSON]) -> tuple[JSON, list[bytes]]:
    """Return the sealed texts of a conversation, and its pictures.

    The whole conversation is sealed as it was sent, but for pictures, which have digests.
    """
    pictures: list[bytes] = []
    spoken: list[tuple[str, str]] = []
    for message in messages:
        content = message.get("content")
        parts = content if isinstance(content, list) else [{"text": content}]
        for part in parts:
            if not isinstance(part, dict):
                continue
            if isinstance(part.get("text"), str):
                spoken.append((str(message.get("role")), part["text"]))
            found = part.get("image_url")
            found = data_url(found.get("url") if isinstance(found, dict) else found)
            if found is not None:
                pictures.append(found[0])
    system = "\n".join(text for role, text in spoken if role in {"system", "developer"})
    user = next((text for role, text in reversed(spoken) if role == "user"), None)
    sealed: JSON = {}
    if user is not None:
        sealed["prompt.user"] = text_value(user)
    if system:
        sealed["prompt.system"] = text_value(system)
    if len(spoken) > 1:
        sealed["prompt.rendered"] = text_value([f"{role}: {text}" for role, text in spoken])
    return sealed, pictures


def _pictures(request: JSON) -> list[bytes]:
    found = request.get("images", request.get("image"))
    listed = found if isinstance(found, list) else [found]
    urls = [one.get("image_url") if isinstance(one, dict) else one for one in listed]
    return [data[0] for one in urls if (data := data_url(one)) is not None]


def _images(answer: JSON, body: bytes, facts: JSON) -> Told:
    data = answer.get("data")
    outputs = []
    for one in data if isinstance(data, list) else ():
        if not isinstance(one, dict):
            continue
        picture = unbase64(one.get("b64_json"))
        if picture is not None:
            outputs.append(output(picture))
        elif isinstance(one.get("url"), str):
            outputs.append(output(one["url"].encode(), mime="text/uri-list"))
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
    if refused and not texts:
        return denied("model-refusal", refused[0], facts=facts)
    if reasons and all(reason == "content_filter" for reason in reasons):
        return denied("content_filter", "", facts=facts)
    if reasons and (reason := plain_code(reasons[0])):
        facts["finish_reason"] = reason
    outputs = [output(text.encode(errors="replace"), mime="text/plain") for text in texts if text]
    outputs += drawn(answer)
    return made([*outputs, output(body, mime="application/json")], facts=facts)


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

    def told(self, asked: Asked, status: int, headers: Headers, body: bytes) -> Told:
        told = super().told(asked, status, headers, body)
        answer = json_of(body)
        sealed = dict(told.sealed)
        if plain_line(answer.get("paymentSource")) is not None:
            sealed["usage.payment_source"] = text_value(answer["paymentSource"])
        balance = answer.get("remainingBalance")
        if isinstance(balance, (int, float, str)) and not isinstance(balance, bool):
            sealed["usage.remaining_balance"] = text_value(str(balance))
        return Told(type=told.type, body=told.body, sealed=sealed)

    def usage(self, answer: JSON) -> JSON:
        cost = answer.get("cost")
        try:
            amount = None if cost is None or isinstance(cost, bool) else decimal_text(cost)
        except (ValueError, InvalidOperation):
            amount = None
        used = super().usage(answer)
        return used if amount is None else used | {"cost": amount, "currency": "USD"}
