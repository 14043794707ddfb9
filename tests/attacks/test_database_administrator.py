# SPDX-License-Identifier: GPL-3.0-or-later
"""The database administrator: may do anything to any row, and holds no key of the ledger.

Superuser of PostgreSQL, no trigger or role in the way, a backup of every night at hand; knows our
code. Reaches neither the keystore nor the checkpoint store.
"""

import sys

import pytest
from administrator import administrator
from house import attempt, gen, ingest

from anchoring.fsck import Fsck
from ledger import access

#: What is asked here does not depend on which PostgreSQL it is.
pytestmark = pytest.mark.once

#: Whoever re-derives the log, whoever kept a receipt, and whoever is given a packet.
ALL = {"fsck", "receipt", "packet"}


# What an entry says


def test_flips_a_decision(caught):
    """Who: an administrator asked to make a refusal look like an approval.
    Tries: edits the stored bytes, and with them leaf hash and every column.
    Caught by: the MAC of that entry at the next fsck, by position; every receipt, proof and packet.
    Not caught: by ordinary writing; posts of other streams go on until fsck or a proof looks.
    """
    assert caught("decision-flipped") >= {"fsck:mac", *ALL}


def test_changes_who_answers_for_it(caught):
    """Who: an administrator who covers for a colleague.
    Tries: another credential in an entry, everything in the database to match.
    Caught by: the entry's MAC and its leaf in tree, receipts and packets.
    Not caught: an entry that named the wrong person from the start.
    """
    assert caught("approver-changed") >= {"fsck:mac", *ALL}


def test_changes_the_version_of_the_policy(caught):
    """Who: an administrator asked to make a decision look covered by the rules of its day.
    Tries: another version of the policy in an entry.
    Caught by: MAC, tree, receipts and packets.
    Not caught: what the policy of that version says; its digest is in the entry, if it was sent.
    """
    assert caught("policy-changed") >= {"fsck:mac", *ALL}


def test_changes_an_argument_of_the_call(caught):
    """Who: an administrator asked to make an output irreproducible.
    Tries: another seed in the record of the call.
    Caught by: MAC, tree, receipts and packets.
    Not caught: a pipeline that sent another seed than it used.
    """
    assert caught("argument-changed") >= {"fsck:mac", *ALL}


def test_swaps_a_commitment(caught):
    """Who: an administrator who wants another prompt or person to have been committed to.
    Tries: another digest in `_sd`.
    Caught by: MAC, tree, receipts and packets; no disclosure opens the new digest, either.
    Not caught: which value was meant, if the client has lost its record key.
    """
    assert caught("commitment-changed") >= {"fsck:mac", *ALL}


def test_writes_a_key_twice(caught):
    """Who: an administrator who counts on two readers that see two entries in the same bytes.
    Tries: a second member of one name; the leaf hash matches.
    Caught by: the one canonical form: such bytes are no entry, for any of our readers.
    Not caught: nothing of this.
    """
    assert caught("key-twice") >= {"fsck:bytes", *ALL}


def test_spells_an_entry_otherwise(caught):
    """Who: an administrator who wants old proofs to fail without a change of content.
    Tries: the same JSON with spaces in it.
    Caught by: the one canonical form, the MAC, and the leaf in the tree.
    Not caught: nothing of this; the content is still to be read, and says what it said.
    """
    assert caught("spelled-otherwise") >= {"fsck:bytes", "fsck:mac", *ALL}


def test_swaps_the_bytes_of_two_entries(caught):
    """Who: an administrator who wants a decision to belong to another call.
    Tries: lets the bytes of two neighbours change places.
    Caught by: the leaf hash beside each, its MAC, and every column.
    Not caught: nothing of this.
    """
    assert caught("bodies-swapped") >= {"fsck:body", *ALL}


def test_removes_the_bytes_of_an_entry(caught):
    """Who: an administrator who was told to lose something.
    Tries: deletes one body and leaves its row.
    Caught by: fsck, by position; a read of it; its leaf hash stays, so its proof still does, too.
    Not caught: what the entry said is lost, unless a receipt or packet holds it.
    """
    assert caught("body-removed") >= {"fsck:body", *ALL}


