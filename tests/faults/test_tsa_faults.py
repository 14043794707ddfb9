# SPDX-License-Identifier: GPL-3.0-or-later
"""Rows of the fault matrix: the time-stamp authority, for which nothing but the stamp waits."""

import dataclasses
import itertools

import pytest
from answers import kept
from house import Hand, attempt, house_in, noon_before
from served_house import serving
from stamp_server import http, recipe_for

from anchoring.anchors import Anchors
from anchoring.arrears import arrears
from anchoring.fsck import Fsck
from anchoring.night import Night
from api import night_watch
from ledger import clock
from ledger.outcome import Recorded

#: What is asked here does not depend on which PostgreSQL it is.
pytestmark = pytest.mark.once

DEPENDENCY = "Time-stamp authority"
FAR = 10**10  #: A jump of the clock that needs no operator, in ms.


def run(house, *authorities, quorum=1):
    return list(Night(house.book, authorities, quorum=quorum).catch_up(house.now_ms()))


def bodies(house, type_):
    return [one.entry.value["body"] for one in house.book.reader.of_topic(f"{type_}/1")][::-1]


def closed_day(house):
    house.post(attempt())
    house.now_ms.move(days=1)


def goes_on(house):
    return isinstance(house.post(attempt())[0], Recorded)


@pytest.mark.parametrize("mood", ["error", "garbage"])
def test_a_stamp_that_was_not_made(noon, moody, mood):
    """The authority answers with an error, or with what is no time stamp.

    Kind: failed, not persisted
    Write: stamp
    Ingest: goes on
    Lost: nothing; the same bytes are sent again until they are stamped
    Operator: ANCHOR_FAILED once, `sealtrail_anchors_waiting`, `anchor status`, a warning in the log
    """
    closed_day(noon)
    moody.mood = mood

    (failed,) = run(noon, moody.authority)
    recorded = goes_on(noon)
    moody.mood = "honest"
    (done,) = run(noon, moody.authority)

    assert (failed.recorded, failed.missing, recorded) == (False, ["moody"], True)
    assert (done.anchor_id, done.recorded) == (failed.anchor_id, True)
    assert [one["authority"] for one in bodies(noon, "ANCHOR_FAILED")] == ["moody"]


@pytest.mark.parametrize("mood", ["lost", "cut off"])
def test_a_stamp_that_was_made_and_never_arrived(noon, moody, mood):
    """The authority has made the token; the connection breaks before we have it.

    Kind: reported as failed, persisted
    Write: stamp
    Ingest: goes on
    Lost: a token that only the authority knows of; another is asked for over the same bytes
    Operator: ANCHOR_FAILED once, `sealtrail_anchors_waiting`, `anchor status`, a warning in the log
    """
    closed_day(noon)
    moody.mood = mood

    (failed,) = run(noon, moody.authority)
    recorded = goes_on(noon)
    moody.mood = "honest"
    (done,) = run(noon, moody.authority)

    assert (failed.recorded, moody.made, recorded, done.recorded) == (False, 2, True, True)
    imprints = {recipe_for(query).imprint for query in moody.asked}
    assert len(imprints) == 1
    assert len(Anchors(noon.book).tokens(done.anchor_id)) == 1
    assert len(bodies(noon, "ANCHOR")) == 1


def test_two_failures_and_a_third(noon, moody):
    """Every try fails, each in another way.

    Kind: two in a row
    Ingest: goes on
    Lost: nothing; the fourth try is stamped
    Operator: one ANCHOR_FAILED for the anchor and the authority, not one for each try
    """
    closed_day(noon)
    for moody.mood in ("error", "lost", "garbage"):
        (step,) = run(noon, moody.authority)
        assert not step.recorded
        assert goes_on(noon)
    moody.mood = "honest"
    (step,) = run(noon, moody.authority)

    assert step.recorded
    assert len(bodies(noon, "ANCHOR_FAILED")) == len(bodies(noon, "ANCHOR")) == 1


