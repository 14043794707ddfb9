# SPDX-License-Identifier: GPL-3.0-or-later
"""Alerts: each once, with an entry as its evidence, whatever crashes and whoever races."""

import threading

import pytest
from house import Hand, house_in, noon_before

from anchoring import alerts as desk
from anchoring.alerts import acknowledge, alerts, open_count, raise_alert, rebuild
from ledger.errors import MalformedEvent, NotFound

PERSON = {"kind": "human", "credential": "cred_person"}


@pytest.fixture(scope="module")
def house(pattern, tmp_path_factory):
    """A tenant for the whole module; each test has codes of its own."""
    with house_in(pattern, tmp_path_factory.mktemp("alerts"), now_ms=Hand(noon_before(1))) as made:
        yield made


def entries(house, type_="ALERT_RAISED", **body):
    """The entries of a type whose bodies have these members."""
    stored = house.book.reader.between(0, house.book.reader.head().size)
    found = [one.entry.value for one in stored if one.entry.value["type"] == type_]
    return [one for one in found if body.items() <= one["body"].items()]


def forget_rows(house, code):
    """Play the crash between an entry and its row."""
    with house.owner() as owner:
        owner.execute(f"DELETE FROM {house.schema}.alert WHERE code = %s", (code,))


def test_an_alert_is_an_entry_and_a_row(house):
    """What was noticed, what it is about and what is known of it; by the ledger, in the log."""
    raised = raise_alert(house.book, "queue-full", "queue/7", {"waiting": 12, "since": "noon"})

    (entry,) = entries(house, code="queue-full")
    (row,) = alerts(house.book, code="queue-full")
    assert raised
    assert entry["actor"] == {"kind": "system"}
    assert entry["body"]["facts"] == row.facts == {"since": "noon", "waiting": "12"}
    assert (row.event_id, row.about) == (entry["event_id"], "queue/7")


def test_the_same_thing_is_told_once(house):
    """Also after it was acknowledged; another thing is another alert."""
    first = raise_alert(house.book, "told-once", "a", {})
    again = raise_alert(house.book, "told-once", "a", {"more": 1})
    other = raise_alert(house.book, "told-once", "b", {})
    (row,) = [one for one in alerts(house.book, code="told-once") if one.about == "a"]
    acknowledge(house.book, row.event_id, actor=PERSON)
    later = raise_alert(house.book, "told-once", "a", {})

    assert (first, again, other, later) == (True, False, True, False)
    assert len(entries(house, code="told-once")) == 2


def test_two_processes_that_race_raise_it_once(house):
    """Eight threads in two processes see the same thing at the same moment."""
    shelf = house.second_process()
    books = [house.book, shelf.book(house.tenant)] * 4
    start, answers = threading.Barrier(len(books)), []

    def see(book):
        start.wait()
        answers.append(raise_alert(book, "raced", "thing", {}))

    threads = [threading.Thread(target=see, args=(book,)) for book in books]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)

    assert sorted(answers) == [False] * 7 + [True]
    assert len(entries(house, code="raced")) == 1


def test_a_crash_between_entry_and_row_loses_nothing(house):
    """The entry is there; the next one who looks makes the row, and nobody raises it again."""
    raise_alert(house.book, "crashed", "x", {})
    forget_rows(house, "crashed")

    again = raise_alert(house.book, "crashed", "x", {})

    assert not again
    assert [one.about for one in alerts(house.book, code="crashed")] == ["x"]


def test_a_row_without_an_entry_silences_nobody(house):
    """Whoever may write the table puts an alert there beforehand, so that it is never raised."""
    size = house.book.reader.head().size
    with house.owner() as owner:
        for position in (0, size, size + 99):
            owner.execute(
                f"INSERT INTO {house.schema}.alert (position, event_id, code, about, facts,"
                " raised_at) VALUES (%s, gen_random_uuid(), 'silenced', 'x', '{}', 0)"
                " ON CONFLICT DO NOTHING",
                (position,),
            )

    raised = raise_alert(house.book, "silenced", "x", {})
    again = raise_alert(house.book, "silenced", "x", {})
    rebuild(house.book)

    assert (raised, again) == (True, False)
    assert len(entries(house, code="silenced")) == 1
    assert [one.position for one in alerts(house.book, code="silenced")] == [size]


