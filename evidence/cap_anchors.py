# SPDX-License-Identifier: GPL-3.0-or-later
"""What ties a CAP pack to time: the log's anchors as CAP's records, and each event's way to them.

CAP stamps the root of a tree over its events. Here the log is stamped, every night and whether or
not anybody asks for a pack: `MerkleRoot` is the root of the log's tree (RFC 9162) over all entries,
and `AnchorProof` the authority's reply over the signed checkpoint that names it. An event leads
there by `Sealtrail.Leaf` and its path in `ledger_proofs_001.json`.
"""

import base64
from collections.abc import Sequence
from hashlib import sha256
from typing import Final

from anchoring.receipt import prove
from anchoring.shelf import Book
from evidence.cap_json import JSON
from evidence.packet_anchors import Cover, first_covers
from ledger import clock

_PROOFS: Final = 5_000


def covers_of(book: Book, events: Sequence[JSON]) -> dict[int, Cover | None]:
    """Return for each event's position the first anchor over it; None while there is none."""
    return first_covers(book, sorted(one["Sealtrail"]["Position"] for one in events))


def anchor_files(covers: dict[int, Cover | None], events: Sequence[JSON]) -> dict[str, JSON]:
    """Return CAP's anchor records by file name: one for each authority's reply."""
    by_size: dict[int, list[JSON]] = {}
    of_size: dict[int, Cover] = {}
    for one in events:
        cover = covers[one["Sealtrail"]["Position"]]
        if cover is not None:
            by_size.setdefault(cover.size, []).append(one)
            of_size[cover.size] = cover
    records = [
        record
        for size in sorted(by_size)
        for record in _records(of_size[size], [one["EventID"] for one in by_size[size]])
    ]
    return {f"anchor_{at:03d}.json": record for at, record in enumerate(records, 1)}


def _records(cover: Cover, ids: Sequence[str]) -> list[JSON]:
    entered = cover.entry.entry.event_id  # Of the log's own entry about this anchor: a UUIDv7.
    return [
        {
            "AnchorID": entered,
            "AnchorType": "RFC3161",
            "MerkleRoot": f"sha256:{cover.anchor.root.hex()}",
            "EventCount": len(ids),
            "FirstEventID": ids[0],
            "LastEventID": ids[-1],
            "Timestamp": clock.rfc3339(token.gen_time_ms),
            "AnchorProof": base64.b64encode(token.reply).decode("ascii"),
            "ServiceEndpoint": token.authority,
            "Sealtrail": {
                "Size": cover.size,
                "Checkpoint": base64.b64encode(cover.anchor.stamped).decode("ascii"),
                "Position": cover.entry.position,
            },
        }
        for token in cover.tokens
    ]


def proof_files(
    book: Book, covers: dict[int, Cover | None], events: Sequence[JSON]
) -> dict[str, list[JSON]]:
    """Return the path of each anchored event's entry to its anchor's root, by file name."""
    paths = []
    for one in events:
        known = one["Sealtrail"]
        cover = covers[known["Position"]]
        if cover is None:
            continue
        leaf = bytes.fromhex(known["Leaf"].removeprefix("sha256:"))
        proof = prove(book, known["Position"], leaf, at=cover.anchor.stamped)
        paths.append(
            {
                "EventID": one["EventID"],
                "Position": known["Position"],
                "Leaf": known["Leaf"],
                "Size": proof.size,
                "Path": [f"sha256:{node.hex()}" for node in proof.path],
            }
        )
    batches = [paths[at : at + _PROOFS] for at in range(0, len(paths), _PROOFS)]
    return {f"ledger_proofs_{at:03d}.json": batch for at, batch in enumerate(batches, 1)}


def event_tree(events: Sequence[JSON]) -> JSON:
    """Return CAP's Merkle tree over the pack's events: the hashes and the root over them.

    A node is SHA-256(left ‖ right), and a node without a neighbour goes up as it is (CAP v1.0 §9.2
    and §16.2). Leaves are hashes of JSON texts, which no 64 bytes of a node can be.
    """
    leaves = [one["EventHash"] for one in events]
    level = [bytes.fromhex(one.removeprefix("sha256:")) for one in leaves]
    while len(level) > 1:
        pairs = [level[at : at + 2] for at in range(0, len(level), 2)]
        level = [sha256(b"".join(pair)).digest() if len(pair) == 2 else pair[0] for pair in pairs]
    root = level[0] if level else sha256(b"").digest()
    return {"MerkleRoot": f"sha256:{root.hex()}", "EventCount": len(leaves), "Leaves": leaves}
