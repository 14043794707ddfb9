# SPDX-License-Identifier: GPL-3.0-or-later
"""Holds every ANCHOR entry against what is kept of it: range, roots, stamped bytes and tokens.

An ANCHOR entry names the stamped bytes and each authority's reply by digest. Whoever removes or
changes one of them takes away the proof of time and no entry; so the entries are asked for them.
"""

from collections.abc import Iterator
from hashlib import sha256
from typing import Any, Final

from psycopg import sql

from ledger import clock
from ledger.database import Connection
from sealtrail.verify.errors import VerifyError
from sealtrail.verify.frontier import Frontier
from sealtrail.verify.stamp_request import read_nonce

_STEP: Final = 65_536


class AnchorWalk:
    """Takes the ANCHOR entries of one log as they come; says at the end what no longer fits."""

    def __init__(self, schema: str) -> None:
        book = sql.Identifier(schema)
        self._anchors: list[tuple[int, dict[str, Any]]] = []
        self._row = sql.SQL(
            "SELECT day::text, kind, from_size, to_size, size, root, frontier, day_root, stamped"
            " FROM {}.anchor WHERE anchor_id = %s"
        ).format(book)
        self._tokens = sql.SQL(
            "SELECT authority, query, reply, gen_time_ms FROM {}.token WHERE anchor_id = %s"
        ).format(book)
        self._leaves = sql.SQL(
            "SELECT leaf FROM {}.entry WHERE position >= %s AND position < %s ORDER BY position"
        ).format(book)

    def take(self, position: int, body: dict[str, Any]) -> None:
        """Note the ANCHOR entry at `position`."""
        self._anchors.append((position, body))

    def finish(self, connection: Connection) -> Iterator[tuple[int, str, str]]:
        """Compare; the leaf column must have been compared with the bytes before."""
        for position, body in self._anchors:
            try:
                found = list(self._compare(connection, body))
            except (LookupError, TypeError, ValueError):
                found = ["body or kept row are not an anchor's"]
            for wrong in found:
                yield position, "anchor", f"of the anchor recorded at position {position} {wrong}"

    def _compare(self, connection: Connection, body: dict[str, Any]) -> Iterator[str]:
        kind, said = body["kind"], body["checkpoint"]
        anchor_id = f"day/{body['day']}" if kind == "day" else f"interim/{said['size']}"
        row = connection.execute(self._row, (anchor_id,)).fetchone()
        if row is None:
            yield "the kept row is gone"
            return
        day, kept_kind, from_size, to_size, size, root, frontier, day_root, stamped = row
        if (day, kept_kind) != (body["day"], kind):
            yield "the kept day or kind was changed"
        if not _is_frontier(size, frontier, root):
            yield "the kept frontier was changed"
        if (from_size, to_size) != (body["from_size"], body["to_size"]):
            yield "the kept range was changed"
        if (_text(root), _text(day_root)) != (said["root"], body["day_root"]):
            yield "a kept root was changed"
        if _text(sha256(stamped).digest()) != said["digest"]:
            yield "the stamped bytes were changed"
        yield from self._compare_tokens(connection, body, anchor_id, bytes(stamped))
        if self._range_root(connection, body["from_size"], body["to_size"]) != body["day_root"]:
            yield "the root over its range is not what the entries give"

    def _compare_tokens(
        self, connection: Connection, body: dict[str, Any], anchor_id: str, stamped: bytes
    ) -> Iterator[str]:
        kept = {
            authority: (query, reply, gen_time_ms)
            for authority, query, reply, gen_time_ms in connection.execute(
                self._tokens, (anchor_id,)
            )
        }
        for token in body["tokens"]:
            if token["authority"] not in kept:
                yield "a time-stamp token is gone"
                continue
            query, reply, gen_time_ms = kept[token["authority"]]
            if _text(sha256(reply).digest()) != token["token_digest"]:
                yield "a time-stamp token was changed"
            if clock.rfc3339(gen_time_ms) != token["gen_time"]:
                yield "the kept time of a time-stamp token was changed"
            if not _asks_for(query, stamped):
                yield "the query of a time-stamp token was changed"

    def _range_root(self, connection: Connection, begin: int, end: int) -> str:
        frontier = Frontier.empty()
        for first in range(begin, end, _STEP):
            rows = connection.execute(self._leaves, (first, min(first + _STEP, end)))
            frontier = frontier.append([leaf for (leaf,) in rows])
        return _text(frontier.root())


def _is_frontier(size: int, frontier: bytes, root: bytes) -> bool:
    try:
        return Frontier.unpack(size, bytes(frontier)).root() == root
    except VerifyError:
        return False


def _asks_for(query: bytes, stamped: bytes) -> bool:
    """Say if this is a query for a stamp over these bytes."""
    try:
        read_nonce(bytes(query), message=bytes(stamped))
    except VerifyError:
        return False
    return True


def _text(digest: bytes) -> str:
    return f"sha256:{bytes(digest).hex()}"
