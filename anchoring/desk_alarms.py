# SPDX-License-Identifier: GPL-3.0-or-later
"""What the desk must hear of: deadlines, while there is time and after, and what escaped it.

    review-due-soon      an hour before the deadline of a case that nobody has decided
    review-overdue       after it
    takedown-due-soon    twelve hours before a picture must be gone
    takedown-overdue     after it
    held-output-exported an output was delivered that was held in quarantine, or to be destroyed

What is due is read from the entries, so a scheduler that was away makes up for it. A case whose
deadline is moved is told of again, under its new deadline.
"""

from typing import Final

from anchoring.alerts import raise_alert
from anchoring.shelf import Book
from ledger import clock
from ledger.desk.escapes import Escape, escapes
from ledger.desk.reviews import Case, ReviewProjection, due_reviews
from ledger.desk.takedowns import Takedown, TakedownProjection, due_takedowns
from ledger.lineage.projection import LineageProjection
from ledger.readmodel.follower import catch_up

REVIEW_SOON_MS: Final = 3_600_000
TAKEDOWN_SOON_MS: Final = 12 * 3_600_000
ESCAPED: Final = "held-output-exported"

#: Alerts of one code in one run; the next run goes on.
_AT_ONCE: Final = 200


def watch_deadlines(book: Book, now_ms: int) -> int:
    """Raise alerts for what is due soon, is late or has escaped; returns how many were new."""
    database, schema = book.database, book.row.schema
    projections = (ReviewProjection, TakedownProjection, LineageProjection)
    catch_up(database, schema, [one.name for one in projections])
    raised = 0
    for escape in escapes(database, schema, code=ESCAPED, limit=_AT_ONCE):
        raised += _tell_escape(book, escape)
    for code, begin, end in (
        ("review-overdue", 0, now_ms),
        ("review-due-soon", now_ms, now_ms + REVIEW_SOON_MS),
    ):
        for case in due_reviews(
            database, schema, since_ms=begin, until_ms=end, code=code, limit=_AT_ONCE
        ):
            raised += _tell_review(book, code, case)
    for code, begin, end in (
        ("takedown-overdue", 0, now_ms),
        ("takedown-due-soon", now_ms, now_ms + TAKEDOWN_SOON_MS),
    ):
        for one in due_takedowns(
            database, schema, since_ms=begin, until_ms=end, code=code, limit=_AT_ONCE
        ):
            raised += _tell_takedown(book, code, one)
    return raised


def _tell_review(book: Book, code: str, case: Case) -> bool:
    deadline = case.deadline or 0
    facts: dict[str, str | int] = {
        "deadline": clock.rfc3339(deadline),
        "state": case.state,
        "kind": case.kind,
        "event": case.event_id,
    }
    facts |= {} if case.queue is None else {"queue": case.queue}
    facts |= {} if case.priority is None else {"priority": case.priority}
    about = f"Generation/{case.generation}/{case.case_id} due {deadline}"
    return raise_alert(book, code, about, facts)


def _tell_takedown(book: Book, code: str, one: Takedown) -> bool:
    facts: dict[str, str | int] = {
        "received": clock.rfc3339(one.received),
        "due": clock.rfc3339(one.due),
        "event": one.event_id,
    }
    return raise_alert(book, code, f"Export/{one.export_id}/{one.request_id}", facts)


def _tell_escape(book: Book, one: Escape) -> bool:
    facts: dict[str, str | int] = {"asset": one.asset, "event": one.event_id}
    facts |= {"generation": one.generation, "decided": one.outcome or "nothing yet"}
    return raise_alert(book, ESCAPED, f"Export/{one.export_id}", facts)
