# SPDX-License-Identifier: GPL-3.0-or-later
"""The operator: holds database, chain key and log key, and wants yesterday to have been another.

What stands against the operator lies elsewhere: the checkpoint store on other storage, receipts in
clients' hands, time stamps, and chain keys that were destroyed each night.
"""

import shutil

import pytest
from administrator import administrator
from house import PASSPHRASE, attempt, deny

from anchoring.anchors import Anchors
from anchoring.checkpoint import sign_checkpoint, verifier_key
from anchoring.checkpoint_store import FileCheckpointStore
from anchoring.fsck import Fsck
from anchoring.night import Night
from anchoring.receipt import receipt_of
from anchoring.shelf import Shelf
from ledger.database import Database
from ledger.errors import HistoryRewritten
from ledger.head import Chain
from ledger.keys import KeyDestroyed, chain_key
from ledger.keystore import FileKeystore
from sealtrail.verify.errors import VerifyError
from sealtrail.verify.merkle import check_consistency
from sealtrail.verify.note import Checkpoint
from sealtrail.verify.tlog_proof import check_tlog_proof

#: What is asked here does not depend on which PostgreSQL it is.
pytestmark = pytest.mark.once


def approve(position, entry):
    if position == 1:
        entry |= {"type": "GEN", "body": {"outputs": [{"asset_id": "x", "mime": "image/png"}]}}


@pytest.fixture
def refused(noon):
    """A generation that was denied, some more entries, and the receipt of the denial."""
    start = attempt()
    outcomes = noon.post(start, deny(start["aggregate_id"]), *[attempt() for _ in range(5)])
    noon.receipt = receipt_of(noon.book, outcomes[1], {})
    return noon


def forge(house):
    """Rewrite the whole log with every key: only what lies elsewhere can tell."""
    with administrator(house) as admin:
        admin.forge(approve, chain=Chain(house.keys, house.origin))


def test_rewrites_the_log_while_it_is_shut(refused):
    """Who: an operator with every key and the database.
    Tries: a complete and consistent other history; MACs, tag and tree are genuine.
    Caught by: the checkpoint store, when any process opens the Book: one size, two roots.
    Not caught: if the store is rewritten with it; then by receipts and time stamps, below.
    """
    refused.shelf.close()
    forge(refused)

    with pytest.raises(HistoryRewritten):
        refused.second_process().book(refused.tenant)


def test_rewrites_the_log_under_a_running_process(refused):
    """Who: an operator with every key, who does not stop the service.
    Tries: the same rewrite between two posts.
    Caught by: the next post: the head is not the one the process left, and does not extend what it
    signed. Its writer stops, and stays stopped.
    Not caught: reads in between, except those that prove something.
    """
    forge(refused)

    for _ in range(2):
        with pytest.raises(HistoryRewritten):
            refused.post(attempt())

    assert isinstance(refused.book.writer.stopped, HistoryRewritten)
    assert refused.book.reader.head().size == 7  # Nothing was added to the other history.


def test_rewrites_head_frontier_and_chain_together(caught):
    """Who: an operator with every key, and an auditor before him.
    Tries: another history, complete and genuine, and has the auditor run fsck over it.
    Caught by: the checkpoint store's root and every anchor's; receipts; packets.
    Not caught: by chain, tag, tree and lifecycles: all of them were made with the right keys.
    """
    noticed = caught("history-rewritten")

    assert noticed >= {"open:history-rewritten", "look", "fsck:store", "receipt", "packet"}
    assert noticed & {"fsck:mac", "fsck:head", "fsck:tile", "fsck:bytes", "fsck:column"} == set()


def test_rewrites_the_checkpoint_store_with_it(caught):
    """Who: an operator who reaches the second storage as well.
    Tries: the same, and a genuinely signed checkpoint over it in the store.
    Caught by: a process that was there before; receipts, which prove another root.
    Not caught: by a process that starts afterwards; what was stamped before is the next test's.
    """
    noticed = caught("history-and-store-rewritten")

    assert noticed >= {"look:history-rewritten", "receipt"}
    assert "open" not in noticed


