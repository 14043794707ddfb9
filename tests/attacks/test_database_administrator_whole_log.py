# SPDX-License-Identifier: GPL-3.0-or-later
"""The database administrator, again: what he tries on the log as a whole.

Chain, head row, tiles, the order and number of entries, time stamps, clocks. He holds no key.
"""

import pytest
from administrator import administrator
from house import attempt, deny

from anchoring.fsck import Fsck
from evidence.attack.administrator import unchanged
from evidence.attack.defences import examine, keep
from ledger import clock
from ledger.database import Database
from ledger.errors import ClockUnsure, HeadForged, HistoryRewritten
from ledger.head import Chain
from ledger.keys import chain_key
from ledger.keystore import FileKeystore

#: What is asked here does not depend on which PostgreSQL it is.
pytestmark = pytest.mark.once

#: Whoever re-derives the log, whoever kept a receipt, and whoever is given a packet.
ALL = {"fsck", "receipt", "packet"}


@pytest.fixture
def refused(house):
    """A generation that was denied, and some more entries after it."""
    start = attempt()
    house.post(start, deny(start["aggregate_id"]), *[attempt() for _ in range(8)])
    return house


# Chain, head row and tiles


def test_changes_one_mac(caught):
    """Who: an administrator who wants the chain to look broken by chance.
    Tries: another MAC at one position.
    Caught by: fsck, by position, while the epoch's key or its escrow is at hand.
    Not caught: by anything else: the tree does not hold MACs.
    """
    assert caught("mac-changed") >= {"fsck:mac"}


def test_strips_every_mac(caught):
    """Who: an administrator who hopes that what is not signed is not checked.
    Tries: the same blank value for every MAC.
    Caught by: fsck: a blank MAC is a wrong one.
    Not caught: by reads and proofs, which rest on the tree and its signature.
    """
    assert "fsck:mac" in caught("signatures-stripped")


def test_swaps_a_hash_of_the_frontier(caught):
    """Who: an administrator without any key who wants a signature on a root of his choice.
    Tries: another hash in the head row's frontier, and waits for a process to sign it.
    Caught by: the head's tag, an HMAC under a key that is not in the database, before anything is
    built on the row or signed.
    Not caught: nothing of this.
    """
    assert caught("frontier-swapped") >= {"open:head-forged", "fsck:head", "look"}


