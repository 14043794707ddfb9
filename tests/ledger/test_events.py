# SPDX-License-Identifier: GPL-3.0-or-later
"""Events: each member has one form, and what does not have it is refused without being repeated."""

import copy
import json
from collections.abc import Iterator
from typing import Any

import pytest
from event_bodies import FULL, LEAST, NEEDED, TIMEOUT
from event_envelope import ENVELOPE
from event_values import AT, D
from hypothesis import given
from hypothesis import strategies as st
from own_bodies import ALSO, INTERIM, OWN
from register_bodies import HOSTED

from ledger import catalog
from ledger.errors import MalformedEvent

CLIENT = sorted(LEAST)
Path = tuple[str | int, ...]


def paths(value: Any, path: Path = ()) -> Iterator[Path]:
    """Every member and item below a value, groups included."""
    inner = value.items() if isinstance(value, dict) else enumerate(value)
    for step, item in inner:
        yield (*path, step)
        if isinstance(item, dict | list):
            yield from paths(item, (*path, step))


def changed(body: Any, path: Path, value: Any) -> Any:
    body = copy.deepcopy(body)
    group = body
    for step in path[:-1]:
        group = group[step]
    group[path[-1]] = value
    return body


def broken(type_: str, body: Any, sealed: Any = None, **more: Any) -> set[tuple[str, str]]:
    with pytest.raises(MalformedEvent) as refusal:
        catalog.validate(type_, 1, body, NEEDED.get(type_, {}) | (sealed or {}), **more)
    return {(error.pointer, error.rule) for error in refusal.value.errors}


def merged(body: Any, more: Any) -> Any:
    body = copy.deepcopy(body)
    for name, value in more.items():
        group = isinstance(value, dict) and isinstance(body.get(name), dict)
        body[name] = merged(body[name], value) if group else value
    return body


EVERY_MEMBER = [(type_, path) for type_, body in FULL.items() for path in paths(body)]
IDS = [f"{type_} {'.'.join(map(str, path))}" for type_, path in EVERY_MEMBER]


@pytest.mark.parametrize("type_", CLIENT)
def test_a_small_record_and_a_full_one_are_taken(type_):
    """A pipeline may begin with little; all that the schema names has a place."""
    for body in (LEAST[type_], FULL[type_]):
        assert catalog.validate(type_, 1, body, NEEDED.get(type_, {})) is body


def test_the_full_records_leave_no_member_out():
    """Every member of every class stands in a body above, so that these tests see all of them."""
    for type_, body in (FULL | OWN).items():
        schema = catalog.json_schema(type_, 1)
        whole = named(body) | named((ALSO | {"MODEL_REGISTERED": HOSTED}).get(type_, {}))
        assert members(schema, schema.get("$defs", {})) == whole, type_


