# SPDX-License-Identifier: GPL-3.0-or-later
"""Cases for people: which are open, in which queue, until when, and how each was decided.

    filter      a MODERATION escalated or quarantined; waits for somebody to take it up
    escalation  GEN_ESCALATED: it has a name, a queue and mostly a deadline
    review      a HUMAN_REVIEW that nobody had escalated
    quarantine  an output is held back until OUTPUT_RELEASED or OUTPUT_DESTROYED

    waiting ──► opened ──► assigned ──► decided        any of them may be left out

A HUMAN_REVIEW belongs to the escalation it names; if it names none, to the generation's one open
case in its queue or without a queue, and else to a case of its own. HUMAN_OVERRIDE decides every
open case of its generation but quarantine, which ends when the output is released or destroyed.
Deadlines are what the entries say, the newest one and the first one: moving it hides nothing.
"""

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from ledger.database import Connection, Database
from ledger.desk.rows import ask, ms, run, shown
from ledger.readmodel.projection import JSON, Item

_TYPES: Final = frozenset(
    {
        "MODERATION", "GEN_ESCALATED", "HUMAN_REVIEW", "HUMAN_OVERRIDE", "GEN", "OUTCOME_LATE",
        "OUTPUT_RELEASED", "OUTPUT_DESTROYED",
    }
)  # fmt: skip
_ACTIONS: Final = frozenset({"escalate", "quarantine"})

_OPEN: Final = """
INSERT INTO {book}.review (generation, case_id, kind, queue, state, priority, deadline,
                           first_deadline, position, event_id, opened_at, last_position,
                           last_event, last_at, outcome, reason)
VALUES (%(generation)s, %(case)s, %(kind)s, %(queue)s, %(state)s, %(priority)s, %(deadline)s,
        %(deadline)s, %(position)s, %(event)s::uuid, %(at)s, %(position)s, %(event)s::uuid, %(at)s,
        %(outcome)s, %(reason)s)
    ON CONFLICT DO NOTHING
"""
_MOVE: Final = """
UPDATE {book}.review
   SET case_id = %(case)s, kind = %(kind)s, queue = coalesce(%(queue)s, queue), state = %(state)s,
       priority = coalesce(%(priority)s, priority), deadline = coalesce(%(deadline)s, deadline),
       first_deadline = coalesce(first_deadline, %(deadline)s), last_position = %(position)s,
       last_event = %(event)s::uuid, last_at = %(at)s, outcome = %(outcome)s, reason = %(reason)s
 WHERE generation = %(generation)s AND case_id = %(was)s
"""
_CASES: Final = """
SELECT case_id, kind, queue, state FROM {book}.review
 WHERE generation = %(generation)s ORDER BY position, case_id
"""
_COLUMNS: Final = """
SELECT generation, case_id, kind, queue, state, priority, deadline, first_deadline, position,
       event_id::text, opened_at, last_position, last_event::text, last_at, outcome, reason
  FROM {book}.review
"""
_PAGE: Final = f"""
{_COLUMNS} WHERE (%(queue)s::text IS NULL OR queue = %(queue)s)
   AND (%(states)s::text[] IS NULL OR state = ANY(%(states)s))
   AND (%(overdue)s::bigint IS NULL OR (state <> 'decided' AND deadline <= %(overdue)s))
   AND (%(before)s::bigint IS NULL OR position < %(before)s
        OR (position = %(before)s AND case_id > %(after)s))
 ORDER BY position DESC, case_id LIMIT %(limit)s
"""
_DUE: Final = f"""
{_COLUMNS} r WHERE state <> 'decided' AND deadline > %(since)s AND deadline <= %(until)s
   AND NOT EXISTS (SELECT 1 FROM {{book}}.alert a WHERE a.code = %(code)s
                      AND a.about = 'Generation/' || r.generation || '/' || r.case_id
                                    || ' due ' || r.deadline)
 ORDER BY deadline, position LIMIT %(limit)s
"""  # noqa: S608 - of our own words


