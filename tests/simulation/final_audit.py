# SPDX-License-Identifier: GPL-3.0-or-later
"""The end of a simulation: every table, every receipt, every checkpoint and every token again."""

import base64
import itertools

from auditor import Wrong

from anchoring.anchors import Anchors
from anchoring.fsck import Fsck
from sealtrail.verify.merkle import check_consistency, leaf_hash
from sealtrail.verify.note import Checkpoint, Note, open_checkpoint
from sealtrail.verify.timestamp import check_stamp
from sealtrail.verify.tlog_proof import check_tlog_proof


def audit(simulation, process):
    """Raise unless all of it is true and belongs together."""
    auditor, world, book = simulation.auditor, simulation.world, process.book
    _tables(auditor, world)
    report = Fsck(book, first_key=simulation.house.first_key(), full=True).run()
    if report.damage or report.not_checked or report.size != auditor.size:
        raise Wrong(f"fsck: {report.size} entries, {report.damage}, {report.not_checked}")
    keys = simulation.house.trust().origins[simulation.house.origin]
    signed = {auditor.size: book.notary.refresh()[1].root}
    for receipt in simulation.receipts:
        checkpoint = _receipt(auditor, simulation.house.origin, keys, receipt)
        signed[checkpoint.size] = checkpoint.root
    _anchors(simulation, book, keys, signed)
    for old, new in itertools.pairwise(sorted(signed)):
        if old:
            check_consistency(
                old_size=old,
                old_root=signed[old],
                new_size=new,
                new_root=signed[new],
                path=book.tree.consistency(old, new),
            )


def _tables(auditor, world):
    rows = world.rows(0)
    if [row[0] for row in rows] != auditor.stored:
        raise Wrong("an entry changed after it was recorded")
    if [row[1][2] for row in rows] != auditor.macs:
        raise Wrong("a MAC changed after it was recorded")
    bodies = world.all("entry_body", "count(*)", "1")[0][0]
    if bodies != auditor.size:
        raise Wrong(f"there are {bodies} bodies of {auditor.size} entries")
    births = dict(world.all("asset_birth", "asset_id, position", "1"))
    if births != auditor.lives.births():
        raise Wrong("the births are not those of the entries")
    full = range(auditor.size // 256)
    tiles = [
        (0, at, auditor.tree.over(256 * at, 256 * at + 256),
         b"".join(auditor.tree.leaves[256 * at : 256 * at + 256]))
        for at in full
    ]  # fmt: skip
    stored = world.all("tile", 'level, "index", root, hashes', "1, 2")
    if stored != tiles:
        raise Wrong("the tiles are not those of the entries")


def _receipt(auditor, origin, keys, receipt):
    """Check a receipt as a stranger with the log's key does, and against the prediction."""
    entry, at = base64.b64decode(receipt["entry"]), receipt["position"]
    checkpoint, index = check_tlog_proof(
        receipt["proof"].encode(), leaf=leaf_hash(entry), origin=origin, keys=keys
    )
    if (index, entry) != (at, auditor.stored[at]):
        raise Wrong(f"the receipt of position {at} is for another entry than the one there")
    if checkpoint.root != auditor.tree.root(checkpoint.size):
        raise Wrong(f"a checkpoint of size {checkpoint.size} is of another history")
    return checkpoint


def _anchors(simulation, book, keys, signed):
    """Each anchored checkpoint is signed and stamped, and the entry names just these bytes."""
    anchors, roots = Anchors(book), simulation._authority.roots
    for entry in simulation.auditor.entries:
        if entry["type"] != "ANCHOR":
            continue
        body = entry["body"]
        kept = next(
            one
            for one in anchors.of_day(body["day"])
            if (one["kind"], one["to_size"]) == (body["kind"], body["to_size"])
        )
        note = kept["checkpoint"].encode()
        open_checkpoint(note, origin=simulation.house.origin, keys=keys)
        checkpoint = Checkpoint.parse(Note.parse(note).text)
        if checkpoint.size != body["checkpoint"]["size"]:
            raise Wrong("an anchor was stamped over another checkpoint than it names")
        signed[checkpoint.size] = checkpoint.root
        for token in kept["tokens"]:
            check_stamp(base64.b64decode(token["reply"]), message=note, roots=roots)
