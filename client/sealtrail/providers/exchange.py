# SPDX-License-Identifier: Apache-2.0
"""A call of somebody's model over HTTP, as the ledger has words for it.

    request ──► Provider.asked ──► Asked ──► GEN_ATTEMPT
    answer  ──► Provider.told  ──► Told  ──► GEN | GEN_DENY | GEN_ERROR
    stream  ──► Provider.stream ─► StreamReader: releases, keeps the terminal event back, then Told

What a person wrote, what a provider said in words, and digests of what was uploaded are sealed.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from decimal import InvalidOperation
from typing import Any, BinaryIO, Final, Literal, Protocol

from sealtrail.content import content_of, digest_text
from sealtrail.models import decimal_text
from sealtrail.request import new_event_id

JSON = dict[str, Any]
Headers = Mapping[str, str]  #: Names in lower case.

#: A committed value is at most so large, in bytes; a larger text is named by its digest.
TEXT_MAX: Final = 60_000

#: Outputs that one call can name.
OUTPUTS_MAX: Final = 64

#: Inputs that one call is given.
INPUTS_MAX: Final = 32

#: Statuses after which the same call may succeed.
RETRYABLE: Final = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})

#: How sure a reader is that a path is a call of a model.
Kind = Literal["call", "harmless", "unknown"]


class Unspeakable(Exception):  # noqa: N818 - a request that cannot be put on record
    """The request cannot be put on record, so it may not go to the model. No value is repeated."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a request asks of a model.

    inputs: members of `inputs` of the body; their digests are in `sealed`. stream: whether the
    answer comes in events. form: a reader's own word for the answer that it expects. facts:
    further members of the attempt's body. said: every text of the request as it was written, for
    those who judge it; what is sealed may be a digest of it.
    """

    model: JSON
    operation: str
    input_type: str
    params: JSON = field(default_factory=dict)
    inputs: list[JSON] = field(default_factory=list)
    sealed: JSON = field(default_factory=dict, repr=False)
    said: list[str] = field(default_factory=list, repr=False)
    stream: bool = False
    form: str = ""
    facts: JSON = field(default_factory=dict)

    def body(self, consents: tuple[str, ...] = ()) -> JSON:
        """The body of the GEN_ATTEMPT."""
        body: JSON = {
            "operation": self.operation,
            "input_type": self.input_type,
            "model": self.model,
            **self.facts,
        }
        if self.params:
            body["params"] = self.params
        if self.inputs:
            body["inputs"] = self.inputs
        if consents:
            body["consent_ids"] = list(consents)
        return body


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What came of it: type, body and sealed values of the outcome."""

    type: Literal["GEN", "GEN_DENY", "GEN_ERROR"]
    body: JSON
    sealed: JSON = field(default_factory=dict, repr=False)


class StreamReader(Protocol):
    """Reads one stream while it passes."""

    ended: bool  #: The terminal event has come; all from there on is kept back.
    released: bool  #: Something has gone on already.

    def feed(self, data: bytes) -> bytes:
        """Take what came and return what may go on now."""

    def rest(self) -> bytes:
        """Return what was kept back; call it once the outcome is on record."""

    def told(self, status: int, headers: Headers, *, aborted: bool) -> Told:
        """Return the outcome. aborted: the stream broke off, or its reader went away."""


class Provider(Protocol):
    """Reads one provider's wire format."""

    @property
    def name(self) -> str:
        """The provider, as `model.provider` names it."""

    def kind(self, method: str, path: str) -> Kind:
        """Say what a request is. path: behind the provider's own prefix, without a query."""

    def asked(self, path: str, headers: Headers, body: BinaryIO) -> Asked:
        """Read a request. body: at its beginning, seekable. Raises Unspeakable."""

    def told(self, asked: Asked, status: int, headers: Headers, body: bytes) -> Told:
        """Read a whole answer, whatever its status."""

    def stream(self, asked: Asked) -> StreamReader:
        """Return the reader of an answer that comes in events."""

    def refusal(self, code: str, message: str, status: int) -> tuple[JSON, bytes]:
        """Return headers and body of an error in the provider's own shape."""


