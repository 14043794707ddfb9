# SPDX-License-Identifier: GPL-3.0-or-later
"""A producer's own numbers: what is missing of them shows, and what is only late does not stay."""

import random

import pytest
from house import Hand, attempt, event_id, gen, house_in, ingest, noon_before, record_key
from hypothesis import given
from hypothesis import strategies as st

from anchoring.alerts import alerts
from anchoring.overdue import Sweep
from anchoring.source_watch import SourceWatch
from ledger import clock
from ledger.outcome import Recorded
from ledger.readmodel.follower import catch_up, rebuild
from ledger.sources import state
from ledger.sources.listing import GRACE_MS, page, source_json
from ledger.sources.projection import SELECT, SourcesProjection, of_rows
from ledger.sources.state import Source

#: What is asked here does not depend on which PostgreSQL it is.
pytestmark = pytest.mark.once

GATEWAY = "gateway:1"


def numbered(n, source_id=GATEWAY, **changes):
    return ingest(source={"id": source_id, "n": n}, **changes)


def word(type_, source_id=GATEWAY, **body):
    """What a writer says of its own sequence."""
    return {
        "event_id": event_id(),
        "type": type_,
        "schema": 1,
        "aggregate_id": source_id,
        "on_behalf_of": "operator-1",
        "body": body,
        "record_key": record_key(),
    }


def post(house, *requests):
    outcomes = house.post(*requests)
    assert all(isinstance(one, Recorded) for one in outcomes), outcomes


def listed(house, *, every=True):
    catch_up(house.database, house.schema, {"sources"}, budget_s=20)
    return page(house.database, house.schema, every=every)


def one(house):
    (found,) = listed(house)
    return found


def spans(source):
    return [(gap.first, gap.last) for gap in source.gaps]


def open_alerts(house):
    return {(alert.code, alert.about): alert.facts for alert in alerts(house.book)}


@pytest.fixture
def watched(pattern, tmp_path):
    """A house at noon, and its watch."""
    with house_in(pattern, tmp_path, now_ms=Hand(noon_before(2))) as made:
        made.watch = SourceWatch(made.book)
        yield made


# Number by number


def missing_of(numbers):
    """What is missing, from the definition: below the largest, from 1 or from 0 on."""
    begin = 0 if 0 in numbers else 1
    return sorted(set(range(begin, max(numbers, default=0))) - set(numbers))


@given(st.lists(st.integers(0, 40), unique=True, max_size=30), st.integers(1, 4))
def test_whatever_the_order_the_gaps_are_those_of_the_set(numbers, most):
    """Late numbers close their gaps; of gaps beyond the list the count is still right."""
    source, before = Source(source_id="s"), state.LISTED
    state.LISTED = most
    try:
        for position, n in enumerate(numbers):
            source.take(n, position, 0)
    finally:
        state.LISTED = before

    missing = missing_of(numbers)
    shown = [n for first, last in spans(source) for n in range(first, last + 1)]
    # A number 0 that comes late is not missed before, nor found afterwards.
    assert source.missing == len(missing)
    assert source.recorded == len(numbers)
    assert set(shown) <= set(missing)
    assert source.unlisted or shown == missing


def test_the_end_of_a_sequence_is_what_its_writer_says():
    """The last numbers leave no gap when they are lost; a heartbeat names them."""
    source = Source(source_id="s")
    source.take(1, 0, 1000)
    source.hear("WRITER_HEARTBEAT", 4, None, 2000)

    assert (source.missing, source.tail) == (0, 3)
    for n in (2, 3, 4):
        source.take(n, n, 3000)
    assert (source.missing, source.tail) == (0, 0)


# From a log


def test_gaps_are_listed_with_the_entry_that_showed_them(house):
    """Of each sequence its own; numbers that came since are missed no more."""
    post(house, numbered(1), numbered(2), numbered(5), numbered(0, "other:1"), ingest())
    gateway, other = listed(house)

    assert spans(gateway) == [(3, 4)]
    assert (gateway.gaps[0].position, gateway.missing, gateway.recorded) == (2, 2, 3)
    assert (other.source_id, other.missing) == ("other:1", 0)

    post(house, numbered(4))
    assert spans(one_of(house, GATEWAY)) == [(3, 3)]
    post(house, numbered(3))
    assert spans(one_of(house, GATEWAY)) == []
    assert [source.source_id for source in listed(house, every=False)] == []


def one_of(house, source_id):
    return next(source for source in listed(house) if source.source_id == source_id)


