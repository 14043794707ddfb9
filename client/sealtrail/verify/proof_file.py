# SPDX-License-Identifier: Apache-2.0
"""A single proof, checked without a packet: what a receipt is worth on its own.

A `.tlog-proof` and the exact bytes of its entry show that the log signed a checkpoint over the
entry. As far as the file tells, nobody else has seen that checkpoint yet; so the best verdict
about a single proof is `incomplete`.
"""

from typing import Final

from sealtrail.verify.checkpoints import Citations, Vouchers, judge_signatures
from sealtrail.verify.contents import Record
from sealtrail.verify.ed25519 import Backend
from sealtrail.verify.entry import check_entry
from sealtrail.verify.errors import VerifyError
from sealtrail.verify.packet import NOT_CHECKED
from sealtrail.verify.records import PROMISE, judge_record
from sealtrail.verify.report import Docket, Report
from sealtrail.verify.tlog_proof import TlogProof
from sealtrail.verify.trust import Trust

#: A packet's last point is about files that a single proof does not have.
_NOT_CHECKED: Final = NOT_CHECKED[:-1]


def check_proof_file(
    proof: bytes, *, entry: bytes | None, trust: Trust | None, backend: Backend = "auto"
) -> Report:
    """Every check on one proof. entry: the exact bytes that it is said to be about, if at hand.

    Raises Unreadable if `proof` is no C2SP tlog-proof.
    """
    read = TlogProof.parse(proof)
    cited = Citations()
    cited.cite(read.checkpoint)
    checkpoints, records = Docket(), Docket()
    judge_signatures(checkpoints, cited, Vouchers(trust=trust, own_keys=(), backend=backend))
    if entry is None:
        subject = f"record {read.index}"
        records.enter(
            subject,
            "inclusion",
            "incomplete",
            "No entry was given, so nothing is shown to stand at that position.",
        )
        records.enter(subject, "time", "incomplete", f"No time stamp covers it: {PROMISE}.")
    else:
        record = Record(
            position=read.index,
            type=_type(entry),
            entry=entry,
            proof=proof,
            disclosures=None,
            withheld=None,
        )
        judge_record(records, record, cited, ())
    return Report(
        subject="a single proof",
        findings=(*records.findings, *checkpoints.findings),
        not_checked=_NOT_CHECKED,
    )


def _type(entry: bytes) -> str:
    try:
        return str(check_entry(entry)["type"])
    except VerifyError:
        return "unknown"  # Judged with the record.
