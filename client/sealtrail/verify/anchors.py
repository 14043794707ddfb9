# SPDX-License-Identifier: Apache-2.0
"""The anchors in a packet: which bytes were stamped, by whom, and what the log said about it.

A token counts only if its chain ends at a root that the reader brought along. It lies over the
exact bytes of `checkpoint`: the note's text, an empty line, and the log's own signature line, so
that the signature too is proven older than a later theft of the key. While the log changes its key
there are two such lines.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Final, Literal

from sealtrail.verify.checkpoints import Citations
from sealtrail.verify.contents import TSA_ROOTS, Anchor, Packet, Token
from sealtrail.verify.ed25519 import Backend
from sealtrail.verify.entry import check_entry
from sealtrail.verify.errors import Incomplete, Refuted, VerifyError
from sealtrail.verify.note import Checkpoint, Note
from sealtrail.verify.records import Stamped, check_place
from sealtrail.verify.report import Docket, Told
from sealtrail.verify.stamp_request import read_nonce
from sealtrail.verify.timestamp import Stamp, certificates_from_pem, check_stamp
from sealtrail.verify.trust import Trust

CAME_ALONG: Final = "Consistent in itself; the authority's root came with the packet."

#: The program that checks certificates when this back end checks signatures.
_FOR_STAMPS: Final[dict[Backend, Literal["auto", "openssl", "cryptography"]]] = {
    "auto": "auto",
    "python": "openssl",
    "cryptography": "cryptography",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Authorities:
    """Whom the reader believes about time: roots from outside, or the packet's for want."""

    roots: tuple[bytes, ...]
    from_outside: bool
    now: datetime
    backend: Backend


def authorities(
    packet: Packet, trust: Trust | None, now: datetime, backend: Backend
) -> Authorities:
    """The roots of `trust`, else those that came with the packet, which prove nothing."""
    if trust is not None and trust.tsa_roots:
        return Authorities(
            roots=tuple(trust.tsa_roots), from_outside=True, now=now, backend=backend
        )
    try:
        own = certificates_from_pem(packet.files.get(TSA_ROOTS, b"").decode("ascii", "replace"))
    except VerifyError:
        own = []
    return Authorities(roots=tuple(own), from_outside=False, now=now, backend=backend)


def judge_anchor(
    docket: Docket, anchor: Anchor, cited: Citations, who: Authorities
) -> list[Stamped]:
    """Enter the findings about one anchor; the result is its verified stamps."""
    subject = f"anchor {anchor.size}"
    checkpoint = docket.judge(
        subject, "checkpoint", partial(_stamped_bytes, anchor, cited), _tell_bytes
    )
    if not anchor.tokens:
        docket.enter(subject, "token", "incomplete", "There is no time stamp over it.")
    found: list[Stamped] = []
    for token in anchor.tokens:
        stamp = docket.judge(
            f"{subject} · {token.authority}",
            "token",
            partial(_token, anchor, token, who),
            _tell_stamp,
        )
        if stamp is not None and checkpoint is not None:
            found.append(Stamped(place=(checkpoint.origin, checkpoint.size), stamp=stamp))
    if anchor.entry is not None:
        docket.judge(subject, "log's entry", partial(_anchor_entry, anchor), _tell_entry)
    return found


def _stamped_bytes(anchor: Anchor, cited: Citations) -> Checkpoint:
    """The checkpoint of the anchor, if it is the one that the packet's proofs lead to."""
    note = Note.parse(anchor.checkpoint)
    checkpoint = Checkpoint.parse(note.text)
    if checkpoint.size != anchor.size:
        raise Refuted("The checkpoint is of another size than its folder's name says.")
    # Two while the log changes its key, one of each; no stranger's line is stamped with them.
    lines = note.signatures
    strange = any(one.name != checkpoint.origin for one in lines)
    if strange or not len({one.key_id for one in lines}) == len(lines) <= 2:
        raise Refuted("The bytes that were stamped hold more than the log's own signature.")
    for other in cited.notes[checkpoint.origin, checkpoint.size].values():
        if other.text != note.text or set(note.signatures).isdisjoint(other.signatures):
            raise Refuted("The checkpoint in a proof is not the one that was stamped.")
    return checkpoint


def _tell_bytes(checkpoint: Checkpoint) -> Told:
    root = "sha256:" + checkpoint.root.hex()
    return f"the proofs lead to the bytes stamped: size {checkpoint.size}, root {root}", {
        "origin": checkpoint.origin,
        "size": str(checkpoint.size),
        "root": root,
    }


def _token(anchor: Anchor, token: Token, who: Authorities) -> Stamp:
    nonce = None
    if token.request is not None:
        nonce = read_nonce(token.request, message=anchor.checkpoint)
    chain: Sequence[bytes] = ()
    if anchor.chain is not None:
        chain = certificates_from_pem(anchor.chain.decode("ascii", "replace"))
    stamp = check_stamp(
        token.reply,
        message=anchor.checkpoint,
        roots=who.roots,
        extra_certificates=chain,
        nonce=nonce,
        now=who.now,
        backend=_FOR_STAMPS[who.backend],
    )
    if not who.from_outside:
        raise Incomplete(CAME_ALONG)
    return stamp


def _tell_stamp(stamp: Stamp) -> Told:
    at = stamp.gen_time.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    remarks = "".join(f" {remark}" for remark in stamp.remarks)
    return f"stamped {at} by {stamp.authority}, chain to a given root.{remarks}", {
        "gen_time": at,
        "authority": stamp.authority,
        "serial": stamp.serial,
        "policy": stamp.policy,
        "digest_algorithm": stamp.digest_algorithm,
        "remarks": list(stamp.remarks),
        "expired": stamp.expired,
    }


def _anchor_entry(anchor: Anchor) -> Checkpoint:
    """The checkpoint under which the log itself entered this anchor."""
    entry = check_entry(anchor.entry or b"")
    if entry["type"] != "ANCHOR":
        raise Refuted("The log's entry about the anchor is not an ANCHOR.")
    return check_place(anchor.proof, entry=anchor.entry or b"", position=None)


def _tell_entry(checkpoint: Checkpoint) -> Told:
    return f"the log entered this anchor itself, under size {checkpoint.size}", {
        "origin": checkpoint.origin,
        "size": str(checkpoint.size),
    }
