# SPDX-License-Identifier: GPL-3.0-or-later
"""The shelf: Books are opened when needed, checked when opened, and put away when long unused."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from administrator import administrator
from house import attempt

from anchoring.checkpoint_store import CheckpointMissing
from ledger import durable
from ledger.database import connect
from ledger.errors import HeadForged, HistoryRewritten, NotFound, Unavailable
from ledger.inbox import WriterClosed, awaited
from ledger.keys import AuditorKey
from ledger.outcome import Recorded
from scripts.assembly import make_keys, make_tenant

#: What is asked here does not depend on which PostgreSQL it is.
pytestmark = pytest.mark.once


def test_a_book_is_opened_once_whoever_asks(house):
    """Twenty threads ask for a Book that is closed; all get the same one."""
    shelf = house.second_process()
    assert shelf.opened(house.tenant) is None

    with ThreadPoolExecutor(20) as pool:
        books = set(map(id, pool.map(lambda _: shelf.book(house.tenant), range(20))))

    assert books == {id(shelf.book(house.tenant))}
    assert shelf.opened(house.tenant) is shelf.book(house.tenant)
    assert [book.row.name for book in shelf.open_books()] == [house.tenant]


def test_a_name_that_is_no_books_is_not_found(house):
    """Also one that looks like a path or a schema."""
    for name in ("nobody", "", "../x", house.schema, f"{house.tenant}-access-access"):
        with pytest.raises(NotFound):
            house.shelf.book(name)


def test_a_tenants_access_book_is_a_log_of_its_own(house):
    """Own origin, own keys, own size; nothing is shared but the tenant."""
    house.post(attempt())

    access = house.shelf.access_book(house.tenant)

    assert access.origin == f"{house.origin}/access"
    assert access.reader.head().size == 0
    assert house.keys.public_key(f"log/{access.origin}") != house.keys.public_key(
        f"log/{house.origin}"
    )


def test_a_book_that_is_slow_to_open_holds_up_no_other(house):
    """One log's checkpoint is locked; the other Book of the same process opens meanwhile."""
    shelf = house.second_process()
    lock = house.directory / "checkpoints" / f"{durable.safe_name(house.origin)}.lock"
    with durable.locked(lock):
        slow = threading.Thread(target=shelf.book, args=(house.tenant,))
        slow.start()

        other = shelf.book(f"{house.tenant}-access")

        assert slow.is_alive()
        assert shelf.opened(house.tenant) is None
    slow.join(timeout=30)
    assert other.origin == f"{house.origin}/access"
    assert shelf.opened(house.tenant) is not None


def test_a_book_that_was_put_away_is_opened_again_for_who_still_holds_it(house):
    """A long job holds its Book while others push it off the shelf; it never notices."""
    shelf = house.second_process(open_max=1)
    main = shelf.book(house.tenant)
    house.post(attempt(), by=shelf)
    shelf.book(f"{house.tenant}-access")
    assert shelf.opened(house.tenant) is None
    with pytest.raises(WriterClosed):
        main.writer.inbox.put(awaited([])[0])

    (outcome,) = main.record([house.prepare(attempt())]).result(timeout=30)
    main.settle()

    assert outcome.row.link.position == 1
    assert main.tree.root(2) == main.reader.head().root


def test_the_book_in_use_is_not_the_one_put_away(house):
    """Asking for an open Book counts as use, on the hot path, too."""
    third = f"{house.tenant}-b"
    make_keys(house.keys, f"{house.origin}-b", AuditorKey(public_key=bytes(31) + b"\x09"))
    with connect(house.owner_url) as owner:
        make_tenant(owner, house.keys, house.store, tenant=third, origin=f"{house.origin}-b")
    shelf = house.second_process(open_max=2)
    shelf.book(house.tenant)
    shelf.book(f"{house.tenant}-access")
    shelf.opened(house.tenant)

    shelf.book(third)

    assert [shelf.opened(name) is None for name in (house.tenant, third)] == [False, False]
    assert shelf.opened(f"{house.tenant}-access") is None


def test_a_book_whose_writer_stopped_stays_on_the_shelf(house):
    """Opened anew it would not know why it stopped."""
    shelf = house.second_process(open_max=1)
    house.post(attempt(), by=shelf)
    with administrator(house) as admin:
        admin.do("UPDATE {b}.head SET tag = sha256('x')")
    with pytest.raises(HeadForged):
        house.post(attempt(), by=shelf)

    shelf.book(f"{house.tenant}-access")

    stopped = shelf.opened(house.tenant)
    assert stopped is not None
    assert isinstance(stopped.writer.stopped, HeadForged)
    assert shelf.book(f"{house.tenant}-access").settle() is None


def test_a_closed_shelf_opens_nothing_more(house):
    """What waits is finished; whoever comes later is told to try again, elsewhere."""
    shelf = house.second_process()
    book = shelf.book(house.tenant)
    future = book.record([house.prepare(attempt())])

    shelf.close()

    assert isinstance(future.result(timeout=0)[0], Recorded)
    for late in (lambda: shelf.book(house.tenant), lambda: book.record([])):
        with pytest.raises(Unavailable):
            late()
    assert shelf.opened(house.tenant) is None


# What is checked when a Book is opened


def test_a_log_behind_its_checkpoint_is_not_opened(house):
    """The database was restored while no process ran: the store remembers."""
    house.post(attempt())
    with administrator(house) as admin:
        admin.save()
        house.post(attempt())
        admin.restore()

    with pytest.raises(HistoryRewritten):
        house.second_process().book(house.tenant)


def test_a_head_that_is_not_ours_is_not_opened(house):
    """Each column of the head row, changed while no process ran."""
    house.post(*[attempt() for _ in range(3)])
    with administrator(house) as admin:
        admin.save()
        for change in (
            "frontier = sha256('x') || sha256('y')",
            "size = 5",
            "mac = sha256('x')",
            "last_time = last_time - 1",
            "tag = sha256('x')",
            "epoch = epoch + 1",
            "epoch = 1000000000",
        ):
            admin.do(f"UPDATE {{b}}.head SET {change}")
            with pytest.raises(HeadForged):
                house.second_process().book(house.tenant)
            admin.restore()
    house.second_process().book(house.tenant)


def test_without_its_checkpoint_a_log_is_not_opened(house):
    """The store is empty: a wrong mount is not taken for a new ledger."""
    house.post(attempt())
    for path in (house.directory / "checkpoints").glob("*.checkpoint"):
        path.rename(path.with_suffix(".away"))

    with pytest.raises(CheckpointMissing):
        house.second_process().book(house.tenant)
