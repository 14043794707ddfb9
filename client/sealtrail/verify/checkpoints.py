# SPDX-License-Identifier: Apache-2.0
"""The checkpoints that a packet cites: who signed them, and whether they tell one history.

A signature counts only by a key that the reader brought along. Of one log, every cited
checkpoint must be a prefix of the newest one cited, by consistency proofs in the packet: two
histories of one log cannot both pass.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Final

from sealtrail.verify import merkle
from sealtrail.verify.contents import Packet
from sealtrail.verify.ed25519 import Backend
from sealtrail.verify.errors import Incomplete, Refuted, Unreadable, VerifyError
from sealtrail.verify.note import Checkpoint, Note, VerifierKey, check_note
from sealtrail.verify.report import Docket, Told
from sealtrail.verify.tlog_proof import MAX_PATH, TlogProof, parse_hash
from sealtrail.verify.trust import Trust

CAME_ALONG: Final = "Consistent in itself; the keys came with the packet."

Place = tuple[str, int]  # origin and size


@dataclass(frozen=True, slots=True, kw_only=True)
class Vouchers:
    """Whom the reader believes about a log: keys from outside, or the packet's own for want."""

    trust: Trust | None
    own_keys: Sequence[VerifierKey]
    backend: Backend

    def check(self, origin: str, size: int, note: Note) -> list[VerifierKey]:
        """The trusted keys of a log of this size that signed.

        Raises Refuted, or Incomplete without trust.
        """
        if self.trust is not None and self.trust.origins:
            keys = self.trust.keys_for(origin, size)
            if not keys:
                raise Refuted("The trust file has keys, but none for this log.")
            return check_note(note, keys, backend=self.backend)
        if not self.own_keys:
            raise Incomplete("No key of the log is at hand.")
        check_note(note, self.own_keys, backend=self.backend)
        raise Incomplete(CAME_ALONG)


@dataclass(slots=True, kw_only=True)
class Citations:
    """Every checkpoint cited, by log and size, with each note it was found in."""

    notes: dict[Place, dict[bytes, Note]] = field(default_factory=dict)
    roots: dict[Place, bytes] = field(default_factory=dict)
    contradicted: set[Place] = field(default_factory=set)
    signed: set[Place] = field(default_factory=set)
    #: Signed by replaced keys only: a stamp over it has to be older than this.
    stamped_before: dict[Place, datetime] = field(default_factory=dict)
    anchored: set[Place] = field(default_factory=set)
    #: Proven steps: the log at the first place is a prefix of the log at the second.
    steps: set[tuple[Place, Place]] = field(default_factory=set)

    def cite(self, data: bytes) -> Place | None:
        """Remember the checkpoint in this note; what does not parse is judged where it stands."""
        try:
            note = Note.parse(data)
            checkpoint = Checkpoint.parse(note.text)
        except VerifyError:
            return None
        place = (checkpoint.origin, checkpoint.size)
        self.notes.setdefault(place, {})[data] = note
        if self.roots.setdefault(place, checkpoint.root) != checkpoint.root:
            self.contradicted.add(place)
        return place

    def later(self, place: Place) -> set[Place]:
        """`place` and all places that are proven to extend it."""
        reached, open_ends = {place}, [place]
        while open_ends:
            here = open_ends.pop()
            onward = {after for before, after in self.steps if before == here} - reached
            reached |= onward
            open_ends += onward
        return reached


def gather(packet: Packet) -> Citations:
    """The checkpoints in all proofs and anchors of the packet."""
    citations = Citations()
    for proof in [r.proof for r in packet.records] + [a.proof for a in packet.anchors]:
        if proof is None:
            continue
        try:
            citations.cite(TlogProof.parse(proof).checkpoint)
        except Unreadable:
            continue  # Judged with its record or anchor.
    for anchor in packet.anchors:
        place = citations.cite(anchor.checkpoint)
        if place is not None:
            citations.anchored.add(place)
    return citations


