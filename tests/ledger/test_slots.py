# SPDX-License-Identifier: GPL-3.0-or-later
"""What a pattern over a request's bytes takes, the rule of that member takes; and says it so."""

import re
from typing import Annotated

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from pydantic import AfterValidator, Field, TypeAdapter

from ledger.events import envelope, slots, values
from ledger.events.slots import Slot, plan
from sealtrail.verify import canonical
from sealtrail.verify.disclosure import decode_base64url, encode_base64url

TEXTS = {
    name: getattr(values, name)
    for name in (
        "Digest", "Mac", "Uuid7", "Id", "Code", "Token", "Line", "Text", "Decimal", "U64", "Time",
        "Day", "Url", "MediaType", "Language", "Currency",
    )
}  # fmt: skip
TEXTS |= {"TraceId": envelope.TraceId, "SpanId": envelope.SpanId}
NUMBERS = {
    "Count": values.Count,
    "Small": values.Small,
    "Pixels": values.Pixels,
    "clock": Annotated[int, Field(ge=-(2**31), le=2**31)],
    "one digit": Annotated[int, Field(ge=1, le=9)],
    "outputs": Annotated[int, Field(ge=1, le=64)],
}


def pattern_of(kind):
    slot = plan(TypeAdapter(kind).core_schema)
    assert isinstance(slot, Slot)
    return slot.pattern, slot.quoted


@pytest.mark.parametrize("name", TEXTS)
@given(data=st.data())
def test_a_text_that_a_pattern_takes_keeps_to_the_rule(name, data):
    """And canonical JSON has no need to escape anything in it.

    Only what is UTF-8 is ever matched, so what is not is left out of what is drawn here.
    """
    pattern, quoted = pattern_of(TEXTS[name])
    compiled = re.compile(pattern.encode())

    text = data.draw(st.from_regex(compiled, fullmatch=True)).decode(errors="ignore")
    assume(compiled.fullmatch(text.encode()))

    assert quoted
    assert TypeAdapter(TEXTS[name]).validate_python(text, strict=True) == text
    assert canonical.encode(text) == f'"{text}"'.encode()


@pytest.mark.parametrize("name", NUMBERS)
@given(data=st.data())
def test_a_pattern_takes_the_numbers_within_the_bounds(name, data):
    """All of them, and no other."""
    pattern, quoted = pattern_of(NUMBERS[name])
    bounds = TypeAdapter(NUMBERS[name]).core_schema
    edges = [bounds["ge"], bounds["le"], 0, 1, 10, 99, 100]
    near = st.sampled_from(edges).flatmap(lambda edge: st.integers(edge - 2, edge + 2))

    number = data.draw(st.integers() | near)

    assert not quoted
    within = bounds["ge"] <= number <= bounds["le"]
    assert (re.fullmatch(pattern, str(number)) is not None) is within


@given(st.from_regex(re.compile(slots.RECORD_KEY.pattern), fullmatch=True))
def test_a_record_key_has_one_spelling(text):
    assert len(decode_base64url(text)) == 32


@given(st.binary(min_size=32, max_size=32))
def test_every_record_key_fits(key):
    assert re.fullmatch(slots.RECORD_KEY.pattern, encode_base64url(key))


def fits(data):
    return re.fullmatch(slots.FREE.pattern.encode(), slots.hidden(data)) is not None


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_free_text_fits_as_canonical_json_prints_it(text):
    """All but control characters, for which there is no short escape."""
    printed = canonical.encode(text)[1:-1]

    assert slots.shown(slots.hidden(printed)) == printed
    assert fits(printed) is not any(
        (one < " " and one not in "\b\f\n\r\t") or one == "\x7f" for one in text
    )


@settings(max_examples=1_000)
@given(
    st.lists(
        st.sampled_from([b"a", b"\\", b'"', b"n", b"\\u0041", b"\\/", b"\n", "é".encode(), b"\x7f"])
        | st.text(max_size=2).map(lambda text: text.encode(errors="ignore")),
        max_size=8,
    ).map(b"".join)
)
def test_free_text_is_the_one_spelling(data):
    """UTF-8 that fits is what canonical JSON prints."""
    if fits(data):
        quoted = b'"%b"' % data
        assert canonical.encode(canonical.parse(quoted)) == quoted


def test_what_is_asked_beyond_a_pattern_has_no_plan():
    """A rule that nobody here knows is left to the model."""

    def odd(text):
        return text

    assert plan(TypeAdapter(Annotated[values.Digest, AfterValidator(odd)]).core_schema) is None
    time = plan(TypeAdapter(Annotated[values.Time, AfterValidator(odd)]).core_schema)
    assert isinstance(time, slots.Ruled)
    assert plan(TypeAdapter(Annotated[str, Field(pattern="^a*$")]).core_schema) is None
    assert plan(TypeAdapter(str).core_schema) is None
    assert plan(TypeAdapter(Annotated[int, Field(ge=2, le=9)]).core_schema) is None
    assert plan(TypeAdapter(int).core_schema) is None
    assert plan(TypeAdapter(Annotated[values.Digest, Field(max_length=9)]).core_schema) is None
