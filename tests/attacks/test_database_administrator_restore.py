# SPDX-License-Identifier: GPL-3.0-or-later
"""The same administrator, with a restore for a cover: to cut, to change, or to go by another name.

A restore is the one time when a log goes on over fewer entries than were signed. Nothing but
`sealtrail-server restore --accept` does that, run by a person who has the keystore.
"""

import pytest
from administrator import administrator
from house import Hand, attempt, deny, house_in, noon_before
from restoring import accept, backup_of, first_keys, look, post

from anchoring.checkpoint_store import CheckpointMissing
from anchoring.fsck import Fsck
from anchoring.incarnation import ChainUnverified
from ledger.errors import HeadForged, HistoryRewritten, IntegrityViolation

#: What is asked here does not depend on which PostgreSQL it is.
pytestmark = pytest.mark.once


def approve(position, entry):
    if position == 1:
        entry |= {"type": "GEN", "body": {"outputs": [{"asset_id": "x", "mime": "image/png"}]}}


@pytest.fixture
def refused(house):
    """A generation that was denied, and one entry more."""
    start = attempt()
    house.post(start, deny(start["aggregate_id"]), attempt())
    return house


def rename(house, origin):
    with house.owner() as owner:
        owner.execute(
            "UPDATE sealtrail.book SET origin = %s WHERE name = %s", [origin, house.tenant]
        )


def test_names_a_new_incarnation_in_the_registry(refused):
    """Who: a database administrator who cut off the last entry.
    Tries: an origin of the form that a restore gives, written into the registry by hand, so that
    no signed checkpoint stands against the shorter log.
    Caught by: the checkpoint store, which holds no word of that origin, and the keystore, which
    never made a key for it: no process opens the Book, and no restore goes on from there.
    Not caught: nothing is left open.
    """
    with backup_of(refused) as backup:
        post(refused, attempt())
        refused.shelf.close()
        backup.restore()
        rename(refused, f"{refused.origin}/i2")

        with pytest.raises(CheckpointMissing):
            refused.second_process().book(refused.tenant)
        with pytest.raises(IntegrityViolation, match="never had"):
            look(refused)


def test_lends_the_book_the_name_of_another_one(refused):
    """Who: a database administrator who wants another checkpoint to count.
    Tries: to give the main Book the origin of the access Book, whose keys are all there and whose
    stored checkpoint is smaller.
    Caught by: the tag of the head row, which binds the origin: no process opens the Book, and a
    restore says that this is forgery.
    Not caught: nothing is left open.
    """
    refused.shelf.close()
    with refused.owner() as owner:
        owner.execute(
            "UPDATE sealtrail.book SET origin = name WHERE name = %s",
            [f"{refused.tenant}-access"],
        )
    rename(refused, f"{refused.origin}/access")

    with pytest.raises(HeadForged):
        refused.second_process().book(refused.tenant)
    assert look(refused).verdict == "forged"
    with pytest.raises(IntegrityViolation, match="forgery"):
        accept(refused, force=True)


def test_hides_an_altered_mac_behind_a_made_up_restore(refused):
    """Who: a database administrator without the chain key, who has altered an old MAC.
    Tries: a row in the registry that has the chain begin anew after it, so that fsck takes the old
    part for one whose key is lost.
    Caught by: fsck: the registry names an incarnation that no entry opened.
    Not caught: nothing is left open.
    """
    with administrator(refused) as admin:
        admin.do("UPDATE {b}.entry SET mac = decode(repeat('00', 32), 'hex') WHERE position = 0")
        admin.do(
            "INSERT INTO sealtrail.incarnation (book, number, origin, old_origin, size, root)"
            " VALUES (%s, 2, %s, %s, 2, decode(repeat('00', 32), 'hex'))",
            refused.tenant,
            refused.origin,
            f"{refused.origin}/old",
        )
    report = Fsck(refused.second_process().book(refused.tenant)).run()

    assert "the registry names incarnation 2, which no entry opened" in {
        found.sentence for found in report.damage
    }


def test_takes_a_restore_back(refused):
    """Who: a database administrator who would rather have the log from before a restore.
    Tries: to bring back head row, entries and registry as they were, after `restore --accept`.
    Caught by: the keystore: the old origin's keys are destroyed, so every process refuses, and
    what the new origin has signed stands in the checkpoint store.
    Not caught: nothing is left open.
    """
    with backup_of(refused) as backup:
        post(refused, attempt())
        refused.shelf.close()
        backup.restore()
    with backup_of(refused) as before:
        accept(refused)
        refused.reopen()
        post(refused, attempt())
        refused.shelf.close()
        before.restore()

    with pytest.raises(HistoryRewritten, match="closed the origin"):
        refused.second_process().book(refused.tenant)
    assert look(refused).known.checkpoint.origin == f"{refused.origin}/i2"


def test_rewrites_the_backup_before_it_is_accepted(refused):
    """Who: a database administrator who hands out the backup.
    Tries: a refusal turned into an approval, with bytes, tiles, frontier and columns that fit,
    before the operator accepts the restore.
    Caught by: the tag of the head row, as long as its chain key is there: this is forgery and no
    restore, and not accepted on any terms.
    Not caught: once the key was destroyed at night; then the next attack.
    """
    with backup_of(refused) as backup:
        post(refused, attempt())
        refused.shelf.close()
        backup.restore()
    with administrator(refused) as admin:
        admin.forge(approve, chain=None)

    with pytest.raises(IntegrityViolation, match="forgery"):
        accept(refused, unverified_chain=True, force=True)

    assert look(refused).next_origin == f"{refused.origin}/i2"  # Nothing was made.


def test_rewrites_yesterdays_backup_whose_key_is_gone(pattern, tmp_path):
    """Who: a database administrator who hands out a backup of yesterday.
    Tries: the same, on a backup whose chain key was destroyed that night.
    Caught by: the restore, which asks for the auditor's escrow; with it the tag is recomputed, and
    this is forgery.
    Not caught: if the operator goes on with --unverified-chain; the opening entry then says for
    ever that nobody checked it, and receipts and time stamps from before show the change.
    """
    with house_in(pattern, tmp_path, now_ms=Hand(noon_before(2))) as house:
        start = attempt()
        house.post(start, deny(start["aggregate_id"]), attempt())
        with backup_of(house) as backup:
            house.now_ms.move(days=1)
            post(house, attempt())
            house.shelf.close()
            backup.restore()
        with administrator(house) as admin:
            admin.forge(approve, chain=None)

        with pytest.raises(ChainUnverified):
            accept(house)
        with pytest.raises(IntegrityViolation, match="forgery"):
            accept(house, first_keys=first_keys(house))
