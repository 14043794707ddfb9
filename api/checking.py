# SPDX-License-Identifier: GPL-3.0-or-later
"""From the bytes of a request to what the writer needs, or to the answer that refuses it.

Pure: the same bytes, caller and time give the same result, whether they are checked here or in a
process of its own (api.preparers), and nothing is kept. So nothing is lost with such a process.
"""

from collections.abc import Callable
from typing import Any, Final, NamedTuple

from api import body, problems
from api.problems import Headers
from ledger.decoding import packed, unpacked
from ledger.errors import FieldError, LedgerError, MalformedEvent, TooLarge
from ledger.request import Identity, Prepared, prepare

BATCH_EVENTS: Final = 1_000


class Caller(NamedTuple):
    """Whose request it is."""

    identity: Identity
    pipelines: frozenset[str]


class Refusal(NamedTuple):
    """A request that goes no further: status, headers and problem document of its answer."""

    status: int
    headers: Headers
    document: bytes


Checked = Prepared | Refusal


def check_one(data: bytes, caller: Caller, received_ms: int) -> Checked:
    """Check the one event in a body."""
    return _checked(lambda: _prepared(body.parse(data), caller, received_ms))


def check_many(data: bytes, caller: Caller, received_ms: int, *, in_lines: bool) -> list[Checked]:
    """Check the events in a body, each on its own merit; raises for what condemns them all."""
    requests = body.lines(data) if in_lines else body.array(data)
    if len(requests) > BATCH_EVENTS:
        raise TooLarge(f"a batch holds at most {BATCH_EVENTS} events")
    return [
        refused(request)
        if isinstance(request, LedgerError)
        else _checked(lambda request=request: _prepared(request, caller, received_ms))  # type: ignore[misc]
        for request in requests
    ]


def refused(error: Exception) -> Refusal:
    """Return the answer that an error becomes; a bug is told to the log, without values."""
    known = error if isinstance(error, LedgerError) else problems.unexpected(error)
    return Refusal(*problems.response(known))


def pack(checked: Checked) -> bytes:
    """Print what was found for another process."""
    if isinstance(checked, Refusal):
        return packed((False, checked))
    # The body is in the part, too; a mapping of another kind is none that msgpack knows.
    plain = checked._replace(body={}, disclosures=dict(checked.disclosures))
    return packed((True, plain))


def unpack(data: bytes) -> Checked:
    """Read what `pack` printed."""
    is_prepared, fields = unpacked(data)
    if not is_prepared:
        status, headers, document = fields
        return Refusal(status, [(name, value) for name, value in headers], document)
    found = Prepared(*fields)
    source = None if found.source is None else (found.source[0], found.source[1])
    return found._replace(body=found.part["body"], source=source)


def _checked(check: Callable[[], Prepared]) -> Checked:
    try:
        return check()
    except Exception as error:  # noqa: BLE001 - a bug is answered, and told without its values
        return refused(error)


def _prepared(request: Any, caller: Caller, received_ms: int) -> Prepared:
    if not isinstance(request, dict):
        raise MalformedEvent(errors=[FieldError("", "type", "an event is a JSON object")])
    return prepare(request, caller.identity, received_ms=received_ms, pipelines=caller.pipelines)
