# SPDX-License-Identifier: GPL-3.0-or-later
"""The notary: signs what extends all that it knows, and nothing else, ever."""

import dataclasses

import pytest
from administrator import administrator
from house import attempt

from anchoring.checkpoint import CheckpointNotary, sign_checkpoint, verifier_key
from anchoring.checkpoint_store import CheckpointMissing, FileCheckpointStore
from anchoring.tree import Tree
from ledger.errors import HistoryRewritten
from sealtrail.verify.frontier import Frontier
from sealtrail.verify.note import Checkpoint, open_checkpoint

#: What is asked here does not depend on which PostgreSQL it is.
pytestmark = pytest.mark.once


class Signing:
    """Keys that count what they sign."""

    def __init__(self, keys):
        self._keys, self.signed = keys, []

    def sign(self, name, message):
        self.signed.append(message)
        return self._keys.sign(name, message)

    def __getattr__(self, name):
        return getattr(self._keys, name)


@pytest.fixture
def grown(house):
    """A house with three commits, their heads, and a notary of another process."""
    heads = []
    for count in (3, 1, 300):
        house.post(*[attempt() for _ in range(count)])
        heads.append(house.book.reader.head())
    keys = Signing(house.keys)
    notary = CheckpointNotary(
        origin=house.origin,
        keys=keys,
        store=FileCheckpointStore(house.directory / "checkpoints", house.store._keys),
        tree=Tree(house.database, house.schema),
    )
    return house, heads, notary, keys


def forged(head):
    """A head of the same size over other entries."""
    leaves = [b"%032d" % n for n in range(head.size)]
    return dataclasses.replace(head, frontier=Frontier.empty().append(leaves))


def test_a_checkpoint_is_signed_by_the_logs_own_key(grown):
    """Three lines and one signature; the same head gives the same bytes."""
    house, heads, notary, _ = grown

    note, checkpoint = notary.latest()

    _, opened = open_checkpoint(
        note, origin=house.origin, keys=[verifier_key(house.keys, house.origin)]
    )
    assert opened == checkpoint
    assert (checkpoint.size, checkpoint.root) == (heads[-1].size, heads[-1].root)
    assert sign_checkpoint(house.keys, checkpoint) == note


def test_a_head_that_was_overtaken_since_it_was_read_is_no_rewritten_history(grown):
    """Another process committed and signed between our reading of the head and of the store."""
    _, heads, notary, _ = grown

    for head in heads:
        notary.check(head)


def test_an_overtaken_head_must_still_be_a_prefix(grown):
    """Smaller than what was signed, and not its beginning: a fork."""
    _, heads, notary, _ = grown

    for head in heads:
        with pytest.raises(HistoryRewritten):
            notary.check(forged(head))


def test_a_fork_gets_no_signature_at_all(grown):
    """Not one that is thrown away, either: the key never speaks for two histories."""
    _, heads, notary, keys = grown

    for head in heads:
        with pytest.raises(HistoryRewritten):
            notary.seal(forged(head), base=0, extension=())

    assert keys.signed == []


def test_a_larger_fork_is_refused_by_the_store(grown):
    """It claims to extend the log; no path from the signed root leads to it."""
    house, heads, notary, _ = grown
    before = house.store.read(house.origin)
    leaves = [b"%032d" % n for n in range(heads[-1].size + 5)]
    larger = dataclasses.replace(heads[-1], frontier=Frontier.empty().append(leaves))

    with pytest.raises(HistoryRewritten):
        notary.check(larger)
    with pytest.raises(HistoryRewritten):
        notary.seal(larger, base=heads[-1].size, extension=[bytes(32)] * 3)

    assert house.store.read(house.origin) == before


def test_a_smaller_head_of_ours_is_signed_when_it_is_a_prefix(grown):
    """Two processes sign in the other order than they committed: both receipts are good."""
    house, heads, notary, _ = grown
    larger = notary.latest()

    note = notary.seal(heads[0], base=0, extension=())

    _, opened = open_checkpoint(
        note, origin=house.origin, keys=[verifier_key(house.keys, house.origin)]
    )
    assert opened.size == 3
    assert notary.latest() == larger == house.store.read(house.origin)


def test_what_others_put_into_the_store_is_remembered(grown):
    """The largest counts, whoever signed it."""
    house, heads, notary, _ = grown
    house.post(attempt())

    assert notary.size == heads[-1].size
    _, newest = notary.refresh()

    assert newest.size == notary.size == heads[-1].size + 1


def test_a_database_that_went_back_is_told_from_a_head_that_was_overtaken(grown):
    """The head is old and so is the database: that is a restore."""
    house, _, notary, _ = grown
    with administrator(house) as admin:
        admin.save()
        old = house.book.reader.head()
        house.post(attempt())
        notary.check(old)

        admin.restore()

        with pytest.raises(HistoryRewritten):
            notary.check(old)


def test_a_tree_with_holes_proves_nothing(grown):
    """Tiles that are gone cannot show that the log still extends what was signed."""
    house, heads, notary, _ = grown
    with administrator(house) as admin:
        admin.do("DELETE FROM {b}.tile")
        admin.do("DELETE FROM {b}.entry WHERE position < 2")

    with pytest.raises(HistoryRewritten):
        notary.check(heads[0])


def test_a_log_unknown_to_the_store_is_not_opened(house, tmp_path):
    """An empty directory is a wrong mount or a loss, never a fresh start."""
    elsewhere = FileCheckpointStore(tmp_path / "elsewhere", house.store._keys)

    with pytest.raises(CheckpointMissing):
        CheckpointNotary(
            origin=house.origin,
            keys=house.keys,
            store=elsewhere,
            tree=Tree(house.database, house.schema),
        )


def test_the_empty_log_is_extended_by_every_log(house):
    """Size 0 was signed at `init`; the first entry needs no proof."""
    notary = house.book.notary

    assert notary.latest()[1] == Checkpoint(
        origin=house.origin, size=0, root=Frontier.empty().root()
    )
    house.post(attempt())

    assert notary.size == 1
