# SPDX-License-Identifier: Apache-2.0
"""Entries that a statement rests on: their bytes, their place in the log, and the stamps over it.

    {"files": {"data/records/7-GEN.entry.json": "<Base64>",
               "data/proofs/7.tlog-proof": "<Base64>",
               "data/anchors/9/checkpoint": "<Base64>", ...}}

The files are those of a packet (contents.py), by their names there, and are judged as a packet's
are. A statement holds no keys and no roots: whom to believe, the reader brings along.
"""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from sealtrail.verify import base64text, canonical
from sealtrail.verify.anchors import authorities, judge_anchor
from sealtrail.verify.checkpoints import Vouchers, gather, judge_checkpoints
from sealtrail.verify.contents import Packet, sort_out
from sealtrail.verify.ed25519 import Backend
from sealtrail.verify.entry import check_entry
from sealtrail.verify.errors import Unreadable, VerifyError
from sealtrail.verify.records import judge_record
from sealtrail.verify.report import Docket
from sealtrail.verify.trust import Trust

MAX_FILES: Final = 20_000

_FOLDERS: Final = ("data/records/", "data/proofs/", "data/anchors/")


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A statement that is being judged.

    entries: what its entries say, by position; those that do not parse are not among them. file:
    what the reader holds the statement against, if anything. What a checker finds goes to
    `docket`; what it leaves open, to `open_points`.
    """

    value: Mapping[str, canonical.JSON]
    entries: Mapping[int, Mapping[str, Any]]
    file: bytes | None
    docket: Docket = field(default_factory=Docket)
    open_points: list[str] = field(default_factory=list)


def read_anchored(value: canonical.JSON) -> Packet:
    """Take apart what `anchored` holds in a statement. Raises Unreadable; nothing is checked."""
    if not isinstance(value, dict) or value.keys() != {"files"}:
        raise Unreadable("The statement's entries are not given as files.")
    files = value["files"]
    if not isinstance(files, dict) or len(files) > MAX_FILES:
        raise Unreadable(f"The statement's entries are not given as up to {MAX_FILES} files.")
    found: dict[str, bytes] = {}
    for name, text in files.items():
        if not name.startswith(_FOLDERS) or not isinstance(text, str):
            raise Unreadable("A file in the statement is none that an entry needs.")
        found[name] = base64text.decode(text, "A file in the statement")
    packet = sort_out("statement", found, ())
    if packet.strays or packet.unknown:
        raise Unreadable("A file in the statement belongs to no entry.")
    return packet


def entries_in(packet: Packet) -> dict[int, Mapping[str, Any]]:
    """What the entries say, by position; judged or not."""
    found: dict[int, Mapping[str, Any]] = {}
    for record in packet.records:
        with suppress(VerifyError):  # Judged with the record.
            found[record.position] = check_entry(record.entry)
    return found


def judge_anchored(
    packet: Packet, *, trust: Trust | None, now: datetime, backend: Backend
) -> Docket:
    """Every check on the entries, their proofs, checkpoints and stamps."""
    records, checkpoints, anchors = Docket(), Docket(), Docket()
    cited = gather(packet)
    vouchers = Vouchers(trust=trust, own_keys=(), backend=backend)
    judge_checkpoints(checkpoints, packet, cited, vouchers)
    times = authorities(packet, trust, now, backend)
    stamped = [
        one for anchor in packet.anchors for one in judge_anchor(anchors, anchor, cited, times)
    ]
    for record in packet.records:
        judge_record(records, record, cited, stamped)
    return Docket(findings=[*records.findings, *checkpoints.findings, *anchors.findings])