class Case(NamedTuple):
    """One case."""

    generation: str
    case_id: str
    kind: str
    queue: str | None
    state: str
    priority: str | None
    deadline: int | None  #: ms since 1970, as are the other times.
    first_deadline: int | None
    position: int
    event_id: str
    opened_at: int
    last_position: int
    last_event: str
    last_at: int
    outcome: str | None
    reason: str | None

    def overdue(self, now_ms: int) -> bool:
        """Whether it is still open after its deadline, or was decided after it."""
        at = self.last_at if self.state == "decided" else now_ms
        return self.deadline is not None and at > self.deadline

    def json(self, now_ms: int) -> JSON:
        """Return the case as the API and `--json` show it."""
        told = {
            "generation_id": self.generation,
            "case_id": self.case_id,
            "kind": self.kind,
            "queue": self.queue,
            "state": self.state,
            "priority": self.priority,
            "deadline": shown(self.deadline),
            "first_deadline": shown(self.first_deadline),
            "overdue": self.overdue(now_ms),
            "opened": {
                "event_id": self.event_id,
                "position": self.position,
                "at": shown(self.opened_at),
            },
            "last": {
                "event_id": self.last_event,
                "position": self.last_position,
                "at": shown(self.last_at),
            },
            "outcome": self.outcome,
            "reason_code": self.reason,
        }
        return {name: value for name, value in told.items() if value is not None}


class ReviewProjection:
    """Feeds the table `review` (ledger.readmodel.projection.Projection)."""

    name: Final = "reviews"
    tables: Final = ("review",)

    def write(self, connection: Connection, schema: str, items: Sequence[Item]) -> None:
        """Open, move and decide cases, entry by entry in the order of the log."""
        for item in items:
            if item.type in _TYPES:
                _Entry(connection, schema, item).tell()


