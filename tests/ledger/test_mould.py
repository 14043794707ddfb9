# SPDX-License-Identifier: GPL-3.0-or-later
"""The short way says yes only to what the long way takes, and makes the same entry of it."""

import json
import random
import re

import pytest
from event_bodies import FULL, LEAST
from event_envelope import ENVELOPE
from event_requests import PIPELINE, PIPELINES, ZOE, custody, request
from event_values import AT, ID, D
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from ledger import catalog
from ledger.drawing import Text, Unmouldable
from ledger.errors import Refused
from ledger.events.client_made import CLIENT_MADE
from ledger.mould import Mould, Moulds
from ledger.request import Identity, parse_body, prepare
from sealtrail.verify.canonical import NotCanonical

NOW = 1_700_000_000_000
AUDITOR = Identity(credential="c-3", tenant="dev", role="auditor", kind="pipeline", name="eye")
ATTEMPT = request(
    body=FULL["GEN_ATTEMPT"],
    **ENVELOPE,
    sealed={"prompt.user": "a cat", "prompt.system": "be kind", "inputs[0].sha256": D},
)
SEALED = {
    "GEN": {"usage.payment_source": "card", "actor.account_id": "zoe@example"},
    "INGEST": {"asset.preview": D, "rights.holder": "Ann", "net.ip": "192.0.2.1"},
}
#: Types of whose full bodies no mould is made: any JSON, patches, or rules that look at values.
NEVER = {"TRAIN", "TRAIN_STARTED", "HUMAN_OVERRIDE", "HUMAN_REVIEW", "MODEL_REGISTERED",
         "CONFIG_CHANGED"}  # fmt: skip

#: JSON that may stand where a value stood: of another kind, spelled otherwise, out of bounds.
FRAGMENTS = [
    *(b"0", b"1", b"-1", b"-0", b"01", b"1.0", b"1e3", b"9", b"10", b"64", b"65", b"1000000"),
    *(
        b"1000001",
        b"10000000",
        b"10000001",
        b"9007199254740991",
        b"9007199254740992",
        b"2147483648",
    ),
    *(b"2147483649", b"-2147483648", b"-2147483649", b"86400", b"86401", b"NaN", b"null", b"true"),
    *(b"false", b"{}", b"[]", b'{"a":1}', b'["a"]', b'""', b'" "', b'"a"', b'"a "', b'" a"'),
    *(b'"18446744073709551615"', b'"18446744073709551616"', b'"9999999999999999999"', b'"007"'),
    *(b'"0"', b'"-1"', b'"7.5"', b'"-7.50"', b'"1e3"', b'"1."', b'"Nightly"', b'"NIGHTLY "'),
    *(b'"renderer"', b'"2026-02-28T00:00:00.000Z"', b'"2026-02-30T00:00:00.000Z"'),
    *(
        b'"2024-02-29T00:00:00.000Z"',
        b'"2026-04-31"',
        b'"0000-01-01T00:00:00.000Z"',
        b'"2026-01-14"',
    ),
    *(b'"\\n"', b'"\\u000a"', b'"\\/"', b'"\\u0041"', b'"\\ud800"', b'"\\ud83d\\ude00"', b'"\\\\"'),
    *(b'"\\""', b'"\xc0\x80"', b'"\xed\xa0\x80"', b'"\xf4\x90\x80\x80"', b'"\xff"', b'"\x7f"'),
    *(b'"\x1f"', b'"\t"', '"é"'.encode(), '"\u2028"'.encode(), '"\U0001f600"'.encode()),
    *('"\u00a0"'.encode(), '"\ufeff"'.encode(), b'"a\xe2\x82"', b'"a@b.example"', b'"a b"'),
    *(f'"{letter * length}"'.encode() for letter in "é猫" for length in (85, 86, 128, 129, 256)),
    *(b'"%"', b'"%b"', b'"sha256:' + b"A" * 64 + b'"', b'"sha256:' + b"a" * 64 + b'"'),
    *(b'"' + b"a" * length + b'"' for length in (64, 65, 128, 129, 256, 257, 2000, 2001, 70_000)),
    *(json.dumps(word).encode() for word in ("generate", "GEN", "GEN_ATTEMPT", "decided", "en")),
    *(b'"' + b"A" * 42 + last + b'"' for last in (b"A", b"B", b"=", b"")),
    *(json.dumps(text).encode() for text in (ID, ID.upper(), D, AT, "parent-call", "text+image")),
]


def long_way(data, identity=PIPELINE, *, strict=False):
    try:
        return prepare(
            parse_body(data), identity, received_ms=NOW, pipelines=PIPELINES, strict=strict
        )
    except (Refused, NotCanonical, TypeError):
        return None


def agrees(mould, data, *, strict=False):
    """Hold the short way against the long one; say if the short one said yes."""
    found = mould.pour(data, PIPELINE, PIPELINES, NOW, strict=strict)
    if found is not None:
        expected = long_way(data, strict=strict)
        assert found == expected
        assert told(found) == told(expected)  # True is not 1 here, whatever the order of names.
    return found is not None


def told(prepared):
    return repr(list(prepared._replace(body={}))), json.dumps(prepared.body, sort_keys=True)


