# SPDX-License-Identifier: GPL-3.0-or-later
"""Which time stamps speak for an entry: the first anchor over it that counts, as files of a packet.

An anchor counts when the log itself entered it (an ANCHOR entry) and an authority's token lies over
its checkpoint. The first one that covers an entry gives the earliest time before which it existed.

    data/anchors/<size>/checkpoint                             the exact bytes that were stamped
    data/anchors/<size>/<authority>.tsq, .tsr                  request and reply, byte for byte
    data/anchors/<size>/tsa-chain.pem                          the authorities' further certificates
    data/anchors/<size>/anchor.entry.json, anchor.tlog-proof   the log's own entry about it

KNOWN GAP: once every certificate over the first anchor has expired the packet is incomplete, though
a later anchor may carry a valid one. Renewal of time stamps (RFC 4998) is what closes this.
"""

import re
import ssl
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import Final

from anchoring.anchors import Anchor, Anchors, StoredToken
from anchoring.receipt import digest_text, prove
from anchoring.shelf import Book
from ledger.errors import IntegrityViolation
from ledger.reader import Stored
from sealtrail.verify.errors import VerifyError
from sealtrail.verify.timestamp import check_stamp
from sealtrail.verify.trust import Trust

_UNFIT: Final = re.compile(r"[^a-z0-9]+")
_SLUG_MAX: Final = 48


@dataclass(frozen=True, slots=True, kw_only=True)
class Cover:
    """An anchor that counts: what was stamped, the tokens, and the log's own entry about it."""

    anchor: Anchor
    entry: Stored
    tokens: tuple[StoredToken, ...]

    @property
    def size(self) -> int:
        return self.anchor.size

    def named_tokens(self) -> Iterator[tuple[str, StoredToken]]:
        """Yield each token with the name of its files, made from the authority's name."""
        taken: set[str] = set()
        for token in self.tokens:
            plain = _UNFIT.sub("-", token.authority.lower())[:_SLUG_MAX].strip("-") or "authority"
            name, count = plain, 1
            while name in taken:
                count += 1
                name = f"{plain}-{count}"
            taken.add(name)
            yield name, token


def first_covers(book: Book, positions: Sequence[int]) -> dict[int, Cover | None]:
    """Return for each position, given in ascending order, the first anchor over it that counts.

    None where no anchor counts yet. Reads once per anchor, not per position.
    """
    search = _Search(book)
    found: dict[int, Cover | None] = dict.fromkeys(positions)
    cover: Cover | None = None
    for position in positions:
        if cover is None or cover.size <= position:
            cover = search.first(position)
        if cover is None:
            break  # What does not cover this one covers none after it.
        found[position] = cover
    return found


class _Search:
    def __init__(self, book: Book) -> None:
        self._reader, self._anchors = book.reader, Anchors(book)
        self._days: dict[str, list[Stored]] = {}

    def first(self, position: int) -> Cover | None:
        after = position
        while candidates := self._anchors.covering(after):
            # Over one checkpoint the night's anchor comes first: it closed its day.
            for anchor in sorted(candidates, key=lambda one: (one.size, one.kind != "day")):
                entry = self._entry(anchor)
                tokens = self._anchors.tokens(anchor.anchor_id) if entry is not None else []
                if entry is not None and tokens:
                    return Cover(anchor=anchor, entry=entry, tokens=tuple(tokens))
            after = candidates[-1].size
        return None

    def _entry(self, anchor: Anchor) -> Stored | None:
        """Return the ANCHOR entry about this anchor; None if the log has not entered it yet."""
        if anchor.day not in self._days:
            self._days[anchor.day] = self._reader.of_stream(f"AnchorDay/{anchor.day}")
        for stored in self._days[anchor.day]:
            body = stored.entry.value["body"]
            if (
                stored.entry.value["type"] == "ANCHOR"
                and body["kind"] == anchor.kind
                and body["checkpoint"]["size"] == anchor.size
            ):
                # The row can be changed by whoever owns the database; the entry cannot.
                if body["checkpoint"]["digest"] != digest_text(sha256(anchor.stamped).digest()):
                    raise IntegrityViolation(
                        f"the kept anchor {anchor.anchor_id} is not the one that the log entered"
                    )
                return stored
        return None


def cover_files(
    book: Book, cover: Cover, *, newest: bytes, trust: Trust, now: datetime
) -> dict[str, bytes]:
    """Return the files of one anchor by name; its entry is proven under the note `newest`."""
    folder = f"data/anchors/{cover.size}"
    proof = prove(book, cover.entry.position, cover.entry.leaf, at=newest)
    files = {
        f"{folder}/checkpoint": cover.anchor.stamped,
        f"{folder}/anchor.entry.json": cover.entry.entry.data,
        f"{folder}/anchor.tlog-proof": proof.tlog_proof(),
    }
    chain: dict[bytes, None] = {}
    for name, token in cover.named_tokens():
        files[f"{folder}/{name}.tsq"] = token.query
        files[f"{folder}/{name}.tsr"] = token.reply
        chain |= dict.fromkeys(_certificates(cover.anchor.stamped, token, trust, now))
    if chain:
        files[f"{folder}/tsa-chain.pem"] = pem(chain)
    return files


def pem(certificates: Iterable[bytes]) -> bytes:
    """Print certificates in DER as one PEM file."""
    return "".join(map(ssl.DER_cert_to_PEM_cert, certificates)).encode("ascii")


def _certificates(
    stamped: bytes, token: StoredToken, trust: Trust, now: datetime
) -> tuple[bytes, ...]:
    """Return the token's certificates below the pinned root, as far as they are known.

    A token that is not believed here is not judged here: the whole packet is, before it leaves.
    """
    try:
        stamp = check_stamp(token.reply, message=stamped, roots=trust.tsa_roots, now=now)
    except VerifyError:
        return ()
    return stamp.chain[:-1]
