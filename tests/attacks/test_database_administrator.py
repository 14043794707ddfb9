# SPDX-License-Identifier: GPL-3.0-or-later
"""The database administrator: may do anything to any row, and holds no key of the ledger.

Superuser of PostgreSQL, no trigger or role in the way, a backup of every night at hand; knows our
code. Reaches neither the keystore nor the checkpoint store.
"""

import json

import pytest
from administrator import administrator
from house import attempt, deny, gen, ingest

from anchoring.fsck import Fsck
from anchoring.receipt import prove
from ledger.errors import HeadForged, HistoryRewritten, IntegrityViolation
from ledger.head import Chain
from ledger.keys import chain_key
from ledger.keystore import FileKeystore
from sealtrail.verify import canonical
from sealtrail.verify.merkle import leaf_hash


def approve(position, entry):
    """Turn the refusal at position 1 into an approval."""
    if position == 1:
        entry |= {"type": "GEN", "body": {"outputs": [{"asset_id": "x", "mime": "image/png"}]}}


@pytest.fixture
def refused(house):
    """A generation that was denied, and some more entries after it."""
    start = attempt()
    house.post(start, deny(start["aggregate_id"]), *[attempt() for _ in range(8)])
    return house


def test_flips_a_decision_in_one_entry(refused):
    """Who: an administrator asked to make a denial look like an approval.
    Tries: edits the stored bytes of one entry, its columns and its leaf hash with them.
    Caught by: the MAC of that entry at the next fsck, by position; every receipt and proof of it.
    Not caught: by ordinary writing; posts of other streams go on until fsck or a proof looks.
    """
    with administrator(refused) as admin:
        ((data,),) = admin.do("SELECT bytes FROM {b}.entry_body WHERE position = 1")
        entry = json.loads(data)
        approve(1, entry)
        data = canonical.encode(entry)
        admin.do("UPDATE {b}.entry_body SET bytes = %s WHERE position = 1", data)
        admin.do(
            "UPDATE {b}.entry SET leaf = %s, topic = 'GEN/1' WHERE position = 1", leaf_hash(data)
        )

    report = Fsck(refused.book).run()

    assert report.first.position == 1
    with pytest.raises(IntegrityViolation):
        prove(refused.book, 0, refused.book.reader.at(0).leaf)


def test_rewrites_entries_tiles_and_frontier_together(refused):
    """Who: the same, after reading our code.
    Tries: computes every leaf, tile and the frontier anew, so that all of them agree.
    Caught by: the head's tag, an HMAC under a key that is not in the database: no process opens
    or extends the log; fsck names the position by the entry's own MAC.
    Not caught: nothing of this, as long as the chain key stays out of reach.
    """
    with administrator(refused) as admin:
        admin.forge(approve, chain=None)

    with pytest.raises(HeadForged):
        refused.second_process().book(refused.tenant)
    assert Fsck(refused.book).run().first.position == 1


def test_signs_the_forged_head_with_a_key_of_his_own(refused, tmp_path):
    """Who: the same, with a keystore of the same shape and other keys.
    Tries: a complete ledger, MACs and tag included, under a chain key that he made.
    Caught by: the tag and every MAC: they are not those of our key.
    Not caught: nothing of this.
    """
    keys = FileKeystore(tmp_path / "his", b"his own passphrase")
    keys.make(chain_key(refused.origin, 0), "hmac")
    with administrator(refused) as admin:
        admin.forge(approve, chain=Chain(keys, refused.origin))

    with pytest.raises(HeadForged):
        refused.second_process().book(refused.tenant)
    report = Fsck(refused.book).run()
    assert report.first.position == 0
    assert {"mac", "head"} <= {one.what for one in report.damage}


def test_uses_the_log_key_as_an_oracle(refused):
    """Who: an administrator without any key who wants a signature on a root of his choice.
    Tries: swaps one frontier hash, leaving the tag, and waits for the next entry to be signed.
    Caught by: a process that knows the head builds on what it knows and overwrites his hash; one
    that does not know it checks the tag first. Neither signs what he wrote.
    Not caught: that he did it is seen only if somebody reads the row in between.
    """
    with administrator(refused) as admin:
        admin.do("UPDATE {b}.head SET frontier = sha256('x') || substring(frontier FROM 33)")
    with pytest.raises(HeadForged):
        refused.second_process().book(refused.tenant)

    refused.post(attempt())

    assert Fsck(refused.book).run().damage == []
    assert refused.book.notary.latest()[1].root == refused.book.tree.root(11)


def test_cuts_the_newest_entries_and_the_head_with_them(refused):
    """Who: an administrator who wants the last three entries never to have been.
    Tries: restores every row of the Book to an earlier moment; tag, MACs and tiles are genuine.
    Caught by: the checkpoint store, at start and by a running process at its next entry: the log
    ends before what was signed. No process writes or signs any more.
    Not caught: by the chain or by fsck without the store: an earlier state is consistent in itself.
    """
    with administrator(refused) as admin:
        admin.save()
        refused.post(attempt(), attempt(), attempt())
        admin.restore()

    with pytest.raises(HistoryRewritten):
        refused.second_process().book(refused.tenant)
    for _ in range(2):
        with pytest.raises(HistoryRewritten):
            refused.post(attempt())
    assert isinstance(refused.book.writer.stopped, HistoryRewritten)
    assert refused.book.reader.head().size == 10  # Nothing was added to the cut log.


