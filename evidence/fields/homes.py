# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a field lives: looked up in the catalogue, so that a member that is renamed breaks it.

    GEN_ATTEMPT prompt.user      a member or a committed name of this event type
    * trace.trace_id             the same of the envelope, which every event has
    entry time.recorded          what the ledger adds to every entry
    receipt path                 what whoever posted the event is handed
    column entry.mac             a column beside the entry, outside its bytes
    pack EventHash               what a CAP pack adds of its own

Nothing about placement is written by hand: a name that both the class and its sealed names know is
clear or committed, and so on. A pointer that leads nowhere raises HomeUnknownError.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path
from typing import Any, Final, get_args, get_origin

import ledger
from anchoring.receipt import Proof, Receipt
from ledger.catalog import CATALOG
from ledger.events import envelope
from ledger.events.kind import EventClass
from ledger.events.values import Part
from sealtrail.verify.disclosure import PERSON

#: What the ledger adds to every entry, or is asked for beside the body; and what it is.
ENTRY: Final[Mapping[str, str]] = {
    "v": "version of the form of entries",
    "event_id": "the event's own id, a UUID of version 7",
    "type": "type of the event",
    "schema": "version of the type's schema",
    "tenant": "whose ledger it is",
    "aggregate.type": "kind of the thing that it is about",
    "aggregate.id": "the thing",
    "aggregate.version": "number of the entry in the thing's stream",
    "time.request_received": "when the request came in",
    "time.recorded": "when it was recorded, by the ledger's clock",
    "actor.credential": "which credential posted it",
    "_sd": "digests of all that is committed",
    "_sd_alg": "their algorithm",
}
#: What a CAP pack says of itself: members of its events' chain, and of its manifest.
PACK: Final = (
    "ChainID", "PrevHash", "HashAlgo", "SignAlgo", "EventHash", "Signature", "PackID",
    "PackVersion", "GeneratedAt", "GeneratedBy", "ConformanceLevel", "EventCount", "TimeRange",
    "Checksums", "CompletenessVerification",
)  # fmt: skip
_SCHEMA: Final = Path(ledger.__file__).parent / "schema"
_TABLE: Final = re.compile(r"CREATE TABLE \{?[a-z]*\}?\.?([a-z_]+) \((.*?)\n\)", re.DOTALL)

#: The test that shows any field of a kind: it goes through all of them, one by one.
TESTS: Final[Mapping[str, str]] = {
    "clear": "tests/ledger/test_events.py::test_a_small_record_and_a_full_one_are_taken[{type}]",
    "own": "tests/ledger/test_events.py::"
    "test_what_the_ledger_makes_is_checked_like_any_other_event[{type}]",
    "sealed": "tests/ledger/test_catalog.py::"
    "test_every_name_that_an_event_seals_is_taken[{type}-{name}]",
    "person": "tests/ledger/test_request.py::"
    "test_a_request_is_prepared_with_everything_personal_committed",
    "envelope": "tests/ledger/test_events.py::test_all_groups_of_the_envelope_are_taken",
    "entry": "tests/evidence/test_fields.py::test_a_recorded_entry_has_what_the_ledger_adds",
    "receipt": "tests/evidence/test_fields.py::test_a_receipt_has_what_the_page_says",
    "pack": "tests/evidence/test_fields.py::test_a_pack_has_what_the_page_says",
    "column": "tests/test_schema.py::test_the_migrations_add_up_to_the_schema",
}
#: Of types that have a test of their own instead.
OF_TYPE: Final[Mapping[str, str]] = {
    "DATASET_SEALED": "tests/anchoring/test_dataset.py::test_the_log_names_what_was_sealed",
}


class HomeUnknownError(LookupError):
    """A pointer of the table leads to nothing that the ledger has."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Home:
    """One place where a field's value goes."""

    where: str  #: As the page prints it.
    placement: str
    test: str


def home_of(pointer: str) -> Home:
    """Look one pointer up; raises HomeUnknownError."""
    kind, _, name = pointer.partition(" ")
    if kind == "*":
        return _of_envelope(name)
    if kind == "entry" and name in ENTRY:
        return Home(where=f"every entry: `{name}`", placement="clear", test=TESTS["entry"])
    if kind == "receipt" and name in _receipt_names():
        where = f"the receipt: `{name}`"
        return Home(where=where, placement="outside the leaf", test=TESTS["receipt"])
    if kind == "column" and name in _columns():
        where = f"beside the entry: `{name}`"
        return Home(where=where, placement="outside the leaf", test=TESTS["column"])
    if kind == "pack" and name in PACK:
        where = f"a [CAP pack](cap.md): `{name}`"
        return Home(where=where, placement="outside the leaf", test=TESTS["pack"])
    event = CATALOG.get((kind, 1))
    if event is None:
        raise HomeUnknownError(pointer)
    return _of_event(event, name, pointer)


def _of_event(event: EventClass, name: str, pointer: str) -> Home:
    clear, sealed = has_member(event.model, name), name in event.model.sealed
    if not clear and not sealed:
        raise HomeUnknownError(pointer)
    placement = "clear or committed" if clear and sealed else "clear" if clear else "committed"
    if sealed:
        placement += f", sealed for the {event.owners.get(name, 'user')}"
    if name in event.model.artifacts:
        placement += ", artifact"
    usual = TESTS["sealed" if sealed else "own" if event.ledger_made else "clear"]
    test = OF_TYPE.get(event.type, usual)
    where = f"[{event.type}](events.md#{event.type.lower()}) `{name}`"
    return Home(where=where, placement=placement, test=test.format(type=event.type, name=name))


def _of_envelope(name: str) -> Home:
    where = f"[every event](events.md#envelope): `{name}`"
    if name == PERSON:
        return Home(where=where, placement="committed, sealed for the user", test=TESTS["person"])
    if name in envelope.SEALED:
        test = TESTS["sealed"].format(type="GEN", name=name)
        return Home(where=where, placement="committed, sealed for the user", test=test)
    if has_member(envelope.Envelope, name):
        return Home(where=where, placement="clear", test=TESTS["envelope"])
    raise HomeUnknownError(f"* {name}")


def has_member(part: type[Part], name: str) -> bool:
    """Say if a class has a member of this dotted name; `[*]` stands for any item of a list."""
    step, _, rest = name.partition(".")
    field = _members(part).get(step.removesuffix("[*]"))
    if field is None:
        return False
    is_list = get_origin(field) is list
    if step.endswith("[*]") and not is_list:
        return False
    inner = get_args(field)[0] if is_list else field
    if not rest:
        return True
    return isinstance(inner, type) and issubclass(inner, Part) and has_member(inner, rest)


def _members(part: type[Part]) -> dict[str, Any]:
    return {field.alias or name: field.annotation for name, field in part.model_fields.items()}


@cache
def _receipt_names() -> frozenset[str]:
    return frozenset({*(one.name for one in fields(Receipt)), *Proof._fields}) - {"proof"}


@cache
def _columns() -> frozenset[str]:
    return frozenset(_columns_in_schema())


def _columns_in_schema() -> Iterator[str]:
    for path in sorted(_SCHEMA.glob("*.sql")):
        for table, body in _TABLE.findall(path.read_text("utf-8")):
            for line in body.splitlines():
                found = re.match(r"\s+\"?([a-z_]+)\"?\s+[a-z]", line)
                if found is not None:
                    yield f"{table}.{found[1]}"
