# SPDX-License-Identifier: GPL-3.0-or-later
"""The query language: one reading of each query, and errors that say where and never what."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.readmodel.keys import KEYS
from ledger.readmodel.query import Clause, QueryMalformed, parse, printed, refuse_personal
from ledger.readmodel.search_index import words_of

pytestmark = pytest.mark.once

CLOSED = {"type": ("GEN", "GEN_DENY"), "flag": ("revoked-consent",)}
FORMED = {
    "after": ("2026-11-01", "2026-11-01T12:30:00.000Z"),
    "before": ("2026-12-01",),
    "event": ("0198d2a0-0000-7000-8000-000000000001",),
    "aggregate": ("Generation/a b", 'Asset/"x"'),
    "hold": ("any",),
}
texts = st.text(min_size=1, max_size=12).filter(lambda text: "\0" not in text)


def values_of(key):
    some = CLOSED.get(key.name) or FORMED.get(key.name) or key.known
    one = st.sampled_from(some) if some else texts.map(_folded(key))
    return st.lists(one, min_size=1, max_size=1 if key.name in ("after", "before") else 4)


def _folded(key):
    return {"upper": str.upper, "lower": str.lower, None: str}[key.fold]


keyed = st.sampled_from(list(KEYS.values())).flatmap(
    lambda key: st.builds(Clause, st.just(key.name), values_of(key).map(tuple), st.booleans())
)
worded = st.builds(
    Clause,
    st.none(),
    texts.filter(words_of).map(lambda text: (text,)),
    st.booleans(),
)


@given(st.lists(keyed | worded, max_size=8))
def test_what_is_printed_is_read_as_the_same_clauses(clauses):
    """Quotes, commas, line breaks and minus signs come through."""
    assert parse(printed(clauses)) == tuple(clauses)


@given(st.text(max_size=60))
def test_any_text_is_a_query_or_a_complaint(text):
    """Whatever somebody types is read, or refused by a sentence; nothing else can happen."""
    read = outcome(text)

    assert read == outcome(text)
    assert isinstance(read, str) or parse(printed(read)) == read
    assert not isinstance(read, str) or read.startswith("at character ")


def outcome(text):
    """The clauses of a query, or the complaint."""
    try:
        return parse(text)
    except QueryMalformed as error:
        return error.errors[0].detail


def test_a_query_is_read_clause_by_clause():
    query = 'type:gen_deny,GEN -risk:NCII_RISK model:"acme/big painter" "free words" -night'

    assert parse(query) == (
        Clause("type", ("GEN_DENY", "GEN")),
        Clause("risk", ("NCII_RISK",), negated=True),
        Clause("model", ("acme/big painter",)),
        Clause(None, ("free words",)),
        Clause(None, ("night",), negated=True),
    )
    assert parse("  ") == ()


@pytest.mark.parametrize(
    ("query", "rule", "place"),
    [
        ("type:GEN erika:mustermann", "unknown-key", 10),
        ("type:GEN_DENIED", "unknown-value", 6),
        ("outcome:bad", "unknown-value", 9),
        ("after:2026-13-01", "time", 7),
        ("before:2026-02-30", "time", 8),
        ("after:2026-11-01,2026-11-02", "one-value", 18),
        ("event:17", "uuid", 7),
        ("hold:17", "hold", 6),
        ("aggregate:17", "stream", 11),
        ('label:"open', "quote", 7),
        ('label:"a\\n"', "quote", 7),
        ("label:", "value", 7),
        ("label:a,", "value", 9),
        ("-", "value", 2),
        ('""', "value", 1),
        ("label:a\0b", "value", 7),
        ('label:"a"b', "space", 10),
        ("... ---", "words", 1),
        ("a " * 33, "too-many", 65),
        ("label:" + ",".join("a" * 33), "too-many", 71),
        ("a" * 2001, "too-long", 2001),
    ],
)
def test_what_is_wrong_is_told_by_rule_and_place(query, rule, place):
    """The known keys are listed; what was written is not repeated, for it may name a person."""
    with pytest.raises(QueryMalformed) as caught:
        parse(query)

    (error,) = caught.value.errors
    assert (error.rule, error.detail.split(":")[0]) == (rule, f"at character {place}")
    assert "erika" not in error.detail
    assert rule != "unknown-key" or all(key in error.detail for key in KEYS)


@pytest.mark.parametrize("query", ["actor:employee-7", "type:GEN -ip:192.0.2.7", "erika"])
def test_what_may_name_a_person_stands_in_no_address(query):
    """Personal keys and free words, turned round or not."""
    with pytest.raises(QueryMalformed) as caught:
        refuse_personal(parse(query))

    assert caught.value.errors[0].rule == "personal"
    refuse_personal(parse("type:GEN risk:NCII_RISK -flag:revoked-consent"))