def test_uses_the_log_key_as_an_oracle(refused):
    """Who: an administrator who swaps the frontier under a process that already runs.
    Tries: swaps one hash, leaving the tag, and waits for the next entry to be signed.
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


def test_rewrites_a_tile_and_not_its_leaves(caught):
    """Who: an administrator who wants proofs to fail, and the entries to look untouched.
    Tries: another hash in a stored tile.
    Caught by: fsck, by tile and position; each path is checked before it is handed out.
    Not caught: nothing of this; tiles can be rebuilt from entries.
    """
    assert caught("tile-rewritten") >= {"fsck:tile", *ALL}


def test_rewrites_entries_tiles_and_frontier_together(caught):
    """Who: an administrator who has read our code.
    Tries: computes every leaf, column, tile and the frontier anew, so that all of them agree.
    Caught by: the head's tag: no process opens or extends the log; fsck names the position by the
    entry's own MAC; receipts, packets and every anchor name another root.
    Not caught: nothing of this, as long as the chain key stays out of reach.
    """
    assert caught("all-rewritten") >= {"open:head-forged", "fsck:mac", "fsck:store", "look", *ALL}


def test_signs_the_forged_head_with_a_key_of_his_own(refused, tmp_path):
    """Who: an administrator with a keystore of the same shape and other keys.
    Tries: head row, frontier and chain rewritten together, under a chain key that he made.
    Caught by: the tag and every MAC: they are not those of our key.
    Not caught: nothing of this.
    """
    keys = FileKeystore(tmp_path / "his", b"his own passphrase")
    keys.make(chain_key(refused.origin, 0), "hmac")
    with administrator(refused) as admin:
        admin.forge(unchanged, chain=Chain(keys, refused.origin))

    with pytest.raises(HeadForged):
        refused.second_process().book(refused.tenant)
    report = Fsck(refused.book).run()
    assert report.first.position == 0
    assert {"mac", "head"} <= {one.what for one in report.damage}


def test_removes_the_head_row(caught):
    """Who: an administrator who wants the ledger to begin anew.
    Tries: deletes the one row that says where the log ends.
    Caught by: every process that opens the Book, and fsck: a log without a head is none.
    Not caught: that nothing is recorded meanwhile.
    """
    assert caught("head-removed") >= {"open", "fsck:head"}


def test_names_an_epoch_that_has_not_begun(caught):
    """Who: an administrator who wants the ledger to stand still, or its keys gone.
    Tries: the next epoch's number in the head row.
    Caught by: the tag, which binds the number, when a Book is opened; fsck.
    Not caught: that nothing is recorded meanwhile: whoever owns the database can stop the ledger.
    """
    assert caught("epoch-forward") >= {"open:head-forged", "fsck:head"}


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


# Entries cut, moved, made up


def test_cuts_the_newest_entries(caught):
    """Who: an administrator who wants the last entries never to have been.
    Tries: deletes their rows and bodies, and leaves the head row.
    Caught by: fsck, by position: the head covers them; every receipt and proof of them.
    Not caught: by posts to other streams.
    """
    assert caught("newest-cut") >= {"fsck:entry", *ALL}


def test_cuts_the_newest_entries_and_the_head_with_them(caught):
    """Who: an administrator with a backup.
    Tries: restores every row of the Book to an earlier moment; tag, MACs and tiles are genuine.
    Caught by: the checkpoint store, when any process opens the Book or looks: the log ends before
    what was signed; receipts of the entries that are gone.
    Not caught: by the chain, or by fsck without the store: what was is consistent in itself.
    """
    assert caught("newest-cut-with-head") >= {"open:history-rewritten", "look", *ALL}


def test_rewinds_under_a_process_that_writes(refused):
    """Who: an administrator with a backup, while the service runs.
    Tries: restores every row, and lets the service go on.
    Caught by: its next entry: the head does not extend what it has signed. Its writer stops, and
    stays stopped.
    Not caught: reads in between, except those that prove something.
    """
    with administrator(refused) as admin:
        admin.save()
        refused.post(attempt(), attempt(), attempt())
        admin.restore()

    for _ in range(2):
        with pytest.raises(HistoryRewritten):
            refused.post(attempt())
    assert isinstance(refused.book.writer.stopped, HistoryRewritten)
    assert refused.book.reader.head().size == 10  # Nothing was added to the cut log.


def test_rewinds_to_a_head_that_an_idle_process_still_believes_in(refused):
    """Who: an administrator who knows that one server has been idle since the backup.
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
    """Who: an administrator with a backup, and a server that was idle since.
    Tries: lets that server write on the rewound log, after it was asked for the newest checkpoint.
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


def test_cuts_the_oldest_entries(caught):
    """Who: an administrator who wants the beginning gone.
    Tries: deletes the older half, rows and bodies.
    Caught by: fsck, by position; every proof that needs one of their hashes.
    Not caught: by posts to other streams, which read neither.
    """
    assert caught("oldest-cut") >= {"fsck:entry", *ALL}


def test_cuts_the_oldest_entries_and_moves_the_rest(caught):
    """Who: an administrator who wants a log that begins later.
    Tries: the younger half under positions from 0, with tiles, frontier and size of its own.
    Caught by: the head's tag; every MAC, which holds its position; receipts and anchors.
    Not caught: nothing of this.
    """
    assert caught("oldest-cut-and-moved") >= {"open:head-forged", "look", *ALL}


def test_reorders_two_entries(caught):
    """Who: an administrator who wants an approval to have come before the deed.
    Tries: two neighbours change places, with tiles and frontier to match.
    Caught by: the head's tag; the MACs of both; the root that was signed.
    Not caught: an order that was wrong when it was recorded.
    """
    assert caught("reordered") >= {"open:head-forged", "fsck:mac", "look", *ALL}


def test_adds_an_outcome_for_an_attempt_that_never_was(caught):
    """Who: an administrator who needs a record of a call that nobody made.
    Tries: a row and its body behind the last entry.
    Caught by: fsck: no head ever covered it; no proof of it leads to a signed root.
    Not caught: by a search that reads rows and asks for no proof.
    """
    assert caught("outcome-of-nothing") >= {"fsck:entry"}


def test_adds_such_an_outcome_and_counts_it_in(caught):
    """Who: an administrator who has read how the head row counts.
    Tries: the same row, covered by size and frontier.
    Caught by: the head's tag, when a Book is opened; the missing MAC; the lifecycle, by which an
    outcome has its attempt before it.
    Not caught: nothing of this.
    """
    noticed = caught("outcome-of-nothing-with-head")

    assert noticed >= {"open:head-forged", "fsck:head", "fsck:mac", "fsck:lifecycle"}


def test_switches_the_trigger_off_and_empties_the_tables(spoiled):
    """Who: an administrator in a hurry.
    Tries: ALTER TABLE … DISABLE TRIGGER, then TRUNCATE: rows, bodies, tiles.
    Caught by: fsck, which asks for what the head covers; a Book that is opened, whose signed
    checkpoint no stored tile can be shown to extend; receipts.
    Not caught: what was not backed up is gone; a ledger in one database cannot prevent that.
    """
    kept = keep(spoiled.running, [3])
    for table in ("entry", "entry_body", "tile"):
        spoiled.admin.do("ALTER TABLE {b}.{t} DISABLE TRIGGER append_only".replace("{t}", table))
        spoiled.admin.do("TRUNCATE {b}.{t}".replace("{t}", table))
        spoiled.admin.do("ALTER TABLE {b}.{t} ENABLE TRIGGER append_only".replace("{t}", table))

    noticed = examine(spoiled, kept)

    assert noticed.keys() >= {"fsck:entry", "receipt", "packet:not-found"}


def test_lets_a_book_read_anothers_rows(refused):
    """Who: an administrator who wants a Book to look empty, or another tenant's to be its own.
    Tries: lets two Books' names change schemas in the registry.
    Caught by: the head's tag, which holds the origin, and the keys, which are the origin's own.
    Not caught: nothing of this.
    """
    swap = (
        "UPDATE sealtrail.book SET schema_name = CASE name WHEN %s THEN %s ELSE %s END"
        " WHERE tenant = %s"
    )
    main, access = refused.schema, f"{refused.schema}_access"
    with refused.owner() as owner:
        owner.execute("ALTER TABLE sealtrail.book DROP CONSTRAINT book_schema_name_key")
        owner.execute(swap, (refused.tenant, access, main, refused.tenant))
        for name in (refused.tenant, f"{refused.tenant}-access"):
            with pytest.raises(HeadForged):
                refused.second_process().book(name)
        owner.execute(swap, (refused.tenant, main, access, refused.tenant))
        owner.execute("ALTER TABLE sealtrail.book ADD UNIQUE (schema_name)")


# Proof of time, and the clock


def test_removes_the_time_stamps(caught):
    """Who: an administrator who wants no proof of when.
    Tries: deletes every authority's token.
    Caught by: fsck: the log's own ANCHOR entries name each token by its digest.
    Not caught: the tokens are lost, unless a packet holds them; entries and order are untouched.
    """
    assert caught("token-removed") >= {"fsck:anchor"}


def test_pastes_the_stamp_of_another_checkpoint(caught):
    """Who: an administrator who wants an older date.
    Tries: one checkpoint's genuine token beside another one.
    Caught by: fsck, by digest; our own check of each packet, since the token is over other bytes.
    Not caught: nothing of this.
    """
    assert caught("token-pasted") >= {"fsck:anchor"}


def test_states_another_time_beside_a_token(caught):
    """Who: an administrator who wants anchors to be listed earlier, or the next ones refused.
    Tries: another time in the column beside the token; no stamp may be older than the newest one.
    Caught by: fsck: the log's own ANCHOR entries name each token's time.
    Not caught: by the list of anchors in between; the token itself says the time that counts.
    """
    assert "fsck:anchor" in caught("token-dated-otherwise")


def test_spoils_the_query_beside_a_token(caught):
    """Who: an administrator who wants packets to be refuted.
    Tries: another query beside a genuine token.
    Caught by: fsck: it must ask for a stamp over these bytes; our own check of each packet.
    Not caught: a query that differs in its nonce alone, by fsck; by the check of a packet it is.
    """
    assert "fsck:anchor" in caught("query-spoiled")


def test_strips_the_signature_from_what_was_stamped(caught):
    """Who: an administrator who wants it to look as if the log had not signed what was stamped.
    Tries: the stamped bytes without the log's signature line.
    Caught by: fsck, by the digest in the log's own ANCHOR entry; the token, which covers it all.
    Not caught: witnesses' lines, which nobody collects yet.
    """
    assert caught("stamped-stripped") >= {"fsck:anchor"}


def test_confirms_a_clock_that_is_wrong(refused, monkeypatch):
    """Who: an administrator who also sets the clock of one server.
    Tries: a row that confirms any future, so that the server dates entries a year ahead.
    Caught by: the database's clock, with which each server's is compared: 503, nothing recorded.
    Not caught: both clocks set alike, until the next time stamp: no authority dates it so.
    """
    now = clock.now_ms
    with refused.owner() as owner:
        owner.execute(
            "INSERT INTO sealtrail.clock_confirmation VALUES (%s, %s)",
            (refused.tenant, now() + 10**12),
        )
    monkeypatch.setattr(clock, "now_ms", lambda: now() + 365 * clock.DAY_MS)

    database = Database(refused.app_url, timeout_s=0.5)
    wrong = refused.second_process(database=database, now_ms=clock.now_ms)
    with pytest.raises(ClockUnsure):
        refused.post(attempt(), by=wrong)

    monkeypatch.undo()
    assert refused.book.reader.head().size == 10
