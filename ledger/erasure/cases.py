# SPDX-License-Identifier: GPL-3.0-or-later
"""Each erasure as the log tells it: who asked, who approved, what it waits for, what went.

A case is folded from its entries, whatever their order: an entry that cannot follow changes
nothing. An approval by the credential that asked is none, also if somebody managed to record one.
"""

from dataclasses import dataclass, replace
from typing import Any, Final, Literal

from ledger.custody_log import CustodyLog, Note
from ledger.database import Connection
from ledger.errors import NotFound
from ledger.head import Chain

JSON = dict[str, Any]
State = Literal["requested", "approved", "deferred", "pending", "complete", "withdrawn"]

REQUESTED: Final = "ERASURE_REQUESTED"
APPROVED: Final = "ERASURE_APPROVED"
WITHDRAWN: Final = "ERASURE_WITHDRAWN"
DEFERRED: Final = "ERASURE_DEFERRED"
ERASURE: Final = "ERASURE"

#: Approved by two, and not over: what the night has to see to.
UNDER_WAY: Final[frozenset[State]] = frozenset({"approved", "deferred", "pending"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One erasure."""

    erasure_id: str
    subject_ref: str
    basis: str
    plan: JSON  #: The newest dry run: the approval's, once there is one.
    state: State
    requested: str  #: `time.recorded`, like the others.
    requested_by: str | None  #: A credential; None: the ledger, and nobody has taken it up.
    approved: str | None = None
    approved_by: str | None = None
    hold_ids: tuple[str, ...] = ()  #: While it is deferred.
    completed: str | None = None
    erased: JSON | None = None

    def json(self) -> JSON:
        """Return the case as the API and `--json` show it."""
        shown = {
            "erasure_id": self.erasure_id,
            "subject_ref": self.subject_ref,
            "state": self.state,
            "basis": self.basis,
            "plan": self.plan,
            "requested": {"at": self.requested, "by": self.requested_by},
            "approved": {"at": self.approved, "by": self.approved_by} if self.approved else None,
            "hold_ids": list(self.hold_ids) or None,
            "completed": self.completed,
            "erased": self.erased,
        }
        return {name: value for name, value in shown.items() if value is not None}


class Cases:
    """Reads the erasures of one Book."""

    def __init__(self, schema: str, chain: Chain) -> None:
        self._log = CustodyLog(schema, chain, (REQUESTED, APPROVED, WITHDRAWN, DEFERRED, ERASURE))

    def all(self, connection: Connection) -> dict[str, Case]:
        """Return every erasure by its id, in the order in which they were requested."""
        found: dict[str, Case] = {}
        for note in self._log.told(connection):
            id_ = note.body["erasure_id"]
            case = found.get(id_)
            if case is None and note.type == REQUESTED:
                found[id_] = _asked(note)
            elif case is not None and note.body["subject_ref"] == case.subject_ref:
                found[id_] = _after(case, note)
        return found

    def get(self, connection: Connection, erasure_id: str) -> Case:
        """Return one erasure; raises NotFound."""
        case = self.all(connection).get(erasure_id)
        if case is None:
            raise NotFound("there is no such erasure in this Book")
        return case


def _asked(note: Note) -> Case:
    body = note.body
    return Case(
        erasure_id=body["erasure_id"],
        subject_ref=body["subject_ref"],
        basis=body["basis"],
        plan=body["plan"],
        state="requested",
        requested=note.recorded,
        requested_by=note.credential,
    )


def _after(case: Case, note: Note) -> Case:
    """Return the case after one more entry of its own."""
    body, state = note.body, case.state
    if note.type == APPROVED and state == "requested":
        return _approved(case, note)
    if note.type == WITHDRAWN and state == "requested":
        return replace(case, state="withdrawn")
    if note.type == DEFERRED and state in UNDER_WAY:
        return replace(case, state="deferred", hold_ids=tuple(body["hold_ids"]))
    if note.type == ERASURE and state in UNDER_WAY:
        if body["state"] == "pending":
            return replace(case, state="pending", hold_ids=())
        return replace(
            case, state="complete", hold_ids=(), completed=note.recorded, erased=body["erased"]
        )
    return case


def _approved(case: Case, note: Note) -> Case:
    """Return the case after a person's approval, which counts if another one asked."""
    if note.credential == case.requested_by:
        return case
    if case.requested_by is None:
        # The ledger itself asked: the first person takes it up, a second one approves.
        return replace(case, requested_by=note.credential)
    return replace(case, state="approved", approved=note.recorded, approved_by=note.credential)
