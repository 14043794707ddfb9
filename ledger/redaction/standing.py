# SPDX-License-Identifier: GPL-3.0-or-later
"""Where redaction stands in a Book, and how its tenant's rules are published."""

from dataclasses import dataclass

from psycopg import sql

from ledger.database import Connection
from ledger.redaction.detector import check_regions
from ledger.redaction.rules import Rules
from sealtrail.verify import canonical

_STANDING = """
SELECT t.version, t.position, h.size,
       (SELECT coalesce(max(version), 0) FROM {book}.redaction_rules),
       (SELECT count(*) FROM {book}.redacted WHERE blob IS NOT NULL AND version = t.version),
       (SELECT count(*) FROM {book}.redacted WHERE blob IS NULL)
  FROM {book}.redaction_state t, {book}.head h WHERE t.id = 1 AND h.id = 1
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How far the copies of a Book have come."""

    version: int  #: Of the rules that count.
    behind: int  #: Entries that are still to be looked at by them.
    copies: int
    withheld: int  #: Texts that could not be redacted in time; nobody can search them.


def standing(connection: Connection, schema: str) -> Standing:
    """Return where the copies stand; with the read role, or as the owner."""
    query = sql.SQL(_STANDING).format(book=sql.Identifier(schema))
    row = connection.execute(query).fetchone()
    version, position, size, newest, copies, withheld = row if row is not None else (0,) * 6
    behind = size - position if version == newest else size
    return Standing(version=newest, behind=behind, copies=copies, withheld=withheld)


def publish(owner: Connection, schema: str, data: bytes) -> Rules:
    """Make these rules the tenant's from now on, as the owner; raises MalformedEvent.

    The same rules again change nothing. Copies by older rules are searched no more from here on.
    """
    book = sql.Identifier(schema)
    with owner.transaction():
        owner.execute(sql.SQL("LOCK TABLE {}.redaction_rules IN EXCLUSIVE MODE").format(book))
        row = owner.execute(
            sql.SQL(
                "SELECT version, rules FROM {}.redaction_rules ORDER BY version DESC LIMIT 1"
            ).format(book)
        ).fetchone()
        version, present = row if row is not None else (0, None)
        rules = Rules.parse(data, version=version + 1)
        check_regions(rules)
        text = canonical.encode(canonical.parse(data)).decode()
        if text == present:
            return Rules.parse(data, version=version)
        owner.execute(
            sql.SQL("INSERT INTO {}.redaction_rules (version, rules) VALUES (%s, %s)").format(book),
            (rules.version, text),
        )
    return rules
