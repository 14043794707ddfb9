# SPDX-License-Identifier: Apache-2.0
"""A single COSE receipt, checked without a packet: what it is worth on its own.

The receipt and the exact bytes of its entry show that the log signed a root over the entry. No
time stamp stands over it, so the best verdict about a receipt alone is `incomplete`; the entry's
packet, or the anchors of its log, say more.
"""

from functools import partial
from typing import Any, Final

from sealtrail.verify.checkpoints import CAME_ALONG
from sealtrail.verify.cose_receipt import CoseReceipt, root_over
from sealtrail.verify.ed25519 import Backend
from sealtrail.verify.entry import check_entry
from sealtrail.verify.errors import Incomplete, Refuted
from sealtrail.verify.merkle import leaf_hash
from sealtrail.verify.note import VerifierKey
from sealtrail.verify.packet import NOT_CHECKED
from sealtrail.verify.records import PROMISE
from sealtrail.verify.report import Docket, Report, Told
from sealtrail.verify.trust import Trust

#: A packet's last point is about files that a single receipt does not have.
_NOT_CHECKED: Final = NOT_CHECKED[:-1]
_NO_KEY: Final = CAME_ALONG.replace("the keys came with the packet", "no key of the log is at hand")


def check_receipt_file(
    data: bytes, *, entry: bytes | None, trust: Trust | None, backend: Backend = "auto"
) -> Report:
    """Every check on one receipt. entry: the exact bytes that it is said to be about, if at hand.

    Raises Unreadable if `data` is no COSE receipt of this format.
    """
    receipt = CoseReceipt.parse(data)
    docket = Docket()
    if receipt.position is None:
        root = _judge_consistency(docket, receipt)
    else:
        root = _judge_inclusion(docket, receipt, entry)
    docket.judge(
        f"receipt {receipt.size} · {receipt.origin}",
        "signature",
        partial(_signer, receipt, root, trust, backend),
        lambda key: (f"signed by {key.label()}", {"keys": [key.label()]}),
    )
    return Report(
        subject="a single receipt",
        findings=tuple(docket.findings),
        not_checked=_NOT_CHECKED,
    )


def _judge_inclusion(docket: Docket, receipt: CoseReceipt, data: bytes | None) -> bytes | None:
    """Enter the findings about the entry; the root to which the receipt leads from it."""
    if data is None:
        subject = f"record {receipt.position}"
        sentence = "No entry was given, so nothing is shown to stand at that position."
        docket.enter(subject, "inclusion", "incomplete", sentence)
        return None
    leaf = leaf_hash(data)
    subject = f"record {receipt.position}"
    docket.judge(subject, "entry", partial(check_entry, data), partial(_tell_entry, leaf))
    root = docket.judge(
        subject, "inclusion", partial(root_over, receipt, leaf), partial(_tell_place, receipt)
    )
    docket.enter(subject, "time", "incomplete", f"No time stamp covers it: {PROMISE}.")
    return root


def _judge_consistency(docket: Docket, receipt: CoseReceipt) -> bytes | None:
    subject = f"checkpoints {receipt.old_size} and {receipt.size}"
    sentence = "No earlier root was given, so nothing is shown to begin this log."
    docket.enter(subject, "consistency", "incomplete", sentence)
    return receipt.root


def _signer(
    receipt: CoseReceipt, root: bytes | None, trust: Trust | None, backend: Backend
) -> VerifierKey:
    """The trusted key that signed; raises Refuted, or Incomplete without an entry or trust."""
    if root is None:
        raise Incomplete("The root that was signed follows from an entry, and there is none.")
    if trust is None or not trust.origins:
        raise Incomplete(_NO_KEY)
    keys = trust.keys_for(receipt.origin, receipt.size)
    if not keys:
        raise Refuted("The trust file has keys, but none for this log.")
    return receipt.check(root=root, keys=keys, backend=backend)


def _tell_entry(leaf: bytes, entry: dict[str, Any]) -> Told:
    digest = "sha256:" + leaf.hex()
    recorded = entry["time"]["recorded"]
    facts = {"event_id": entry["event_id"], "type": entry["type"], "recorded": recorded}
    sentence = f"canonical; {entry['type']}, recorded {recorded}; leaf {digest}"
    return sentence, {**facts, "leaf": digest}


def _tell_place(receipt: CoseReceipt, root: bytes) -> Told:
    text = "sha256:" + root.hex()
    return f"position {receipt.position} of {receipt.size} leads to root {text}", {
        "position": str(receipt.position),
        "origin": receipt.origin,
        "size": str(receipt.size),
        "root": text,
    }
