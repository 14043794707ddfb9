# SPDX-License-Identifier: GPL-3.0-or-later
"""Chain keys that end at midnight and by count, clocks that jump, and time that never goes back."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from administrator import administrator
from house import PASSPHRASE, Hand, attempt, house_in, noon_before

import ledger.writer
from anchoring.chain_walk import mac_text
from anchoring.checkpoint_store import FileCheckpointStore
from anchoring.fsck import Fsck
from anchoring.shelf import Shelf
from ledger import clock
from ledger.database import Database
from ledger.errors import ClockUnsure, HistoryRewritten, Unavailable
from ledger.keys import KeystoreUnreachable, chain_key
from ledger.keystore import FileKeystore
from ledger.outcome import Recorded
from ledger.timekeeper import ClockJump
from scripts.assembly import confirm_clock

#: What is asked here does not depend on which PostgreSQL it is.
pytestmark = pytest.mark.once


def sound(house):
    """Check everything, MACs of all epochs included."""
    report = Fsck(house.book, first_key=house.first_key()).run()
    return (report.damage, report.not_checked) == ([], [])


def confirm(house, until_ms):
    with house.owner() as owner:
        confirm_clock(owner, house.tenant, until_ms)


def test_the_first_entry_after_midnight_seals_the_epoch(noon):
    """EPOCH_SEALED is the first row of the commit, names the entry before it, and K_0 is gone."""
    (before,) = noon.post(attempt())
    noon.now_ms.move(hours=13)

    outcomes = noon.post(attempt(), attempt())

    assert [one.row.link.position for one in outcomes] == [2, 3]
    sealed = noon.book.reader.at(1)
    assert sealed.entry.value["type"] == "EPOCH_SEALED"
    assert sealed.entry.value["actor"] == {"kind": "system"}
    assert sealed.entry.value["body"] == {
        "epoch": 0,
        "last_n": 0,
        "last_mac": mac_text(before.row.link.mac),
    }
    assert noon.book.reader.head().epoch == 1
    assert not noon.keys.has(chain_key(noon.origin, 0))
    assert noon.keys.has(chain_key(noon.origin, 1))
    assert sound(noon)


def test_in_a_turn_the_old_key_is_there_until_the_commit(noon, monkeypatch):
    """A writer that holds the head destroys nothing before others can see the new epoch."""
    monkeypatch.setattr(ledger.writer, "_PATIENT", 0)
    noon.post(attempt())
    noon.now_ms.move(days=1)

    (outcome,) = noon.post(attempt())
    kept = noon.keys.has(chain_key(noon.origin, 0))
    noon.post(attempt())

    assert outcome.row.link.position == 2
    assert kept
    assert not noon.keys.has(chain_key(noon.origin, 0))
    assert sound(noon)


def test_an_empty_log_seals_its_epoch_without_a_last_entry(noon):
    """Made on one day, first used on another: there is no entry to name."""
    noon.now_ms.move(days=1)

    (outcome,) = noon.post(attempt())

    assert outcome.row.link.position == 1
    assert noon.book.reader.at(0).entry.value["body"] == {"epoch": 0}
    assert sound(noon)


def test_an_epoch_without_entries_is_sealed_by_its_start_value(noon):
    """Two midnights pass and nothing is recorded: the second seal follows the first."""
    noon.post(attempt())
    for _ in range(2):
        noon.now_ms.move(days=1)
        noon.book.settle()

    first, second = (noon.book.reader.at(n).entry.value["body"] for n in (1, 2))
    assert (first["epoch"], second["epoch"], second["last_n"]) == (0, 1, 1)
    assert sound(noon)
    assert Fsck(noon.book).run().damage == []


def test_several_days_without_entries_are_one_step(pattern, tmp_path):
    """An epoch is not a day: after five silent days one EPOCH_SEALED is enough."""
    with house_in(pattern, tmp_path, now_ms=Hand(noon_before(9)), jump_ms=10**10) as house:
        house.post(attempt())
        house.now_ms.move(days=5)
        house.post(attempt())
        house.now_ms.move(days=1)
        house.post(attempt())

        sealed = house.book.reader.of_topic("EPOCH_SEALED/1")

        assert [one.position for one in sealed] == [3, 1]
        assert house.book.chain.epochs() == [2]
        assert sound(house)


def test_a_full_epoch_ends_before_the_batch_that_would_not_fit(pattern, tmp_path):
    """At most five entries under one key, EPOCH_SEALED included, whatever the batches."""
    with house_in(pattern, tmp_path, now_ms=Hand(noon_before(1)), epoch_entries=5) as house:
        for count in (1, 2, 1, 3, 2, 4, 4, 1):
            house.post(*[attempt() for _ in range(count)])

        sealed = [one.position for one in house.book.reader.of_topic("EPOCH_SEALED/1")][::-1]

        lengths = [b - a for a, b in zip([-1, *sealed], sealed, strict=False)]
        assert max(lengths) <= 5
        assert sealed == [4, 8, 11, 16, 21]
        assert sound(house)


def test_a_batch_larger_than_an_epoch_has_one_of_its_own(pattern, tmp_path):
    """A commit is under one key; it ends the epoch before it and no empty one."""
    with house_in(pattern, tmp_path, now_ms=Hand(noon_before(1)), epoch_entries=3) as house:
        house.post(*[attempt() for _ in range(7)])
        house.post(*[attempt() for _ in range(7)])

        sealed = [one.position for one in house.book.reader.of_topic("EPOCH_SEALED/1")]

        assert sealed == [7]
        assert sound(house)


def test_two_processes_cross_midnight_at_once(noon):
    """One of them seals; the other finds its swap lost, and both go on under the new key."""
    other = noon.second_process()
    for shelf in (noon.shelf, other):
        noon.post(attempt(), by=shelf)
    for _ in range(2):
        noon.now_ms.move(days=1)
        with ThreadPoolExecutor(8) as pool:
            shelves = [noon.shelf, other] * 4
            outcomes = list(pool.map(lambda shelf: noon.post(attempt(), by=shelf)[0], shelves))
        assert all(isinstance(outcome, Recorded) for outcome in outcomes)

    assert len(noon.book.reader.of_topic("EPOCH_SEALED/1")) == 2
    assert noon.book.chain.epochs() == [2]
    assert sound(noon)


def test_a_process_that_slept_through_epochs_wakes_up(noon):
    """Three nights pass without it. Its own old key is destroyed as soon as it sees the head."""
    sleeper = noon.second_process()
    noon.post(attempt(), by=sleeper)
    for _ in range(3):
        noon.now_ms.move(days=1)
        noon.post(attempt())

    (outcome,) = noon.post(attempt(), by=sleeper)

    assert outcome.row.link.position == 7
    loaded = sleeper.keys._loaded
    assert [name for name in loaded if name.startswith(f"chain/{noon.origin}/")] == [
        chain_key(noon.origin, 3)
    ]
    assert sound(noon)


def test_a_keystore_shared_by_two_writers_is_no_trouble(noon):
    """The keys that one destroys disappear under the other, who is in the middle of its work."""
    other = Shelf(
        database=noon.database,
        keys=noon.keys,
        store=noon.store,
        now_ms=noon.now_ms,
    )
    noon.others.append(other)
    noon.post(attempt(), by=other)
    for _ in range(2):
        noon.now_ms.move(days=1)
        noon.post(attempt())
        noon.now_ms.move(days=1)
        noon.post(attempt())
        (outcome,) = noon.post(attempt(), by=other)
        assert isinstance(outcome, Recorded)

    assert sound(noon)


def test_a_key_destroyed_in_the_middle_of_a_batch_means_that_others_were_first(noon):
    """After the look at the head and before the MACs, another process ends two epochs."""
    other = noon.second_process(epoch_entries=2)
    sharing = Shelf(database=noon.database, keys=other.keys, store=noon.store, now_ms=noon.now_ms)
    noon.others.append(sharing)
    noon.post(attempt(), by=sharing)
    writer = sharing.book(noon.tenant).writer
    look, crossed = writer._lookup.assume, []

    def look_then_sleep(*arguments):
        found = look(*arguments)
        if not crossed:
            crossed.append(True)
            noon.post(attempt(), by=other)
            noon.post(attempt(), by=other)
        return found

    writer._lookup.assume = look_then_sleep

    (outcome,) = noon.post(attempt(), by=sharing)

    assert outcome.row.link.position == 5
    assert other.book(noon.tenant).chain.epochs() == [2]
    assert writer.stopped is None
    assert sound(noon)


def test_another_keystore_of_the_same_log_keeps_no_old_key_either(noon, tmp_path):
    """Each host has a keystore of its own; each makes the next key and destroys the old."""
    there = tmp_path / "other-host"
    there.mkdir(mode=0o700)
    for path in (noon.directory / "keystore").iterdir():
        if path.is_file():
            (there / path.name).write_bytes(path.read_bytes())
            (there / path.name).chmod(0o600)
    keys = FileKeystore(there, PASSPHRASE)
    other = Shelf(
        database=Database(noon.app_url),
        keys=keys,
        store=FileCheckpointStore(noon.directory / "checkpoints", noon.store._keys),
        now_ms=noon.now_ms,
    )
    noon.others.append(other)
    noon.post(attempt(), by=other)
    noon.now_ms.move(days=1)
    noon.post(attempt())
    assert keys.has(chain_key(noon.origin, 0))

    (outcome,) = noon.post(attempt(), by=other)

    assert outcome.row.link.position == 3
    assert other.book(noon.tenant).chain.epochs() == [1]
    assert sound(noon)


def test_a_key_that_cannot_be_destroyed_now_costs_no_receipt_and_is_destroyed_later(noon):
    """The keystore's disk is full at midnight: the entries are recorded, the key goes next time."""
    stuck = [True]

    class Stuck(FileKeystore):
        def destroy(self, name):
            if stuck:
                raise KeystoreUnreachable
            super().destroy(name)

    shelf = noon.second_process()
    shelf.keys = Stuck(noon.directory / "keystore", PASSPHRASE)
    noon.post(attempt(), by=shelf)
    noon.now_ms.move(days=1)

    (outcome,) = noon.post(attempt(), by=shelf)
    kept = shelf.keys.has(chain_key(noon.origin, 0))
    stuck.clear()
    noon.post(attempt(), by=shelf)

    assert isinstance(outcome, Recorded)
    assert kept
    assert not shelf.keys.has(chain_key(noon.origin, 0))