def test_a_rebuild_ends_with_the_same_rows(house):
    """Wherever one batch of the log ended and the next began."""
    numbers = random.Random(7).sample(range(1, 60), 40)
    for at in range(0, 40, 7):
        post(house, *[numbered(n, f"gateway:{n % 3}") for n in numbers[at : at + 7]])
        listed(house)
    post(house, word("WRITER_STARTED", "gateway:1", heartbeat_s=60))
    followed = listed(house)

    rebuild(house.database, house.schema, [SourcesProjection()])

    assert len(followed) == 3
    assert listed(house) == followed


def test_what_is_cold_or_gone_is_no_gap(house):
    """The index keeps the number of every entry, whatever became of its bytes."""
    post(house, numbered(1), numbered(2), numbered(3))
    before = one(house)
    with house.owner() as owner:
        owner.execute(f"ALTER TABLE {house.schema}.entry_body_rest DISABLE TRIGGER append_only")
        owner.execute(f"DELETE FROM {house.schema}.entry_body_rest WHERE position = 1")

    rebuild(house.database, house.schema, [SourcesProjection()])

    assert one(house) == before
    assert before.missing == 0


def test_writers_say_what_is_missing_at_the_end_and_that_they_live(house):
    """Started, alive, stopped: the last one that was given is what counts."""
    post(house, word("WRITER_STARTED", heartbeat_s=30), numbered(1))
    post(house, word("WRITER_HEARTBEAT", last_n=3))
    source = one(house)

    assert (source.running, source.heartbeat_s, source.tail) == (True, 30, 2)
    told = source_json(source, source.seen_ms + 91_000)
    assert (told["missing_tail"], told["writer"]["last_n"]) == (2, 3)
    assert told["writer"]["silent"]
    assert not source_json(source, source.seen_ms + 89_000)["writer"]["silent"]

    post(house, numbered(2), numbered(3), word("WRITER_STOPPED", last_n=3))
    source = one(house)
    assert (source.running, source.tail) == (False, 0)
    assert not source_json(source, source.seen_ms + clock.DAY_MS)["writer"]["silent"]


# Alerts


def test_a_gap_is_alarmed_when_its_numbers_can_no_longer_be_under_way(watched):
    """After a quarter of an hour, once for a sequence and a day, however often one looks."""
    post(watched, numbered(1), numbered(4), numbered(9))
    noticed = watched.now_ms()

    assert watched.watch.run(noticed + GRACE_MS) == 0
    assert watched.watch.run(noticed + GRACE_MS + 1) == 1
    assert watched.watch.run(noticed + 2 * GRACE_MS) == 0
    assert SourceWatch(watched.book).run(noticed + 2 * GRACE_MS) == 0

    facts = {"source": GATEWAY, "gaps": "2", "missing": "6", "first": "2-3"}
    assert open_alerts(watched) == {("source-gap", f"{GATEWAY} {clock.day_of(noticed)}"): facts}


def test_a_gap_that_is_closed_in_time_alarms_nobody(watched):
    """Numbers may come out of their order."""
    post(watched, numbered(1), numbered(3))
    watched.now_ms.move(seconds=60)
    post(watched, numbered(2))

    assert watched.watch.run(watched.now_ms() + clock.DAY_MS) == 0


def test_a_lost_tail_and_a_silent_writer_are_alarmed(watched):
    """Nothing came after: only what the writer said tells that there was something."""
    post(watched, word("WRITER_STARTED", heartbeat_s=60), numbered(1))
    post(watched, word("WRITER_HEARTBEAT", last_n=2))
    said = watched.now_ms()

    assert watched.watch.run(said + 179_000) == 0
    assert watched.watch.run(said + 181_000) == 1
    assert watched.watch.run(said + GRACE_MS + 1) == 1
    watched.now_ms.move(hours=1)
    post(watched, numbered(2), word("WRITER_HEARTBEAT", last_n=2))
    assert watched.watch.run(watched.now_ms()) == 0

    assert {code for code, _ in open_alerts(watched)} == {"writer-silent", "source-tail"}


def test_an_outcome_that_came_too_late_is_alarmed_once(watched):
    """Its output was withheld, and somebody has to look at why."""
    start = attempt()
    post(watched, start)
    Sweep(watched.book).run(watched.now_ms() + clock.DAY_MS)
    post(watched, gen(start["aggregate_id"]))

    assert watched.watch.run(watched.now_ms()) == 1
    assert SourceWatch(watched.book).run(watched.now_ms()) == 0

    ((code, about),) = open_alerts(watched)
    assert (code, about) == ("outcome-late", f"Generation/{start['aggregate_id']}")


def test_the_table_names_every_column_that_is_read(house):
    """What is written and what is read are one list."""
    post(house, numbered(1))
    listed(house)
    with house.database.duty(house.schema, "read") as connection:
        (source,) = of_rows(connection.execute(SELECT.format(book=house.schema)).fetchall())

    assert (source.source_id, source.recorded, source.last_n) == (GATEWAY, 1, 1)