def test_rewrites_the_checkpoint_store_too(refused):
    """Who: an operator who reaches the second storage as well.
    Tries: signs the other history's checkpoint and puts it where the old one was.
    Caught by: a process that has seen the old one; each receipt of the old history, which proves a
    root of the same log that the new one does not extend.
    Not caught: by any process that starts afterwards: witnesses and time stamps are for that.
    """
    forge(refused)
    head = refused.book.reader.head()
    other = Checkpoint(origin=refused.origin, size=head.size, root=head.root)
    (path,) = (
        one
        for one in (refused.directory / "checkpoints").glob("*.checkpoint")
        if "access" not in one.name
    )
    path.write_bytes(sign_checkpoint(refused.keys, other))

    refused.second_process().book(refused.tenant)  # Knows nothing of the past.
    with pytest.raises(HistoryRewritten):
        refused.book.notary.refresh()
    proved, _ = check_tlog_proof(
        refused.receipt.proof.tlog_proof(),
        leaf=refused.receipt.proof.leaf,
        origin=refused.origin,
        keys=[verifier_key(refused.keys, refused.origin)],
    )
    assert proved.size == other.size
    assert proved.root != other.root  # Two signed roots of one size: proof of the fraud.


def test_changes_what_was_stamped_before(refused, authority):
    """Who: an operator who rewrites everything within reach a day later.
    Tries: another history under a checkpoint that a time-stamping authority has already seen.
    Caught by: the anchor: the stamped root at that size is not the new tree's; no consistency path
    leads from it, whoever computes it.
    Not caught: entries that were recorded after the last anchor, by the stamp alone.
    """
    night = Night(refused.book, [authority.authority()])
    night.interim()
    (anchor,) = Anchors(refused.book).covering(0)
    forge(refused)
    head = refused.book.reader.head()

    with pytest.raises(VerifyError):
        check_consistency(
            old_size=anchor.size,
            old_root=anchor.root,
            new_size=head.size,
            new_root=head.root,
            path=refused.book.tree.consistency(anchor.size, head.size),
        )
    report = Fsck(refused.book, first_key=refused.first_key()).run()
    assert any("anchor interim" in one.sentence for one in report.damage)


def test_changes_what_was_stamped_and_the_store_with_it(caught):
    """Who: an operator who reaches database, keys and checkpoint store.
    Tries: another history under a stamped checkpoint, and its new checkpoint in the store.
    Caught by: fsck, which holds every anchor's root against the entries; packets, whose token lies
    over the old root; receipts; a process that ran before.
    Not caught: if the authority lies, too, or its tokens are all destroyed; packets hold copies.
    """
    assert caught("anchored-history-rewritten") >= {"look", "fsck:store", "receipt", "packet"}


def test_turns_a_refusal_into_an_approval(caught):
    """Who: an operator with every key, asked to make one decision disappear.
    Tries: head, frontier, tiles and chain rewritten together around it; all of it genuine.
    Caught by: the checkpoint store at start and at the next look; fsck; receipts; packets.
    Not caught: by chain, tag and tree: they were made with the right keys.
    """
    noticed = caught("decision-rewritten")

    assert noticed >= {"open:history-rewritten", "look", "fsck:store", "receipt", "packet"}


def test_rewinds_database_and_store_to_one_moment(caught):
    """Who: an operator who restores both from one snapshot, or keeps both on one disk.
    Tries: database and checkpoint store as they were some entries ago.
    Caught by: a process that was there before; each receipt of an entry that is gone.
    Not caught: by any process that starts afterwards, nor by fsck: nothing within reach remembers.
    """
    noticed = caught("database-and-store-rewound")

    assert noticed >= {"look:history-rewritten", "receipt"}
    assert noticed & {"open", "fsck"} == set()


