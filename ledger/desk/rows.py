# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading and writing the desk's tables: one statement, the Book's schema in its place."""

from collections.abc import Mapping
from typing import Any

from psycopg import sql

from ledger import clock
from ledger.database import Connection, Database

Row = tuple[Any, ...]


def run(connection: Connection, schema: str, query: str, values: Mapping[str, Any]) -> list[Row]:
    """Execute a statement with `{book}` for the schema; returns its rows, if it has any."""
    cursor = connection.execute(sql.SQL(query).format(book=sql.Identifier(schema)), values)
    return cursor.fetchall() if cursor.description else []


def ask(database: Database, schema: str, query: str, values: Mapping[str, Any]) -> list[Row]:
    """The same on a connection of its own, with the duty `read`."""
    with database.duty(schema, "read") as connection:
        return run(connection, schema, query, values)


def ms(time: str | None) -> int | None:
    """Return a time of an entry's body in ms since 1970."""
    return None if time is None else clock.parse_time(time)


def shown(time_ms: int | None) -> str | None:
    return None if time_ms is None else clock.rfc3339(time_ms)
