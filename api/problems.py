# SPDX-License-Identifier: GPL-3.0-or-later
"""Errors as RFC 9457 problem details: what is wrong, where, and what to do about it.

No answer and no line of the log holds a value of a request: it may be somebody's prompt or name.
"""

import json
import logging
import traceback
from typing import Any, Final

from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from ledger.errors import (
    FieldError,
    IntegrityViolation,
    LedgerError,
    MalformedEvent,
    NotFound,
    NotJson,
    Refused,
    TooLarge,
    Unavailable,
)
from sealtrail.verify.canonical import NotCanonical

log = logging.getLogger("sealtrail.api")

Headers = list[tuple[bytes, bytes]]

MEDIA_TYPE: Final = "application/problem+json"

#: Where each problem is described; the last segment is its stable name.
_TYPES: Final = "urn:sealtrail:problem:"
RETRY_AFTER_S: Final = 1


class BodyLost(Unavailable):
    """The body did not arrive as a whole; nothing was recorded."""

    problem = "body-incomplete"


class MethodRefused(Refused):
    """This path does not take that method."""

    status = 405
    problem = "method-not-allowed"


class RequestRefused(Refused):
    """The request cannot be understood; nothing was recorded."""

    problem = "bad-request"


class InternalError(LedgerError):
    """The ledger made a mistake of its own; sending the same request again is safe."""

    status = 500
    problem = "internal-error"


def problem(error: LedgerError) -> dict[str, Any]:
    """Return the problem document of an error; it holds no value of the request."""
    document: dict[str, Any] = {
        "type": _TYPES + error.problem,
        "title": (type(error).__doc__ or error.problem).strip().split("\n")[0],
        "status": error.status,
        "detail": str(error).strip(),
        "code": error.problem,
    }
    if error.errors:
        document["errors"] = [
            {"pointer": field.pointer, "rule": field.rule, "detail": field.detail}
            for field in error.errors
        ]
    if error.facts:
        document["facts"] = {name: _plain(value) for name, value in error.facts.items()}
    return document


def response(error: LedgerError) -> tuple[int, Headers, bytes]:
    """Return status, headers and body of the answer that an error becomes."""
    headers = [(b"content-type", MEDIA_TYPE.encode()), (b"cache-control", b"no-store")]
    if isinstance(error, Unavailable):
        headers.append((b"retry-after", str(RETRY_AFTER_S).encode()))
    if isinstance(error, BodyLost):
        headers.append((b"connection", b"close"))
    if isinstance(error, MethodRefused) and "allow" in error.facts:
        headers.append((b"allow", str(error.facts["allow"]).encode()))
    if error.status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    if isinstance(error, IntegrityViolation):
        headers.append((b"sealtrail-stopped", b"true"))
    return error.status, headers, json.dumps(problem(error)).encode()


def not_json(error: NotCanonical) -> NotJson:
    """Translate a parser's refusal; it names the rule and no text of the body."""
    return NotJson(str(error), errors=[FieldError("", error.rule, str(error))])


def of_framework(error: HTTPException) -> LedgerError:
    """Translate what the router refuses; its own words are left out."""
    if error.status_code == 404:
        return NotFound("there is nothing at this path")
    if error.status_code == 405:
        return MethodRefused(allow=(error.headers or {}).get("Allow", ""))
    if error.status_code == 413:
        return TooLarge()
    return RequestRefused()


def of_validation(error: RequestValidationError) -> MalformedEvent:
    """Translate the framework's complaints about path, query, headers and body."""
    fields = [
        FieldError(_pointer(item["loc"]), *_RULES.get(item["type"], _OTHER))
        for item in error.errors()
    ]
    return MalformedEvent(errors=list(dict.fromkeys(fields)))


def unexpected(error: BaseException) -> InternalError:
    """Write down where a mistake of ours happened, and return what its caller is told.

    The message of the exception is left out: it may quote what it stumbled over.
    """
    frames = traceback.extract_tb(error.__traceback__)
    where = " < ".join(f"{frame.filename}:{frame.lineno}" for frame in reversed(frames[-8:]))
    log.error("unexpected %s at %s", type(error).__name__, where)
    return InternalError()


#: Steps of a location that are words of ours; the first other one may be the client's.
_WORDS: Final = frozenset(
    {"query", "path", "header", "event_ids", "disclosures", "from", "to", "size", "position"}
)
_OTHER: Final = ("form", "this is not of the form that the interface asks for")
_RULES: Final = {
    "missing": ("required", "this must be here"),
    "extra_forbidden": ("unknown-field", "a member is none that the interface knows"),
    "string_pattern_mismatch": ("form", "this is not of the form that the interface asks for"),
    "string_type": ("type", "this must be a string"),
    "list_type": ("type", "this must be a list"),
    "dict_type": ("type", "this must be an object"),
    "model_attributes_type": ("type", "this must be an object"),
    "too_long": ("too-many", "there are too many"),
    "too_short": ("too-few", "there are too few"),
}


def _pointer(location: tuple[int | str, ...]) -> str:
    """Return a JSON pointer into the body, or below /path, /query or /header."""
    steps = location[1:] if location[:1] == ("body",) else location
    known = []
    for step in steps:
        if isinstance(step, str) and step not in _WORDS:
            break
        known.append(f"/{step}")
    return "".join(known)


def _plain(value: object) -> str | int | bool:
    return value if isinstance(value, (str, int, bool)) else str(value)