def test_puts_an_older_checkpoint_back(caught):
    """Who: whoever reaches the checkpoint store alone.
    Tries: an older checkpoint of the same log, genuinely signed.
    Caught by: a process that has seen the newer one.
    Not caught: by a process that starts afterwards: the database extends the older one, and is
    right; the protection against a rewound database is weaker until the next entry is signed.
    """
    noticed = caught("store-rewound")

    assert "look:history-rewritten" in noticed
    assert noticed & {"open", "fsck"} == set()


def test_signs_more_than_the_database_holds(caught):
    """Who: an operator who wants a proof of an entry that nobody may read.
    Tries: a signed checkpoint over one entry more than there is.
    Caught by: every process and fsck: the log ends before what was signed.
    Not caught: a stranger who is shown that checkpoint alone, until it meets another.
    """
    assert caught("store-ahead") >= {"open:history-rewritten", "look", "fsck:store"}


@pytest.mark.parametrize("attack", ["store-emptied", "store-unsigned", "store-of-another-book"])
def test_makes_the_store_say_nothing(caught, attack):
    """Who: whoever reaches the checkpoint store.
    Tries: removes the checkpoint, strips its signature, or puts another Book's in its place.
    Caught by: every process that opens the Book or looks: a store that says nothing is no store.
    Not caught: why it is gone; nothing is recorded until somebody has found out.
    """
    assert caught(attack) >= {"open", "look", "fsck"}


def test_records_an_outcome_without_an_attempt(caught):
    """Who: an operator who needs a record of a call that nobody made.
    Tries: appends it with genuine keys, past every door that checks lifecycles.
    Caught by: fsck, which folds every stream again: the outcome has no attempt before it.
    Not caught: by proofs and packets: the entry is in the log. A made-up attempt before it would
    pass fsck, too; the log shows that both were recorded late, and by whose credential.
    """
    assert "fsck:lifecycle" in caught("outcome-of-nothing-recorded")


def test_records_an_entry_dated_back(caught):
    """Who: an operator who needs something to have been recorded years ago.
    Tries: appends it with genuine keys and an old date.
    Caught by: fsck: time goes back; the next time stamp over it, which bounds when it came.
    Not caught: a date between the newest entry's and now.
    """
    assert "fsck:time" in caught("dated-back-recorded")


def test_forks_the_log_into_two_services(refused, tmp_path):
    """Who: an operator who shows one history to clients and another to the auditor.
    Tries: a copy of keystore and database state, each continued on its own, one checkpoint store.
    Caught by: the store's compare-and-swap: of two entries at one size only one gets in.
    Not caught: with two stores, until two checkpoints meet: a split view is for witnesses.
    """
    copy = tmp_path / "copy"
    shutil.copytree(refused.directory / "keystore", copy / "keystore")
    (copy / "keystore").chmod(0o700)
    fork = Shelf(
        database=Database(refused.app_url),
        keys=FileKeystore(copy / "keystore", PASSPHRASE),
        store=FileCheckpointStore(refused.directory / "checkpoints", refused.store._keys),
        now_ms=refused.now_ms,
    )
    refused.others.append(fork)
    refused.post(attempt(), by=fork)
    with administrator(refused) as admin:
        admin.save()
        refused.post(attempt())
        admin.restore()

    with pytest.raises(HistoryRewritten):
        refused.post(attempt(), by=fork)


def test_forges_yesterday_with_todays_key(refused):
    """Who: a thief of the machine, tonight.
    Tries: MACs for yesterday's entries: the chain key of yesterday is what he needs.
    Caught by: the key's end: after midnight it is nowhere, and no younger key leads back to it.
    Not caught: a keystore that was backed up yesterday holds it; see the known gap there.
    """
    refused.now_ms.move(days=1)
    refused.post(attempt())

    with pytest.raises(KeyDestroyed):
        refused.keys.mac(chain_key(refused.origin, 0), b"anything")

    assert refused.keys.has(chain_key(refused.origin, 1))
    forged = Chain(refused.keys, refused.origin).mac(1, b"anything")
    assert forged  # Today he can still forge today: that is what the checkpoint store is for.
