# SPDX-License-Identifier: GPL-3.0-or-later
"""The world a packet comes from: a ledger, an authority over it, the trust that is published."""

import io
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from house import House, attempt, house_in
from house_pattern import Pattern

from anchoring.authority import LocalAuthority
from anchoring.night import Night
from evidence.packet import BuiltPacket, PacketRequest, build_packet
from ledger import clock
from ledger.request import Prepared
from sealtrail.verify.packet import check_packet, read_packet
from sealtrail.verify.tlog_proof import TlogProof
from sealtrail.verify.trust import Trust


@dataclass(frozen=True, kw_only=True)
class World:
    house: House
    authority: LocalAuthority
    trust_file: Path

    @property
    def trust(self) -> Trust:
        return Trust.parse(self.trust_file.read_bytes())

    def night(self, **more: Any) -> Night:
        return Night(self.house.book, [self.authority.authority()], **more)

    def post(self, count: int = 3) -> list[Prepared]:
        """Record attempts and return them as they were prepared: ids and disclosures."""
        prepared = [self.house.prepare(attempt()) for _ in range(count)]
        self.house.book.record(prepared).result(timeout=30)
        return prepared

    def anchored(self, count: int = 3) -> list[Prepared]:
        prepared = self.post(count)
        self.night().interim()
        return prepared

    def position(self, prepared: Prepared) -> int:
        return self.house.book.reader.find(prepared.event_id).position

    def build(self, *prepared: Prepared, shown: Any = (), **more: Any) -> BuiltPacket:
        request = PacketRequest(
            event_ids=tuple(one.event_id for one in prepared),
            disclosures={one.event_id: dict(one.disclosures) for one in shown},
        )
        return self.ask(request, **more)

    def ask(self, request: PacketRequest, **more: Any) -> BuiltPacket:
        return build_packet(self.house.book, request, **{"trust_file": self.trust_file, **more})


@contextmanager
def world_in(pattern: Pattern, authority: LocalAuthority, directory: Path) -> Iterator[World]:
    with house_in(pattern, directory) as house:
        trust_file = directory / "trust.json"
        trust_file.write_bytes(house.trust(list(authority.authority().roots)).print())
        yield World(house=house, authority=authority, trust_file=trust_file)


def files(data: bytes) -> dict[str, bytes]:
    """The packet's files by their names below its folder."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {name.partition("/")[2]: archive.read(name) for name in archive.namelist()}


def verdict(data: bytes, trust: Trust | None) -> str:
    return check_packet(read_packet(data), trust=trust, now=clock.now()).verdict


def size_of(proof: bytes) -> int:
    """The size of the checkpoint that a proof leads to."""
    return int(TlogProof.parse(proof).checkpoint.split(b"\n")[1])
