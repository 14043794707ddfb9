# SPDX-License-Identifier: GPL-3.0-or-later
"""Who may decide about an erasure, and how it is refused."""

from typing import Any
from uuid import UUID

from ledger.database import Database
from ledger.erasure.cases import Case
from ledger.errors import Conflict, Forbidden, NotFound, Unavailable
from ledger.request import Identity

JSON = dict[str, Any]


class SubjectUnknown(NotFound):
    """This Book holds no values of such a person that could be erased."""

    problem = "subject-unknown"


class NotAskedSo(Conflict):
    """This erasure is in another state, or was asked for another subject."""

    problem = "erasure-state"


class OneEye(Forbidden):
    """Who asks for an erasure does not approve it: a second person does."""

    problem = "second-person-needed"


class ErasuresBusy(Unavailable):
    """Another process is working on the erasures of this Book; ask again."""

    problem = "erasures-busy"


def acting(identity: Identity) -> JSON:
    """Return who acts, as an entry names a person; an auditor's token of a person is needed."""
    if identity.role != "auditor" or identity.kind != "person":
        raise Forbidden("an erasure is decided by persons with an auditor's token of their own")
    return {"kind": "human", "credential": identity.credential}


def same_request(known: Case, by: Identity, basis: str, ref: str | None) -> Case:
    """Return a case that was asked for before in the same words."""
    same = (known.requested_by, known.basis) == (by.credential, basis)
    if not same or (ref is not None and ref != known.subject_ref):
        raise NotAskedSo("this erasure_id was used for another request")
    return known


def is_uuid(text: str) -> bool:
    try:
        return str(UUID(text)) == text
    except ValueError:
        return False


def _folded(name: str | None) -> str:
    return (name or "").strip().casefold()


def check_second(database: Database, case: Case, by: Identity) -> None:
    """Return if this is another person than the one who asked, as far as the registry knows."""
    query = "SELECT name FROM sealtrail.credential WHERE credential_id = %s"
    with database.connection() as registry:
        asked = registry.execute(query, (case.requested_by,)).fetchone()
    name = asked[0] if asked else None
    if asked is not None and name is None:
        raise OneEye("nobody knows any more who asked for this: withdraw it, and ask again")
    # One person with two tokens is one person.
    if case.requested_by == by.credential or (name and _folded(name) == _folded(by.name)):
        raise OneEye
