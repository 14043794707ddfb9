# SPDX-License-Identifier: GPL-3.0-or-later
"""The operator who restores on purpose: an accident that loses just the entry that was in the way.

A restore is the operator's right, and it is never silent: another origin, other keys, an entry that
names what was signed before, and receipts that are shown to be orphaned.
"""

import shutil

import pytest
from archiving import gallery_in, picture
from custody_desk import Desk
from house import PASSPHRASE, attempt, deny
from restoring import accept, as_file, backup_of, post

from anchoring.checkpoint import sign_checkpoint
from anchoring.key_sheet import make_sheet
from anchoring.restored_receipt import judge_receipt
from ledger.errors import HistoryRewritten
from ledger.keys import log_key
from ledger.keystore import FileKeystore
from ledger.readmodel.follower import rebuild
from ledger.similar.hashes import Hash
from ledger.similar.index import SimilarProjection
from ledger.similar.search import search
from sealtrail.verify.errors import VerifyError
from sealtrail.verify.merkle import check_consistency
from sealtrail.verify.note import Checkpoint, Note
from sealtrail.verify.tlog_proof import check_tlog_proof
from sealtrail.verify.trust import Trust

#: What is asked here does not depend on which PostgreSQL it is.
pytestmark = pytest.mark.once


@pytest.fixture
def trimmed(house):
    """A refusal was recorded and receipted; the operator brings back the state before it."""
    start = attempt()
    post(house, start)
    with backup_of(house) as backup:
        (house.receipt,) = post(house, deny(start["aggregate_id"]))
        shutil.copytree(house.directory / "keystore", house.directory / "stolen")
        house.shelf.close()
        backup.restore()
    return house


def test_restores_a_backup_and_goes_on_as_if_nothing_had_happened(trimmed):
    """Who: an operator who wants a refusal gone, with a backup from before it.
    Tries: to start the servers over that backup.
    Caught by: every process, against the checkpoint store: it writes nothing and says how to go on.
    Not caught: nothing is left open, unless the store is rewound, too; then receipts show it.
    """
    with pytest.raises(HistoryRewritten, match="restore --accept"):
        trimmed.second_process().book(trimmed.tenant)


def test_restores_a_backup_to_lose_a_refusal(trimmed):
    """Who: an operator who wants a refusal gone, and accepts the restore.
    Tries: `restore --accept`, which is allowed, and calls it an accident.
    Caught by: the receipt of the refusal, which verifies under the old key and is told to be
    orphaned; and the first new entry, which names two signed entries where one was inherited.
    Not caught: what stood in an entry of which nobody kept a receipt.
    """
    opened = accept(trimmed)
    trimmed.reopen()
    trust = Trust.parse((trimmed.directory / "trust.json").read_bytes())

    judged = judge_receipt(as_file(trimmed.receipt), [trimmed.book])

    assert judged.verdict == "orphaned by restore"
    assert check_tlog_proof(
        trimmed.receipt.proof.tlog_proof(),
        leaf=trimmed.receipt.proof.leaf,
        origin=trimmed.origin,
        keys=trust.origins[trimmed.origin],
    )
    body = trimmed.book.reader.at(opened.position).entry.value["body"]
    assert (body["checkpoint"]["size"], body["size"]) == (2, 1)


def test_signs_for_the_old_log_with_a_copy_of_its_key(trimmed):
    """Who: an operator who kept a copy of the keystore from before the restore.
    Tries: to sign, as the old log, another checkpoint of the size that was signed last, without
    the refusal.
    Caught by: the receipt of the refusal and the opening entry, which holds the last word of the
    old log: two roots of one size under one key.
    Not caught: by this ledger alone; a copy of a key is as good as the key. Whoever holds neither
    receipt nor new log believes the forgery.
    """
    opened = accept(trimmed)
    trimmed.reopen()
    stolen = FileKeystore(trimmed.directory / "stolen", PASSPHRASE)
    assert stolen.has(log_key(trimmed.origin))
    forged = Checkpoint(origin=trimmed.origin, size=2, root=bytes(32))

    note = sign_checkpoint(stolen, forged)

    body = trimmed.book.reader.at(opened.position).entry.value["body"]
    said = Checkpoint.parse(Note.parse(body["checkpoint"]["note"].encode()).text)
    signed = Checkpoint.parse(Note.parse(note).text)
    with pytest.raises(VerifyError):
        check_consistency(
            old_size=said.size,
            old_root=said.root,
            new_size=signed.size,
            new_root=signed.root,
            path=[],
        )


def test_looks_for_the_picture_of_somebody_who_was_erased(house, tmp_path):
    """Who: an operator with a backup from before an erasure, and a picture that he remembers.
    Tries: restores it with the newest key sheet, and looks for pictures like his, to learn that the
    person's was made here, and when.
    Caught by: the restore: what the erased person's content looked like goes with the key, from the
    index and from beside the content.
    Not caught: a digest or fingerprint that is clear in the entry, which no erasure changes; and
    whoever reads the backup by other means than ours reads the hash that stood in it.
    """
    desk, gallery = Desk(house), gallery_in(house)
    one = gallery.stored(picture(320, 240, seed=91))
    with backup_of(house) as backup:
        desk.ask_and_approve("employee-7")
        desk.erasures.complete(backup_keep_d=30)
        rows = [house.shelf.rows()[house.tenant]]
        sheet = make_sheet(house.database, rows, house.keys, tmp_path / "sheets").directory
        house.shelf.close()
        backup.restore()
    accept(house, sheet=sheet)
    house.reopen()
    rebuild(house.database, house.schema, [SimilarProjection()])

    wanted = [Hash("phash", one.fingerprint)]

    assert search(house.database, house.schema, wanted, within=31, limit=9) == []
    assert gallery.artifacts.rows.find(one.artifact_id).fingerprint is None
