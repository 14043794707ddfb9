# SPDX-License-Identifier: GPL-3.0-or-later
"""Many writers on one log, answers that are lost, and waiting rooms that are full."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
from administrator import administrator
from cut_line import line_to
from house import attempt, event_id, gen

from anchoring.checkpoint import verifier_key
from anchoring.fsck import Fsck
from anchoring.receipt import receipt_of
from ledger.database import Database
from ledger.errors import IntegrityViolation, LedgerError, Overloaded, Unavailable
from ledger.inbox import Job, WriterClosed, awaited
from ledger.outcome import Recorded, Repeated
from sealtrail.verify.tlog_proof import check_tlog_proof


def check_receipt(house, receipt):
    """Check a receipt as a stranger with the log's public key would."""
    key = verifier_key(house.keys, house.origin)
    checkpoint, index = check_tlog_proof(
        receipt.proof.tlog_proof(), leaf=receipt.proof.leaf, origin=house.origin, keys=[key]
    )
    assert index == receipt.proof.position
    assert checkpoint.size == receipt.proof.size


@contextmanager
def held_up(house):
    """Hold the head row, so that the writer's next commit waits until we let go."""
    with house.owner() as connection, connection.transaction():
        connection.execute(f"SELECT 1 FROM {house.schema}.head FOR UPDATE")
        yield


def wait_for(condition):
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def writing(house):
    """Say if a writer waits for the head row."""
    with house.owner() as connection:
        row = connection.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
            f" AND application_name = 'sealtrail writer {house.schema}'"
            " AND datname = current_database()"
        ).fetchone()
    return row[0] > 0


# Many writers


def test_two_processes_write_one_log_without_a_gap(house):
    """Threads of two processes post at once: one order, one chain, and every receipt holds."""
    shelves = [house.shelf, house.second_process()]

    def work(number):
        mine = []
        for _ in range(6):
            start = attempt()
            outcomes = house.post(start, attempt(), by=shelves[number % 2])
            mine += outcomes + house.post(gen(start["aggregate_id"]), by=shelves[(number + 1) % 2])
        return mine

    with ThreadPoolExecutor(8) as pool:
        outcomes = [outcome for mine in pool.map(work, range(8)) for outcome in mine]

    assert all(isinstance(outcome, Recorded) for outcome in outcomes)
    positions = sorted(outcome.row.link.position for outcome in outcomes)
    assert positions == list(range(8 * 6 * 3))
    assert Fsck(house.book, first_key=house.first_key()).run().damage == []
    for outcome in outcomes:
        check_receipt(house, receipt_of(house.book, outcome, {}))


def test_one_event_posted_to_two_processes_at_once_is_recorded_once(house):
    """An impatient client asks both; one answers 201, the other repeats it."""
    shelves = [house.shelf, house.second_process()]
    requests = [attempt() for _ in range(25)]
    ready = threading.Barrier(2)

    def work(shelf):
        ready.wait()
        return [house.post(request, by=shelf)[0] for request in requests]

    with ThreadPoolExecutor(2) as pool:
        here, there = pool.map(work, shelves)

    for one, other in zip(here, there, strict=True):
        assert {type(one), type(other)} == {Recorded, Repeated}
        recorded, repeated = (one, other) if isinstance(one, Recorded) else (other, one)
        assert recorded.row.link.position == repeated.position
    assert house.book.reader.head().size == 25


def test_what_waits_goes_into_one_commit(house):
    """While one commit runs, three hundred callers queue: two commits, and two signatures."""
    house.post(attempt())
    book = house.book
    prepared = [house.prepare(attempt()) for _ in range(300)]
    with held_up(house):
        futures = [book.record([prepared[0]])]
        wait_for(lambda: writing(house))
        futures += [book.record([one]) for one in prepared[1:]]

    outcomes = [future.result(timeout=30)[0] for future in futures]

    assert [outcome.row.link.position for outcome in outcomes] == list(range(1, 301))
    assert len({outcome.checkpoint for outcome in outcomes}) == 2


def test_threads_that_post_one_by_one_share_their_commits(house):
    """No timer: what queued while the last commit ran is the next batch."""
    house.post(attempt())
    book, prepared = house.book, [house.prepare(attempt()) for _ in range(400)]
    with ThreadPoolExecutor(40) as pool:
        outcomes = list(pool.map(lambda one: book.record([one]).result(timeout=30)[0], prepared))

    sizes = {outcome.size for outcome in outcomes}

    assert len(sizes) < 200
    assert max(sizes) == 401


