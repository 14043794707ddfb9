# SPDX-License-Identifier: GPL-3.0-or-later
"""Anchors as they are kept: what was chosen to be stamped, and the authorities' raw replies.

A row in `anchor` is a choice made once, before anybody is asked; a retry sends the same bytes. A
row in `token` is a reply that was verified before it was believed. The ANCHOR entry, which names
both by digest, is written when enough tokens are there; an anchor counts from then on.
"""

import base64
from dataclasses import dataclass
from datetime import date
from typing import Any, Final

from psycopg import sql

from anchoring.shelf import Book
from ledger import clock
from ledger.database import Connection
from ledger.errors import IntegrityViolation
from sealtrail.verify.errors import VerifyError
from sealtrail.verify.frontier import Frontier

_COLUMNS: Final = (
    "anchor_id, day::text, kind, from_size, to_size, size, root, frontier, day_root, stamped"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Anchor:
    """One checkpoint chosen to be stamped, and the range of positions it closes."""

    anchor_id: str  #: `day/2026-01-14` or `interim/<size>`.
    day: str
    kind: str  #: "day" or "interim".
    from_size: int
    to_size: int  #: size_d for a day; the log's size for an interim anchor.
    size: int  #: Of the stamped checkpoint.
    root: bytes
    frontier: Frontier
    day_root: bytes
    stamped: bytes  #: The exact bytes that the authorities stamp.


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredToken:
    """One authority's reply over an anchor's bytes, as received."""

    authority: str
    query: bytes
    reply: bytes
    gen_time_ms: int


class Anchors:
    """Reads and keeps the anchors of one Book."""

    def __init__(self, book: Book) -> None:
        self._book = book
        self._schema = book.row.schema

    def last(self) -> Anchor | None:
        """Return the anchor over the largest checkpoint, chosen or done."""
        found = self._select("ORDER BY size DESC, anchor_id DESC LIMIT 1")
        return found[0] if found else None

    def newest_days(self) -> list[Anchor]:
        """Return the anchors of the newest days, newest first, chosen or done."""
        return self._select("WHERE kind = 'day' ORDER BY day DESC LIMIT 400")

    def get(self, anchor_id: str) -> Anchor | None:
        found = self._select("WHERE anchor_id = %s", anchor_id)
        return found[0] if found else None

    def covering(self, position: int) -> list[Anchor]:
        """Return the anchors whose checkpoint covers a position, smallest checkpoint first."""
        return self._select("WHERE size > %s ORDER BY size LIMIT 64", position)

    def before(self, size: int) -> list[Anchor]:
        """Return the last anchor over a checkpoint smaller than `size`, if there is one."""
        return self._select("WHERE size < %s ORDER BY size DESC LIMIT 1", size)

    def open(self, kind: str) -> list[Anchor]:
        """Return the anchors of a kind that were chosen and have no ANCHOR entry yet."""
        found = self._select("WHERE kind = %s ORDER BY size DESC LIMIT 400", kind)
        return [anchor for anchor in reversed(found) if self.entry(anchor) is None]

    def tokens(self, anchor_id: str) -> list[StoredToken]:
        query = self._sql(
            "SELECT authority, query, reply, gen_time_ms FROM {book}.token"
            " WHERE anchor_id = %s ORDER BY authority"
        )
        with self._book.database.duty(self._schema, "read") as connection:
            return [
                StoredToken(
                    authority=authority, query=bytes(query_), reply=bytes(reply), gen_time_ms=ms
                )
                for authority, query_, reply, ms in connection.execute(query, (anchor_id,))
            ]

    def entry(self, anchor: Anchor) -> dict[str, Any] | None:
        """Return the body of the ANCHOR entry over this anchor's checkpoint; None if not yet."""
        for stored in self._book.reader.of_stream(f"AnchorDay/{anchor.day}"):
            body: dict[str, Any] = stored.entry.value["body"]
            if (
                stored.entry.value["type"] == "ANCHOR"
                and body["kind"] == anchor.kind
                and body["checkpoint"]["size"] == anchor.size
            ):
                return body
        return None

    def newest_gen_time(self, apart_from: Anchor) -> int:
        """Return the newest time that an authority gave any other anchor, in ms; 0 if none did."""
        query = self._sql(
            "SELECT coalesce(max(gen_time_ms), 0) FROM {book}.token WHERE anchor_id <> %s"
        )
        with self._book.database.duty(self._schema, "read") as connection:
            row = connection.execute(query, (apart_from.anchor_id,)).fetchone()
        return int(row[0]) if row is not None else 0

    def choose(self, anchor: Anchor) -> Anchor:
        """Keep a choice; if one of that id was made before, that one is returned and stands."""
        query = self._sql(
            "INSERT INTO {book}.anchor (anchor_id, day, kind, from_size, to_size, size, root,"
            " frontier, day_root, stamped) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s)"
            " ON CONFLICT (anchor_id) DO NOTHING"
        )
        with self._book.database.duty(self._schema, "append") as connection:
            connection.execute(
                query,
                (
                    anchor.anchor_id,
                    date.fromisoformat(anchor.day),
                    anchor.kind,
                    anchor.from_size,
                    anchor.to_size,
                    anchor.size,
                    anchor.root,
                    anchor.frontier.pack(),
                    anchor.day_root,
                    anchor.stamped,
                ),
            )
        return self.get(anchor.anchor_id) or anchor

    def keep_token(self, anchor_id: str, token: StoredToken) -> None:
        """Keep a verified reply; the first one of an authority stands."""
        query = self._sql(
            "INSERT INTO {book}.token (anchor_id, authority, query, reply, gen_time_ms)"
            " VALUES (%s, %s, %s, %s, %s) ON CONFLICT DO NOTHING"
        )
        with self._book.database.duty(self._schema, "append") as connection:
            connection.execute(
                query,
                (anchor_id, token.authority, token.query, token.reply, token.gen_time_ms),
            )

    def of_day(self, day: str) -> list[dict[str, Any]]:
        """Return the anchors of a day as JSON: range, checkpoint, tokens, and if they count."""
        return [self._json(a) for a in self._select("WHERE day = %s::date ORDER BY size", day)]

    def _json(self, anchor: Anchor) -> dict[str, Any]:
        return {
            "id": anchor.anchor_id,
            "kind": anchor.kind,
            "day": anchor.day,
            "from_size": anchor.from_size,
            "to_size": anchor.to_size,
            "size": anchor.size,
            "root": f"sha256:{anchor.root.hex()}",
            "day_root": f"sha256:{anchor.day_root.hex()}",
            "checkpoint": anchor.stamped.decode(),
            "recorded": self.entry(anchor) is not None,
            "tokens": [
                {
                    "authority": token.authority,
                    "gen_time": clock.rfc3339(token.gen_time_ms),
                    "query": base64.b64encode(token.query).decode(),
                    "reply": base64.b64encode(token.reply).decode(),
                }
                for token in self.tokens(anchor.anchor_id)
            ],
        }

    def _select(self, where: str, *values: object) -> list[Anchor]:
        query = self._sql("SELECT " + _COLUMNS + " FROM {book}.anchor " + where)  # noqa: S608 - ours
        with self._book.database.duty(self._schema, "read") as connection:
            return [_anchor(row) for row in _rows(connection, query, values)]

    def _sql(self, text: str) -> sql.Composed:
        return sql.SQL(text).format(book=sql.Identifier(self._schema))


def _rows(
    connection: Connection, query: sql.Composed, values: tuple[object, ...]
) -> list[tuple[Any, ...]]:
    return connection.execute(query, values).fetchall()


def _anchor(row: tuple[Any, ...]) -> Anchor:
    anchor_id, day, kind, from_size, to_size, size, root, frontier, day_root, stamped = row
    try:
        unpacked = Frontier.unpack(size, bytes(frontier))
    except VerifyError as error:
        raise IntegrityViolation(f"the kept frontier of {anchor_id} was changed") from error
    return Anchor(
        anchor_id=anchor_id,
        day=day,
        kind=kind,
        from_size=from_size,
        to_size=to_size,
        size=size,
        root=bytes(root),
        frontier=unpacked,
        day_root=bytes(day_root),
        stamped=bytes(stamped),
    )
