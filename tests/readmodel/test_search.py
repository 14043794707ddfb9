# SPDX-License-Identifier: GPL-3.0-or-later
"""What queries find: every key, alone and with others, page by page and all at once."""

import pytest
from house import attempt, deny, error, event_id, export, gen, house_in, ingest

from ledger import clock
from ledger.readmodel.query import parse
from ledger.readmodel.search import Place, Search

#: What is asked here does not depend on which PostgreSQL it is.
pytestmark = pytest.mark.once

PAINTER = {"provider": "acme", "name": "painter", "version": "3"}
SKETCH = {"provider": "globex", "name": "sketch", "version": "1"}
TRACE = {"trace": {"trace_id": "ab" * 16}}


def asks(id_, model=PAINTER, **changes):
    body = {"operation": "generate", "input_type": "text", "model": model}
    body |= {"prompt": {"template": {"id": "portrait", "version": "7"}}}
    return attempt(id_, body=body, **changes)


def denies(id_):
    body = {"decision": "DENY", "refusal_reason_code": "policy", "risk_category": "NCII_RISK"}
    body |= {"rule_ids": ["R-17"], "policy": {"id": "images", "version": "12"}}
    return deny(id_, body=body)


def judges(id_, **changes):
    mod = {
        "stage": "post_output",
        "classifier": {"id": "nsfw", "version": "4"},
        "scores": {"nudity": "0.91"},
        "filter_action": "block",
        "labels": ["partial nudity", "beach"],
    }
    return {**deny(id_), "type": "MODERATION", "body": {"mod": mod}, **changes}


@pytest.fixture(scope="module")
def asked(pattern, tmp_path_factory):
    """Ten entries; `find` returns their positions, newest first."""
    with house_in(pattern, tmp_path_factory.mktemp("search")) as house:
        ids = [event_id() for _ in range(4)]
        asset = event_id()
        house.sent = [
            asks(ids[0], **TRACE),  # 0
            asks(ids[1], SKETCH, source={"id": "gateway-3", "n": 1}),  # 1
            asks(ids[2], on_behalf_of="employee-8", links=[{"rel": "input-asset", "id": "a:17"}]),
            asks(ids[3], SKETCH),  # 3
            judges(ids[0]),  # 4
            denies(ids[0]),  # 5
            gen(ids[1], asset),  # 6
            error(ids[2]),  # 7
            export(asset),  # 8
            ingest(sealed={"actor.session_id": "session-1"}),  # 9
        ]
        house.post(*house.sent)
        house.ids, house.asset = ids, asset
        house.search = Search(house.database, house.book.vault, house.schema)
        yield house


def find(house, query, **options):
    page = house.search.page(parse(query), limit=20, **options)
    return [match.position for match in page.found]


@pytest.mark.parametrize(
    ("query", "positions"),
    [
        ("", [9, 8, 7, 6, 5, 4, 3, 2, 1, 0]),
        ("type:GEN_DENY", [5]),
        ("type:gen,gen_deny,gen_error", [7, 6, 5]),
        ("stage:EXPORT", [8]),
        ("stage:GEN -type:GEN_ATTEMPT", [7, 6, 5, 4]),
        ("model:acme/painter@3", [7, 5, 4, 2, 0]),
        ("model:sketch", [6, 3, 1]),
        ("model:sketch@2", []),
        ("provider:globex type:GEN", [6]),
        ("template:portrait@7 type:GEN_DENY", [5]),
        ("risk:NCII_RISK", [5]),
        ("type:GEN_DENY risk:NCII_RISK model:painter", [5]),
        ("type:GEN_DENY risk:NCII_RISK model:sketch", []),
        ("rule:R-17", [5]),
        ("policy:images@12", [5]),
        ("reason:policy,overloaded", [7, 5]),
        ('label:"partial nudity"', [4]),
        ("classifier:nsfw@4 action:block", [4]),
        ("outcome:denied", [5, 0]),
        ("outcome:open", [3]),
        ("outcome:failed type:GEN_ATTEMPT", [2]),
        (f"trace:{'ab' * 16}", [5, 4, 0]),
        ("source:gateway-3", [1]),
        ("link:a:17", [2]),
        ("basis:OWNED", [9]),
        ("destination:DELIVERY", [8]),
        ("flag:unknown-model -model:painter", [3, 1]),
        ("tier:database type:INGEST", [9]),
        ("tier:cold", []),
        ("-tier:database", []),
        ("hold:any", []),
        ("by:service,human type:EXPORT", [8]),
        ("actor:employee-8", [2]),
        ("actor:nobody", []),
        ("-actor:employee-7 stage:GEN", [2]),
        ("session:session-1", [9]),
        ("after:2000-01-01 type:GEN", [6]),
        ("before:2000-01-01", []),
        ("-after:2000-01-01", []),
        ("nudity", [4]),
        ('"partial nudity"', [4]),
        ('"nudity partial"', []),
        ("portrait type:GEN", [6]),
        ("ncii risk", [5]),
        ("-portrait", [9, 8]),
        ("nothingofthekind", []),
    ],
)
def test_a_query_finds(asked, query, positions):
    """An answer is every entry that meets all clauses, newest first."""
    assert find(asked, query) == positions


