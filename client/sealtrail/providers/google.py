# SPDX-License-Identifier: Apache-2.0
"""Google's own wire format: generateContent, whole or in events, and predict for pictures.

    /v1beta/models/<model>:generateContent         candidates with parts: text, inlineData
    /v1beta/models/<model>:streamGenerateContent   the same in events; a finishReason ends them
    /v1beta/models/<model>:predict                 predictions with bytesBase64Encoded
    /v1beta/openai/…                               OpenAI's format, under the same address

Its stream has no terminal event of its own: once each candidate has a finishReason, what comes is
kept back.
"""

import json
import re
from typing import Any, BinaryIO, Final
from urllib.parse import parse_qs

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
    denied,
    failed,
    made,
    output,
    plain_code,
    plain_line,
    plain_token,
    without_none,
)
from sealtrail.providers.google_requests import asked_content, asked_picture, parts_of
from sealtrail.providers.openai import OpenAi
from sealtrail.providers.sse import EventStream, Voices

_PATH: Final = re.compile(r"/?v1[a-z0-9]*/(?:.*/)?models/([^/:]+):([A-Za-z]+)")
_CALLS: Final = {
    "generateContent": "content",
    "streamGenerateContent": "content",
    "predict": "predict",
}
_FORMS: Final = frozenset(_CALLS.values())
_COMPATIBLE: Final = re.compile(
    r"/?v1[a-z0-9]*/(?:projects/[^/]+/locations/[^/]+/endpoints/[^/]+|openai)/(.+)"
)
_HARMLESS: Final = frozenset({"countTokens", "computeTokens"})

#: Reasons for which Google ends an answer because of what it says or shows.
_REFUSALS: Final = frozenset(
    {"SAFETY", "IMAGE_SAFETY", "PROHIBITED_CONTENT", "IMAGE_PROHIBITED_CONTENT", "BLOCKLIST",
     "RECITATION", "IMAGE_RECITATION", "SPII", "MODEL_ARMOR"}
)  # fmt: skip

