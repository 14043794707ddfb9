# SPDX-License-Identifier: GPL-3.0-or-later
"""What a legal hold keeps is found by it: the same entries that the sweep would spare."""

import pytest
from house import attempt, event_id, export, gen, ingest

from ledger import clock
from ledger.holds import Holds
from ledger.readmodel.query import parse
from ledger.readmodel.search import Search

#: What is asked here does not depend on which PostgreSQL it is.
pytestmark = pytest.mark.once


def find(house, query):
    search = Search(house.database, house.book.vault, house.schema)
    return [match.position for match in search.page(parse(query), limit=50).found]


def kept(house, hold_id):
    """What the view says that is asked before anything goes."""
    with house.owner() as owner:
        rows = owner.execute(
            f"SELECT DISTINCT position FROM {house.schema}.held WHERE hold_id = %s::uuid"
            " ORDER BY position DESC",
            (hold_id,),
        )
        return [position for (position,) in rows]


def test_a_hold_finds_what_it_keeps(house):
    """By type, stream, subject, time and id, and by several of them; released, nothing."""
    call, asset = event_id(), event_id()
    sent = [attempt(call), gen(call, asset), export(asset), ingest(on_behalf_of="employee-8")]
    house.post(*sent)
    time = clock.rfc3339(house.book.reader.at(1).entry.recorded_ms)
    later = clock.rfc3339(clock.now_ms() + clock.DAY_MS)
    subject = str(house.book.vault.subject_of("employee-8").ref)
    holds = Holds.of(house.book)
    scopes = [
        {"query": {"types": ["GEN", "EXPORT"]}},
        {"query": {"streams": [f"Generation/{call}"], "types": ["GEN_ATTEMPT"]}},
        {"query": {"recorded_from": time, "recorded_until": later, "types": ["INGEST"]}},
        {"query": {"subjects": [subject]}},
        {"subjects": [subject], "event_ids": [sent[0]["event_id"]]},
        {"query": {"recorded_until": time, "types": ["GEN"]}},
    ]

    placed = [holds.apply(one, matter="m-1", authority="court-1").hold_id for one in scopes]

    expected = [[2, 1], [0], [3], [3], [3, 0], []]
    for hold_id, positions in zip(placed, expected, strict=True):
        assert find(house, f"hold:{hold_id}") == positions == kept(house, hold_id)
    assert find(house, "hold:any") == [3, 2, 1, 0]
    assert find(house, "-hold:any stage:GEN,EXPORT,INGEST") == []
    for hold_id in placed:
        holds.release(hold_id, authority="court-1")
    assert find(house, "hold:any") == []
