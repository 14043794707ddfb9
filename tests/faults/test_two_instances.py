# SPDX-License-Identifier: GPL-3.0-or-later
"""Rows of the fault matrix: two processes with one configuration, by plan or by mistake."""

import threading
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest
from dev_ledger import eventually
from house import Hand, attempt, house_in, noon_before

import scripts.scheduler
from anchoring.arrears import arrears
from anchoring.fsck import Fsck
from anchoring.night import Night
from ledger import clock
from ledger.errors import Refused, Unavailable
from ledger.outcome import Recorded, Repeated
from ledger.settings import Settings
from scripts import doctor
from scripts.scheduler import Leader, Scheduler
from scripts.serve import bind

#: What is asked here does not depend on which PostgreSQL it is.
pytestmark = pytest.mark.once

DEPENDENCY = "Two instances"
FAR = 10**10  #: A jump of the clock that needs no operator, in ms.


def anchors_of(house, book=None):
    found = (book or house.book).reader.of_topic("ANCHOR/1")
    return [(one.entry.value["body"]["kind"], one.entry.value["body"]["to_size"]) for one in found]


def test_two_servers_on_one_book(house):
    """Two server processes use one database, keystore and checkpoint store.

    Kind: two instances
    Ingest: goes on in both; each position is given once
    Lost: nothing
    Operator: nothing; any number of servers may run
    """
    shelves = [house.second_process(), house.second_process()]
    with ThreadPoolExecutor(8) as pool:
        done = list(pool.map(lambda n: house.post(attempt(), by=shelves[n % 2])[0], range(40)))

    assert sorted(one.row.link.position for one in done) == list(range(40))
    assert Fsck(house.book, first_key=house.first_key()).run().damage == []


def test_two_servers_that_never_rest(house):
    """Two servers have one client each, who sends the next event as soon as the last is answered.

    Kind: two instances
    Ingest: goes on in both; who loses some swaps in a row takes its turn
    Lost: nothing
    Operator: nothing
    """
    shelves, each = [house.second_process(), house.second_process()], 150
    with ThreadPoolExecutor(2) as pool:
        done = list(
            pool.map(lambda by: [house.post(attempt(), by=by)[0] for _ in range(each)], shelves)
        )

    assert sorted(one.row.link.position for some in done for one in some) == list(range(2 * each))
    assert Fsck(house.book, first_key=house.first_key()).run().damage == []


def test_one_request_sent_to_two_servers_at_once(house):
    """A load balancer, or an impatient client, sends the same request to both.

    Kind: two instances
    Ingest: goes on; one of them records, the other finds it recorded
    Lost: nothing; the entry is there once
    Operator: nothing
    """
    shelves = [house.second_process(), house.second_process()]
    requests, start = [attempt() for _ in range(8)], threading.Barrier(2)

    def send(shelf):
        outcomes = []
        for request in requests:
            start.wait()
            outcomes += house.post(request, by=shelf)
        return outcomes

    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(send, shelves)

    for pair in zip(first, second, strict=True):
        assert sorted(type(one).__name__ for one in pair) == ["Recorded", "Repeated"]
        (new,) = (one for one in pair if isinstance(one, Recorded))
        (old,) = (one for one in pair if isinstance(one, Repeated))
        assert new.row.link.position == old.position
    assert house.book.reader.head().size == len(requests)


def test_two_nights_on_one_interim_anchor(noon, moody):
    """Two operators type `anchor now`, and both have their token before either records it.

    Kind: two instances
    Ingest: goes on
    Lost: nothing; one ANCHOR, and one token of each authority, is kept
    Operator: both commands say the same
    """
    noon.post(attempt(), attempt())
    books = [noon.book, noon.second_process().book(noon.tenant)]
    together = threading.Barrier(2)
    respond = moody.respond

    def both(handler, query):
        together.wait(timeout=10)
        respond(handler, query)

    moody.respond = both
    with ThreadPoolExecutor(2) as pool:
        steps = list(pool.map(lambda book: Night(book, [moody.authority]).interim(), books))

    assert [(step.anchor_id, step.recorded) for step in steps] == [("interim/2", True)] * 2
    assert (len(moody.asked), anchors_of(noon)) == (2, [("interim", 2)])
    assert Fsck(noon.book, first_key=noon.first_key()).run().damage == []


def test_two_schedulers(own_database, tmp_path, moody, monkeypatch):
    """The scheduler is started twice.

    Kind: two instances
    Ingest: goes on
    Lost: nothing; one of them works, and no authority is asked twice
    Operator: nothing; the other takes over when the first one ends
    """
    monkeypatch.setattr(scripts.scheduler, "_NIGHT_RETRY_S", 2)  # A machine may be slow.
    hand = Hand(noon_before(2))
    moody.slow_s = 0.1  # Long enough for two that both work to meet.
    with house_in(own_database, tmp_path, now_ms=hand, jump_ms=FAR) as house:
        house.post(attempt())
        hand.ms = clock.now_ms()
        shelves = [house.second_process(), house.second_process()]
        settings = Settings.from_environment({"SEALTRAIL_PACKET_DIR": str(tmp_path / "packets")})
        schedulers = [
            Scheduler(shelf, settings, [moody.authority], house.app_url) for shelf in shelves
        ]
        books = [house.book, house.access_book]
        ledger = SimpleNamespace(database=house.database, shelf=house.shelf)
        with pytest.raises(Unavailable, match="2 days wait"):
            doctor._anchors(ledger)

        for scheduler in schedulers:
            scheduler.start()
        eventually(
            lambda: (
                all(not arrears(one, house.database.now_ms()).days for one in books)
                and all(len(anchors_of(house, one)) == 2 for one in books)
            )
        )
        leads = [scheduler._leader.leads() for scheduler in schedulers]
        for scheduler in schedulers:
            scheduler.stop()

        assert sorted(leads) == [False, True]
        failed = sum(len(book.reader.of_topic("ANCHOR_FAILED/1")) for book in books)
        assert len(moody.asked) == 4 + failed  # Two days of two Books.
        assert doctor._anchors(ledger) == "0 days wait for an anchor"
        for book in books:
            assert [kind for kind, _ in anchors_of(house, book)] == ["day", "day"]


def test_a_scheduler_whose_session_is_ended(house):
    """The working scheduler loses its session: its host dies, or the database fails over.

    Kind: two instances
    Ingest: goes on
    Lost: nothing; the other one works from then on, and catches up from state
    Operator: nothing
    """
    first, second = Leader(house.app_url), Leader(house.app_url)
    before = first.leads(), second.leads()
    with house.owner() as owner:
        owner.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_locks"
            " WHERE locktype = 'advisory' AND pid <> pg_backend_pid()"
        )

    after = second.leads(), first.leads()
    first.resign()
    second.resign()

    assert (before, after) == ((True, False), (True, False))


def test_two_servers_on_one_port():
    """The same server is started twice on one host.

    Kind: two instances
    Ingest: goes on in the first one
    Lost: nothing
    Operator: the second says that it cannot listen, and ends with 2
    """
    first = bind("127.0.0.1", 0)
    try:
        with pytest.raises(Refused, match="cannot listen"):
            bind("127.0.0.1", first.getsockname()[1])
    finally:
        first.close()