def test_rewinds_to_a_head_that_an_idle_process_still_believes_in(refused):
    """Who: the same, who knows that one server has been idle since the moment he goes back to.
    Tries: lets that server write the next entry on the rewound log: its swap will succeed.
    Caught by: the checkpoint store, before a receipt leaves: the fork's root is not the one that
    was signed at that size. The server stops; nothing was signed twice.
    Not caught: one entry lies in the forked table; nobody has a receipt for it.
    """
    idle = refused.second_process()
    refused.post(attempt(), by=idle)
    with administrator(refused) as admin:
        admin.save()
        refused.post(attempt())
        signed = refused.store.read(refused.origin)
        admin.restore()

    with pytest.raises(HistoryRewritten):
        refused.post(attempt(), by=idle)

    assert isinstance(idle.book(refused.tenant).writer.stopped, HistoryRewritten)
    assert refused.store.read(refused.origin) == signed
    with pytest.raises(HistoryRewritten):
        refused.second_process().book(refused.tenant)


def test_rewinds_under_a_process_that_has_seen_a_larger_checkpoint(refused):
    """Who: the same; the idle server has since been asked for the newest checkpoint.
    Tries: the same.
    Caught by: the checkpoint that the server remembers, before it writes anything.
    Not caught: nothing of this.
    """
    idle = refused.second_process()
    refused.post(attempt(), by=idle)
    with administrator(refused) as admin:
        admin.save()
        refused.post(attempt())
        idle.book(refused.tenant).notary.refresh()
        admin.restore()

    with pytest.raises(HistoryRewritten):
        refused.post(attempt(), by=idle)

    assert refused.book.reader.head().size == 11


def test_cuts_the_oldest_entries(refused):
    """Who: an administrator who wants the beginning gone.
    Tries: deletes the first five entries, bodies and rows.
    Caught by: fsck, by position; every proof that needs one of their hashes.
    Not caught: by posts to other streams, which read neither.
    """
    with administrator(refused) as admin:
        admin.do("DELETE FROM {b}.entry_body WHERE position < 5")
        admin.do("DELETE FROM {b}.entry WHERE position < 5")

    report = Fsck(refused.book).run()

    assert report.first.position == 0
    assert {one.position for one in report.damage if one.what == "entry"} == set(range(5))
    with pytest.raises(IntegrityViolation):
        prove(refused.book, 7, refused.book.reader.at(7).leaf)


def test_frees_an_asset_to_be_ingested_as_new(refused):
    """Who: an administrator who wants an output to pass as an owned photograph.
    Tries: removes the asset from the index of births, and has it ingested again.
    Caught by: fsck: the index lacks the first birth, and the second one breaks the lifecycle.
    Not caught: by the ingest itself, which asks the index.
    """
    start = attempt()
    refused.post(start, gen(start["aggregate_id"], "output"))
    refused.reopen()
    with administrator(refused) as admin:
        admin.do("DELETE FROM {b}.asset_birth WHERE asset_id = 'output'")
    (again,) = refused.post(ingest("output"))

    found = {(one.position, one.what) for one in Fsck(refused.book).run().damage}

    assert again.row.link.position == 12
    assert found == {(11, "birth"), (12, "lifecycle")}


def test_dates_an_entry_earlier(refused):
    """Who: an administrator who wants an event to have been in time.
    Tries: changes the column of the recorded time, by which days are cut.
    Caught by: fsck, which reads the time in the bytes; the night, which holds a day's edges
    against the bytes.
    Not caught: by a search over the column in between.
    """
    with administrator(refused) as admin:
        admin.do("UPDATE {b}.entry SET recorded_at = recorded_at - 3600000 WHERE position = 4")

    found = Fsck(refused.book).run().first

    assert (found.position, found.what) == (4, "column")
    assert "recorded_at" in found.sentence


def test_sends_the_keys_forward(refused):
    """Who: an administrator who cannot read keys but can make the ledger throw them away.
    Tries: writes a later epoch into the head row, so that processes evolve and destroy theirs.
    Caught by: the tag, before any key is destroyed; a jump of thousands of epochs makes none.
    Not caught: a key of the next epoch may be made early; it is the one that would be made anyway.
    """
    with administrator(refused) as admin:
        admin.save()
        for ahead in (1, 10**9):
            admin.do("UPDATE {b}.head SET epoch = %s", ahead)
            with pytest.raises(HeadForged):
                refused.second_process().book(refused.tenant)
        admin.restore()

    assert refused.keys.has(chain_key(refused.origin, 0))
    refused.post(attempt())
    assert Fsck(refused.book, first_key=refused.first_key()).run().damage == []
