# SPDX-License-Identifier: GPL-3.0-or-later
"""Restores that go wrong on the way, that are repeated, or that find more than a missing end."""

import contextlib
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from administrator import administrator
from house import Hand, attempt, house_in, noon_before
from restoring import accept, as_file, backup_of, first_keys, look, post

from anchoring.fsck import Fsck
from anchoring.incarnation import ChainUnverified
from anchoring.night import Night
from anchoring.restored_receipt import judge_receipt
from ledger import clock
from ledger.errors import HistoryRewritten, IntegrityViolation, LedgerError
from ledger.keys import KeyDestroyed, log_key
from ledger.keystore import FileKeystore
from sealtrail.verify.note import Checkpoint, Note

#: What is asked here does not depend on which PostgreSQL it is.
pytestmark = pytest.mark.once

TESTS = Path(__file__).resolve().parents[1]

#: A restore that is killed as soon as it has done one step.
KILLED = """
import os, signal, sys
from pathlib import Path
from restoring import accept, stub_house

def kill(step):
    if step == sys.argv[1]:
        os.kill(os.getpid(), signal.SIGKILL)

accept(stub_house(*sys.argv[2:]), progress=kill)
"""


@pytest.fixture
def lost(house):
    """A house whose last two of five entries are gone, and the receipts of all five."""
    with backup_of(house) as empty:
        house.empty = empty
        receipts = post(house, *[attempt() for _ in range(3)])
        with backup_of(house) as backup:
            receipts += post(house, attempt(), attempt())
            house.shelf.close()
            backup.restore()
        house.receipts = receipts
        yield house


def killed_after(house, step):
    """Run `restore --accept` in a process of its own and kill it after a step."""
    search = os.pathsep.join([str(TESTS), *sys.path])
    done = subprocess.run(
        [
            *(sys.executable, "-c", textwrap.dedent(KILLED), step, str(house.directory)),
            *(house.owner_url, house.app_url, house.tenant, house.origin),
        ],
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": search},
    )
    assert done.returncode == -9, done.stderr[-2000:]


def open_origins(house):
    """The origins under which some process could write now."""
    keys = FileKeystore(house.directory / "keystore", b"a passphrase for tests")
    found = []
    shelf = house.second_process()
    with contextlib.suppress(LedgerError):
        found.append(shelf.book(house.tenant).origin)
    usable = [name for name in (house.origin, f"{house.origin}/i2") if keys.has(log_key(name))]
    return found, usable


@pytest.mark.skipif(
    os.environ.get("SEALTRAIL_TEST_POSTGRES", "embedded") != "embedded",
    reason="six processes of a second each; nothing in them depends on the server's version",
)
def test_a_restore_that_is_killed_after_any_step_goes_on_when_it_is_started_again(lost):
    """Six kills in one restore: at no time two origins, never a second number, and in the end one
    incarnation with one opening entry.
    """
    for step in ("keys", "escrowed"):
        killed_after(lost, step)

        assert open_origins(lost)[0] == []
        assert look(lost).verdict == "behind"
    for step, verdict in (
        ("retired", "behind"),
        ("stored", "unfinished"),
        ("published", "unfinished"),
    ):
        killed_after(lost, step)

        assert open_origins(lost) == ([], [f"{lost.origin}/i2"])
        assert (look(lost).verdict, look(lost).number) == (verdict, 2)
    killed_after(lost, "opened")
    assert look(lost).verdict == "unsigned"
    opened = accept(lost)

    assert look(lost).verdict == "extends"
    assert (opened.position, opened.row.origin) == (3, f"{lost.origin}/i2")
    lost.reopen()
    post(lost, attempt())
    assert len(lost.book.reader.of_topic("INCARNATION_OPENED/1")) == 1
    keys = {name: key for name, key in first_keys(lost).items() if not name.endswith("/access")}
    assert Fsck(lost.book, first_key=keys).run().damage == []


def test_a_second_restore_opens_a_third_incarnation(lost):
    """Also from a backup that is older than the second: it names the last word of that one. A
    receipt of any of them is answered.
    """
    accept(lost)
    lost.reopen()
    second = post(lost, attempt())
    lost.shelf.close()
    lost.empty.restore()

    with pytest.raises(HistoryRewritten, match="older than that restore"):
        lost.second_process().book(lost.tenant)
    found = look(lost)
    opened = accept(lost, unverified_chain=True)
    lost.reopen()
    (third,) = post(lost, attempt())

    assert (found.verdict, found.orphaned) == ("behind", (0, 5))
    assert opened.row.origin == f"{lost.origin}/i3" == third.origin
    body = lost.book.reader.at(0).entry.value["body"]
    assert (body["number"], body["size"], body["old_origin"]) == (3, 0, lost.origin)
    assert body["checkpoint"]["origin"] == f"{lost.origin}/i2"
    assert body["tag_verified"] is False
    assert judge_receipt(as_file(third), [lost.book]).verdict == "in the log"
    for receipt in (*lost.receipts, *second):
        assert judge_receipt(as_file(receipt), [lost.book]).verdict == "orphaned by restore"
    assert Fsck(lost.book).run().damage == []
    for number in ("", "/i2"):
        with pytest.raises(KeyDestroyed):
            lost.shelf.keys.sign(log_key(f"{lost.origin}{number}"), b"m")


def test_a_backup_that_is_restored_between_two_tries_gets_a_number_of_its_own(lost):
    """The first try has signed what it would have inherited; with other entries at hand, that word
    stands for nothing more, and the next try takes the next number.
    """
    killed_after(lost, "stored")
    lost.empty.restore()

    opened = accept(lost)

    assert opened.row.origin == f"{lost.origin}/i3"
    assert opened.found.known.checkpoint.origin == f"{lost.origin}/i2"
    assert open_origins(lost) == ([f"{lost.origin}/i3"], [])