class _Entry:
    """One entry that may be about cases."""

    def __init__(self, connection: Connection, schema: str, item: Item) -> None:
        self._connection, self._schema, self._item = connection, schema, item
        self._body: JSON = item.entry["body"]
        self._generation: str = item.entry["aggregate"]["id"]

    def tell(self) -> None:
        type_, body = self._item.type, self._body
        if type_ == "MODERATION":
            if body["mod"]["filter_action"] in _ACTIONS and not self._waiting():
                told = {"reason": body["mod"].get("risk_category")}
                self._open(self._item.event_id, "filter", "waiting", **told)
        elif type_ == "GEN_ESCALATED":
            self._escalated(body["escalation"])
        elif type_ == "HUMAN_REVIEW":
            self._reviewed(body["review"])
        elif type_ == "HUMAN_OVERRIDE":
            self._overridden()
        elif type_ in ("GEN", "OUTCOME_LATE"):
            self._quarantined(body if type_ == "GEN" else body["claimed"]["body"])
        else:
            outcome = "RELEASED" if type_ == "OUTPUT_RELEASED" else "DESTROYED"
            told = {"outcome": outcome, "reason": body["reason_code"]}
            self._move(body["asset_id"], body["asset_id"], "quarantine", "decided", **told)

    def _escalated(self, said: JSON) -> None:
        told = {
            "queue": said["queue"],
            "priority": said.get("priority"),
            "deadline": ms(said.get("deadline")),
            "reason": self._body["reason_code"],
        }
        known = {case_id: kind for case_id, kind, _, _ in self._cases()}
        waiting = self._waiting()
        if said["id"] in known:
            # Escalated again, perhaps to another queue: open once more.
            self._move(said["id"], said["id"], known[said["id"]], "waiting", **told)
        elif waiting is not None:
            self._move(waiting, said["id"], "escalation", "waiting", **told)
        else:
            self._open(said["id"], "escalation", "waiting", **told)

    def _reviewed(self, said: JSON) -> None:
        told = {
            "queue": said["queue"],
            "priority": said.get("priority"),
            "deadline": ms(said.get("deadline")),
            "outcome": self._body.get("outcome"),
            "reason": self._body.get("reason_code"),
        }
        case_id, kind = self._meant(said)
        if case_id is None:
            name = said.get("escalation_id", self._item.event_id)
            self._open(name, kind, said["state"], **told)
        else:
            self._move(case_id, said.get("escalation_id", case_id), kind, said["state"], **told)

    def _overridden(self) -> None:
        told = {"outcome": self._body["outcome"], "reason": self._body["override"]["reason_code"]}
        for case_id, kind, _, state in self._cases():
            if state != "decided" and kind != "quarantine":
                self._move(case_id, case_id, kind, "decided", **told)

    def _quarantined(self, body: JSON) -> None:
        for output in body.get("outputs", ()):
            if output.get("disposition") == "quarantined":
                until = output.get("quarantine", {}).get("expires_at")
                told = {"queue": "quarantine", "deadline": ms(until)}
                self._open(output["asset_id"], "quarantine", "waiting", **told)

    def _meant(self, said: JSON) -> tuple[str | None, str]:
        """Return the case that a review is about, None for a new one, and its kind."""
        cases = [case for case in self._cases() if case[1] != "quarantine"]
        wanted = said.get("escalation_id")
        for case_id, kind, _, _ in cases:
            if case_id == wanted:
                return case_id, kind
        if wanted is not None:
            return self._waiting(), "review"
        open_ = [case for case in cases if case[3] != "decided"]
        mine = [one for one in open_ if one[2] == said["queue"]] or [
            one for one in open_ if one[2] is None
        ]
        return (mine[0][0], mine[0][1]) if mine else (None, "review")

    def _waiting(self) -> str | None:
        """Return the case that a filter opened and nobody has taken up."""
        return next(
            (
                id_
                for id_, kind, _, state in self._cases()
                if (kind, state) == ("filter", "waiting")
            ),
            None,
        )

    def _cases(self) -> list[tuple[str, str, str | None, str]]:
        rows = run(self._connection, self._schema, _CASES, {"generation": self._generation})
        return [(row[0], row[1], row[2], row[3]) for row in rows]

    def _open(self, case: str, kind: str, state: str, **told: Any) -> None:
        run(self._connection, self._schema, _OPEN, self._values(case, kind, state, told))

    def _move(self, was: str, case: str, kind: str, state: str, **told: Any) -> None:
        values = {**self._values(case, kind, state, told), "was": was}
        run(self._connection, self._schema, _MOVE, values)

    def _values(self, case: str, kind: str, state: str, told: JSON) -> JSON:
        return {
            "generation": self._generation, "case": case, "kind": kind, "state": state,
            "position": self._item.position, "event": self._item.event_id,
            "at": self._item.recorded_ms, "queue": None, "priority": None, "deadline": None,
            "outcome": None, "reason": None, **told,
        }  # fmt: skip


def reviews(
    database: Database,
    schema: str,
    *,
    queue: str | None = None,
    states: Sequence[str] | None = None,
    overdue_ms: int | None = None,
    before: tuple[int, str] | None = None,
    limit: int = 100,
) -> list[Case]:
    """Return cases, the newest first. before: position and case of the last one seen."""
    values = {
        "queue": queue,
        "states": None if states is None else list(states),
        "overdue": overdue_ms,
        "before": None if before is None else before[0],
        "after": None if before is None else before[1],
        "limit": limit,
    }
    return [Case(*row) for row in ask(database, schema, _PAGE, values)]


def due_reviews(
    database: Database, schema: str, *, since_ms: int, until_ms: int, code: str, limit: int
) -> list[Case]:
    """Return open cases due in (since, until] of which no alert of this code tells."""
    values = {"since": since_ms, "until": until_ms, "code": code, "limit": limit}
    return [Case(*row) for row in ask(database, schema, _DUE, values)]