def printed(value, **layout):
    return json.dumps(value, **{"separators": (",", ":"), **layout}).encode()


def mould_of(value, **layout):
    data = printed(value, **layout)
    assert long_way(data) is not None  # Of nothing else a mould is made.
    return Mould(data, catalog.lookup(value["type"], 1))


def whole(type_):
    """A request with every member that the type and the envelope have."""
    more = {"sealed": SEALED[type_]} if type_ in SEALED else {}
    return request(type_, body=FULL[type_], **ENVELOPE, **more)


def leaves(value, path=()):
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from leaves(inner, (*path, name))
    elif isinstance(value, list):
        for at, inner in enumerate(value):
            yield from leaves(inner, (*path, at))
    else:
        yield path


def replaced(value, path, fragment):
    """The request's JSON with this text in the place of one value."""
    mark = "\x01here\x01"

    def copy(inner, left):
        if not left:
            return mark
        at, *rest = left
        if isinstance(inner, list):
            return [copy(one, rest) if i == at else one for i, one in enumerate(inner)]
        return {name: copy(one, rest) if name == at else one for name, one in inner.items()}

    return printed(copy(value, path)).replace(json.dumps(mark).encode(), fragment)


@pytest.mark.parametrize("type_", [type_ for type_, _, _ in CLIENT_MADE])
@pytest.mark.parametrize("make", [whole, request])
@pytest.mark.parametrize("layout", [{}, {"separators": (", ", ": ")}, {"indent": 1}])
def test_a_mould_takes_the_request_that_it_was_made_of(type_, make, layout):
    """Of nearly every type, in any layout; and what it makes is what the long way makes."""
    one = make(type_)
    try:
        mould = mould_of(one, **layout)
    except Unmouldable:
        assert type_ in NEVER
        return

    assert agrees(mould, printed(one, **layout))
    assert agrees(mould, printed(one, **layout), strict=True)
    assert long_way(printed(one, **layout)) is not None


@pytest.mark.parametrize(
    "type_", sorted({type_ for type_, _, _ in CLIENT_MADE} - NEVER - {"GEN_ATTEMPT"})
)
def test_any_value_in_any_place_is_judged_alike(type_):
    """Each value of a full request in turn is made something else."""
    one = whole(type_)
    mould = mould_of(one)
    chance = random.Random(type_)
    for path in leaves(one):
        if path[0] in ("body", "sealed", "aggregate_id") or chance.random() < 0.1:
            for fragment in FRAGMENTS:
                agrees(mould, replaced(one, path, fragment))


def test_any_value_in_an_attempt_is_judged_alike():
    """Every member of the envelope included; and in a house that refuses what it does not know."""
    mould = mould_of(ATTEMPT)
    taken = 0
    for path in leaves(ATTEMPT):
        for fragment in FRAGMENTS:
            data = replaced(ATTEMPT, path, fragment)
            taken += agrees(mould, data)
            agrees(mould, data, strict=True)
    assert taken > 500


@settings(max_examples=1_000, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.sampled_from(["GEN_ATTEMPT", "GEN", "GEN_ERROR", "INGEST"]),
    st.lists(
        st.tuples(
            st.floats(0, 1),
            st.integers(0, 12),
            st.sampled_from([b"", b'"', b",", b"{}", b'"a":1,', b"\\", b"\xc3", b" ", b"0", b"-"])
            | st.binary(max_size=3),
        ),
        min_size=1,
        max_size=3,
    ),
)
def test_bytes_that_were_tampered_with_are_judged_alike(type_, cuts):
    """Bytes taken out and put in anywhere; most of it is no JSON any more."""
    data = printed(ATTEMPT if type_ == "GEN_ATTEMPT" else whole(type_))
    mould = _MOULDS[type_]
    for place, length, put in cuts:
        at = int(place * len(data))
        data = data[:at] + put + data[at + length :]

    agrees(mould, data)


_MOULDS = {type_: mould_of(whole(type_)) for type_ in ("GEN", "GEN_ERROR", "INGEST")}
_MOULDS["GEN_ATTEMPT"] = mould_of(ATTEMPT)
PLAIN = request(sealed={"prompt.user": "a cat", "prompt.system": "x"})
_PLAIN = mould_of(PLAIN)


@given(st.text(st.characters(exclude_categories=["Cs"])), st.booleans())
@example('say "cat"\n\t\\ /', False)
@example("Käse 猫 \U0001f600", False)
@example("\x00\x1f\x7f", False)
@example("x" * 65_534, False)
@example("x" * 65_535, False)
@example("é" * 32_767, False)
@example("é" * 32_768, False)
def test_any_text_is_committed_alike(text, ascii_only):
    """As clients print it."""
    one = {**PLAIN, "sealed": {**PLAIN["sealed"], "prompt.user": text}}

    agrees(_PLAIN, printed(one, ensure_ascii=ascii_only))


@pytest.mark.parametrize("text", ["Käse 猫 \U0001f600", 'say "cat"\n\t\\', "", "x" * 60_000])
def test_what_people_write_goes_the_short_way(text):
    """Other scripts, line ends and quotation marks."""
    one = {**PLAIN, "sealed": {**PLAIN["sealed"], "prompt.user": text}}

    assert agrees(_PLAIN, printed(one, ensure_ascii=False))


