# SPDX-License-Identifier: Apache-2.0
"""A statement of the ledger's in one JSON file: what it says, and the entries that it rests on.

    {"statement": "absence/1", ..., "anchored": {"files": {...}}}

Which kind it is says the member `statement`; KINDS names what checks each. The entries in it are
judged as a packet's are: without trust from outside the best verdict is `incomplete`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sealtrail.verify import absence, canonical, completeness
from sealtrail.verify.anchored import Claim, entries_in, judge_anchored, read_anchored
from sealtrail.verify.checkpoints import gather
from sealtrail.verify.contents import Packet
from sealtrail.verify.ed25519 import Backend
from sealtrail.verify.errors import Refuted, Unreadable
from sealtrail.verify.packet import NOT_CHECKED
from sealtrail.verify.report import Docket, Report
from sealtrail.verify.trust import Trust

#: Checks a claim and enters what it finds; raises Unreadable for one of another shape.
Checker = Callable[[Claim], None]

#: By what the document calls itself.
KINDS: Final[Mapping[str, Checker]] = {
    "absence/1": absence.judge_absence,
    "completeness/1": completeness.judge_completeness,
    "presence/1": absence.judge_presence,
}

#: A packet's last point is about files that a statement does not have.
_NOT_CHECKED: Final = (
    *NOT_CHECKED[:-1],
    "when the statement was made, and what it says of its own limits: nothing rests on either",
)

#: Deeper than this nobody looks for the first brace.
_LEAD: Final = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """A statement taken apart; nothing of it has been checked yet."""

    kind: str
    value: Mapping[str, canonical.JSON]
    packet: Packet  #: Its entries, as the packet that they would make.


def is_statement(data: bytes) -> bool:
    """Whether these bytes begin as a JSON object does: no packet and no proof file does so."""
    return data[:_LEAD].lstrip(b" \t\r\n").startswith(b"{")


def read_statement(data: bytes) -> Statement:
    """Take a statement apart. Raises Unreadable."""
    value = canonical.parse(data)
    kind = value.get("statement") if isinstance(value, dict) else None
    if not isinstance(value, dict) or not isinstance(kind, str):
        raise Unreadable("The file is a JSON document, but no statement of a ledger.")
    if kind not in KINDS:
        raise Unreadable("The statement is of a kind that this version does not know.")
    return Statement(kind=kind, value=value, packet=read_anchored(value.get("anchored")))


def check_statement(
    statement: Statement,
    *,
    trust: Trust | None,
    now: datetime,
    file: bytes | None = None,
    backend: Backend = "auto",
) -> Report:
    """Every check on a statement, none of them skipped because another failed.

    file: the bytes of what it is said to be about, if at hand. Raises Unreadable for a statement
    that is not of its kind's shape. The rest as `packet.check_packet` has it.
    """
    claim = Claim(value=statement.value, entries=entries_in(statement.packet), file=file)
    KINDS[statement.kind](claim)
    _judge_origin(claim, statement.packet)
    rest: Docket = judge_anchored(statement.packet, trust=trust, now=now, backend=backend)
    if not statement.packet.records:
        claim.docket.enter(
            "entries", "contents", "incomplete", "The statement shows no entry of a log."
        )
    return Report(
        subject=f"statement {statement.kind}",
        findings=(*claim.docket.findings, *rest.findings),
        not_checked=(*claim.open_points, *_NOT_CHECKED),
    )


def _judge_origin(claim: Claim, packet: Packet) -> None:
    """Enter a finding if the statement says of another log what is about this one."""
    if "origin" not in claim.value or not packet.records:
        return
    said = claim.value["origin"]
    cited = {origin for origin, _ in gather(packet).roots}

    def action() -> str:
        if not isinstance(said, str) or said not in cited:
            raise Refuted("The statement names another log than the one that its entries are in.")
        return said

    claim.docket.judge(
        "statement",
        "origin",
        action,
        lambda origin: (f"a checkpoint of this log is among those cited: {origin}", {}),
    )
