# SPDX-License-Identifier: GPL-3.0-or-later
"""Whoever owns the database owns the tables of search, too: they are no evidence, and say nothing
that the log does not say better.
"""

import pytest
from house import attempt, ingest

from ledger.readmodel.bits import BitsDamaged
from ledger.readmodel.follower import catch_up, rebuild
from ledger.readmodel.query import parse
from ledger.readmodel.search import Search
from ledger.readmodel.searching import Searching

#: What is asked here does not depend on which PostgreSQL it is.
pytestmark = pytest.mark.once


def find(house, query):
    search = Search(house.database, house.book.vault, house.schema)
    return [match.position for match in search.page(parse(query), limit=50).found]


def alter(house, statement):
    catch_up(house.database, house.schema)
    with house.owner() as owner:
        owner.execute(statement.format(book=house.schema))


def test_hides_an_entry_from_search(house):
    """Who: an administrator who wants an entry overlooked.
    Tries: to take its terms out of the index of search, and to invent others.
    Caught by: a rebuild, which reads the log and believes no row; packets, proofs, reports of
    completeness and fsck never ask the index.
    Not caught: until then a search by the terms that were taken misses the entry.
    """
    house.post(attempt(), ingest())
    assert find(house, "type:INGEST") == [1]

    alter(house, "DELETE FROM {book}.search_term WHERE value = 'INGEST'")
    alter(house, "UPDATE {book}.search_term SET value = 'EXPORT' WHERE value = 'GEN_ATTEMPT'")
    hidden = find(house, "type:INGEST"), find(house, "type:GEN_ATTEMPT"), find(house, "type:EXPORT")
    rebuild(house.database, house.schema, [Searching()])

    assert hidden == ([], [], [0])
    assert find(house, "type:INGEST") == [1]
    assert find(house, "type:GEN_ATTEMPT") == [0]


def test_writes_rubbish_into_the_index_of_search(house):
    """Who: an administrator, or a disk.
    Tries: rows of the index that are no set of positions, and positions that no entry has.
    Caught by: the reader of a row, which says `search-index-damaged`; what is beyond the log is cut
    off before an entry is looked for.
    Not caught: nothing known.
    """
    house.post(attempt())
    alter(house, "UPDATE {book}.search_term SET bits = decode(repeat('ff', 1024), 'hex')")
    assert find(house, "type:GEN_ATTEMPT") == [0]

    alter(house, r"UPDATE {book}.search_term SET bits = '\xffff'")

    with pytest.raises(BitsDamaged):
        find(house, "type:GEN_ATTEMPT")


def test_alters_an_entry_and_waits_for_the_read_model(house):
    """Who: an administrator who alters the bytes of an entry before anybody has searched.
    Tries: to have search show what the altered bytes say.
    Caught by: the follower, which believes bytes only if they hash to their leaf: the entry is
    found by what its index says, type and time, and by nothing of the bytes. fsck names it.
    Not caught: an administrator who alters leaf and bytes, by search; the tree catches that.
    """
    house.post(attempt())
    with house.owner() as owner:
        owner.execute("SET session_replication_role = replica")
        owner.execute(
            f"UPDATE {house.schema}.entry_body SET bytes ="
            " convert_to(replace(convert_from(bytes, 'UTF8'), 'painter', 'printer'), 'UTF8')"
        )

    assert find(house, "model:printer") == find(house, "model:painter") == []
    assert find(house, "type:GEN_ATTEMPT") == [0]
