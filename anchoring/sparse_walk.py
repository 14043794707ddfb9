# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether the stored trees of sets and outputs lead to the roots that the log names.

A tree that was altered proves nothing false, for its root is in the log; it proves nothing true
either. This tells it before somebody asks.
"""

from collections.abc import Iterator
from typing import Any, Final

from psycopg import sql

from anchoring.output_map import tree_name
from anchoring.sparse_tree import Crown, fold, split
from anchoring.tile_walk import Damage
from ledger.database import Connection
from ledger.errors import IntegrityViolation
from sealtrail.verify import canonical
from sealtrail.verify.errors import VerifyError

JSON = dict[str, Any]

_WHAT: Final = "sparse-tree"

_TREES: Final = "SELECT tree_id, root, crown FROM {book}.sparse_tree ORDER BY tree_id"
_BUCKETS: Final = """
SELECT bucket, records FROM {book}.sparse_bucket WHERE tree_id = %s ORDER BY bucket
"""
_NAMING: Final = """
SELECT e.position, e.topic, b.bytes FROM {book}.entry e JOIN {book}.entry_body b USING (position)
 WHERE e.topic IN ('DATASET_SEALED/1', 'OUTPUTS_ROLLED/1', 'COMPLETENESS_REPORT/1')
 ORDER BY e.position
"""
_SETS: Final = "SELECT number, body FROM {book}.dataset"


class SparseWalk:
    """Compares the trees of the Book in `schema` with its log; full: every bucket of them, too."""

    def __init__(self, schema: str, *, full: bool) -> None:
        self._book, self._full = sql.Identifier(schema), full

    def finish(self, connection: Connection) -> Iterator[Damage]:
        """Yield a finding for each tree that is not what the log says. Cold bodies say nothing."""
        roots: dict[str, str] = {}
        for tree_id, root, crown in connection.execute(self._sql(_TREES)).fetchall():
            roots[tree_id] = f"sha256:{bytes(root).hex()}"
            if not self._leads(connection, tree_id, bytes(root), bytes(crown)):
                yield None, _WHAT, f"what is stored of the tree {tree_id} does not lead to its root"
        sets = self._sets(connection)
        for position, topic, data in connection.execute(self._sql(_NAMING)).fetchall():
            named = _named(topic, bytes(data), sets)
            if named is not None and roots.get(named[0]) != named[1]:
                said = f"there is no tree with the root that the entry at position {position} names"
                yield position, _WHAT, said

    def _leads(self, connection: Connection, tree_id: str, root: bytes, crown: bytes) -> bool:
        try:
            read = Crown.decode(crown)
            if read.root != root:
                return False
            return not self._full or self._fits(connection, tree_id, read)
        except IntegrityViolation:
            return False

    def _fits(self, connection: Connection, tree_id: str, crown: Crown) -> bool:
        wanted = crown.filled()
        with connection.cursor("buckets") as rows:  # On the server's side: there may be many.
            rows.execute(self._sql(_BUCKETS), (tree_id,))
            for bucket, records in rows:
                part = fold(split(bytes(records)), depth=crown.bits)
                if wanted.pop(bucket, None) != part:
                    return False
        return not wanted

    def _sets(self, connection: Connection) -> dict[str, str]:
        """Return the name of each set's tree by the digest of its manifest."""
        found: dict[str, str] = {}
        for number, data in connection.execute(self._sql(_SETS)).fetchall():
            body = _read(bytes(data))
            found[str(body.get("manifest_digest"))] = f"dataset/{number}"
        return found

    def _sql(self, query: str) -> sql.Composed:
        return sql.SQL(query).format(book=self._book)


def _named(topic: str, data: bytes, sets: dict[str, str]) -> tuple[str, str] | None:
    """Return the name and root of the tree that an entry names; None if it names none."""
    try:
        body = _read(data)["body"]
        if topic.startswith("DATASET_SEALED/"):
            said = body["dataset"]
            return sets.get(said["manifest_digest"], ""), said["smt_root"]
        if "outputs" not in body:
            return None
        return tree_name(body["from_size"], body["to_size"]), body["outputs"]["root"]
    except (KeyError, TypeError):  # An entry that somebody changed; others say that.
        return None


def _read(data: bytes) -> JSON:
    """Read bytes that somebody may have changed: others say that, this only must not fail."""
    try:
        value = canonical.parse(data)
    except VerifyError:
        return {}
    return value if isinstance(value, dict) else {}