def test_too_many_waiting_are_told_at_once_and_nothing_that_waits_is_lost(house):
    """Past its room the writer says 503 early; what it took it records."""
    shelf = house.second_process(queue_max=5)
    book = shelf.book(house.tenant)
    house.post(attempt(), by=shelf)
    with held_up(house):
        futures = [book.record([house.prepare(attempt())]) for _ in range(5)]
        with pytest.raises(Overloaded):
            book.record([house.prepare(attempt())])
        assert book.writer.waiting == 5

    assert all(isinstance(future.result(timeout=30)[0], Recorded) for future in futures)
    wait_for(lambda: book.writer.waiting == 0)
    assert isinstance(house.post(attempt(), by=shelf)[0], Recorded)


def test_one_large_batch_is_taken_by_an_idle_writer(house):
    """The room is for waiting: a batch larger than it does not wait."""
    shelf = house.second_process(queue_max=5, batch_max=2)

    outcomes = house.post(*[attempt() for _ in range(9)], by=shelf)

    assert [outcome.row.link.position for outcome in outcomes] == list(range(9))


# Callers who go away


def test_a_caller_who_gives_up_does_not_end_the_writer(house):
    """One future cancelled while it waits, one while its commit runs; the others get theirs."""
    house.post(attempt())
    book = house.book
    with held_up(house):
        running = book.record([house.prepare(attempt())])
        wait_for(lambda: writing(house))
        gone, kept = (book.record([house.prepare(attempt())]) for _ in range(2))
        assert gone.cancel()
        assert not running.cancel()

    assert isinstance(running.result(timeout=30)[0], Recorded)
    assert kept.result(timeout=30)[0].row.link.position == 2
    wait_for(lambda: book.writer.waiting == 0)


def test_who_cannot_be_told_any_more_keeps_nobody_waiting(house):
    """As when an event loop is closed: the next in the batch and the next batch are told."""
    house.post(attempt())
    inbox, told = house.book.writer.inbox, []

    def gone(*_outcomes):
        raise RuntimeError("Event loop is closed")

    with held_up(house):
        inbox.put(Job([house.prepare(attempt())], gone, gone, None))
        inbox.put(Job([house.prepare(attempt())], told.append, gone, None))
    wait_for(lambda: told)

    assert told[0][0].row.link.position == 2
    assert house.post(attempt())[0].row.link.position == 3
    wait_for(lambda: inbox.waiting == 0)


def test_closing_finishes_what_waits(house):
    """Whoever was queued gets an answer; whoever comes later is sent away to try again."""
    shelf = house.second_process()
    book = shelf.book(house.tenant)
    futures = [book.record([house.prepare(attempt())]) for _ in range(20)]

    book.writer.close()

    assert all(isinstance(future.result(timeout=0)[0], Recorded) for future in futures)
    with pytest.raises(WriterClosed):
        book.writer.inbox.put(awaited([])[0])
    book.writer.close()  # Closing twice is harmless.


# Answers that are lost


@pytest.mark.parametrize("when", ["after", "before"])
def test_a_lost_answer_is_safe_to_repeat_on_another_process(house, when):
    """The line is cut after the COMMIT, or before it: 503 both times, and the retry knows which."""
    with line_to(house.app_url) as line:
        cut_off = house.second_process(database=Database(line.url))
        house.post(attempt(), by=cut_off)
        prepared = house.prepare(attempt())
        line.cut_at(b'"event_id":"' + prepared.event_id.encode(), when)

        with pytest.raises(Unavailable):
            cut_off.book(house.tenant).record([prepared]).result(timeout=30)
        assert line.cut == 1
        committed = house.book.reader.head().size
        (retried,) = house.book.record([prepared]).result(timeout=30)
        (again,) = cut_off.book(house.tenant).record([prepared]).result(timeout=30)
        cut_off.close()
        cut_off.database.close()

    assert committed == (2 if when == "after" else 1)
    assert type(retried) is (Repeated if when == "after" else Recorded)
    assert again == Repeated(position=1)
    first, second = (
        receipt_of(house.book, outcome, prepared.disclosures) for outcome in (retried, again)
    )
    assert (first.proof.position, first.proof.leaf) == (second.proof.position, second.proof.leaf)
    assert first.disclosures == second.disclosures != {}
    for receipt in (first, second):
        check_receipt(house, receipt)
    assert Fsck(house.book).run().damage == []


def test_an_epoch_that_ends_in_a_lost_answer_keeps_both_keys_until_the_head_is_seen(noon):
    """Nobody knows if the epoch ended; the old key must still be there if it did not."""
    with line_to(noon.app_url) as line:
        cut_off = noon.second_process(database=Database(line.url))
        noon.post(attempt(), by=cut_off)
        noon.now_ms.move(days=1)
        prepared = noon.prepare(attempt())
        line.cut_at(b'"event_id":"' + prepared.event_id.encode(), "before")

        with pytest.raises(Unavailable):
            cut_off.book(noon.tenant).record([prepared]).result(timeout=30)
        held = sorted(cut_off.book(noon.tenant).chain.epochs())
        (outcome,) = cut_off.book(noon.tenant).record([prepared]).result(timeout=30)
        after = cut_off.book(noon.tenant).chain.epochs()
        cut_off.close()
        cut_off.database.close()

    assert held == [0, 1]
    assert isinstance(outcome, Recorded)
    assert after == [1]