def test_one_person_in_two_roles_is_one_owner():
    """As on the long way."""
    one = request("INGEST", body=FULL["INGEST"], subjects={"depicted": "ann", "rights_holder": "b"})
    mould = mould_of(one)

    for cast in (("ann", "b"), ("ann", "ann"), ("emp-7", "emp-7"), ("Renderer", "b"), ("b", "")):
        subjects = dict(zip(("depicted", "rights_holder"), cast, strict=True))
        taken = agrees(mould, printed({**one, "subjects": subjects}))
        assert taken is ("Renderer" not in cast and "" not in cast)


def test_a_timeout_is_the_ledgers_own():
    """A mould that was made of `false` does not take `true`."""
    one = request("GEN_ERROR", body={**LEAST["GEN_ERROR"], "timeout": False})
    mould = mould_of(one)

    assert agrees(mould, printed(one))
    assert not agrees(mould, printed(one).replace(b'"timeout":false', b'"timeout":true'))


def test_a_part_that_is_too_large_goes_the_long_way():
    """Where it is refused."""
    long = {"rel": "input-asset", "id": "a" * 128, "type": "b" * 64, "role": "c" * 64}
    links = [long] * 60
    small = [{**long, "id": "a"}] * 60
    mould = mould_of(request(links=small))

    assert agrees(mould, printed(request(links=small)))
    assert not agrees(mould, printed(request(links=links)))


def test_moulds_are_for_pipelines():
    """A person's own token, an auditor's, digests of a client's own: the long way."""
    moulds = Moulds(patience=1)
    mine = {name: value for name, value in PLAIN.items() if name != "on_behalf_of"}
    for one, identity in (
        (mine, ZOE),
        (request(**custody()), PIPELINE),
    ):
        found = long_way(printed(one), identity)
        assert found is not None
        moulds.learn(printed(one), found, identity, PIPELINES, NOW, strict=False)
        assert moulds.pour(printed(one), identity, PIPELINES, NOW, strict=False) is None

    learn(moulds, PLAIN)
    assert moulds.pour(printed(PLAIN), PIPELINE, PIPELINES, NOW, strict=False) is not None
    for identity in (ZOE, AUDITOR):
        assert moulds.pour(printed(PLAIN), identity, PIPELINES, NOW, strict=False) is None


def test_moulds_are_made_seldom_and_are_few():
    """Whoever sends ever new shapes does not fill the memory, nor keep the processor busy."""
    moulds = Moulds(patience=3)
    for at in range(7):
        learn(moulds, PLAIN)
        assert (moulds.count > 0) is (at >= 0)
    assert moulds.count == 3  # The first, the fourth, the seventh.

    moulds = Moulds(patience=1)
    shapes = [request(trace={"trace_id": "0" * 32}, links=LINKS[:n]) for n in range(1, 40)]
    for one in shapes:
        learn(moulds, one)
    assert moulds.count <= 6
    for type_, _, _ in CLIENT_MADE:
        learn(moulds, request(type_))
    assert moulds.count < 100


LINKS = [{"rel": "input-asset", "id": "a"}] * 64


def learn(moulds, one):
    found = long_way(printed(one))
    moulds.learn(printed(one), found, PIPELINE, PIPELINES, NOW, strict=False)


def test_the_mould_that_fits_most_often_is_tried_first():
    """Others of the same type stay."""
    moulds = Moulds(patience=1)
    shapes = [request(links=LINKS[:n]) for n in range(1, 4)]
    for one in shapes:
        learn(moulds, one)

    for _ in range(2):
        for one in shapes:
            found = moulds.pour(printed(one), PIPELINE, PIPELINES, NOW, strict=False)
            assert found == long_way(printed(one))


def held(thing):
    """Every text in an object and all that it holds."""
    if isinstance(thing, (bytes, str)):
        yield thing if isinstance(thing, str) else thing.decode("latin-1")
    elif isinstance(thing, dict):
        yield from held([*thing, *thing.values()])
    elif isinstance(thing, (list, tuple)):
        for one in thing:
            yield from held(one)
    elif isinstance(thing, Text):
        yield from held(vars(thing))
    elif getattr(thing, "__self__", None) is not None:
        yield from held(getattr(thing.__self__, "pattern", ()))


def test_a_mould_holds_no_value_of_a_request():
    """Nothing personal stays in the process, and nothing of one tenant's comes to another."""
    value = {"prompt.user": "a cat on a mat", "prompt.system": "be kind to cats"}
    one = {**ATTEMPT, "sealed": value, "on_behalf_of": "employee-7"}
    said = {name: inner for name, inner in vars(mould_of(one)).items() if name != "_event"}

    texts = list(held(said))

    assert any("prompt.user" in text or "prompt\\.user" in text for text in texts)
    for secret in (*value.values(), "employee-7", one["record_key"], ID, D, AT, "gateway", "house"):
        assert not any(secret in text or re.escape(secret) in text for text in texts)
