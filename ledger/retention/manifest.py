# SPDX-License-Identifier: GPL-3.0-or-later
"""The permanent list of what is announced to expire: every leaf by position, hash and name.

    {"v":1,"origin":…,"what":"entry","policy":{id,version,digest},
     "leaves":[{"index","leaf","event_id","type","aggregate":{type,id,version},
                "class","not_before"}, …]}                          in canonical JSON, by index

RETENTION_EXPIRED commits to it by digest, and is anchored, seven days before anything goes. After
that it is what tells a lawful tombstone from a theft.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final, Literal, cast

from ledger import clock
from ledger.decoding import decode
from ledger.errors import IntegrityViolation
from ledger.printing import canonical_bytes
from ledger.retention import members as bits
from ledger.retention.classes import WHAT, What
from sealtrail.verify.errors import VerifyError

JSON = dict[str, Any]

#: Leaves of one manifest, and ranges of positions that its entry names.
LEAVES_MAX: Final = 4_096
RANGES_MAX: Final = 256

#: Between an announcement's anchor and the deed.
WINDOW_MS: Final = 7 * clock.DAY_MS

State = Literal["present", "cold", "expired"]


class ManifestDamaged(IntegrityViolation):
    """A manifest of expired entries is not the one that its entry names."""

    problem = "manifest-damaged"


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaf:
    """One line of a manifest."""

    index: int
    leaf: bytes
    event_id: str
    type: str
    aggregate: str
    aggregate_id: str
    version: int
    claim: str  #: Retention class that the entry names itself; empty if none.
    not_before_ms: int

    def json(self) -> JSON:
        return {
            "index": self.index,
            "leaf": f"sha256:{self.leaf.hex()}",
            "event_id": self.event_id,
            "type": self.type,
            "aggregate": {
                "type": self.aggregate,
                "id": self.aggregate_id,
                "version": self.version,
            },
            "class": self.claim,
            "not_before": clock.rfc3339(self.not_before_ms),
        }

    @classmethod
    def of(cls, line: JSON) -> "Leaf":
        aggregate = line["aggregate"]
        return cls(
            index=line["index"],
            leaf=bytes.fromhex(line["leaf"].removeprefix("sha256:")),
            event_id=line["event_id"],
            type=line["type"],
            aggregate=aggregate["type"],
            aggregate_id=aggregate["id"],
            version=aggregate["version"],
            claim=line["class"],
            not_before_ms=clock.parse_time(line["not_before"]),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What one RETENTION_EXPIRED entry announces."""

    origin: str
    what: What
    policy: JSON
    leaves: Sequence[Leaf]

    def encode(self) -> bytes:
        return canonical_bytes(
            {
                "v": 1,
                "origin": self.origin,
                "what": self.what,
                "policy": self.policy,
                "leaves": [leaf.json() for leaf in self.leaves],
            }
        )

    @classmethod
    def decode(cls, data: bytes) -> "Manifest":
        """Read a manifest; raises ManifestDamaged unless it prints as it was read."""
        try:
            value = cast("JSON", decode(data))
            found = cls(
                origin=value["origin"],
                what=value["what"],
                policy=value["policy"],
                leaves=[Leaf.of(line) for line in value["leaves"]],
            )
        except (VerifyError, LookupError, TypeError, ValueError, AttributeError):
            raise ManifestDamaged from None
        indexes = [leaf.index for leaf in found.leaves]
        if found.what not in WHAT or found.encode() != data or sorted(set(indexes)) != indexes:
            raise ManifestDamaged
        return found

    @property
    def not_before_ms(self) -> int:
        """When all of it may go, as far as its floors are concerned."""
        return max(leaf.not_before_ms for leaf in self.leaves)

    def runs(self) -> dict[int, bytes]:
        """Return the members by run: the tombstones of this manifest."""
        found = bits.by_run(leaf.index for leaf in self.leaves)
        return {number: bits.pack(positions) for number, positions in found.items()}

    def body(self, *, holds_skipped: int) -> JSON:
        """Return the body of the entry that announces it."""
        return {
            "what": self.what,
            "policy": self.policy,
            "count": len(self.leaves),
            "leaf_ranges": [list(one) for one in bits.ranges(leaf.index for leaf in self.leaves)],
            "tombstone_digest": digest_of(self.encode()),
            "not_before": clock.rfc3339(self.not_before_ms),
            "holds_skipped": holds_skipped,
        }


def digest_of(data: bytes) -> str:
    return f"sha256:{sha256(data).hexdigest()}"


def cut(units: Sequence[Sequence[Leaf]]) -> Iterator[list[Leaf]]:
    """Put units of leaves together into manifests; no unit is divided.

    A unit is what goes together, such as a bundle: of one run, so at most 128 ranges.
    """
    gathered: list[Leaf] = []
    for unit in units:
        together = sorted([*gathered, *unit], key=lambda leaf: leaf.index)
        count = sum(1 for _ in bits.ranges(leaf.index for leaf in together))
        if gathered and (len(together) > LEAVES_MAX or count > RANGES_MAX):
            yield gathered
            together = sorted(unit, key=lambda leaf: leaf.index)
        gathered = together
    if gathered:
        yield gathered
