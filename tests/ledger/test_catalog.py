# SPDX-License-Identifier: GPL-3.0-or-later
"""The catalogue: which events there are, who may make them, what they seal, and their schemas."""

import copy
import re
from pathlib import Path

import jsonschema
import pytest
from event_bodies import FULL, LEAST, NEEDED
from event_envelope import ENVELOPE
from event_values import D
from own_bodies import OWN
from pydantic import ValidationError

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


@pytest.mark.parametrize("type_", ["gen", "GEN ", "INCIDENT", "", None, 1, ["GEN"], {}, True])
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

        assert catalog.validate(type_, 1, body, NEEDED.get(type_, {})) is body
        assert body == before


ANY = {"any": ["json", 1]}
PATCH = [{"op": "replace", "path": "/body/prompt", "value": {"user": "another"}}]
FORMED = [D, [{"alg": "pdq", "value": "f8"}], "https://example.org/1", PATCH]


def fitting(event, name):
    """Any JSON, or a value of the form that this name asks for."""
    form = event.forms.get(name)
    return next(value for value in [ANY, *FORMED] if form is None or takes(form, value))


def takes(form, value):
    try:
        form.validate_python(value)
    except ValidationError:
        return False
    return True


SEALED = [(event.type, name) for event in CATALOG.values() for name in sorted(event.sealed)]


@pytest.mark.parametrize(("type_", "name"), SEALED)
def test_every_name_that_an_event_seals_is_taken(type_, name):
    """Under the names of the event and of the envelope, clear members of that name left out."""
    event, concrete = CATALOG[type_, 1], name.replace("[*]", "[0]")
    body = without(FULL[type_], concrete)

    sealed = NEEDED.get(type_, {}) | {concrete: fitting(event, name)}
    assert catalog.validate(type_, 1, body, sealed) is body


@pytest.mark.parametrize(
    ("type_", "name"), [(type_, name) for type_, name in SEALED if name in CATALOG[type_, 1].forms]
)
def test_what_could_be_clear_or_is_a_digest_has_its_form_when_it_is_sealed(type_, name):
    """Who opens the commitment years later must find a digest, not a sentence about one."""
    concrete = name.replace("[*]", "[0]")
    body = without(FULL[type_], concrete)

    sealed = NEEDED.get(type_, {}) | {concrete: ANY}
    assert refused(catalog.validate, type_, 1, body, sealed) == {(f"/sealed/{concrete}", "form")}


def without(body, name):
    body = copy.deepcopy(body)
    group = body
    steps = name.replace("[0]", ".0").split(".")
    for step in steps[:-1]:
        group = group[int(step)] if step.isdigit() else group.get(step, {})
    group.pop(steps[-1], None)
    return body


@pytest.mark.parametrize(
    ("type_", "name"),
    [
        ("GEN_ATTEMPT", "prompt.user.name"),
        ("GEN_ATTEMPT", "prompt"),
        ("GEN_ATTEMPT", "params.seed"),
        ("GEN_ATTEMPT", "inputs[01].sha256"),
        ("GEN_ATTEMPT", "inputs[*].sha256"),
        ("GEN_ATTEMPT", "inputs[1000].sha256"),
        ("GEN_ATTEMPT", "refusal_text"),
        ("GEN_ATTEMPT", "zoe@example.org"),
        ("GEN", "prompt.user"),
    ],
)
def test_only_listed_names_are_sealed_and_others_are_not_repeated(type_, name):
    """A name is for those who open the commitment years later: it means one thing."""
    assert refused(catalog.validate, type_, 1, FULL[type_], {name: D}) == {
        ("/sealed", "unknown-name")
    }


@pytest.mark.parametrize(
    ("name", "value", "rule"),
    [
        (PERSON, "emp-7", "person"),
        ("prompt.user", None, "null"),
        ("prompt.template_vars", {"a": [None]}, "null"),
        ("inputs[1].sha256", D, "no-such-item"),
    ],
)
def test_a_sealed_value_that_breaks_a_rule_is_named(name, value, rule):
    """The person comes another way; nothing is null; an item's digest needs its item."""
    assert refused(catalog.validate, "GEN_ATTEMPT", 1, FULL["GEN_ATTEMPT"], {name: value}) == {
        (f"/sealed/{name}", rule)
    }


def test_sealed_values_are_counted():
    """With the person they are 64, as many as an entry commits to."""
    items = [{"type": "image"}] * 32
    body = LEAST["GEN_ATTEMPT"] | {"inputs": items}
    sealed = {f"inputs[{n}].sha256": D for n in range(64)}

    assert refused(catalog.validate, "GEN_ATTEMPT", 1, body, sealed) == {("/sealed", "too-many")}
    few = dict.fromkeys(list(sealed)[:32], D)
    catalog.validate("GEN_ATTEMPT", 1, body, few)


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
    body = without(LEAST[type_], name)

    assert catalog.faults(CATALOG[type_, 1], body, {}, custody=True) == []
    assert catalog.faults(CATALOG[type_, 1], body, {}) != []


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
        assert not body or list(validator.iter_errors(body | {next(iter(body)): None}))
    assert '"default"' not in str(schema)
    assert "'default'" not in str(schema)


def test_a_call_that_another_call_made_is_linked_to_it_by_its_leaf():
    """An id alone would not bind what the parent said."""
    attempt, outcome = CATALOG["GEN_ATTEMPT", 1], CATALOG["GEN", 1]
    parent = ENVELOPE["trace"]["parent_event"]
    trace = {"trace_id": ENVELOPE["trace"]["trace_id"], "parent_event": parent}
    link = {"rel": "parent-call", "id": parent, "leaf": D}

    alone = catalog.envelope_faults(attempt, {"trace": trace})

    assert [(e.pointer, e.rule) for e in alone] == [("/trace/parent_event", "unlinked-parent")]
    assert catalog.envelope_faults(attempt, {"trace": trace, "links": [link]}) == []
    assert catalog.envelope_faults(outcome, {"trace": trace}) == []


def test_the_schemas_in_the_documents_are_the_catalogues():
    """`python -m ledger.catalog docs/schemas` was run after the last change."""
    files = {one.name: one.read_text("utf-8") for one in (DOCUMENT.parent / "schemas").iterdir()}

    assert files == catalog.schemas()


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
            assert rows[name].startswith(("clear or committed", "committed"))
        assert all(" |  |" not in line for line in sections[event.type].splitlines())
    assert "`net.ip` | committed" in sections["Envelope"]