def test_a_connection_that_was_terminated_costs_one_503(house):
    """The next batch fails, the one after connects anew; nothing is recorded twice."""
    house.post(attempt())
    with house.owner() as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity"
            f" WHERE application_name = 'sealtrail writer {house.schema}'"
            " AND datname = current_database()"
        )
    request = attempt()

    with pytest.raises(Unavailable):
        house.post(request)
    (outcome,) = house.post(request)

    assert outcome.row.link.position == 1


def test_a_statement_that_is_cancelled_in_the_middle_is_recorded_on_retry(house):
    """An administrator kills the session that waits in the middle of its commit."""
    house.post(attempt())
    request = attempt()
    with held_up(house):
        future = house.book.record([house.prepare(request)])
        wait_for(lambda: writing(house))
        with house.owner() as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity"
                f" WHERE application_name = 'sealtrail writer {house.schema}'"
                " AND datname = current_database() AND wait_event_type = 'Lock'"
            )
        with pytest.raises(Unavailable):
            future.result(timeout=30)

    (outcome,) = house.post(request)

    assert isinstance(outcome, Recorded)
    assert house.book.reader.head().size == 2


# The checkpoint store


def test_without_the_checkpoint_store_no_receipt_leaves_and_nothing_more_is_recorded(house):
    """What was committed gets its receipt on retry; until then the log does not grow."""
    house.post(attempt())
    store = house.directory / "checkpoints"
    away = house.directory / "unmounted"
    first, second = attempt(), attempt()
    store.rename(away)
    for request in (first, second, second):
        with pytest.raises(Unavailable):
            house.post(request, gen(event_id()))
    committed = house.book.reader.head().size
    away.rename(store)

    one, two = house.post(first, second)

    assert committed == 2
    assert one == Repeated(position=1)
    assert two.row.link.position == 2
    check_receipt(house, receipt_of(house.book, one, {}))


def test_a_committed_head_without_a_signature_is_signed_by_the_next_process(house):
    """Its writer lost the store and then its life; nobody's retry has to wait for it."""
    house.post(attempt())
    store = house.directory / "checkpoints"
    request = attempt()
    store.rename(house.directory / "unmounted")
    with pytest.raises(Unavailable):
        house.post(request)
    (house.directory / "unmounted").rename(store)
    other = house.second_process()

    (outcome,) = house.post(request, by=other)

    assert outcome == Repeated(position=1)
    assert other.book(house.tenant).notary.size == 2
    check_receipt(house, receipt_of(other.book(house.tenant), outcome, {}))


# What stops a writer


def test_a_row_planted_where_the_next_entry_goes_stops_the_writer(house):
    """It is no conflict of a client: the ledger contradicts itself, and stays stopped."""
    house.post(attempt())
    with administrator(house) as admin:
        admin.do(
            "INSERT INTO {b}.entry SELECT 1, leaf, mac, gen_random_uuid(), 'x/y', 1, topic,"
            " recorded_at, request_digest FROM {b}.entry WHERE position = 0"
        )

    for _ in range(2):
        with pytest.raises(IntegrityViolation):
            house.post(attempt())

    assert isinstance(house.book.writer.stopped, IntegrityViolation)


def test_a_planted_id_is_no_repeat(house):
    """A row that claims a client's event_id beyond the log's end must not become a receipt."""
    house.post(attempt())
    prepared = house.prepare(attempt())
    with administrator(house) as admin:
        admin.do(
            "INSERT INTO {b}.entry SELECT 99, leaf, mac, %s::uuid, 'x/y', 1, topic, recorded_at, %s"
            " FROM {b}.entry WHERE position = 0",
            prepared.event_id,
            prepared.digest,
        )

    with pytest.raises(IntegrityViolation):
        house.book.record([prepared]).result(timeout=30)


def test_a_bug_in_one_batch_answers_503_and_the_writer_lives(house):
    """Whatever goes wrong in building, nobody waits for ever and the next batch is served."""
    broken = house.prepare(attempt())._replace(frame=object())

    with pytest.raises(LedgerError) as caught:
        house.book.record([broken]).result(timeout=30)

    assert caught.value.status == 503
    assert isinstance(house.post(attempt())[0], Recorded)
    assert house.book.writer.stopped is None
