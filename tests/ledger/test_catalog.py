# SPDX-License-Identifier: GPL-3.0-or-later
"""The catalogue: which events there are, who may make them, what they seal, and their schemas."""

import copy
import re
from pathlib import Path

import jsonschema
import pytest
from event_bodies import FULL, LEAST, OWN, D

from ledger import catalog, lifecycle
from ledger.catalog import CATALOG
from ledger.errors import MalformedEvent
from sealtrail.receipt import AGGREGATES
from sealtrail.verify.entry import PERSON

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "events.md"


def refused(call, *args, **more):
    with pytest.raises(MalformedEvent) as refusal:
        call(*args, **more)
    return {(error.pointer, error.rule) for error in refusal.value.errors}


def test_every_event_belongs_to_an_aggregate_and_has_its_own_topic():
    """A row's topic names its class and nothing of Python."""
    assert {event.aggregate for event in CATALOG.values()} == set(lifecycle.AGGREGATES)
    assert len({event.topic for event in CATALOG.values()}) == len(CATALOG)
    assert all(re.fullmatch(r"[A-Z_]+/[1-9][0-9]*", event.topic) for event in CATALOG.values())


def test_the_recorder_files_events_where_the_catalogue_does():
    """A client that believed another stream would look for its attempt in the wrong place."""
    served = {e.type: e.aggregate for e in CATALOG.values() if not e.ledger_made}

    assert dict(AGGREGATES) == served


@pytest.mark.parametrize("type_", ["gen", "GEN ", "DATASET_SEALED", "", None, 1, ["GEN"], {}, True])
def test_an_unknown_type_is_refused(type_):
    """Whatever JSON it is."""
    assert refused(catalog.lookup, type_, 1) == {("/type", "unknown-type")}


@pytest.mark.parametrize("schema", [0, 2, True, "1", None, [1], {}, -1])
def test_an_unknown_schema_is_refused(schema):
    """True is 1 to Python and not to us."""
    assert refused(catalog.lookup, "GEN", schema) == {("/schema", "unknown-schema")}


@pytest.mark.parametrize("type_", sorted(OWN))
def test_a_client_cannot_speak_for_the_ledger(type_):
    """The ledger's own types are refused by name, whatever their body."""
    assert refused(catalog.validate, type_, 1, OWN[type_], {}) == {("/type", "ledger-made")}


def test_the_body_comes_back_as_it_was_sent():
    """What is hashed is what the client said: nothing is added, printed again or put in order."""
    for type_, body in FULL.items():
        before = copy.deepcopy(body)

        assert catalog.validate(type_, 1, body, {}) is body
        assert body == before


@pytest.mark.parametrize(
    ("type_", "name"),
    [(e.type, name) for e in CATALOG.values() for name in e.sealed],
)
def test_every_name_that_an_event_seals_is_taken(type_, name):
    """Any JSON may be sealed, under the names of the event and of the envelope."""
    concrete = name.replace("[*]", "[0]")
    body = without(LEAST[type_], concrete)

    assert catalog.validate(type_, 1, body, {concrete: {"any": ["json", 1]}}) is body


def without(body, name):
    body = copy.deepcopy(body)
    group = body
    steps = name.replace("[0]", ".0").split(".")
    for step in steps[:-1]:
        if step not in group and not step.isdigit():
            return body
        group = group[int(step) if step.isdigit() else step]
    group.pop(steps[-1], None)
    return body


@pytest.mark.parametrize(
    ("type_", "name", "rule"),
    [
        ("GEN_ATTEMPT", PERSON, "person"),
        ("GEN_ATTEMPT", "prompt.user.name", "unknown-name"),
        ("GEN_ATTEMPT", "prompt", "unknown-name"),
        ("GEN_ATTEMPT", "params.seed", "unknown-name"),
        ("GEN_ATTEMPT", "inputs[01].sha256", "unknown-name"),
        ("GEN_ATTEMPT", "refusal_text", "unknown-name"),
        ("GEN", "prompt.user", "unknown-name"),
    ],
)
def test_only_listed_names_are_sealed(type_, name, rule):
    """A name is for those who open the commitment years later: it means one thing."""
    assert refused(catalog.validate, type_, 1, LEAST[type_], {name: "x"}) == {
        (f"/sealed/{name}", rule)
    }


@pytest.mark.parametrize(
    ("value", "rule"),
    [
        ("x" * 65_535, "too-long"),
        ("\n" * 40_000, "too-long"),
        (["x" * 60_000, "x" * 6_000], "too-long"),
        (1.5, "not-canonical"),
        ({"a": [0.1]}, "not-canonical"),
        (2**53, "not-canonical"),
        (None, "null"),
    ],
    ids=["text", "escapes", "list", "float", "deep float", "large", "null"],
)
def test_a_sealed_value_is_small_json(value, rule):
    """At most 64 KiB of canonical JSON, without floats."""
    sealed = {"prompt.user": value}

    assert refused(catalog.validate, "GEN_ATTEMPT", 1, LEAST["GEN_ATTEMPT"], sealed) == {
        ("/sealed/prompt.user", rule)
    }