def judge_checkpoints(docket: Docket, packet: Packet, cited: Citations, who: Vouchers) -> None:
    """Enter one finding per checkpoint about its signatures, and those about one history."""
    judge_signatures(docket, cited, who)
    for sizes, path in sorted(packet.consistency.items()):
        _judge_step(docket, sizes, path, cited)
    for origin in sorted({origin for origin, _ in cited.notes}):
        _judge_history(docket, origin, cited)


def judge_signatures(docket: Docket, cited: Citations, who: Vouchers) -> None:
    """Enter one finding per cited checkpoint, and remember which ones a trusted key signed."""
    for place in sorted(cited.notes):
        keys = docket.judge(
            _subject(place),
            "signature",
            partial(_signers, place, cited, who),
            _tell_signers,
        )
        if keys is not None:
            cited.signed.add(place)
            until = None if who.trust is None else who.trust.signed_until(keys)
            if until is not None:
                cited.stamped_before[place] = until


def _subject(place: Place) -> str:
    return f"checkpoint {place[1]} · {place[0]}"


def _signers(place: Place, cited: Citations, who: Vouchers) -> list[VerifierKey]:
    if place in cited.contradicted:
        raise Refuted("Two checkpoints of one log and one size have different roots.")
    keys: list[VerifierKey] = []
    lacking: Incomplete | None = None
    for note in cited.notes[place].values():
        if Checkpoint.parse(note.text).extensions:
            raise Refuted("The checkpoint has lines beyond origin, size and root.")
        try:
            keys += [key for key in who.check(*place, note) if key not in keys]
        except Incomplete as reason:
            lacking = reason  # Another note of the same place may still be refuted.
    if lacking is not None:
        raise lacking
    return keys


def _tell_signers(keys: list[VerifierKey]) -> Told:
    labels = [key.label() for key in keys]
    return f"signed by {', '.join(labels)}", {"keys": labels}


def _judge_step(docket: Docket, sizes: tuple[int, int], path: bytes, cited: Citations) -> None:
    old, new = sizes
    origins = [origin for origin, size in cited.roots if size == old]
    places = [((o, old), (o, new)) for o in origins if (o, new) in cited.roots]

    def action() -> list[tuple[Place, Place]]:
        if not places:
            raise Refuted("This consistency proof joins no two checkpoints of the packet.")
        hashes = _read_path(path)
        for before, after in places:
            merkle.check_consistency(
                old_size=old,
                old_root=cited.roots[before],
                new_size=new,
                new_root=cited.roots[after],
                path=hashes,
            )
        return places

    proven = docket.judge(
        f"checkpoints {old} and {new}",
        "consistency",
        action,
        lambda _: (
            f"the log of size {new} begins with the log of size {old}",
            {"old_size": str(old), "new_size": str(new)},
        ),
    )
    cited.steps |= set(proven or ())


def _read_path(data: bytes) -> list[bytes]:
    """The hashes in a consistency file: one a line, each line ended."""
    lines = data.decode("utf-8", "replace").split("\n")
    if lines.pop() != "" or len(lines) > 2 * MAX_PATH:
        raise Unreadable("A consistency file does not hold one hash a line.")
    return [parse_hash(line) for line in lines]


def _judge_history(docket: Docket, origin: str, cited: Citations) -> None:
    """Enter a finding unless all checkpoints of this log are proven to be one history."""
    places = sorted(place for place in cited.notes if place[0] == origin)
    newest = places[-1]
    if len(places) == 1:
        return
    loose = [p for p in places if newest not in cited.later(p) and not _is_empty(p, cited.roots)]
    if loose:
        docket.enter(
            f"log {origin}",
            "one history",
            "incomplete",
            f"No proof leads from the checkpoint of size {loose[0][1]} to the newest, of size"
            f" {newest[1]}.",
        )


def _is_empty(place: Place, roots: Mapping[Place, bytes]) -> bool:
    return place[1] == 0 and roots[place] == merkle.EMPTY_ROOT
