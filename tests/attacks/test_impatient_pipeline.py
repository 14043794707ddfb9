# SPDX-License-Identifier: GPL-3.0-or-later
"""The impatient pipeline: no enemy, but it repeats, reorders, gives up and sends what it likes.

Holds a token that may append. Nothing that it does may cost another caller an entry, a receipt or
an answer.
"""

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from cut_line import line_to
from house import attempt, deny, event_id, export, gen, ingest
from raw_posts import CHUNKED, answers, connect, express, head
from served_house import serving

from anchoring.fsck import Fsck
from anchoring.receipt import receipt_of
from ledger.database import Database
from ledger.errors import EventConflict, MalformedEvent, Overloaded, TooLarge, Unavailable
from ledger.lifecycle import AssetUnknown, OutOfOrder
from ledger.outcome import Recorded, Repeated

#: What is asked here does not depend on which PostgreSQL it is.
pytestmark = pytest.mark.once


def test_repeats_everything_everywhere(house):
    """Who: a pipeline whose timeout is shorter than a commit.
    Tries: sends each event four times, to two servers, at once.
    Caught by: the event's own id: one entry, and an equivalent receipt for every try.
    Not caught: the same thing under a new id is a new event; only the pipeline can know.
    """
    shelves = [house.shelf, house.second_process()]
    requests = [attempt() for _ in range(8)]

    with ThreadPoolExecutor(16) as pool:
        tries = [(one, shelves[n % 2]) for one in requests for n in range(4)]
        outcomes = list(pool.map(lambda t: (t[0]["event_id"], house.post(t[0], by=t[1])[0]), tries))

    positions = {}
    for id_, outcome in outcomes:
        position = outcome.position if isinstance(outcome, Repeated) else outcome.row.link.position
        assert positions.setdefault(id_, position) == position
    assert sorted(positions.values()) == list(range(8))
    assert sum(isinstance(outcome, Recorded) for _, outcome in outcomes) == 8
    assert house.book.reader.head().size == 8


def test_uses_an_id_again_for_something_else(house):
    """Who: a pipeline with a broken generator of ids, or one that corrects itself afterwards.
    Tries: another seed, another prompt, another event under an id that was used.
    Caught by: request_digest, in which every committed value counts by its digest: 409.
    Not caught: the ledger does not say which of the two was meant.
    """
    first = attempt()
    house.post(first)
    others = [
        {**first, "body": {**first["body"], "params": {"seed": "1"}}},
        {**first, "sealed": {"prompt.user": "another prompt"}},
        {**first, "on_behalf_of": "employee-8"},
        {**first, "aggregate_id": event_id()},
        {**first, "source": {"id": "renderer", "n": 1}},
        {**ingest(), "event_id": first["event_id"]},
    ]

    outcomes = house.post(*others, first)

    assert [type(one) for one in outcomes] == [EventConflict] * len(others) + [Repeated]


def test_sends_the_end_before_the_beginning(house):
    """Who: a pipeline with several workers and no order among them.
    Tries: an outcome before its attempt, an export before its asset; then all again, in order.
    Caught by: the lifecycles: 409 for what may not come yet, and nothing is used up by it.
    Not caught: an order that is allowed but is not what happened.
    """
    start = attempt()
    story = [start, gen(start["aggregate_id"], "asset"), export("asset")]

    backwards = house.post(*reversed(story))
    forwards = house.post(*story[1:])
    again = house.post(*story)

    assert [type(one) for one in backwards] == [AssetUnknown, OutOfOrder, Recorded]
    assert [type(one) for one in forwards] == [Recorded, Recorded]
    assert [type(one) for one in again] == [Repeated] * 3
    assert Fsck(house.book).run().damage == []


def test_times_out_after_the_commit_and_asks_elsewhere(house):
    """Who: a pipeline behind a line that breaks: failed, and yet persisted.
    Tries: the same event on the next server of its list.
    Caught by: the lookup by id under the present head: 200, same position, same leaf.
    Not caught: nothing; that is what the id and the record key are kept for until then.
    """
    with line_to(house.app_url) as line:
        breaking = house.second_process(database=Database(line.url))
        prepared = house.prepare(attempt())
        breaking.book(house.tenant)
        line.cut_at(b'"event_id":"' + prepared.event_id.encode(), "after")
        with pytest.raises(Unavailable):
            breaking.book(house.tenant).record([prepared]).result(timeout=30)
        breaking.close()
        breaking.database.close()

    (outcome,) = house.book.record([prepared]).result(timeout=30)

    receipt = receipt_of(house.book, outcome, prepared.disclosures)
    assert (receipt.repeat, receipt.proof.position, receipt.proof.size) == (True, 0, 1)


def test_gives_up_by_the_hundred(house):
    """Who: a pipeline that cancels whatever takes longer than it likes.
    Tries: three hundred requests, half of them withdrawn at once.
    Caught by: the writer, which takes only what is still wanted, and lives on.
    Not caught: a request withdrawn too late is recorded; its retry is a repeat.
    """
    book = house.book
    prepared = [house.prepare(attempt()) for _ in range(300)]
    futures = [book.record([one]) for one in prepared]
    withdrawn = {n for n in range(0, 300, 2) if futures[n].cancel()}

    outcomes = [futures[n].result(timeout=30)[0] for n in range(300) if n not in withdrawn]
    retried = book.record(prepared).result(timeout=30)

    assert all(isinstance(one, Recorded) for one in outcomes)
    assert sum(isinstance(one, Recorded) for one in retried) == len(withdrawn)
    assert book.reader.head().size == 300
    assert book.writer.waiting == 0


