# SPDX-License-Identifier: GPL-3.0-or-later
"""What an attack is, and what an attacker has before him: one Book, in somebody's scratch copy.

An attack says who tries it, what they try, at which position, and which defences must notice. One
that needs a kind of entry that is not there is not applicable; that is never counted as caught.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from anchoring.checkpoint import sign_checkpoint
from anchoring.shelf import Book, Shelf
from evidence.attack.administrator import Administrator
from ledger import clock, durable
from ledger.head import Chain
from ledger.keys import Keys
from sealtrail.verify import canonical
from sealtrail.verify.frontier import Frontier
from sealtrail.verify.note import Checkpoint
from sealtrail.verify.trust import Trust


class NotApplicable(Exception):  # noqa: N818 - a finding about the ledger, not a fault
    """This ledger has nothing that the attack could be tried on; the message says what."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One Book that may be spoiled: its rows, its keys, its checkpoint store."""

    admin: Administrator
    running: Book  #: As a process has it that was there before the attack.
    start: Callable[[], Shelf]  #: Starts another process, which knows nothing of the past.
    keys: Keys
    store: Path  #: The directory of the checkpoint store.
    other: str  #: Origin of a log that strangers do not trust; its key is at hand.
    trust: Trust  #: As strangers have it, from outside.
    trust_file: Path

    @property
    def origin(self) -> str:
        return self.running.origin

    @property
    def chain(self) -> Chain:
        """The chain keys, for whoever is said to hold them."""
        return Chain(self.keys, self.origin)

    @property
    def note_file(self) -> Path:
        """The file in which the checkpoint store keeps this log's last word."""
        return self.store / f"{durable.safe_name(self.origin)}.checkpoint"

    def sign(self, leaves: Sequence[bytes]) -> bytes:
        """Sign the log of these leaf hashes, as the holder of the log key can."""
        root = Frontier.empty().append(leaves).root()
        return sign_checkpoint(
            self.keys, Checkpoint(origin=self.origin, size=len(leaves), root=root)
        )

    def sign_stored(self, size: int | None = None) -> bytes:
        """Sign what the database holds now, or the first `size` entries of it."""
        return self.sign(self.admin.leaves()[:size])

    def invent(self, members: Mapping[str, Any]) -> bytes:
        """Return an entry that nobody sent, with these members, dated like the newest one."""
        newest = json.loads(self.admin.data(self.admin.size() - 1))
        return canonical.encode(
            {
                "v": 1,
                "schema": 1,
                "event_id": str(clock.new_id()),
                "tenant": newest["tenant"],
                "time": {"recorded": newest["time"]["recorded"]},
                "actor": {"kind": "human", "credential": "cred_never"},
                **members,
            }
        )

    # Where to strike

    def first(self, *topics: str, after: int = 0) -> int:
        """Return the first position from `after` on of one of these topics; or NotApplicable."""
        ((found,),) = self.admin.do(
            "SELECT min(position) FROM {b}.entry WHERE topic = ANY(%s) AND position >= %s",
            *(list(topics), after),
        )
        if found is None:
            names = " or ".join(topic.partition("/")[0] for topic in topics)
            raise NotApplicable(f"the log holds no {names}")
        return int(found)

    def present(self, *, least: int = 1) -> int:
        """Return the first position of the present epoch, after which `least` entries must be."""
        first = self.admin.epoch_start()
        if self.admin.size() - first < least:
            raise NotApplicable(f"the present epoch holds fewer than {least} {_entries(least)}")
        return first

    def middle(self, *, least: int = 1) -> int:
        """Return a position in the middle of a log that has `least` entries."""
        size = self.admin.size()
        if size < least:
            raise NotApplicable(f"the log holds fewer than {least} {_entries(least)}")
        return size // 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Attack:
    """One thing that somebody tries."""

    name: str
    adversary: str  #: As in docs/threat-model.md.
    tries: str  #: One sentence.
    strike: Callable[[Target], int]  #: The position that it is about; raises NotApplicable.
    perform: Callable[[Target, int], bytes | None]  #: Returns a packet if that is what it forges.
    #: Defences that must notice: open, fsck, look, receipt, packet; `fsck:mac` names a finding.
    caught_by: tuple[str, ...]

    def missed_by(self, noticed: Sequence[str]) -> list[str]:
        """Return the defences that had to notice and did not."""
        return [
            wanted
            for wanted in self.caught_by
            if not any(one == wanted or one.startswith(f"{wanted}:") for one in noticed)
        ]


def _entries(count: int) -> str:
    return "entry" if count == 1 else "entries"