def test_a_head_from_an_older_epoch_is_rewritten_history(noon):
    """Last night's backup, restored: its key is gone, whoever looks."""
    noon.post(attempt())
    with administrator(noon) as admin:
        admin.save()
        noon.now_ms.move(days=1)
        noon.post(attempt())
        admin.restore()

        with pytest.raises(HistoryRewritten):
            noon.post(attempt())
        with pytest.raises(HistoryRewritten):
            noon.second_process().book(noon.tenant)


# Clocks


def test_time_never_goes_back(noon):
    """A host whose clock is an hour behind dates its entries like the last one."""
    (late,) = noon.post(attempt())
    noon.now_ms.move(hours=-1)

    (early,) = noon.post(attempt())

    assert early.row.recorded_ms == late.row.recorded_ms
    assert sound(noon)


def test_a_jump_of_more_than_a_day_waits_for_an_operator(noon):
    """A wrong date would stay for ever: nothing is recorded until somebody says it is right."""
    noon.post(attempt())
    noon.now_ms.move(days=2)
    request = attempt()

    with pytest.raises(ClockJump):
        noon.post(request)
    size = noon.book.reader.head().size
    confirm(noon, noon.now_ms() - 1)
    with pytest.raises(ClockJump):
        noon.post(request)
    confirm(noon, noon.now_ms())
    (outcome,) = noon.post(request)

    assert size == 1
    assert outcome.row.recorded_ms == noon.now_ms()


