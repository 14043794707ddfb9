# SPDX-License-Identifier: Apache-2.0
"""Anthropic's wire format: messages, whole or in events that end with `message_stop`."""

import json
from collections.abc import Iterator
from typing import Any, BinaryIO, Final

from sealtrail.providers.bodies import json_of, read_json, unbase64
from sealtrail.providers.exchange import (
    JSON,
    Asked,
    Headers,
    Kind,
    StreamReader,
    Told,
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
from sealtrail.providers.sse import EventStream, Spoken

#: A part may hold parts: a tool's result a document, and that its own.
_DEPTH_MAX: Final = 4


class Anthropic:
    """Reads what speaks Anthropic's format."""

    def __init__(self, name: str = "anthropic") -> None:
        self.name = name

    def kind(self, method: str, path: str) -> Kind:
        path = path.strip("/").rpartition("v1/")[2]
        if method == "POST" and path == "messages":
            return "call"
        if path == "messages/count_tokens" or (method in {"GET", "HEAD"} and path[:6] == "models"):
            return "harmless"
        return "unknown"

    def asked(self, path: str, headers: Headers, body: BinaryIO) -> Asked:
        del path, headers
        request = read_json(body)
        sealed, pictures, said = _texts(request)
        inputs = given(sources(pictures), sealed)
        temperature, top_p = request.get("temperature"), request.get("top_p")
        params = {
            "max_tokens": count(request.get("max_tokens")),
            "temperature": decimal(temperature),
            "top_p": decimal(top_p),
        }
        name = plain_line(request.get("model")) or "unnamed"
        return Asked(
            model={"provider": self.name, "name": name, "version": "hosted"},
            operation="chat",
            input_type="text+image" if inputs else "text",
            params=without_none(params),
            inputs=inputs,
            sealed=sealed,
            said=said,
            stream=request.get("stream") is True,
        )

    def told(self, asked: Asked, status: int, headers: Headers, body: bytes) -> Told:
        del asked
        answer = json_of(body)
        facts = facts_of(headers, answer)
        if status >= 400 or answer.get("type") == "error":
            return _error(status, answer.get("error"), facts)
        spoken = Spoken()
        content = answer.get("content")
        for part in content if isinstance(content, list) else ():
            if isinstance(part, dict) and part.get("type") == "text":
                spoken.add(part.get("text"))
        reason = plain_code(answer.get("stop_reason"))
        if reason == "refusal":
            return denied("refusal", spoken.text, facts=facts)
        if reason:
            facts["finish_reason"] = reason
        said = spoken.output()
        raw = output(body, mime="application/json")
        return made([raw] if said is None else [said, raw], facts=facts)

    def stream(self, asked: Asked) -> StreamReader:
        return MessageStream(asked)

    def refusal(self, code: str, message: str, status: int) -> tuple[JSON, bytes]:
        kind = "permission_error" if status < 500 else "api_error"
        document = {"type": "error", "error": {"type": kind, "message": f"{code}: {message}"}}
        headers = {"content-type": "application/json", "x-should-retry": "false"}
        return headers, json.dumps(document).encode()


class MessageStream(EventStream):
    """`message_start`, blocks and their deltas, `message_delta`, and at the end `message_stop`."""

    def __init__(self, asked: Asked) -> None:
        super().__init__(asked)
        self._said: JSON = {}
        self._spoken = Spoken()
        self._reason = ""
        self._error: Any = None

    def event(self, name: str, data: Any) -> bool:
        if not isinstance(data, dict):
            return False
        kind = str(data.get("type") or name)
        if kind == "message_start" and isinstance(data.get("message"), dict):
            self._said |= {n: data["message"].get(n) for n in ("model", "usage")}
        delta = data.get("delta")
        delta = delta if isinstance(delta, dict) else {}
        if kind == "content_block_delta":
            self._spoken.add(delta.get("text"))
        elif kind == "message_delta":
            self._reason = plain_code(delta.get("stop_reason")) or self._reason
            if isinstance(data.get("usage"), dict):
                before = self._said.get("usage")
                before = before if isinstance(before, dict) else {}
                self._said["usage"] = before | data["usage"]
        elif kind == "error":
            self._error = data.get("error") or {}
        return kind in {"message_stop", "error"}

    def gather(self, headers: Headers) -> None:
        self.facts = facts_of(headers, self._said)
        if self._reason and self._reason != "refusal":
            self.facts["finish_reason"] = self._reason
        said = self._spoken.output()
        if said is not None:
            self.outputs.append(said)

    def finished(self, headers: Headers) -> Told | None:
        del headers
        if self._error is not None and self.outputs:
            code = self._error.get("type") if isinstance(self._error, dict) else None
            return self.cut_short(plain_code(code) or "error")
        if self._error is not None:
            return _error(200, self._error, self.facts)
        if self._reason == "refusal":
            return denied("refusal", self._spoken.text, facts=self.facts)
        return None


def facts_of(headers: Headers, answer: JSON) -> JSON:
    """Return what an answer says of its provider and of what was used."""
    used = answer.get("usage")
    used = used if isinstance(used, dict) else {}
    provider = without_none(
        {
            "request_id": plain_token(headers.get("request-id", headers.get("x-request-id"))),
            "model_returned": plain_line(answer.get("model")),
        }
    )
    usage = without_none(
        {
            "input_tokens": count(used.get("input_tokens")),
            "output_tokens": count(used.get("output_tokens")),
        }
    )
    facts: JSON = {"provider": provider} if provider else {}
    return facts | ({"usage": usage} if usage else {})


def _error(status: int, error: Any, facts: JSON) -> Told:
    error = error if isinstance(error, dict) else {}
    message = error.get("message")
    code = plain_code(error.get("type"))
    retryable = None if status >= 400 else code in {"overloaded_error", "api_error"}
    text = message if isinstance(message, str) else ""
    return failed(status, code, text, facts=facts, retryable=retryable)


def _texts(request: JSON) -> tuple[JSON, list[bytes], list[str]]:
    """Return the sealed texts of a conversation, its pictures, and every text of it."""
    sealed: JSON = {}
    system = request.get("system")
    if isinstance(system, list):
        system = "\n".join(str(one.get("text", "")) for one in system if isinstance(one, dict))
    if isinstance(system, str) and system:
        sealed["prompt.system"] = text_value(system)
    pictures: list[bytes] = []
    said: list[str] = [system] if isinstance(system, str) else []
    spoken: list[str] = []
    user = None
    for role, part in _parts(request):
        source = part.get("source")
        source = source if isinstance(source, dict) else {}
        # A document of plain text holds it as it is, and what others hold is Base64.
        plain = source.get("data") if source.get("type") == "text" else None
        for text in (part.get("text"), plain):
            if isinstance(text, str):
                said.append(text)
                spoken.append(f"{role}: {text}")
                user = text if role == "user" else user
        found = unbase64(source.get("data")) if plain is None else None
        if found is not None:
            pictures.append(found)
    if user is not None:
        sealed["prompt.user"] = text_value(user)
    if len(spoken) > 1:
        sealed["prompt.rendered"] = text_value(spoken)
    return sealed, pictures, said


def _parts(request: JSON) -> Iterator[tuple[str, JSON]]:
    """Yield role and content of each part of a conversation."""
    messages = request.get("messages")
    for message in messages if isinstance(messages, list) else ():
        if not isinstance(message, dict):
            continue
        for part in _within(message.get("content")):
            yield str(message.get("role")), part


def _within(content: Any, depth: int = 0) -> Iterator[JSON]:
    """Yield the parts of a content, with those that a tool's result or a document is made of."""
    for part in content if isinstance(content, list) else [{"type": "text", "text": content}]:
        if not isinstance(part, dict):
            continue
        yield part
        source = part.get("source")
        for inner in (
            part.get("content"),
            source.get("content") if isinstance(source, dict) else 0,
        ):
            if isinstance(inner, (str, list)) and depth < _DEPTH_MAX:
                yield from _within(inner, depth + 1)
