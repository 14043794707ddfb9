# SPDX-License-Identifier: GPL-3.0-or-later
"""The head row, its tag, and the chain keys that only move forward."""

import dataclasses
import hmac

import pytest
from administrator import administrator
from house import PASSPHRASE, attempt

from ledger.errors import HeadForged, HistoryRewritten, IntegrityViolation
from ledger.head import STEPS_MAX, Chain, HeadRow
from ledger.keys import KeyMissing, chain_key
from ledger.keystore import FileKeystore
from sealtrail.verify import chain
from sealtrail.verify.frontier import Frontier

ORIGIN = "ledger.test/head"


@pytest.fixture
def keys(tmp_path):
    made = FileKeystore(tmp_path / "keys", PASSPHRASE)
    made.make(chain_key(ORIGIN, 0), "hmac")
    return made


def head_of(one, epoch, leaves=()):
    frontier = Frontier.empty().append(list(leaves))
    return one.head(epoch=epoch, frontier=frontier, mac=bytes(32), last_time=1_700_000_000_000)


def test_a_head_carries_a_tag_over_each_of_its_columns(keys):
    """Whoever changes one column without the chain key is noticed at the next look."""
    one = Chain(keys, ORIGIN)
    head = head_of(one, 0, [b"a" * 32, b"b" * 32])

    one.check(head)

    for change in (
        {"frontier": Frontier(size=2, nodes=(bytes(32),))},
        {"frontier": Frontier(size=4, nodes=head.frontier.nodes)},
        {"mac": b"\1" * 32},
        {"last_time": head.last_time + 1},
        {"tag": bytes(32)},
        {"mac": b"short"},
        {"last_time": -1},
        {"epoch": 1},
    ):
        with pytest.raises(HeadForged):
            one.check(dataclasses.replace(head, **change))


def test_a_process_that_slept_takes_the_same_steps_as_the_others(keys, tmp_path):
    """Three epochs later its key is the one that the others have."""
    awake = Chain(keys, ORIGIN)
    first = keys.mac(chain_key(ORIGIN, 0), chain.evolve_message(ORIGIN))
    for epoch in range(3):
        awake.evolve(epoch)
    head = head_of(awake, 3)
    asleep = Chain(FileKeystore(tmp_path / "keys", PASSPHRASE), ORIGIN)

    asleep.check(head)

    assert keys.mac(chain_key(ORIGIN, 1), b"x") == hmac.digest(first, b"x", "sha256")


def test_a_head_of_an_epoch_whose_key_is_gone_is_rewritten_history(keys):
    """The key was destroyed because the log had moved on; a head back there was restored."""
    one = Chain(keys, ORIGIN)
    old = head_of(one, 0)
    one.evolve(0)
    one.check(head_of(one, 1))
    one.forget_before(1)

    with pytest.raises(HistoryRewritten):
        one.check(old)

    assert one.epochs() == [1]


def test_forgetting_reaches_what_another_process_destroyed_and_this_one_remembers(keys, tmp_path):
    """A destroyed key must not live on in the memory of a process that has used it."""
    other = Chain(FileKeystore(tmp_path / "keys", PASSPHRASE), ORIGIN)
    one = Chain(keys, ORIGIN)
    old = head_of(one, 0)
    other.evolve(0)
    other.forget_before(1)
    one.mac(0, b"still in memory")

    one.forget_before(1)

    with pytest.raises(HistoryRewritten):
        one.check(old)
    assert chain_key(ORIGIN, 0) not in keys._loaded


def test_a_gap_in_the_old_keys_is_rewritten_history_and_no_client_error(keys):
    """Keys 0 and 2 without 1: a crash amid destruction. Epoch 1 is over whatever the row says."""
    one = Chain(keys, ORIGIN)
    one.evolve(0)
    of_epoch_1 = head_of(one, 1)
    one.evolve(1)
    keys.destroy(chain_key(ORIGIN, 1))

    with pytest.raises(HistoryRewritten):
        one.check(of_epoch_1)


def test_a_head_far_ahead_makes_no_mountain_of_keys(keys):
    """An administrator who writes a huge epoch gets an error and not a million key files."""
    one = Chain(keys, ORIGIN)
    head = dataclasses.replace(head_of(one, 0), epoch=STEPS_MAX + 1)

    with pytest.raises(HeadForged):
        one.check(head)

    assert one.epochs() == [0]


def test_without_any_chain_key_nothing_is_said_about_history(keys, tmp_path):
    """A keystore that is not mounted is an outage; it must not condemn the log."""
    head = head_of(Chain(keys, ORIGIN), 0)
    elsewhere = Chain(FileKeystore(tmp_path / "empty", PASSPHRASE), ORIGIN)

    with pytest.raises(KeyMissing):
        elsewhere.check(head)


def test_a_key_that_another_process_destroyed_between_two_looks_is_no_damage(noon, monkeypatch):
    """The head is read, the epoch ends elsewhere, its key is gone: read again, and all is well."""
    book = noon.book
    noon.post(attempt())
    other = noon.second_process().book(noon.tenant)
    row = HeadRow(noon.schema)
    real_read = HeadRow.read
    crossed = []

    def read(self, connection):
        head = real_read(self, connection)
        if not crossed:  # Just after our first look.
            crossed.append(True)
            noon.now_ms.move(days=1)
            other.record([]).result(timeout=30)
        return head

    with noon.database.duty(noon.schema, "read") as connection:
        monkeypatch.setattr(HeadRow, "read", read)
        head = row.checked(connection, book.chain)

    assert head.epoch == 1


def test_a_head_row_that_is_gone_or_misshapen_is_said_so(noon):
    """Neither is an outage; both stop the ledger."""
    noon.post(attempt())
    row = HeadRow(noon.schema)
    with administrator(noon) as admin, noon.database.duty(noon.schema, "read") as connection:
        admin.do("UPDATE {b}.head SET size = size + 2")
        with pytest.raises(HeadForged):
            row.read(connection)

        admin.do("DELETE FROM {b}.head")
        with pytest.raises(IntegrityViolation):
            row.read(connection)


def test_a_head_row_is_laid_once_and_later_without_the_first_key(noon):
    """A command that is safe to repeat stays so when the first epoch's key has been destroyed."""
    schema = noon.book.row.schema
    noon.post(attempt())
    noon.now_ms.move(days=1)
    noon.post(attempt())

    with noon.owner() as owner:
        assert HeadRow(schema).lay(owner, noon.book.chain) is None
