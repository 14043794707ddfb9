# SPDX-License-Identifier: GPL-3.0-or-later
"""Errors as RFC 9457 problem details: what is wrong, where, and what to do about it."""

import json
from typing import Any, Final

from ledger.errors import FieldError, IntegrityViolation, LedgerError, NotJson, Unavailable
from sealtrail.verify.canonical import NotCanonical

MEDIA_TYPE: Final = "application/problem+json"

#: Where each problem is described; the last segment is its stable name.
_TYPES: Final = "urn:sealtrail:problem:"
RETRY_AFTER_S: Final = 1


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


def not_json(error: NotCanonical) -> NotJson:
    """Translate a parser's refusal; it names the rule and no text of the body."""
    return NotJson(str(error), errors=[FieldError("", error.rule, str(error))])


def response(error: LedgerError) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
    """Return status, headers and body of the answer that an error becomes."""
    headers = [(b"content-type", MEDIA_TYPE.encode())]
    if isinstance(error, Unavailable):
        headers.append((b"retry-after", str(RETRY_AFTER_S).encode()))
    if error.status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    if isinstance(error, IntegrityViolation):
        headers.append((b"sealtrail-stopped", b"true"))
    return error.status, headers, json.dumps(problem(error)).encode()


def _plain(value: object) -> str | int | bool:
    return value if isinstance(value, (str, int, bool)) else str(value)