def members(schema: Any, defs: Any, path: str = "") -> set[str]:
    schema = defs[schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema
    if "items" in schema:
        return members(schema["items"], defs, path)
    found = set()
    for name, inner in schema.get("properties", {}).items():
        found |= {f"{path}.{name}"} | members(inner, defs, f"{path}.{name}")
    return found


OPEN = {".facts", ".mod.scores", ".scores", ".train.config.parameters", ".claimed.body"}


def named(value: Any, path: str = "") -> set[str]:
    found = set()
    if isinstance(value, dict) and path not in OPEN:
        for name, item in value.items():
            found |= {f"{path}.{name}"} | named(item, f"{path}.{name}")
    for item in value if isinstance(value, list) else []:
        found |= named(item, path)
    return found


@pytest.mark.parametrize(("type_", "path"), EVERY_MEMBER, ids=IDS)
@pytest.mark.parametrize("value", [None, 1.5, b"bytes", ("a",)], ids=repr)
def test_no_member_takes_null_a_float_or_what_is_no_json(type_, path, value):
    """Absent means absent, decimals are strings, and nothing is converted in silence."""
    broken(type_, changed(FULL[type_], path, value))


SECRET = "Zoë Example\a"


@pytest.mark.parametrize(("type_", "path"), EVERY_MEMBER, ids=IDS)
def test_no_refusal_repeats_what_was_sent(type_, path):
    """Whatever member a prompt or a name is put into, no error says it again."""
    for value in (SECRET, {SECRET: SECRET}, [SECRET], {"x": {SECRET: 1}}):
        with pytest.raises(MalformedEvent) as refusal:
            catalog.validate(type_, 1, changed(FULL[type_], path, value), {})

        said = repr([str(refusal.value), refusal.value.errors, refusal.value.facts])
        assert "Zoë" not in said
        assert refusal.value.__cause__ is None


def test_a_value_that_was_sealed_is_not_repeated_either():
    """Nor are the names that a client makes up."""
    sealed = {SECRET: SECRET, "prompt.nothing": SECRET, "prompt.user": None, "actor.subject_id": 1}

    with pytest.raises(MalformedEvent) as refusal:
        catalog.validate("GEN_ATTEMPT", 1, LEAST["GEN_ATTEMPT"], sealed)

    assert "Zoë" not in repr(refusal.value.errors)
    assert {(one.pointer, one.rule) for one in refusal.value.errors} == {
        ("/sealed", "unknown-name"),
        ("/sealed/prompt.user", "null"),
        ("/sealed/actor.subject_id", "person"),
    }


REFUSALS = [
    ("GEN_ATTEMPT", {"params": {"seed": 42}}, "/body/params/seed", "type"),
    ("GEN_ATTEMPT", {"params": {"seed": "042"}}, "/body/params/seed", "uint64"),
    ("GEN_ATTEMPT", {"params": {"seed": str(2**64)}}, "/body/params/seed", "uint64"),
    ("GEN_ATTEMPT", {"params": {"seed": "٣"}}, "/body/params/seed", "uint64"),
    ("GEN_ATTEMPT", {"params": {"seed": "1_0"}}, "/body/params/seed", "uint64"),
    ("GEN_ATTEMPT", {"params": {"steps": True}}, "/body/params/steps", "type"),
    ("GEN_ATTEMPT", {"params": {"steps": "30"}}, "/body/params/steps", "type"),
    ("GEN_ATTEMPT", {"params": {"steps": -1}}, "/body/params/steps", "range"),
    ("GEN_ATTEMPT", {"params": {"cfg_scale": "7,5"}}, "/body/params/cfg_scale", "decimal"),
    ("GEN_ATTEMPT", {"params": {"cfg_scale": "1e3"}}, "/body/params/cfg_scale", "decimal"),
    ("GEN_ATTEMPT", {"params": {"cfg_scale": "7.5\n"}}, "/body/params/cfg_scale", "decimal"),
    ("GEN_ATTEMPT", {"params": {"colour": 1}}, "/body/params", "unknown-field"),
    ("GEN_ATTEMPT", {"operation": "dream"}, "/body/operation", "choice"),
    ("GEN_ATTEMPT", {"deadline_s": 0}, "/body/deadline_s", "range"),
    ("GEN_ATTEMPT", {"deadline_s": 86_401}, "/body/deadline_s", "range"),
    ("GEN_ATTEMPT", {"model": []}, "/body/model", "type"),
    ("GEN_ATTEMPT", {"model": {"manifest": "AB" * 32}}, "/body/model/manifest", "digest"),
    ("GEN_ATTEMPT", {"model": {"name": "a\nb"}}, "/body/model/name", "line"),
    ("GEN_ATTEMPT", {"consent_ids": ["c"] * 65}, "/body/consent_ids", "too-many"),
    ("GEN_ATTEMPT", {"prompt": {"user": "a cat"}}, "/body/prompt/user", "must-be-sealed"),
    (
        "GEN_ATTEMPT",
        {"inputs": [{"type": "image", "sha256": D}]},
        "/body/inputs/0/sha256",
        "must-be-sealed",
    ),
    ("GEN", {"outputs": []}, "/body/outputs", "too-few"),
    ("GEN", {"usage": {"payment_source": "x"}}, "/body/usage/payment_source", "must-be-sealed"),
    ("GEN_DENY", {"refusal_text": "no"}, "/body/refusal_text", "must-be-sealed"),
    ("GEN_ERROR", {"error": {"message": "no"}}, "/body/error/message", "must-be-sealed"),
    ("GEN_ERROR", {"timeout": True}, "/body/timeout", "ledger-made"),
    ("INGEST", {"rights": {"holder": "x"}}, "/body/rights/holder", "must-be-sealed"),
    ("INGEST", {"rights": {"basis": "MINE"}}, "/body/rights/basis", "choice"),
    ("INGEST", {"asset": {"size": "-1"}}, "/body/asset/size", "uint64"),
    ("INGEST", {"asset": {"mime": "PNG"}}, "/body/asset/mime", "media-type"),
    ("INGEST", {"asset": {"retrieved_at": AT[:-1]}}, "/body/asset/retrieved_at", "time"),
    ("TRAIN_STARTED", {"train": {"inputs": []}}, "/body/train/inputs", "too-few"),
    (
        "TRAIN_STARTED",
        {"train": {"config": {"parameters": {"rank": []}}}},
        "/body/train/config/parameters",
        "plain",
    ),
    ("MODERATION", {"mod": {"scores": {"nsfw": "high"}}}, "/body/mod/scores", "decimal"),
    ("MODERATION", {"mod": {"scores": {"a@b": "1"}}}, "/body/mod/scores", "code"),
    ("EXPORT", {"destination": {"url": "x"}}, "/body/destination/url", "url"),
    (
        "EXPORT",
        {"destination": {"recipient": "x"}},
        "/body/destination/recipient",
        "must-be-sealed",
    ),
    ("EXPORT", {"destination": {"type": "POST"}}, "/body/destination/type", "choice"),
    ("EXPORT", {"source_events": ["1"]}, "/body/source_events/0", "uuid7"),
]


@pytest.mark.parametrize(("type_", "more", "pointer", "rule"), REFUSALS)
def test_a_field_that_breaks_a_rule_is_named_with_the_rule(type_, more, pointer, rule):
    """Pointer and rule are enough to mend the request."""
    assert broken(type_, merged(LEAST[type_], more)) == {(pointer, rule)}


@pytest.mark.parametrize(
    ("time", "good"),
    [
        (AT, True),
        ("2024-02-29T00:00:00.000Z", True),
        ("2026-02-29T00:00:00.000Z", False),
        ("2026-01-14T24:00:00.000Z", False),
        ("2026-01-14T18:23:60.000Z", False),
        ("2026-01-14T18:23:45.123+00:00", False),
        ("2026-01-14T18:23:45.1234Z", False),
        ("2026-01-14 18:23:45.123Z", False),
        ("0000-01-14T18:23:45.123Z", False),
    ],
)
def test_a_time_has_one_spelling_and_exists(time, good):
    """RFC 3339 in UTC with three digits of a second."""
    groups = {"time": {"producer": time}}

    if good:
        catalog.validate_envelope(groups)
    else:
        with pytest.raises(MalformedEvent) as refusal:
            catalog.validate_envelope(groups)
        assert [(e.pointer, e.rule) for e in refusal.value.errors] == [("/time/producer", "time")]


@given(st.integers(min_value=0, max_value=2**64 - 1))
def test_every_64_bit_seed_is_taken(seed):
    """Seeds are strings because JSON numbers lose their last digits."""
    body = merged(LEAST["GEN_ATTEMPT"], {"params": {"seed": str(seed)}})

    assert catalog.validate("GEN_ATTEMPT", 1, body, {}) is body


@given(
    st.decimals(
        allow_nan=False, allow_infinity=False, places=9, min_value=-(10**17), max_value=10**17
    )
)
def test_every_plain_decimal_is_taken(number):
    """Decimals are printed without an exponent."""
    body = merged(LEAST["GEN_ATTEMPT"], {"params": {"cfg_scale": f"{number:f}"}})

    assert catalog.validate("GEN_ATTEMPT", 1, body, {}) is body


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.just(D),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=8,
)