def text_value(value: Any) -> Any:
    """Return a text, or what JSON holds, as it may be sealed; its digest where it is too large.

    Half a character, as a text that was cut leaves it, becomes a question mark: it is no Unicode.
    """
    plain = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    data = plain.encode(errors="replace")
    if len(data) <= TEXT_MAX:
        return data.decode()
    return {"sha256": digest_text(data), "bytes": str(len(data))}


def given(pictures: Iterable[tuple[str, str]], sealed: JSON) -> list[JSON]:
    """Return members of `inputs` for (role, digest) of each picture; the digests are sealed.

    Raises Unspeakable for more than a call is given.
    """
    inputs: list[JSON] = []
    for role, sha256 in pictures:
        if len(inputs) == INPUTS_MAX:
            raise Unspeakable(f"a call is given at most {INPUTS_MAX} inputs")
        sealed[f"inputs[{len(inputs)}].sha256"] = sha256
        inputs.append({"type": "image", "role": role})
    return inputs


def sources(pictures: Iterable[bytes]) -> Iterator[tuple[str, str]]:
    """Yield role and digest of pictures that a request holds, for `given`."""
    return (("source", digest_text(data)) for data in pictures)


def output(data: bytes, *, mime: str | None = None, **facts: Any) -> JSON:
    """Return one member of a GEN's `outputs`."""
    content = content_of(data, mime=mime)
    return {
        "asset_id": new_event_id(),
        "sha256": content.sha256,
        "mime": content.mime,
        "size": str(content.size),
        **facts,
    }


def failed(
    status: int, code: str, message: str, *, facts: JSON, retryable: bool | None = None
) -> Told:
    """Return the GEN_ERROR of an answer that is an error of the provider."""
    error: JSON = {
        "class": "provider",
        "code": plain_code(code) or f"http-{status}",
        "stage": "provider",
        "retryable": status in RETRYABLE if retryable is None else retryable,
    }
    request_id = facts.get("provider", {}).get("request_id")
    if request_id is not None:
        error["provider_request_id"] = request_id
    sealed = {"error.message": text_value(message)} if message else {}
    return Told(type="GEN_ERROR", body={"error": error, **facts}, sealed=sealed)


def denied(code: str, message: str, *, facts: JSON) -> Told:
    """Return the GEN_DENY of an answer in which the provider refuses."""
    body = {"decision": "DENY", "refusal_reason_code": plain_code(code) or "refused", **facts}
    sealed = {"refusal_text": text_value(message)} if message else {}
    return Told(type="GEN_DENY", body=body, sealed=sealed)


def made(outputs: list[JSON], *, facts: JSON, partial: bool = False) -> Told:
    """Return the GEN of an answer with outputs. More than the ledger takes are summed up in one."""
    if len(outputs) > OUTPUTS_MAX:
        listing = json.dumps([one["sha256"] for one in outputs]).encode()
        outputs = [*outputs[: OUTPUTS_MAX - 1], output(listing, mime="application/json")]
    body = {"outputs": outputs, "result": "partial" if partial else "success", **facts}
    return Told(type="GEN", body=body)


def plain_code(text: Any) -> str:
    """Return a provider's code as the ledger spells codes; nothing for what is none."""
    if not isinstance(text, str):
        return ""
    plain = "".join(c if c.isascii() and (c.isalnum() or c in "._:/+-") else "-" for c in text)
    return plain.strip("-._:/+")[:64]


def plain_token(text: Any) -> str | None:
    """Return a provider's id if it is visible ASCII of at most 256 characters."""
    if not isinstance(text, str) or not 1 <= len(text) <= 256:
        return None
    return text if all("!" <= c <= "~" for c in text) else None


def plain_line(text: Any) -> str | None:
    """Return one line of at most 256 characters, or None."""
    if not isinstance(text, str) or not text:
        return None
    return "".join(c for c in text if c.isprintable())[:256] or None


def count(value: Any) -> int | None:
    """Return a number of things, or None for what is none."""
    return value if type(value) is int and 0 <= value < 2**53 else None


def decimal(value: Any) -> str | None:
    """Return a number of a request as a decimal string, or None for what is none."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        return decimal_text(value)
    except (ValueError, InvalidOperation):
        return None


def without_none(members: JSON) -> JSON:
    """Leave out what is not known."""
    return {name: value for name, value in members.items() if value is not None}
