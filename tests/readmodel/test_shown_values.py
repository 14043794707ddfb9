# SPDX-License-Identifier: GPL-3.0-or-later
"""What is shown of entries is the same whether they lie close together or far apart."""

import pytest
from house import attempt

from ledger.readmodel.follower import catch_up
from ledger.readmodel.query import parse
from ledger.readmodel.search import Search

#: What is asked here does not depend on which PostgreSQL it is.
pytestmark = pytest.mark.once

COUNT = 520  #: So that a frequent term is a bitmap, and a rare one a list.


def test_close_together_or_far_apart_the_same_is_shown(house):
    """One by one from each entry's own rows, or from the rows of their block for all of them."""
    body = {"operation": "generate", "input_type": "text"}
    models = [{"provider": "acme", "name": f"m{n % 7}", "version": "1"} for n in range(COUNT)]
    for at in range(0, COUNT, 65):
        house.post(*[attempt(body={**body, "model": one}) for one in models[at : at + 65]])
    catch_up(house.database, house.schema)
    search = Search(house.database, house.book.vault, house.schema)

    together = search.page(parse(""), limit=COUNT).found
    each = [
        match
        for at in range(0, COUNT, 97)
        for match in search.page(parse(f"event:{together[at].event_id}"), limit=1).found
    ]

    assert [one.values for one in each] == [one.values for one in together[::97]]
    assert all(
        match.values["model"][0] == f"acme/m{match.position % 7}"
        and match.values["outcome"] == ["open"]
        for match in together
    )