@given(
    st.sampled_from(CLIENT),
    st.dictionaries(
        st.sampled_from(sorted({name for one in FULL.values() for name in one})) | st.text(), JUNK
    ),
    st.dictionaries(st.sampled_from(["prompt.user", "asset.sha256", "outputs[0].sha256"]), JUNK),
)
def test_any_json_is_taken_or_refused_but_breaks_nothing(type_, more, sealed):
    """No body, however odd, gets past the classes as anything but a refusal with pointers."""
    for body in (more, LEAST[type_] | more):
        errors = complaints(type_, body, sealed)

        assert all(one.pointer.startswith(("/body", "/sealed")) for one in errors)


def complaints(type_: str, body: Any, sealed: Any) -> Any:
    try:
        assert catalog.validate(type_, 1, body, sealed) is body
    except MalformedEvent as refusal:
        return refusal.errors or pytest.fail("a refusal names no field")
    return ()


def test_a_hundred_broken_fields_give_a_readable_answer():
    """An answer has no more errors than somebody reads."""
    body = {f"field_{n}": n for n in range(100)}

    assert len(broken("GEN_ATTEMPT", body)) <= 32


def test_an_unknown_name_is_not_repeated():
    """A JSON name can be an address; the pointer then ends one step above it."""
    assert broken("GEN", LEAST["GEN"] | {"zoe@example.org": 1}) == {("/body", "unknown-field")}
    assert broken("GEN", LEAST["GEN"] | {"zoe": 1}) == {("/body", "unknown-field")}


def test_two_outputs_cannot_be_one_asset():
    """One birth for each output."""
    body = {"outputs": [LEAST["GEN"]["outputs"][0]] * 2}

    assert broken("GEN", body) == {("/body", "distinct")}


