# SPDX-License-Identifier: Apache-2.0
"""Google's own wire format: generateContent, whole or in events, and predict for pictures.

    /v1beta/models/<model>:generateContent         candidates with parts: text, inlineData
    /v1beta/models/<model>:streamGenerateContent   the same in events; a finishReason ends them
    /v1beta/models/<model>:predict                 predictions with bytesBase64Encoded

Its stream has no terminal event of its own: the first event with a finishReason is kept back.
"""

import json
import re
from collections.abc import Iterator
from typing import Any, BinaryIO, Final

from sealtrail.providers.bodies import read_json, unbase64
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
from sealtrail.providers.sse import EventStream, Spoken

_PATH: Final = re.compile(r"/?v1[a-z0-9]*/(?:.*/)?models/([^/:]+):([A-Za-z]+)")
_CALLS: Final = {
    "generateContent": "content",
    "streamGenerateContent": "content",
    "predict": "predict",
}
_HARMLESS: Final = frozenset({"countTokens", "computeTokens"})

#: Reasons for which Google ends an answer because of what it says or shows.
_REFUSALS: Final = frozenset(
    {"SAFETY", "IMAGE_SAFETY", "PROHIBITED_CONTENT", "IMAGE_PROHIBITED_CONTENT", "BLOCKLIST",
     "RECITATION", "IMAGE_RECITATION", "SPII"}
)  # fmt: skip
_STATUSES: Final = {401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED", 503: "UNAVAILABLE"}


class Google:
    """Reads what speaks Google's own format."""

    def __init__(self, name: str = "google") -> None:
        self.name = name

    def kind(self, method: str, path: str) -> Kind:
        found = _PATH.fullmatch(path)
        if method == "POST" and found is not None:
            if found[2] in _CALLS:
                return "call"
            return "harmless" if found[2] in _HARMLESS else "unknown"
        is_look = method in {"GET", "HEAD"} and "/models" in path and ":" not in path
        return "harmless" if is_look else "unknown"

    def asked(self, path: str, headers: Headers, body: BinaryIO) -> Asked:
        del headers
        found = _PATH.fullmatch(path)
        if found is None:  # Cannot be: `kind` said that it is a call.
            raise Unspeakable("the path names no model")
        request = read_json(body)
        model = {"provider": self.name, "name": plain_line(found[1]), "version": "hosted"}
        if _CALLS[found[2]] == "predict":
            return _asked_picture(model, request)
        return _asked_content(model, request, stream=found[2] == "streamGenerateContent")

    def told(self, asked: Asked, status: int, headers: Headers, body: bytes) -> Told:
        chunks = _chunks(body)
        facts = _facts(headers, chunks)
        error = next((one["error"] for one in chunks if isinstance(one.get("error"), dict)), None)
        if status >= 400 or error is not None:
            return _error(status, error or {}, facts)
        if asked.form == "predict":
            return _pictures(chunks, body, facts)
        answer = _Answer()
        for chunk in chunks:
            answer.take(chunk)
        return answer.told(facts, [output(body, mime="application/json")])

    def stream(self, asked: Asked) -> StreamReader:
        return ContentStream(asked)

    def refusal(self, code: str, message: str, status: int) -> tuple[JSON, bytes]:
        said = {"code": status, "message": f"{code}: {message}"}
        said["status"] = _STATUSES.get(status, "FAILED_PRECONDITION")
        headers = {"content-type": "application/json", "x-should-retry": "false"}
        return headers, json.dumps({"error": said}).encode()


class _Answer:
    """Candidates, put together over the events that they came in."""

    def __init__(self) -> None:
        self.spoken = Spoken()
        self.outputs: list[JSON] = []
        self.reason = ""
        self.blocked = ""

    def take(self, chunk: JSON) -> None:
        feedback = chunk.get("promptFeedback")
        if isinstance(feedback, dict):
            self.blocked = plain_code(feedback.get("blockReason")) or self.blocked
        candidates = chunk.get("candidates")
        for candidate in candidates if isinstance(candidates, list) else ():
            if not isinstance(candidate, dict):
                continue
            self.reason = plain_code(candidate.get("finishReason")) or self.reason
            for part in _parts(candidate.get("content")):
                self.spoken.add(part.get("text"))
                shown = part.get("inlineData")
                data = unbase64(shown.get("data")) if isinstance(shown, dict) else None
                if data is not None:
                    self.outputs.append(output(data))

    def told(self, facts: JSON, whole: list[JSON], *, partial: bool = False) -> Told:
        said = self.spoken.output()
        outputs = [*self.outputs, *([] if said is None else [said])]
        if self.blocked or (self.reason in _REFUSALS and not outputs):
            return denied(self.blocked or self.reason, "", facts=facts)
        if self.outputs:
            facts.setdefault("usage", {})["images"] = len(self.outputs)
        if self.reason:
            facts["finish_reason"] = self.reason
        return made([*outputs, *whole], facts=facts, partial=partial)


class ContentStream(EventStream):
    """Chunks of one answer; the one with a finishReason, or a block, is the last."""

    def __init__(self, asked: Asked) -> None:
        super().__init__(asked)
        self._answer = _Answer()
        self._last: JSON = {}
        self._error: JSON | None = None

    def event(self, name: str, data: Any) -> bool:
        del name
        if not isinstance(data, dict):
            return False
        if isinstance(data.get("error"), dict):
            self._error = data["error"]
            return True
        self._last |= {
            n: data[n] for n in ("modelVersion", "responseId", "usageMetadata") if n in data
        }
        self._answer.take(data)
        return bool(self._answer.reason or self._answer.blocked)

    def told(self, status: int, headers: Headers, *, aborted: bool) -> Told:
        self.facts = _facts(headers, [self._last])
        if not self.ended:
            said = self._answer.spoken.output()
            self.outputs = [*self._answer.outputs, *([] if said is None else [said])]
        return super().told(status, headers, aborted=aborted)

    def finished(self, headers: Headers) -> Told | None:
        del headers
        if self._error is not None:
            return _error(200, self._error, self.facts)
        return self._answer.told(self.facts, [self._stream_output()])


def _asked_content(model: JSON, request: JSON, *, stream: bool) -> Asked:
    sealed: JSON = {}
    system = "\n".join(
        part["text"]
        for part in _parts(request.get("systemInstruction", request.get("system_instruction")))
        if isinstance(part.get("text"), str)
    )
    if system:
        sealed["prompt.system"] = text_value(system)
    spoken, user, pictures = [], None, []
    contents = request.get("contents")
    for content in contents if isinstance(contents, list) else ():
        role = content.get("role", "user") if isinstance(content, dict) else "user"
        for part in _parts(content):
            if isinstance(part.get("text"), str):
                spoken.append(f"{role}: {part['text']}")
                user = part["text"] if role == "user" else user
            inline = part.get("inlineData", part.get("inline_data"))
            data = unbase64(inline.get("data")) if isinstance(inline, dict) else None
            if data is not None:
                pictures.append(data)
    if user is not None:
        sealed["prompt.user"] = text_value(user)
    if len(spoken) > 1:
        sealed["prompt.rendered"] = text_value(spoken)
    inputs = given(sources(pictures), sealed)
    config = request.get("generationConfig")
    return Asked(
        model=model,
        operation="chat",
        input_type="text+image" if inputs else "text",
        params=_params(config if isinstance(config, dict) else {}),
        inputs=inputs,
        sealed=sealed,
        stream=stream,
        form="content",
    )


def _asked_picture(model: JSON, request: JSON) -> Asked:
    instances = request.get("instances")
    first = instances[0] if isinstance(instances, list) and instances else {}
    prompt = first.get("prompt") if isinstance(first, dict) else None
    parameters = request.get("parameters")
    parameters = parameters if isinstance(parameters, dict) else {}
    amount, seed = count(parameters.get("sampleCount")), count(parameters.get("seed"))
    params = {"n": amount or None, "seed": None if seed is None else str(seed)}
    return Asked(
        model=model,
        operation="generate",
        input_type="text",
        params=without_none(params),
        sealed={} if prompt is None else {"prompt.user": text_value(prompt)},
        form="predict",
    )


def _params(config: JSON) -> JSON:
    seed = config.get("seed")
    return without_none(
        {
            "temperature": decimal(config.get("temperature")),
            "top_p": decimal(config.get("topP")),
            "max_tokens": count(config.get("maxOutputTokens")),
            "n": count(config.get("candidateCount")) or None,
            "seed": str(seed % 2**64) if type(seed) is int else None,
        }
    )


def _parts(content: Any) -> Iterator[JSON]:
    parts = content.get("parts") if isinstance(content, dict) else None
    yield from (one for one in (parts if isinstance(parts, list) else ()) if isinstance(one, dict))


def _chunks(body: bytes) -> list[JSON]:
    """Return the objects of an answer: one, or a list of those that others get as events."""
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return []
    return [one for one in (value if isinstance(value, list) else [value]) if isinstance(one, dict)]


def _facts(headers: Headers, chunks: list[JSON]) -> JSON:
    merged: JSON = {}
    for chunk in chunks:
        merged |= chunk
    used = merged.get("usageMetadata")
    used = used if isinstance(used, dict) else {}
    request_id = merged.get("responseId") or headers.get("x-request-id")
    provider = without_none(
        {
            "request_id": plain_token(request_id),
            "model_returned": plain_line(merged.get("modelVersion")),
        }
    )
    usage = without_none(
        {
            "input_tokens": count(used.get("promptTokenCount")),
            "output_tokens": count(used.get("candidatesTokenCount")),
        }
    )
    facts: JSON = {"provider": provider} if provider else {}
    return facts | ({"usage": usage} if usage else {})


def _pictures(chunks: list[JSON], body: bytes, facts: JSON) -> Told:
    outputs, reasons = [], []
    for chunk in chunks:
        predictions = chunk.get("predictions")
        for one in predictions if isinstance(predictions, list) else ():
            if not isinstance(one, dict):
                continue
            data = unbase64(one.get("bytesBase64Encoded"))
            if data is not None:
                outputs.append(output(data))
            elif one.get("raiFilteredReason"):
                reasons.append(str(one["raiFilteredReason"]))
    if reasons and not outputs:
        return denied("raiFilteredReason", reasons[0], facts=facts)
    facts.setdefault("usage", {})["images"] = len(outputs)
    return made([*outputs, output(body, mime="application/json")], facts=facts)


def _error(status: int, error: JSON, facts: JSON) -> Told:
    message = error.get("message")
    code = plain_code(error.get("status"))
    return failed(status, code, message if isinstance(message, str) else "", facts=facts)