def test_one_of_two_is_silent(noon, moody, authority):
    """Two authorities are configured and one token is enough.

    Kind: gone
    Ingest: goes on
    Lost: nothing; the other authority's token anchors the day
    Operator: ANCHOR_FAILED names the silent one; `doctor` asks each of them
    """
    closed_day(noon)
    silent = dataclasses.replace(moody.authority, name="silent", url="http://127.0.0.1:9/")

    (step,) = run(noon, silent, authority.authority())

    assert (step.recorded, step.missing) == (True, ["silent"])
    assert [one["authority"] for one in bodies(noon, "ANCHOR_FAILED")] == ["silent"]
    assert arrears(noon.book, noon.now_ms()).days == []


def test_silent_for_days(pattern, tmp_path, moody, monkeypatch):
    """The authority answers nobody for six days, and then it does.

    Kind: silent for days
    Ingest: goes on
    Lost: nothing; one anchor for each missed day, over the bytes that were chosen in its night
    Operator: `sealtrail_anchors_waiting` counts the days, `anchor status` names authority and
        reason; `/readyz` stays green
    """
    monkeypatch.setattr(night_watch, "_KEPT_S", -1)
    hand = Hand(noon_before(6))
    with (
        house_in(pattern, tmp_path, now_ms=hand, jump_ms=FAR) as house,
        serving(house) as service,
    ):
        kept(service, attempt())
        moody.mood = "error"
        chosen = {}
        for day in range(1, 7):
            hand.ms = min(noon_before(6 - day), clock.now_ms())
            assert not any(step.recorded for step in run(house, moody.authority))
            chosen |= {one.anchor_id: one.stamped for one in Anchors(house.book).open("day")}
            kept(service, attempt())
        waiting = gauge(service, "sealtrail_anchors_waiting")
        owed = arrears(house.book, house.database.now_ms())
        ready = service.ask("GET", "/readyz").status_code
        moody.mood = "honest"
        steps = run(house, moody.authority)

        days = [clock.day_of(noon_before(6 - n)) for n in range(6)]
        assert (waiting, ready, list(owed.days), owed.stamped_ms) == (6, 200, days, 0)
        assert owed.failures == {"moody": "tsa-unavailable"}
        assert [step.anchor_id for step in steps] == [f"day/{day}" for day in days]
        assert all(step.recorded for step in steps)
        assert [one["day"] for one in bodies(house, "ANCHOR")] == days
        failures = [one["anchor"] for one in bodies(house, "ANCHOR_FAILED")]
        assert failures == [f"day/{day}" for day in days]
        assert {one.anchor_id: one.stamped for one in Anchors(house.book).newest_days()} == chosen
        assert gauge(service, "sealtrail_anchors_waiting") == 0
        assert gauge(service, "sealtrail_stamped_seconds") > clock.now_ms() / 1000 - 60
        sizes = [one["checkpoint"]["size"] for one in bodies(house, "ANCHOR")]
        assert all(first < second for first, second in itertools.pairwise(sizes))
        assert Fsck(house.book, first_key=house.first_key()).run().damage == []


def test_a_day_in_the_middle_that_stays_open(noon, moody):
    """The authority refuses one day's bytes and stamps the days after it.

    Kind: lies
    Ingest: goes on
    Lost: nothing; the open day is asked for each night
    Operator: the day is still counted as waiting, though a later one is anchored
    """
    closed_day(noon)
    moody.mood = "error"
    run(noon, moody.authority)
    closed_day(noon)
    (first,) = Anchors(noon.book).open("day")
    honest = moody.respond

    def picky(handler, query):
        first_bytes = recipe_for(query).imprint == moody.first
        moody.mood = "error" if first_bytes else "honest"
        honest(handler, query)

    moody.first = recipe_for(moody.asked[0]).imprint
    with http(picky) as url:
        steps = run(noon, dataclasses.replace(moody.authority, url=url))

    assert [step.recorded for step in steps] == [False, True]
    assert arrears(noon.book, noon.now_ms()).days == [first.day]


def gauge(service, name):
    sample = f'{name}{{book="{service.house.tenant}"}} '
    (line,) = [
        line for line in service.ask("GET", "/metrics").text.splitlines() if line.startswith(sample)
    ]
    return float(line.removeprefix(sample))
