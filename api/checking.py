# SPDX-License-Identifier: GPL-3.0-or-later
"""From the bytes of a request to what the writer needs, or to the answer that refuses it.

Pure: the same bytes, caller and time give the same result, whether they are checked here or in a
process of its own (api.preparers), and nothing is kept. So nothing is lost with such a process.
"""

from collections.abc import Callable
from typing import Any, Final, NamedTuple

from api import body, problems
from api.problems import Headers
from ledger.decoding import packed, unpacker
from ledger.errors import FieldError, LedgerError, MalformedEvent, TooLarge
from ledger.request import Identity, Prepared, prepare

BATCH_EVENTS: Final = 1_000


class Caller(NamedTuple):
    """Whose request it is."""

    identity: Identity
    pipelines: frozenset[str]
    strict: bool  #: Whether this tenant refuses what names something unknown.


class Refusal(NamedTuple):
    """A request that goes no further: status, headers and problem document of its answer."""

    status: int
    headers: Headers
    document: bytes


Checked = Prepared | Refusal

_PREPARED: Final = b"+"
_REFUSED: Final = b"-"
_read_prepared = unpacker(Prepared)
_read_refusal = unpacker(Refusal)


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
    return (_REFUSED if isinstance(checked, Refusal) else _PREPARED) + packed(checked)


def unpack(data: bytes) -> Checked:
    """Read what `pack` printed."""
    if data[:1] == _PREPARED:
        return _read_prepared(data[1:])
    return _read_refusal(data[1:])


def _checked(check: Callable[[], Prepared]) -> Checked:
    try:
        return check()
    except Exception as error:  # noqa: BLE001 - a bug is answered, and told without its values
        return refused(error)


def _prepared(request: Any, caller: Caller, received_ms: int) -> Prepared:
    if not isinstance(request, dict):
        raise MalformedEvent(errors=[FieldError("", "type", "an event is a JSON object")])
    return prepare(
        request,
        caller.identity,
        received_ms=received_ms,
        pipelines=caller.pipelines,
        strict=caller.strict,
    )
