# SPDX-License-Identifier: GPL-3.0-or-later
"""From the bytes of a request to what the writer needs, or to the answer that refuses it.

The same bytes, caller and time give the same result, whether they are checked here or in a process
of its own (api.checkers), the short way or the long. All that is kept is what requests have in
common (ledger.mould), which changes no result. So nothing is lost with such a process.
"""

from typing import Any, Final, NamedTuple, cast

from api import body, problems
from api.problems import Headers
from ledger.decoding import packed, split, unpacker
from ledger.errors import FieldError, LedgerError, MalformedEvent, TooLarge
from ledger.mould import Moulds
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
_MOULDS: Final = Moulds()
_read_prepared = unpacker(Prepared)
_read_refusal = unpacker(Refusal)


def check_one(data: bytes, caller: Caller, received_ms: int) -> Checked:
    """Check the one event in a body."""
    try:
        found = _poured(data, caller, received_ms)
        if found is None:
            found = _prepared(body.parse(data), data, caller, received_ms)
    except Exception as error:  # noqa: BLE001 - a bug is answered, and told without its values
        return refused(error)
    return found


def check_many(data: bytes, caller: Caller, received_ms: int, *, in_lines: bool) -> list[Checked]:
    """Check the events in a body, each on its own merit; raises for what condemns them all."""
    if in_lines:
        lines = body.lines(data)
        _check_count(len(lines))
        return [check_one(line, caller, received_ms) for line in lines]
    texts = split(data) or []
    if texts and len(texts) <= BATCH_EVENTS:
        poured = [_poured(text, caller, received_ms) for text in texts]
        if None not in poured:  # Each is strict JSON, so their list is.
            return cast("list[Checked]", poured)
    requests = body.array(data)
    _check_count(len(requests))
    if not texts:
        texts = [b""] * len(requests)
    return [
        _checked(request, text, caller, received_ms)
        for request, text in zip(requests, texts, strict=True)
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


def _check_count(count: int) -> None:
    if count > BATCH_EVENTS:
        raise TooLarge(f"a batch holds at most {BATCH_EVENTS} events")


def _poured(data: bytes, caller: Caller, received_ms: int) -> Prepared | None:
    """Check an event the short way; None if the long way has to say."""
    identity, pipelines, strict = caller
    return _MOULDS.pour(data, identity, pipelines, received_ms, strict=strict)


def _checked(request: Any, text: bytes, caller: Caller, received_ms: int) -> Checked:
    try:
        return _prepared(request, text, caller, received_ms)
    except Exception as error:  # noqa: BLE001 - a bug is answered, and told without its values
        return refused(error)


def _prepared(request: Any, text: bytes, caller: Caller, received_ms: int) -> Prepared:
    """Check an event the long way. text: its JSON, if that is at hand."""
    if not isinstance(request, dict):
        raise MalformedEvent(errors=[FieldError("", "type", "an event is a JSON object")])
    identity, pipelines, strict = caller
    found = prepare(request, identity, received_ms=received_ms, pipelines=pipelines, strict=strict)
    _MOULDS.learn(text, found, identity, pipelines, received_ms, strict=strict)
    return found