def test_a_finished_run_says_what_came_of_it():
    """Weights or a manifest; a name alone is no result."""
    train = {k: v for k, v in LEAST["TRAIN"]["train"].items() if k != "manifest_digest"}

    assert broken("TRAIN", {"train": train}) == {("/body/train", "required")}
    catalog.validate("TRAIN", 1, {"train": train | {"weights": {"unavailable": "hosted"}}}, {})


@pytest.mark.parametrize("type_", sorted(OWN))
def test_what_the_ledger_makes_is_checked_like_any_other_event(type_):
    """Our own entries have the form that docs/events.md says."""
    catalog.validate(type_, 1, OWN[type_], {}, by_ledger=True)

    assert broken(type_, OWN[type_] | {"more": 1}, by_ledger=True) == {("/body", "unknown-field")}


def test_an_interim_anchor_closes_no_day():
    """size_d belongs to a day's anchor, and to no other."""
    catalog.validate("ANCHOR", 1, INTERIM, {}, by_ledger=True)

    for wrong in (
        INTERIM | {"size_d": 9},
        INTERIM | {"completeness": OWN["ANCHOR"]["completeness"]},
        OWN["ANCHOR"] | {"size_d": 8},
        INTERIM | {"from_size": 10},
        {k: v for k, v in OWN["ANCHOR"].items() if k != "size_d"},
    ):
        assert broken("ANCHOR", wrong, by_ledger=True) == {("/body", "range")}


def test_the_ledgers_own_timeout_is_taken_from_the_ledger_only():
    """GEN_ERROR with `timeout: true` speaks for the ledger."""
    catalog.validate("GEN_ERROR", 1, TIMEOUT, {}, by_ledger=True)

    assert broken("GEN_ERROR", TIMEOUT) == {("/body/timeout", "ledger-made")}
    assert broken("GEN_ERROR", LEAST["GEN_ERROR"], by_ledger=True) == {("/type", "client-made")}


def test_all_groups_of_the_envelope_are_taken():
    """Times, calls, links, and what was in force."""
    catalog.validate_envelope({})
    catalog.validate_envelope(ENVELOPE)


@pytest.mark.parametrize("path", list(paths(ENVELOPE)), ids=lambda path: ".".join(map(str, path)))
def test_no_group_takes_null_a_float_or_repeats_what_was_sent(path):
    """The envelope is as strict as the body."""
    for value in (None, 1.5, SECRET, {SECRET: SECRET}):
        with pytest.raises(MalformedEvent) as refusal:
            catalog.validate_envelope(changed(ENVELOPE, path, value))

        assert "Zoë" not in repr(refusal.value.errors)


@pytest.mark.parametrize(
    ("group", "pointer", "rule"),
    [
        ({"actor": {"subject_id": "emp-7"}}, "/actor/subject_id", "must-be-sealed"),
        ({"actor": {"account_id": "7"}}, "/actor/account_id", "must-be-sealed"),
        ({"actor": {"kind": "system"}}, "/actor/kind", "choice"),
        ({"actor": {"credential": "x"}}, "/actor", "unknown-field"),
        ({"net": {"ip": "192.0.2.1"}}, "/net/ip", "must-be-sealed"),
        ({"net": {}}, "/net", "empty"),
        ({"time": {"recorded": AT}}, "/time", "unknown-field"),
        ({"links": []}, "/links", "too-few"),
        ({"links": [{"rel": "knows", "id": "a"}]}, "/links/0/rel", "choice"),
        ({"links": [{"rel": "parent-call", "id": "a"}]}, "/links/0/leaf", "required"),
        ({"links": [{"rel": "attempt", "id": "a"}] * 65}, "/links", "too-many"),
        (
            {"trace": {"trace_id": "0AF7651916CD43DD8448EB211C80319C"}},
            "/trace/trace_id",
            "trace-id",
        ),
        ({"source": {"id": "a", "n": -1}}, "/source/n", "range"),
        ({"source": {"id": "a"}}, "/source/n", "required"),
    ],
)
def test_a_group_that_breaks_a_rule_is_named_with_the_rule(group, pointer, rule):
    """Personal members are sealed; what the ledger vouches for cannot be sent."""
    with pytest.raises(MalformedEvent) as refusal:
        catalog.validate_envelope(group)

    assert [(one.pointer, one.rule) for one in refusal.value.errors] == [(pointer, rule)]


def test_the_bodies_of_these_tests_are_json():
    """What is tested here is what can be sent."""
    assert json.loads(json.dumps(FULL | OWN | ENVELOPE)) == FULL | OWN | ENVELOPE