def test_a_fork_is_inherited_as_it_is_and_its_losers_are_orphaned(house):
    """A database that lost an entry and took another: the receipt of the one that lost is orphaned,
    though the log is as long as it was.
    """
    kept = post(house, attempt())
    with backup_of(house) as backup:
        lost = post(house, attempt())
        note, _ = house.book.notary.latest()
        house.shelf.close()
        backup.restore()
        house.store._seen.clear()
        stored = next(house.directory.glob("checkpoints/*%2ft*.checkpoint"))
        stored = house.directory / "checkpoints" / stored.name.replace("%2faccess", "")
        stored.write_bytes(kept[0].proof.checkpoint)  # So that a writer takes the other one.
        house.reopen()
        post(house, attempt())
        house.shelf.close()
        stored.write_bytes(note)

    found = look(house)
    accept(house)
    house.reopen()

    assert (found.verdict, found.agreed) == ("forked", 0)
    books = [house.book]
    assert judge_receipt(as_file(kept[0]), books).verdict == "in the log"
    assert judge_receipt(as_file(lost[0]), books).verdict == "orphaned by restore"


@pytest.fixture
def nights(pattern, tmp_path):
    """A house restored from the backup of a day whose chain key has been destroyed since."""
    with house_in(pattern, tmp_path, now_ms=Hand(noon_before(2))) as house:
        house.old = post(house, attempt(), attempt())
        with backup_of(house) as backup:
            house.now_ms.move(days=1)
            post(house, attempt())
            house.shelf.close()
            backup.restore()
        house.now_ms.move(days=1)
        yield house


def test_yesterdays_backup_needs_the_auditors_key_or_a_word(nights):
    """Its chain key was destroyed that night, so nobody here can tell if it was altered since."""
    with pytest.raises(ChainUnverified, match="--chain-escrow"):
        accept(nights)

    assert look(nights).tag == "unknown"
    opened = accept(nights, first_keys=first_keys(nights))
    nights.reopen()
    post(nights, attempt())
    body = nights.book.reader.at(opened.position).entry.value["body"]
    assert body["tag_verified"] is True
    assert Fsck(nights.book, first_key=first_keys(nights)).run().damage == []


def test_an_altered_backup_is_not_accepted_when_the_auditors_key_is_there(nights):
    """With the escrow every MAC is recomputed, so the restore launders nothing."""
    with administrator(nights) as admin:
        admin.edit(1, lambda entry: entry["body"].update(input_type="image"))

        with pytest.raises(IntegrityViolation, match="position 1"):
            accept(nights, first_keys=first_keys(nights))

    assert look(nights).verdict == "behind"


def test_the_day_of_the_restore_is_the_day_of_the_opening_entry(nights):
    """However old the backup: its first new entry is the opening one, dated by the clock of today,
    and needs no confirmation of its own that time has passed.
    """
    opened = accept(nights, first_keys=first_keys(nights))

    nights.reopen()
    entry = nights.book.reader.at(opened.position).entry
    assert entry.value["type"] == "INCARNATION_OPENED"
    assert clock.day_of(entry.recorded_ms) == clock.day_of(nights.now_ms())
    assert Checkpoint.parse(Note.parse(opened.checkpoint).text).size == opened.position + 1


def test_a_stamp_that_was_still_owed_is_fetched_after_the_restore(house, authority):
    """What the old origin chose to have stamped is a true checkpoint over inherited entries."""
    tsa = authority.authority()
    post(house, attempt())
    owed = Night(house.book, []).interim()
    with backup_of(house) as backup:
        post(house, attempt())
        house.shelf.close()
        backup.restore()
    accept(house)
    house.reopen()

    done = list(Night(house.book, [tsa]).catch_up(clock.now_ms()))

    assert [(one.anchor_id, one.recorded) for one in done] == [(owed.anchor_id, True)]
    assert Fsck(house.book, first_key=first_keys(house)).run().damage == []


def test_a_lost_checkpoint_store_is_said_aloud(lost):
    """Without its last word nobody knows what was signed; only with a word of his own does an
    operator go on, and the opening entry says that the store had nothing.
    """
    for path in (lost.directory / "checkpoints").glob("*.checkpoint"):
        path.unlink()

    found = look(lost)
    with pytest.raises(HistoryRewritten, match="mount the right one"):
        accept(lost)
    opened = accept(lost, force=True)

    assert (found.verdict, found.known) == ("store-lost", None)
    lost.reopen()
    body = lost.book.reader.at(opened.position).entry.value["body"]
    assert body["checkpoint"] == {
        "origin": lost.origin,
        "size": 3,
        "root": body["root"],
        "from_store": False,
    }
    verdicts = [judge_receipt(as_file(one), [lost.book]).verdict for one in lost.receipts]
    assert verdicts == ["in the log"] * 3 + ["orphaned by restore"] * 2


def test_an_idle_process_does_not_build_on_a_head_that_others_left_behind(house):
    """The database is put back to the very head that an idle process holds in memory, while another
    went on: the store has seen that, so not even an unacknowledged entry lands.
    """
    post(house, attempt())
    with backup_of(house) as backup:
        other = house.second_process()
        post(house, attempt(), by=other)
        other.close()
        backup.restore()
        clock.pause(0.06)

        with pytest.raises(HistoryRewritten):
            house.post(attempt())

        assert house.book.reader.head().size == 1
        assert isinstance(house.book.writer.stopped, HistoryRewritten)
