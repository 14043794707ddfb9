# SPDX-License-Identifier: GPL-3.0-or-later
"""What a published schema takes, the ledger takes, and the other way round.

Every member of a full body, and of a full envelope, is changed to each of some odd values in turn.
What a schema cannot say is named below; a rule that is in neither list fails here.
"""

import copy
from collections.abc import Iterator
from typing import Any

import pytest
from event_bodies import FULL
from event_envelope import ENVELOPE
from event_requests import prepared, request
from published import CLIENTS, REQUEST

from ledger.errors import MalformedEvent

pytestmark = pytest.mark.once


#: docs/wire-formats.md says these: the rules that no JSON Schema says.
UNSAID = {
    "distinct", "range", "uint64", "must-be-sealed", "unlinked-parent", "ledger-made",
}  # fmt: skip
ODD: list[Any] = [
    None, True, 0, -1, 2**53 - 1, "", "a", "a@b", "0.5", "x" * 257, "a\tb", "EUR",
    "2026-02-28T00:00:00.000Z", "2026-02-28T24:00:00.000Z", "sha256:" + "0" * 64,
    [], {}, [1], ["a"] * 65, {"a": "1"}, {"a@": "1"}, "/outputs/0/sha256",
]  # fmt: skip


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if path:
        yield path
    listed = enumerate(value) if isinstance(value, list) else ()
    for key, one in value.items() if isinstance(value, dict) else listed:
        yield from places(one, (*path, key))


def changed(whole: Any, path: tuple[Any, ...]) -> Iterator[Any]:
    """The whole with one place changed, and with it left out."""
    for value in [*ODD, ...]:
        one = copy.deepcopy(whole)
        parent = one
        for step in path[:-1]:
            parent = parent[step]
        if value is ...:
            del parent[path[-1]]
        else:
            parent[path[-1]] = value
        yield one


def disagreement(one: Any) -> str | None:
    """Where schema and ledger say different things of a request; None if they agree."""
    try:
        prepared(one)
        rules = set()
    except MalformedEvent as refusal:
        unsealed = {"required"} if all("sealed" in e.detail for e in refusal.errors) else set()
        rules = {error.rule for error in refusal.errors} - UNSAID - unsealed
        if not rules:
            return None
    takes = REQUEST.is_valid(one)
    return None if takes == (not rules) else f"the ledger says {rules or 'yes'}"


@pytest.mark.parametrize("type_", CLIENTS)
def test_a_schema_and_the_ledger_agree_about_every_body(type_):
    """A pipeline that checks its events by our schemas is not refused for what they say."""
    body = FULL[type_]

    for path in places(body):
        for other in changed(body, path):
            assert disagreement(request(type_, body=other)) is None, path


def test_a_schema_and_the_ledger_agree_about_the_envelope():
    """Every optional group, an empty one included."""
    for path in places(ENVELOPE):
        for other in changed(ENVELOPE, path):
            assert disagreement({**request(), **other}) is None, path