def test_floods_one_book(house):
    """Who: a pipeline in a loop without a pause.
    Tries: fills the writer's room from forty threads while the database is slow.
    Caught by: the room's limit: 503 at once, memory flat, and another Book is not touched by it.
    Not caught: its own other callers are told 503, too, until the room is free.
    """
    shelf = house.second_process(queue_max=50)
    book, access = shelf.book(house.tenant), shelf.book(f"{house.tenant}-access")
    told = []

    def flood():
        for _ in range(10):
            try:
                book.record([house.prepare(attempt())])
            except Overloaded:
                told.append(1)

    with house.owner() as slow, slow.transaction():
        slow.execute(f"SELECT 1 FROM {house.schema}.head FOR UPDATE")
        threads = [threading.Thread(target=flood) for _ in range(40)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert book.writer.waiting <= 50
        started = time.monotonic()
        access.settle()
        assert time.monotonic() - started < 10

    assert len(told) >= 300
    book.settle()
    assert book.reader.head().size <= 50


NO_EVENTS = (
    {"body": []},
    {"type": "GEN_ATTEMPTED"},
    {"schema": 2},
    {"type": "EPOCH_SEALED", "body": {"epoch": 0}},
    {"type": "ANCHOR"},
    {"event_id": "1"},
    {"aggregate_id": "../../etc"},
    {"record_key": None},
    {"on_behalf_of": None},
    {"on_behalf_of": "test-pipeline"},
    {"unknown": 1},
    {"actor": {"kind": "system"}},
    {"time": {"recorded": "2026-01-14T00:00:00.000Z"}},
    {"source": {"id": "a", "n": -1}},
)


def test_sends_what_is_no_event(house):
    """Who: a pipeline with a new version that nobody has tried.
    Tries: fields of another shape, types that only the ledger makes, names that are no person's.
    Caught by: the catalogue, before anything is queued: 422 with field and rule.
    Not caught: values that fit and are untrue.
    """
    for change in NO_EVENTS:
        with pytest.raises(MalformedEvent) as caught:
            house.post({**attempt(), **change})
        assert caught.value.errors

    assert house.book.reader.head().size == 0


def test_sends_far_too_much(house):
    """Who: a pipeline that puts the picture itself into the record.
    Tries: an event whose entry would be larger than 16 KiB, beside a good one.
    Caught by: the size of its part, before it is queued: 413; the good one is recorded.
    Not caught: nothing; what is large is an artifact with a digest.
    """
    links = [{"rel": "input-asset", "id": "a" * 128, "leaf": "sha256:" + "0" * 64}] * 64

    with pytest.raises(TooLarge):
        house.post(attempt(links=links))

    assert isinstance(house.post(attempt())[0], Recorded)


def test_claims_an_outcome_twice(house):
    """Who: two workers that both think they answered.
    Tries: an output and a refusal for one attempt, from two servers at once.
    Caught by: the stream's state under the head row: exactly one terminal outcome.
    Not caught: which of the two is true.
    """
    other = house.second_process()
    for _ in range(6):
        start = attempt()
        house.post(start)
        claims = [(gen(start["aggregate_id"]), house.shelf), (deny(start["aggregate_id"]), other)]
        with ThreadPoolExecutor(2) as pool:
            outcomes = list(pool.map(lambda c: house.post(c[0], by=c[1])[0], claims))
        assert sorted(isinstance(one, OutOfOrder) for one in outcomes) == [False, True]

    assert Fsck(house.book).run().damage == []


@pytest.mark.parametrize(
    "lines",
    [
        (b"Content-Length: 0\r\n", CHUNKED),
        (b"Content-Length: 0\r\n", b"Content-Length: %d\r\n"),
        (b"Content-Length: +%d\r\n",),
    ],
    ids=["length and chunks", "two lengths", "a signed length"],
)
def test_hides_a_second_request_in_the_first(house, lines):
    """Who: a pipeline behind a proxy that checks each request before it passes it on.
    Tries: a header that proxy and server would cut differently, and an event in what follows.
    Caught by: the parser, before either lane of the server is chosen: 400, and the connection ends.
    Not caught: a proxy that itself sends two requests on for one.
    """
    with serving(house) as service:
        hidden = express(service, json.dumps(attempt()).encode())
        filled = [line % len(hidden) if b"%d" in line else line for line in lines]
        with connect(service) as sock:
            sock.sendall(head(service, "/v1/events", *filled) + hidden)
            found = answers(sock, 2)
        size = service.size

    assert all(status == 400 for status, _ in found)
    assert size == 0


@pytest.mark.parametrize("line", [CHUNKED, b"Content-Length: 0\r\n"], ids=["chunks", "a length"])
def test_hides_a_request_behind_a_header_that_was_good(house, line):
    """Who: the same pipeline, on a connection whose last header the server remembers.
    Tries: that header again with one line more, which cuts the body somewhere else.
    Caught by: the parser; only a header that is the same but for the length's digits passes it by.
    Not caught: a proxy that itself sends two requests on for one.
    """
    with serving(house) as service:
        good = express(service, json.dumps(attempt()).encode())
        hidden = express(service, json.dumps(attempt()).encode())
        with connect(service) as sock:
            sock.sendall(good)
            first = answers(sock, 1)
            sock.sendall(hidden.replace(b"\r\n\r\n", b"\r\n" + line + b"\r\n", 1))
            found = answers(sock, 1)
        size = service.size

    assert [status for status, _ in first + found] == [201, 400]
    assert size == 1