def test_makes_himself_a_credential(house):
    """Who: an administrator who wants to append or read like a client.
    Tries: a row of his own in the registry of credentials.
    Caught by: NOT CAUGHT: the registry is not signed. What he appends names his credential for
    ever, and what he reads with it is entered in the access Book; `token list` shows the row.
    Not caught: who was behind it; of prompts and names he sees digests, as in the rows themselves.
    """
    with house.owner() as owner:
        owner.execute(
            "INSERT INTO sealtrail.credential"
            " (credential_id, token_sha256, tenant, role, kind, name)"
            " VALUES ('cred_his', sha256('a token that he made'), %s, 'auditor', 'person', 'x')",
            (house.tenant,),
        )
        listed = {one.credential for one in access.credentials(owner, house.tenant)}

    assert (
        access.Credentials(house.database).identify("a token that he made").credential == "cred_his"
    )
    assert "cred_his" in listed


# Columns beside the bytes


def test_changes_a_leaf_hash_and_not_the_bytes(caught):
    """Who: an administrator who wants proofs of one entry to fail.
    Tries: another leaf hash in its row.
    Caught by: every read, which hashes the bytes again; fsck.
    Not caught: nothing of this; the column can be rebuilt from the bytes.
    """
    assert caught("leaf-column") >= ALL


def test_hides_an_entry_from_the_search(caught):
    """Who: an administrator who wants an event not to be found by its id.
    Tries: another event_id in the index column; the bytes stay.
    Caught by: fsck; whoever has the receipt, and is told that there is no such entry.
    Not caught: by a search of somebody who only wonders if there is one.
    """
    assert caught("event-hidden") >= {"fsck:column", *ALL}


def test_makes_an_honest_retry_a_conflict(caught):
    """Who: an administrator who wants a pipeline to think that its event was refused.
    Tries: another request_digest, so that a repeat of the same request gets 409.
    Caught by: fsck, which derives it again from the bytes.
    Not caught: by reads and proofs; the pipeline gets 409 until fsck is run.
    """
    assert "fsck:column" in caught("retry-spoiled")


def test_makes_a_gap_in_a_pipelines_own_count(caught):
    """Who: an administrator who wants a pipeline to look as if it had left an event out.
    Tries: another number in the index column of `source`.
    Caught by: fsck and every read: the bytes say the number that was sent.
    Not caught: by the check that keeps numbers from being used twice, until then.
    """
    assert caught("source-changed") >= {"fsck:column", *ALL}


def test_names_a_module_in_a_stored_topic(caught):
    """Who: an administrator who wants our process to run code of his.
    Tries: `antigravity:fly` as an entry's topic: some event stores import what a row names.
    Caught by: topics are names in a table of ours, nothing is imported; fsck and reads refuse it.
    Not caught: nothing of this.
    """
    assert caught("topic-names-a-module") >= {"fsck:column", *ALL}
    assert "antigravity" not in sys.modules


def test_dates_an_entry_earlier(caught):
    """Who: an administrator who wants an event to have been in time.
    Tries: changes the column of the recorded time, by which days are cut.
    Caught by: fsck and reads, which take the time from the bytes; the night, which holds a day's
    edges against them.
    Not caught: by a search over the column in between.
    """
    assert caught("dated-back") >= {"fsck:column", *ALL}


def test_removes_an_asset_from_the_index(caught):
    """Who: an administrator who wants an output to pass as an owned photograph.
    Tries: removes it from the index of which entry gave birth to which asset.
    Caught by: fsck, which derives the index again from the entries.
    Not caught: by reads, proofs and packets, which do not need the index.
    """
    assert "fsck:birth" in caught("birth-removed")


def test_frees_an_asset_to_be_ingested_as_new(house):
    """Who: an administrator who wants an output to pass as an owned photograph.
    Tries: removes the asset from the index of births, and has it ingested again.
    Caught by: fsck: the index lacks the first birth, and the second one breaks the lifecycle.
    Not caught: by the ingest itself, which asks the index.
    """
    start = attempt()
    house.post(start, gen(start["aggregate_id"], "output"))
    house.reopen()
    with administrator(house) as admin:
        admin.do("DELETE FROM {b}.asset_birth WHERE asset_id = 'output'")
    (again,) = house.post(ingest("output"))

    found = {(one.position, one.what) for one in Fsck(house.book).run().damage}

    assert again.row.link.position == 2
    assert found == {(1, "birth"), (2, "lifecycle")}
