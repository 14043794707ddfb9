# SPDX-License-Identifier: GPL-3.0-or-later
"""Outlines say yes only to what the full check passes, and tell of it what the full check tells."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anchoring.outline import Outline, Outlines
from ledger.catalog import CATALOG
from sealtrail.verify import canonical
from sealtrail.verify.entry import check_entry, client_part
from sealtrail.verify.errors import VerifyError

DIGESTS = sorted(
    ["47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU", "_SzjQlmgUOvVrh5LtKgqc4KqSuJmRlKFGqYQoyTpIN0"]
)

#: Of all others the body decides whether they may follow.
SKIMMED = {
    "GEN_ATTEMPT", "GEN", "GEN_DENY", "GEN_ERROR", "MODERATION", "INGEST", "ASSET_WITHDRAWN",
    "TRAIN_FAILED", "EXPORT", "ACCESS",
}  # fmt: skip


def entry(type_="GEN_ATTEMPT", kind="Generation", body=None, **members):
    value = {
        "v": 1,
        "type": type_,
        "schema": 1,
        "event_id": "01890a5d-ac96-774b-bcce-b302099a8057",
        "tenant": "dev",
        "aggregate": {"type": kind, "id": "a-1", "version": 1},
        "time": {"recorded": "2026-01-14T18:23:45.123Z", "producer": "2026-01-14T18:23:45.100Z"},
        "actor": {"kind": "service", "credential": "cred_1", "name": "gateway"},
        "source": {"id": "bench", "n": 7},
        "trace": {"span_id": "00", "n": -3, "on": True},
        "links": [{"rel": "parent-call", "id": "x", "leaf": f"sha256:{'0' * 64}"}],
        "_sd": DIGESTS,
        "_sd_alg": "sha-256",
        "body": body if body is not None else {"params": {"steps": 30, "of": ["a", None, []]}},
    }
    return {name: item for name, item in (value | members).items() if item is not None}


def outline_of(value):
    return Outline(json.loads(canonical.encode(value)))


def holds(outline, data):
    """Hold an outline against the full check; return what it skimmed."""
    try:
        text = data.decode("ascii")
    except UnicodeDecodeError:
        return None
    found = outline.skim(text)
    if found is None:
        return None
    value = check_entry(data)
    source = value.get("source", {})
    assert found.part.encode() == canonical.encode(client_part(value))
    assert (found.aggregate_id, found.version) == (
        value["aggregate"]["id"],
        value["aggregate"]["version"],
    )
    assert (found.event_id, found.recorded) == (value["event_id"], value["time"]["recorded"])
    assert (found.source_id, found.source_n) == (source.get("id"), source.get("n"))
    assert (outline.type, outline.schema, outline.kind) == (
        value["type"],
        value["schema"],
        value["aggregate"]["type"],
    )
    assert outline.by_ledger == (value["actor"]["kind"] == "system")
    return found


SHAPES = {
    "all groups": entry(),
    "no source": entry(source=None),
    "nothing committed": entry(_sd=None, _sd_alg=None),
    "one commitment": entry(_sd=DIGESTS[:1]),
    "only what the ledger assigns": entry(
        time={"recorded": "2026-01-14T18:23:45.123Z"}, actor={"kind": "system"}, trace={}
    ),
    "gen": entry("GEN", body={"outputs": [{"asset_id": "b"}, {"asset_id": "c", "n": 1}]}),
    "held back": entry("GEN", body={"outputs": [{"asset_id": "b", "disposition": "quarantined"}]}),
    "under consent": entry(body={"consent_ids": ["c-1", "c-2"], "operation": "chat"}),
    "export": entry("EXPORT", "Export", body={"asset_id": "b"}),
    "timeout": entry("GEN_ERROR", body={"timeout": True, "asset_id": "no asset"}),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_an_outline_fits_the_entry_that_it_was_made_of(shape):
    """And gives the client's part of it, byte for byte."""
    value = SHAPES[shape]

    found = holds(outline_of(value), canonical.encode(value))

    assert found is not None
    body = outline_of(value).body(found.assets)
    expected = {"gen": {"outputs": [{"asset_id": "b"}, {"asset_id": "c"}]},
                "held back": SHAPES["held back"]["body"],
                "under consent": {"consent_ids": ["c-1", "c-2"]},
                "export": {"asset_id": "b"}, "timeout": {"timeout": True}}  # fmt: skip
    assert body == expected.get(shape, {})


