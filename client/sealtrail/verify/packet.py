# SPDX-License-Identifier: Apache-2.0
"""A court packet: read without believing it, checked against what the reader brought along.

`verified` needs all of this: a trust file from outside the packet with a key of the log and the
root of a time-stamping authority; at least one entry; each entry under a checkpoint that the log
signed and an authority stamped; no check that failed. Keys, roots and programs inside the packet
are used to see whether it agrees with itself, and for nothing else.

A packet that cannot be taken apart is unreadable; one that another program packed again is at best
`incomplete`. Once it can be taken apart, whatever does not parse inside
refutes it: whoever made it had readable files.
"""

import re
from datetime import datetime
from typing import Final

from sealtrail.verify.anchors import authorities, judge_anchor
from sealtrail.verify.bag import BAGIT, check_bag
from sealtrail.verify.checkpoints import Vouchers, gather, judge_checkpoints
from sealtrail.verify.contents import LOG_KEYS, Packet, sort_out
from sealtrail.verify.ed25519 import Backend
from sealtrail.verify.errors import Incomplete, Refuted, Unreadable, VerifyError
from sealtrail.verify.note import VerifierKey
from sealtrail.verify.records import count_withheld, judge_record
from sealtrail.verify.repacked import read_repacked
from sealtrail.verify.report import Docket, Report
from sealtrail.verify.trust import Trust
from sealtrail.verify.zip import ArchiveRefused, read_zip

_FOLDER: Final = re.compile(r"packet-([A-Za-z0-9][A-Za-z0-9._-]{0,127})")

#: What no packet can show, whoever checks it.
NOT_CHECKED: Final = (
    "who the persons behind the entries are; the log holds what it was told about them",
    "whether the ledger's clock was right: a time stamp proves only that an entry is not younger",
    "whether anything was never sent to the ledger: a log proves what it holds, not what it lacks",
    "whether the log shows other people another history: no witness has cosigned its checkpoints",
    "whether a certificate of the time-stamping authority was revoked: nothing about it is given",
    "the read-me and programs in the packet: unsigned; take the verifier from its release",
)


def read_packet(data: bytes) -> Packet:
    """Take a packet of at most 256 MiB apart. Raises Unreadable; nothing is checked yet."""
    repacked = False
    try:
        archive = read_zip(data)
    except ArchiveRefused as refusal:
        try:
            archive, repacked = read_repacked(data), True
        except ArchiveRefused:
            raise refusal from None
    tops = {name.partition("/")[0] for name in archive.files}
    top = tops.pop() if len(tops) == 1 else ""
    match = _FOLDER.fullmatch(top)
    if match is None:
        raise Unreadable("The archive does not hold one folder named packet-<id>.")
    below = {name.removeprefix(top + "/"): data for name, data in archive.files.items()}
    if BAGIT not in below:
        raise Unreadable("The archive holds no packet: bagit.txt is missing.")
    damaged = tuple(name.removeprefix(top + "/") for name in archive.damaged)
    return sort_out(match[1], below, damaged, repacked=repacked)


def check_packet(
    packet: Packet, *, trust: Trust | None, now: datetime, backend: Backend = "auto"
) -> Report:
    """Every check on a packet, none of them skipped because another failed.

    trust: from outside the packet; without it the best verdict is `incomplete`. now: when the
    reader reads, for certificates that expired. backend: "python" uses the standard library and
    the `openssl` program only; verdicts are the same.
    """
    whole, records, checkpoints, anchors = Docket(), Docket(), Docket(), Docket()
    _judge_whole(whole, packet)

    cited = gather(packet)
    keys = _own_keys(packet)
    judge_checkpoints(
        checkpoints, packet, cited, Vouchers(trust=trust, own_keys=keys, backend=backend)
    )
    times = authorities(packet, trust, now, backend)
    stamped = [
        one for anchor in packet.anchors for one in judge_anchor(anchors, anchor, cited, times)
    ]
    for record in packet.records:
        judge_record(records, record, cited, stamped)
    return Report(
        subject=f"packet {packet.id}",
        findings=tuple(
            finding
            for docket in (whole, records, checkpoints, anchors)
            for finding in docket.findings
        ),
        not_checked=_not_checked(packet),
    )


def _judge_whole(docket: Docket, packet: Packet) -> None:
    """Enter the findings about the packet as a set of files."""
    count = len(packet.files)
    docket.judge(
        "files",
        "archive",
        lambda: _check_damage(packet),
        lambda _: (f"{count} files, each with its checksum, in their one form", {"files": count}),
    )
    docket.judge(
        "files",
        "manifest",
        lambda: check_bag(packet.files),
        lambda _: ("every file is listed with its digest, and none is missing", {}),
    )
    if packet.strays:
        docket.enter(
            "files", "contents", "refuted", f"{packet.strays[0]} belongs to nothing in the packet."
        )
    if not packet.records:
        docket.enter("files", "contents", "incomplete", "The packet holds no entry.")


def _check_damage(packet: Packet) -> None:
    if packet.damaged:
        raise Refuted(f"{packet.damaged[0]} was changed after the archive was made.")
    if packet.repacked:
        raise Incomplete(
            "The archive is not in its one form: another program packed it, or its structure was"
            " changed. Its files are judged all the same; ask for the original, byte for byte."
        )


def _own_keys(packet: Packet) -> list[VerifierKey]:
    """The keys that came along; a file that is no list of keys holds none."""
    text = packet.files.get(LOG_KEYS, b"").decode("utf-8", "replace")
    try:
        return [VerifierKey.parse(line) for line in text.split("\n") if line]
    except VerifyError:
        return []


def _not_checked(packet: Packet) -> tuple[str, ...]:
    withheld = sum(count_withheld(record.withheld) for record in packet.records)
    more = []
    if withheld:
        more.append(
            f"{withheld} fields that the packet's maker withheld, and the grounds given for it"
        )
    if packet.unknown:
        more.append(
            f"{len(packet.unknown)} files that this version does not know:"
            f" {', '.join(packet.unknown[:10])}"
        )
    return (*NOT_CHECKED, *more)
