# SPDX-License-Identifier: GPL-3.0-or-later
"""How the attempts of a closed day ended, for auditors, with a statement that proves it offline.

A path is found by going over all attempts of the day: work for a core, which recording needs, too.
So one is sought at a time in a process.
"""

from threading import BoundedSemaphore
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query

from api.state import AppState, AuditorLook
from evidence.completeness import Question, completeness
from evidence.packet import read_trust
from ledger.errors import Overloaded, Refused

router = APIRouter(tags=["completeness"])

PATH: Final = "/v1/completeness"

_TURN: Final = BoundedSemaphore(1)
_WAIT_S: Final = 20.0

AttemptId = Annotated[
    str | None, Query(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:/-]{0,127}$", description="A Generation.")
]


@router.get("/completeness")
def day_completeness(
    app: AppState,
    looking: AuditorLook,
    day: Annotated[str, Query(max_length=10, description="A closed UTC day, as 2026-01-14.")],
    attempt: AttemptId = None,
    *,
    entries: Annotated[bool, Query(description="Show the attempt's own entries, too.")] = False,
) -> dict[str, Any]:
    """Return the reports of a day, and of an attempt of it that it has exactly this outcome.

    `statement` is a document for `sealtrail verify FILE --trust trust.json`.
    """
    question = Question(day=day, attempt_id=attempt, entries=entries)
    question.check()
    size = looking.book.notary.size
    if not _TURN.acquire(timeout=_WAIT_S):
        raise Overloaded("another proof is being made; send the same request again")
    try:
        found = completeness(looking.book, question, trust=read_trust(app.trust_file))
    except Refused:  # Also that a body is elsewhere is something that was learned.
        looking.note(app.shelf, PATH, count=0, size=size)
        raise
    finally:
        _TURN.release()
    looking.note(
        app.shelf,
        PATH,
        event_ids=found.event_ids,
        count=len(found.event_ids),
        size=size,
        exported=True,
    )
    return found.json()