@pytest.mark.parametrize("type_", sorted({type_ for type_, _ in CATALOG}))
def test_what_was_learned_is_found_again(type_):
    """Of every type: it is learned, and then fits, or is of a type that is always parsed."""
    outlines = Outlines(patience=1)
    claimed = {"type": "GEN", "schema": 1, "body": {}}
    value = entry(type_, body={"outputs": [], "asset_id": "b", "claimed": claimed})
    data = canonical.encode(value)

    outlines.learn(data, json.loads(data))

    found = outlines.skim(data)
    assert (found is not None) == (type_ in SKIMMED)
    assert found is None or holds(found.outline, data) == found


EDITS = st.sampled_from(
    [
        *(b'"', b"\\", b"0", b"00", b"-", b"-0", b"1.5", b"1e5", b"9" * 17, b" ", b"\n", b"\x00"),
        *(b"\x7f", b"\xc3\xa9", b'","', b'":"', b"{", b"}", b"[", b"]", b",", b"a" * 300, b"Z"),
        *(
            b"2026-02-30",
            b"2026-13-01",
            b"T24:",
            b"null",
            b"true",
            b'"a":1,',
            b"A",
            b"/",
            b"=",
            b"60",
        ),
    ]
)


@given(st.sampled_from(sorted(SHAPES)), st.data())
def test_whatever_an_outline_fits_passes_the_full_check(shape, data):
    """Bytes are put in, taken out, or put in place of others, anywhere."""
    outline = outline_of(SHAPES[shape])
    original = canonical.encode(SHAPES[shape])
    for _ in range(20):
        at = data.draw(st.integers(0, len(original)))
        gone = data.draw(st.sampled_from([0, 0, 1, 2, 10]))
        put = data.draw(EDITS)
        holds(outline, original[:at] + put + original[at + gone :])


@settings(max_examples=50)
@given(st.sampled_from(sorted(SHAPES)), st.text(max_size=20), st.integers(-(2**60), 2**60))
def test_other_values_in_the_same_places_are_judged_as_by_the_full_check(shape, text, number):
    """Each text of an entry becomes another one, and each number."""
    value = SHAPES[shape]
    outline = outline_of(value)
    for path in _places(value):
        for put in (text, number, [text], {text: number}, None):
            other = json.loads(json.dumps(value))
            target = other
            for step in path[:-1]:
                target = target[step]
            target[path[-1]] = put
            try:
                data = canonical.encode(other)
            except VerifyError:
                continue
            holds(outline, data)


@pytest.mark.parametrize("number", ["00", "01", "-0", "-01", "+1", "1.0", "1e3", str(2**53), "-"])
@pytest.mark.parametrize("place", ['"steps":30', '"n":7', '"n":-3', '"version":1'])
def test_a_number_of_another_spelling_fits_no_outline(number, place):
    """One value, one spelling; and none beyond what every reader can hold."""
    text = canonical.encode(entry()).decode()
    assert place in text
    other = text.replace(place, place.partition(":")[0] + ":" + number)

    assert outline_of(entry()).skim(other) is None


@pytest.mark.parametrize("digests", [DIGESTS[::-1], DIGESTS[:1] * 2])
def test_commitments_out_of_order_fit_no_outline(digests):
    """The full check refuses them, and they look just like others."""
    assert outline_of(entry()).skim(canonical.encode(entry(_sd=digests)).decode()) is None


def test_an_outline_is_made_seldom_and_the_one_that_fits_comes_forward():
    """Making one takes as long as checking a hundred entries."""
    outlines = Outlines(patience=3)
    values = [entry(body={f"m{n}": 1}) for n in range(40)]
    for value in values:
        data = canonical.encode(value)
        outlines.learn(data, json.loads(data))

    (known,) = outlines._by_end.values()
    assert len(known) == 8
    last = known[-1]
    fitting = next(v for v in values if last.skim(canonical.encode(v).decode()))
    assert outlines.skim(canonical.encode(fitting)).outline is last
    assert known[-2] is last


def _places(value, path=()):
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for name, item in items:
        yield (*path, name)
        if isinstance(item, (dict, list)):
            yield from _places(item, (*path, name))