def test_an_acknowledgement_is_an_entry_of_a_person(house):
    """Who saw it and what became of it; a second one changes nothing."""
    raise_alert(house.book, "seen", "x", {})
    (row,) = alerts(house.book, code="seen", open_only=True)
    before = open_count(house.book)

    first = acknowledge(house.book, row.event_id, actor=PERSON, reason="handled")
    second = acknowledge(house.book, row.event_id, actor=PERSON, reason="other")

    (entry,) = entries(house, "ALERT_ACKNOWLEDGED", alert=row.event_id)
    assert entry["actor"]["credential"] == "cred_person"
    assert first == second
    assert (first.reason, first.acknowledged is not None) == ("handled", True)
    assert alerts(house.book, code="seen", open_only=True) == []
    assert open_count(house.book) == before - 1


def test_what_is_no_alert_cannot_be_acknowledged(house):
    """A wrong id and prose instead of a code are refused, and nothing is recorded."""
    raise_alert(house.book, "not-this-one", "x", {})
    (row,) = alerts(house.book, code="not-this-one")
    size = house.book.reader.head().size

    with pytest.raises(NotFound):
        acknowledge(house.book, "01890a5d-ac96-774b-bcce-b302099a8057", actor=PERSON)
    with pytest.raises(MalformedEvent):
        acknowledge(house.book, row.event_id, actor=PERSON, reason="told <b>Bob</b>")

    assert house.book.reader.head().size == size


def test_the_table_is_made_anew_from_the_log(house):
    """Rows, facts and acknowledgements come back as they were."""
    raise_alert(house.book, "rebuilt", "x", {"n": 1})
    raise_alert(house.book, "rebuilt", "y", {})
    (row,) = [one for one in alerts(house.book, code="rebuilt") if one.about == "x"]
    acknowledge(house.book, row.event_id, actor=PERSON, reason="handled")
    before = alerts(house.book)

    made = rebuild(house.book)

    assert made == len(before)
    assert alerts(house.book) == before


def test_whoever_floods_one_code_hides_no_other(house, monkeypatch):
    """Of one code so many are open; the next is told as withheld, once, and others come through."""
    monkeypatch.setattr(desk, "OPEN_MAX", 3)

    flood = [raise_alert(house.book, "flood", f"thing/{at}", {}) for at in range(6)]
    other = raise_alert(house.book, "fire", "house", {})

    assert flood == [True] * 3 + [False] * 3
    assert other
    assert [one.about for one in alerts(house.book, code=desk.WITHHELD)] == ["flood"]


def test_what_was_withheld_is_raised_when_there_is_room(house, monkeypatch):
    """An alert that is answered makes room for the next, if its cause is still there."""
    monkeypatch.setattr(desk, "OPEN_MAX", 1)
    raise_alert(house.book, "room", "a", {})
    refused = raise_alert(house.book, "room", "b", {})
    (row,) = alerts(house.book, code="room")
    acknowledge(house.book, row.event_id, actor=PERSON)

    assert not refused
    assert raise_alert(house.book, "room", "b", {})


def test_a_long_or_broken_name_still_raises_its_alert(house):
    """Two names that differ only where they are cut are two alerts."""
    long = "model/" + "a" * 300

    first = raise_alert(house.book, "long", long + "1", {"line": "one\ntwo"})
    second = raise_alert(house.book, "long", long + "2", {})
    again = raise_alert(house.book, "long", long + "1", {})

    found = alerts(house.book, code="long")
    assert (first, second, again) == (True, True, False)
    assert {len(one.about) for one in found} == {256}
    assert found[1].facts == {"line": "one two"}


def test_pages_go_from_the_newest_to_the_oldest(house):
    """`before` of the last one seen starts the next page."""
    for name in "abc":
        raise_alert(house.book, "paged", name, {})

    first = alerts(house.book, code="paged", limit=2)
    second = alerts(house.book, code="paged", limit=2, before=first[-1].position)

    assert [one.about for one in first + second] == ["c", "b", "a"]
