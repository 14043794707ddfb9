# SPDX-License-Identifier: GPL-3.0-or-later
"""What shows strangers that entries stand in the log, and since when: proofs, anchors, history.

    entries ──► first anchor over each ──► proof under that anchor's checkpoint
                    └──► the anchor's stamped bytes, tokens, and the log's own entry about it
    all checkpoints cited ──► consistency with the newest

A packet and a statement hold the same files: `sealtrail.verify.contents` says which.
"""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, Final

from anchoring.receipt import prove
from anchoring.shelf import Book
from evidence.packet_anchors import Cover, cover_files, first_covers
from ledger import clock
from ledger.errors import Unavailable
from ledger.reader import Stored
from sealtrail.verify import base64text
from sealtrail.verify.note import Checkpoint, Note
from sealtrail.verify.trust import Trust

_SIGN_S: Final = 60.0
_NOBODY: Final = Trust(origins={}, tsa_roots=())


class Evidence:
    """Proofs of some entries, the anchors over them, and the one history of all of it.

    entries: in order of position. trust: as published; helps to find the authorities' further
    certificates and decides nothing.
    """

    def __init__(self, book: Book, entries: Sequence[Stored], trust: Trust, now: datetime) -> None:
        self._book, self._entries, self._trust, self._now = book, entries, trust, now
        #: By position; None while no anchor covers it.
        self.over = first_covers(book, [stored.position for stored in entries])
        by_size = {cover.size: cover for cover in self.over.values() if cover is not None}
        self.covers: Sequence[Cover] = [by_size[size] for size in sorted(by_size)]

    def files(self, step: Callable[[], None] = lambda: None) -> dict[str, bytes]:
        """Return all files but the entries themselves; `step` is called after each entry.

        Raises Conflict for an entry that was not signed yet, and Unavailable.
        """
        newest = self._newest()
        files: dict[str, bytes] = {}
        cited: dict[str, set[int]] = {}  # Sizes by origin: a restore begins another history.
        for stored in self._entries:
            cover = self.over[stored.position]
            note = newest if cover is None else cover.anchor.stamped
            proof = prove(self._book, stored.position, stored.leaf, at=note)
            files[f"data/proofs/{stored.position}.tlog-proof"] = proof.tlog_proof()
            _cite(cited, note)
            step()
        for cover in self.covers:
            files |= cover_files(self._book, cover, newest=newest, trust=self._trust, now=self._now)
            _cite(cited, newest)  # There the ANCHOR entry itself is proven.
        for sizes in cited.values():
            last = max(sizes)
            for size in sorted(sizes - {last}):
                path = self._book.tree.consistency(size, last)
                lines = "".join(f"{base64text.encode(node)}\n" for node in path)
                files[f"data/proofs/consistency-{size}-{last}.txt"] = lines.encode("ascii")
        return files

    def _newest(self) -> bytes:
        """Return the newest signed note; one that covers all that goes under it."""
        positions = [stored.position for stored in self._entries]
        positions += [cover.entry.position for cover in self.covers]
        note, checkpoint = self._book.notary.refresh()
        if checkpoint.size <= max(positions):
            try:
                self._book.record([]).result(timeout=_SIGN_S)  # Signs a head nobody signed yet.
            except TimeoutError:
                raise Unavailable("the newest entries could not be signed in time") from None
            note, _ = self._book.notary.refresh()
        return note


def entry_file(stored: Stored) -> tuple[str, bytes]:
    """Return the name and content of the file that holds an entry."""
    name = f"data/records/{stored.position}-{stored.entry.value['type']}.entry.json"
    return name, stored.entry.data


def anchored_entries(
    book: Book, positions: Sequence[int], *, trust: Trust = _NOBODY, now: datetime | None = None
) -> dict[str, Any]:
    """Return the member `anchored` of a statement that rests on the entries at these positions.

    About 3 ms for each. An entry that no anchor covers yet is shown all the same; the statement is
    then incomplete. Raises NotFound, BodyCold, BodyExpired, Conflict, Unavailable.
    """
    entries = [book.reader.at(position) for position in sorted(set(positions))]
    evidence = Evidence(book, entries, trust, clock.now() if now is None else now)
    files = dict(map(entry_file, entries)) | evidence.files()
    return {"files": {name: base64text.encode(data) for name, data in files.items()}}


def anchored_entry(book: Book, position: int) -> dict[str, Any]:
    """Return the same for one entry."""
    return anchored_entries(book, [position])


def _cite(cited: dict[str, set[int]], note: bytes) -> None:
    checkpoint = Checkpoint.parse(Note.parse(note).text)
    cited.setdefault(checkpoint.origin, set()).add(checkpoint.size)
