# SPDX-License-Identifier: GPL-3.0-or-later
"""The policy of a Book as its own log says it, and publishing the next version."""

from typing import Any, Final

from ledger.database import Connection
from ledger.lookup import LOG_ID
from ledger.reader import Reader
from ledger.request import Prepared, ledger_made
from ledger.retention.policy import TYPE, Policies, policy_body

JSON = dict[str, Any]

#: More versions than this are not read; a policy is changed a few times a year.
_VERSIONS: Final = 1_000


def load_policies(reader: Reader) -> Policies:
    """Read every version that a Book's log holds."""
    found = reader.of_topic(f"{TYPE}/1", limit=_VERSIONS)
    return Policies(
        [(stored.entry.value["body"], stored.entry.recorded_ms) for stored in reversed(found)]
    )


def publishing(reader: Reader, document: JSON, *, actor: JSON | None = None) -> Prepared:
    """Return the entry that publishes a policy; raises MalformedEvent, PolicyConflict.

    Whoever records it holds the sweep's lock: two at a time would give one number twice.
    """
    versions = load_policies(reader).versions
    body = policy_body(document, versions[-1] if versions else None)
    return ledger_made(TYPE, LOG_ID, body, actor=actor)


def take_turn(connection: Connection, schema: str) -> bool:
    """Take the one turn of sweeping a Book, until the connection's session ends or gives it up."""
    row = connection.execute(
        "SELECT pg_try_advisory_lock(hashtext('sealtrail.sweep'), hashtext(%s))", (schema,)
    ).fetchone()
    return bool(row is not None and row[0])


def end_turn(connection: Connection, schema: str) -> None:
    """Give the turn back."""
    connection.execute(
        "SELECT pg_advisory_unlock(hashtext('sealtrail.sweep'), hashtext(%s))", (schema,)
    )