def test_a_sealed_value_of_64_kib_is_taken():
    """The limit is 65,536 bytes with its quotes."""
    for value in ("x" * 65_534, ["x" * 65_532]):
        catalog.validate("GEN_ATTEMPT", 1, LEAST["GEN_ATTEMPT"], {"prompt.user": value})


def test_sealed_values_are_counted():
    """With the person they are 64, as many as an entry commits to."""
    sealed = {f"inputs[{n}].sha256": D for n in range(64)}

    assert refused(catalog.validate, "GEN_ATTEMPT", 1, LEAST["GEN_ATTEMPT"], sealed) == {
        ("/sealed", "too-many")
    }
    del sealed["inputs[0].sha256"]
    catalog.validate("GEN_ATTEMPT", 1, LEAST["GEN_ATTEMPT"], sealed)


EITHER = [("INGEST", "asset.sha256"), ("GEN", "outputs[0].sha256"), ("EXPORT", "asset_sha256")]


@pytest.mark.parametrize(("type_", "name"), EITHER)
def test_a_digest_is_clear_or_sealed_and_never_both_or_neither(type_, name):
    """An upload's digest is personal, our own output's is not: the client chooses."""
    body, pointer = without(LEAST[type_], name), name.replace(".", "/").replace("[0]", "/0")

    catalog.validate(type_, 1, body, {name: D})

    assert refused(catalog.validate, type_, 1, body, {}) == {(f"/body/{pointer}", "required")}
    assert refused(catalog.validate, type_, 1, LEAST[type_], {name: D}) == {
        (f"/sealed/{name}", "clear-and-sealed")
    }


@pytest.mark.parametrize(("type_", "name"), EITHER)
def test_under_producer_custody_a_digest_may_be_among_those_we_cannot_read(type_, name):
    """The client sends commitments only, so that nobody can say which of them it is."""
    catalog.validate(type_, 1, without(LEAST[type_], name), {}, custody=True)


def test_births_and_consulted_streams():
    """An INGEST gives birth to itself, a GEN to its outputs; EXPORT looks at its asset."""
    outputs = {"outputs": [{"asset_id": "a"}, {"asset_id": "b"}]}

    assert catalog.born_assets("INGEST", "x", {}) == ["x"]
    assert catalog.born_assets("GEN", "g", outputs) == ["a", "b"]
    assert catalog.born_assets("OUTCOME_LATE", "g", {"claimed": {"body": outputs}}) == []
    assert catalog.consulted("GEN", outputs) == ["Asset/a", "Asset/b"]
    assert catalog.consulted("EXPORT", LEAST["EXPORT"]) == ["Asset/picture-1"]
    assert catalog.consulted("GEN_DENY", LEAST["GEN_DENY"]) == []


@pytest.mark.parametrize("key", sorted(CATALOG))
def test_json_schemas_say_what_the_classes_say(key):
    """A stranger's validator takes our bodies and refuses null and unknown members."""
    schema = catalog.json_schema(*key)
    type_, version = key
    validator = jsonschema.Draft202012Validator(schema)
    validator.check_schema(schema)

    assert schema["$id"] == f"urn:sealtrail:schema:{type_.lower()}:{version}"
    for body in [one[type_] for one in (LEAST, FULL, OWN) if type_ in one]:
        assert list(validator.iter_errors(body)) == []
        assert list(validator.iter_errors(body | {"more": 1}))
        assert list(validator.iter_errors(body | {next(iter(body)): None}))
    assert '"default"' not in str(schema)
    assert "'default'" not in str(schema)


def test_the_document_is_the_catalogue():
    """`python -m ledger.catalog > docs/events.md` was run after the last change."""
    assert DOCUMENT.read_text("utf-8") == catalog.describe()


def test_every_member_and_every_sealed_name_is_in_the_document():
    """Nothing can be recorded that the document does not name."""
    text = DOCUMENT.read_text("utf-8")
    sections = dict(re.findall(r"^## (\S+)\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL))

    for event in CATALOG.values():
        rows = dict(re.findall(r"^\| `(.+?)` \| (.+?) \|", sections[event.type], re.MULTILINE))
        for name in event.model.sealed:
            assert "committed" in rows[name], (event.type, name)
        for name in event.model.needs:
            assert rows[name] == "clear or committed"
        assert all(" |  |" not in line for line in sections[event.type].splitlines())
    assert "`net.ip` | committed" in sections["Envelope"]