#: Of a query: what leaves an answer readable. `fields` would leave out why it ended, and others
#: would have it in another format.
_READABLE: Final = {"alt": ("json", "sse"), "$alt": ("json", "json;enum-encoding=int", "sse")}
_HARMLESS_NAMES: Final = frozenset({"key", "prettyPrint", "$prettyPrint", "quotaUser"})
_STATUSES: Final = {401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED", 503: "UNAVAILABLE"}


class Google:
    """Reads what speaks Google's own format."""

    def __init__(self, name: str = "google") -> None:
        self.name = name
        self._compatible = OpenAi(name)

    def kind(self, method: str, path: str) -> Kind:
        if (inner := openai_path(path)) is not None:
            return self._compatible.kind(method, inner)
        found = _PATH.fullmatch(path)
        if method == "POST" and found is not None:
            if found[2] in _CALLS:
                return "call"
            return "harmless" if found[2] in _HARMLESS else "unknown"
        is_look = method in {"GET", "HEAD"} and "/models" in path and ":" not in path
        return "harmless" if is_look else "unknown"

    def asked(self, path: str, headers: Headers, body: BinaryIO) -> Asked:
        if (inner := openai_path(path)) is not None:
            return self._compatible.asked(inner, headers, body)
        found = _PATH.fullmatch(path)
        if found is None:  # Cannot be: `kind` said that it is a call.
            raise Unspeakable("the path names no model")
        request = read_json(body)
        model = {"provider": self.name, "name": plain_line(found[1]), "version": "hosted"}
        if _CALLS[found[2]] == "predict":
            return asked_picture(model, request)
        return asked_content(model, request, stream=found[2] == "streamGenerateContent")

    def told(self, asked: Asked, status: int, headers: Headers, body: bytes) -> Told:
        if asked.form not in _FORMS:
            return self._compatible.told(asked, status, headers, _only(body))
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
        return ContentStream(asked) if asked.form in _FORMS else self._compatible.stream(asked)

    def refusal(self, code: str, message: str, status: int) -> tuple[JSON, bytes]:
        said = {"code": status, "message": f"{code}: {message}"}
        said["status"] = _STATUSES.get(status, "FAILED_PRECONDITION")
        headers = {"content-type": "application/json", "x-should-retry": "false"}
        return headers, json.dumps({"error": said}).encode()


def openai_path(path: str) -> str | None:
    """Return what stands behind the address at which Google speaks OpenAI's format, or None."""
    found = _COMPATIBLE.fullmatch(path)
    return None if found is None else found[1]


def is_readable(query: str, headers: Headers) -> bool:
    """Whether the answer to a request will be whole, and in a format that is read here."""
    if "x-goog-fieldmask" in headers:
        return False
    for name, values in parse_qs(query, keep_blank_values=True).items():
        if name in _READABLE and not (len(values) == 1 and values[0] in _READABLE[name]):
            return False
        if name not in _READABLE and name not in _HARMLESS_NAMES:
            return False
    return True


class _Answer:
    """Candidates, put together over the events that they came in."""

    def __init__(self) -> None:
        self.spoken = Voices()
        self.outputs: list[JSON] = []
        self.reasons: dict[int, str] = {}
        self.blocked = ""
        self.message = ""

    @property
    def reason(self) -> str:
        return self.reasons[min(self.reasons)] if self.reasons else ""

    def take(self, chunk: JSON) -> None:
        feedback = chunk.get("promptFeedback")
        if isinstance(feedback, dict):
            self.blocked = plain_code(feedback.get("blockReason")) or self.blocked
            self._say(feedback.get("blockReasonMessage"))
        candidates = chunk.get("candidates")
        for candidate in candidates if isinstance(candidates, list) else ():
            if not isinstance(candidate, dict):
                continue
            at = candidate["index"] if type(candidate.get("index")) is int else 0
            if reason := plain_code(candidate.get("finishReason")):
                self.reasons[at] = reason
            self._say(candidate.get("finishMessage"))
            for part in parts_of(candidate.get("content")):
                # What it thought is no part of its answer.
                self.spoken.add(part.get("text"), at, int(part.get("thought") is True))
                shown = part.get("inlineData", part.get("inline_data"))
                data = unbase64(shown.get("data")) if isinstance(shown, dict) else None
                if data is not None:
                    self.outputs.append(output(data))

    def put_out(self) -> list[JSON]:
        """Return all that came, pictures first."""
        return [*self.outputs, *self.spoken.outputs()]

    def told(self, facts: JSON, whole: list[JSON]) -> Told:
        outputs = self.put_out()
        refused = self.blocked or next((r for r in self.reasons.values() if r in _REFUSALS), "")
        if refused and not outputs:
            return denied(refused, self.message, facts=facts)
        if self.outputs:
            facts.setdefault("usage", {})["images"] = len(self.outputs)
        if reason := self.blocked or self.reason:
            facts["finish_reason"] = reason
        return made([*outputs, *whole], facts=facts, partial=bool(refused))

    def _say(self, text: Any) -> None:
        if isinstance(text, str):
            self.message = text


class ContentStream(EventStream):
    """Chunks of one answer; once each candidate has a finishReason, or at a block, it ends."""

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
        wanted = int(self.asked.params.get("n", 1))
        return len(self._answer.reasons) >= wanted or bool(self._answer.blocked)

    def gather(self, headers: Headers) -> None:
        self.facts = _facts(headers, [self._last])
        self.outputs = self._answer.put_out()

    def finished(self, headers: Headers) -> Told | None:
        del headers
        if self._error is not None and self.outputs:
            return self.cut_short(plain_code(self._error.get("status")) or "error")
        if self._error is not None:
            return _error(200, self._error, self.facts)
        return self._answer.told(self.facts, [self._stream_output()])

    def must_end(self) -> bool:
        return not self._answer.reasons


def _only(body: bytes) -> bytes:
    """Return an answer without the list in which Google puts an error of this kind."""
    chunks = _chunks(body)
    return json.dumps(chunks[0]).encode() if body.lstrip()[:1] == b"[" and chunks else body


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
