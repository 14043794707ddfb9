# SPDX-License-Identifier: GPL-3.0-or-later
"""fsck beside a living ledger, without its store, and with little memory: no false alarm."""

import pytest
from house import attempt, event_id, export, gen, ingest

from anchoring import lifecycle_walk
from anchoring.fsck import Fsck
from ledger.errors import Unavailable

#: What is asked here does not depend on which PostgreSQL it is.
pytestmark = pytest.mark.once


def between_head_and_entries(fsck, work):
    """Have `work` done after fsck has read the head and before it reads the entries."""
    read_head = fsck._head

    def late(connection):
        found = read_head(connection)
        work()
        return found

    fsck._head = late


def test_a_log_that_grows_meanwhile_is_not_accused(noon):
    """Other processes post while fsck reads: its snapshot holds what the store had signed."""
    other = noon.second_process()
    noon.post(*[attempt() for _ in range(5)])
    noon.book.notary.refresh()
    noon.post(attempt(), by=other)
    fsck = Fsck(noon.book)
    stored = fsck._stored

    def store_then_post():
        found = stored()
        noon.post(attempt(), by=other)
        return found

    fsck._stored = store_then_post
    between_head_and_entries(fsck, lambda: noon.post(attempt(), by=other))

    report = fsck.run()

    assert (report.damage, report.not_checked, report.size) == ([], [], 7)
    assert noon.book.reader.head().size == 8


def test_an_epoch_that_ends_meanwhile_is_reported_and_no_crash(noon):
    """The writer destroys the key that fsck was about to use."""
    noon.post(*[attempt() for _ in range(5)])
    fsck = Fsck(noon.book)

    def cross_midnight():
        noon.now_ms.move(days=1)
        noon.post(attempt())

    between_head_and_entries(fsck, cross_midnight)

    report = fsck.run()

    assert report.damage == []
    assert report.not_checked == ["MACs of 1 older epochs (0 to 0): escrow key needed"]


def test_a_head_whose_epoch_ended_meanwhile_is_not_called_forged(noon):
    """The snapshot shows the old head; its key was destroyed a moment later, and rightly."""
    noon.post(attempt())
    fsck = Fsck(noon.book)
    stored = fsck._stored
    with noon.database.duty(noon.schema, "read") as connection:
        connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        connection.execute(f"SELECT 1 FROM {noon.schema}.head")  # Here the snapshot is taken.
        noon.now_ms.move(days=1)
        noon.post(attempt())
        fsck._run(connection, stored(), lambda *_: None)
        connection.execute("ROLLBACK")

    assert [one.what for one in fsck.report.damage] == ["store"]  # Read before it, when run whole.
    assert "the head's tag: its epoch ended meanwhile" in fsck.report.not_checked


def test_without_the_checkpoint_store_fsck_says_what_it_could_not_do(noon):
    """An outage is no damage."""
    noon.post(attempt())
    book = noon.book
    away = noon.directory / "away"
    (noon.directory / "checkpoints").rename(away)

    report = Fsck(book).run()

    with pytest.raises(Unavailable):
        book.notary.refresh()
    away.rename(noon.directory / "checkpoints")
    assert report.damage == []
    assert report.not_checked == ["the checkpoint store: it cannot be read now"]


def test_streams_that_were_dropped_from_memory_are_read_again(noon, monkeypatch):
    """With room for two streams the verdict is the same as with room for all."""
    monkeypatch.setattr(lifecycle_walk.LifecycleWalk.__init__, "__kwdefaults__", {"kept": 2})
    starts = [attempt() for _ in range(4)]
    noon.post(*starts, ingest("taken"))
    noon.post(*[gen(one["aggregate_id"], f"made-{n}") for n, one in enumerate(starts)])
    noon.post(export("taken"), *[export(f"made-{n}") for n in range(4)], attempt(event_id()))

    assert Fsck(noon.book).run().damage == []