def test_one_event_and_one_stream_are_found(asked):
    """By the ids that every entry keeps in every tier."""
    assert find(asked, f"event:{asked.sent[4]['event_id']}") == [4]
    assert find(asked, f"aggregate:Generation/{asked.ids[0]}") == [5, 4, 0]
    assert find(asked, f"-aggregate:Asset/{asked.asset} stage:EXPORT") == [8]


def test_a_time_is_a_place_in_the_log(asked):
    """`after` begins with the entry that was recorded at that very millisecond."""
    match = asked.search.page(parse("type:INGEST"), limit=1).found[0]
    at, later = clock.rfc3339(match.recorded_ms), clock.rfc3339(match.recorded_ms + 1)

    assert 9 in find(asked, f"after:{at}")
    assert find(asked, f"after:{later}") == []
    assert find(asked, f"type:INGEST before:{at}") == []
    assert find(asked, f"type:INGEST before:{later}") == [9]


def test_pages_go_on_where_the_last_ended_in_both_directions(asked):
    """Forward and back, with what was recorded meanwhile in none of them."""
    query = parse("stage:GEN")
    first = asked.search.page(query, limit=3)
    at = first.as_of.position

    second = asked.search.page(query, limit=3, place=Place(first.found[-1].position, True, at))
    back = asked.search.page(query, limit=3, place=Place(second.found[0].position, False, at))
    oldest = asked.search.page(query, limit=3, descending=False)

    assert [one.position for one in first.found] == [7, 6, 5]
    assert [one.position for one in second.found] == [4, 3, 2]
    assert [one.position for one in back.found] == [5, 6, 7]
    assert [one.position for one in oldest.found] == [0, 1, 2]
    assert (first.more, second.more, back.more) == (True, True, False)


def test_what_is_shown_of_an_entry_is_what_the_index_has(asked):
    """A refusal shows the model of its attempt, the risk and the rule."""
    (match,) = asked.search.page(parse("type:GEN_DENY"), limit=1).found

    assert match.event_id == asked.sent[5]["event_id"]
    assert (match.stream, match.version) == (f"Generation/{asked.ids[0]}", 3)
    assert match.leaf == asked.book.reader.at(5).leaf
    assert match.tier == "database"
    assert match.values["outcome"] == ["denied"]
    assert match.values["risk"] == ["NCII_RISK"]
    assert "acme/painter@3" in match.values["model"]


def test_all_that_is_found_comes_in_the_order_of_the_log(asked):
    """The count is known before the first entry is read."""
    whole = asked.search.whole(parse("model:painter"))

    assert whole.count == 5
    assert [match.position for match in asked.search.read(whole)] == [0, 2, 4, 5, 7]


def test_an_acknowledged_event_is_found_at_once(house):
    """No scheduler runs here: the search itself reads what is new."""
    search = Search(house.database, house.book.vault, house.schema)
    for size in (1, 2):
        house.post(attempt())

        page = search.page(parse("type:GEN_ATTEMPT"), limit=10)

        assert len(page.found) == size
        assert page.as_of == (size, 0)