def test_two_nights_of_a_quiet_log_are_no_jump(noon):
    """The night's one entry comes a little later each day, and nobody is woken up for it."""
    noon.post(attempt())
    for _ in range(3):
        noon.now_ms.move(days=1, seconds=600)
        noon.book.settle()

    assert len(noon.book.reader.of_topic("EPOCH_SEALED/1")) == 3


def test_a_clock_apart_from_the_databases_records_nothing(noon):
    """It is compared on connecting and every minute; when it is right again, so is the ledger."""
    shelf = noon.second_process()
    noon.post(attempt(), by=shelf)
    shelf.database.skew_ms = -1
    noon.post(attempt(), by=shelf)  # Compared less than a minute ago.
    shelf.book(noon.tenant).writer._timekeeper._compared -= 61

    with pytest.raises(ClockUnsure):
        noon.post(attempt(), by=shelf)
    shelf.database.skew_ms = 5_000
    (outcome,) = noon.post(attempt(), by=shelf)

    assert outcome.row.link.position == 2


def test_a_new_connection_compares_clocks_at_once(house):
    """A process that starts on a host with a wrong clock opens no Book."""
    unsure = Database(house.app_url, skew_ms=-1, timeout_s=0.5)

    with pytest.raises(ClockUnsure):
        house.second_process(database=unsure).book(house.tenant)
    with pytest.raises(Unavailable):
        unsure.dedicated(house.schema, "append")


def test_the_day_is_utc(noon):
    """One millisecond before midnight and midnight itself are in two epochs."""
    midnight = clock.day_start(clock.day_of(noon.now_ms())) + clock.DAY_MS
    noon.now_ms.ms = midnight - 1
    noon.post(attempt())
    noon.now_ms.ms = midnight
    noon.post(attempt())

    assert [one.position for one in noon.book.reader.of_topic("EPOCH_SEALED/1")] == [1]
