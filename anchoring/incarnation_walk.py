# SPDX-License-Identifier: GPL-3.0-or-later
"""Holds every INCARNATION_OPENED entry against the registry: each restore is known in both.

The registry says where the chain begins anew, so whoever could add a row to it could have older
MACs taken for those of a lost key. Each row must therefore have its entry, in the tree and under
the new chain key, and each entry its row.
"""

from collections.abc import Iterator
from typing import Any, Final

from ledger.migrate import BookRow, Incarnation

_SAID: Final = ("number", "origin", "old_origin", "size", "root")


class IncarnationWalk:
    """Takes the INCARNATION_OPENED entries of one Book as they come; compares at the end."""

    def __init__(self, row: BookRow) -> None:
        self._row = row
        self._opened: dict[int, dict[str, Any]] = {}

    def expected_roots(self) -> Iterator[tuple[int, str, bytes]]:
        """Yield (size, who says so, root) of what each incarnation inherited."""
        for one in self._row.incarnations:
            yield one.size, f"incarnation {one.number}", one.root

    def take(self, position: int, body: dict[str, Any]) -> None:
        """Note the INCARNATION_OPENED entry at `position`."""
        self._opened[position] = body

    def finish(self) -> Iterator[tuple[int | None, str, str]]:
        """Compare with the registry."""
        rows = {one.size: one for one in self._row.incarnations}
        for size, one in rows.items():
            if size not in self._opened:
                said = f"the registry names incarnation {one.number}, which no entry opened"
                yield size, "incarnation", said
        for position, body in self._opened.items():
            found = rows.get(position)
            if found is None:
                said = f"the registry lacks the incarnation opened at position {position}"
                yield position, "incarnation", said
            elif wrong := [name for name in _SAID if body.get(name) != _told(found)[name]]:
                said = f"the incarnation opened at position {position} has another {wrong[0]} in"
                yield position, "incarnation", f"{said} the registry"
        last = self._row.incarnations[-1].origin if self._row.incarnations else self._row.origin
        if last != self._row.origin:
            yield None, "incarnation", "the registry's origin is not that of the last incarnation"


def _told(one: Incarnation) -> dict[str, Any]:
    """Return an incarnation as its entry says it."""
    return {
        "number": one.number,
        "origin": one.origin,
        "old_origin": one.old_origin,
        "size": one.size,
        "root": f"sha256:{one.root.hex()}",
    }
