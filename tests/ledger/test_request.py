# SPDX-License-Identifier: GPL-3.0-or-later
"""Requests: what is needed, what is committed, and that a repeat is known by what was sent."""

from typing import Any

import pytest
from event_bodies import FULL, LEAST, TIMEOUT
from event_envelope import ENVELOPE
from event_requests import (
    KEY,
    ZOE,
    custody,
    entry_of,
    part_of,
    prepared,
    recorded,
    refused,
    request,
    sd_of,
)
from event_values import ID, D
from own_bodies import OWN

import sealtrail.request as recorder
from ledger import lifecycle
from ledger.errors import Forbidden, MalformedEvent, TooLarge
from ledger.events.envelope import Envelope
from ledger.request import GROUPS, MEMBERS, PART_MAX, Identity, ledger_made
from sealtrail.verify import canonical
from sealtrail.verify.disclosure import (
    PERSON,
    check_disclosures,
    digest,
    encode_base64url,
)
from sealtrail.verify.entry import ENTRY_MAX, check_entry, client_part, request_digest


def test_a_request_is_prepared_with_everything_personal_committed():
    """The part holds digests; prompt and person are in the disclosures, which open them."""
    one = prepared(request(sealed={"prompt.user": "a lighthouse"}, source={"id": "app", "n": 3}))

    assert (one.stream, one.source) == ("Generation/call-1", ("app", 3))
    assert entry_of(one)["actor"]["credential"] == "c-1"
    assert sd_of(one) == sorted(sd_of(one))
    shown = {"prompt.user": "a lighthouse", PERSON: "emp-7"}
    assert check_disclosures(one.disclosures.values(), sd_of(one)) == shown
    assert b"lighthouse" not in b"".join(one.frame)
    assert b"emp-7" not in b"".join(one.frame)
    assert not any(
        secret in repr(one) for secret in ("lighthouse", "emp-7", *one.disclosures.values())
    )


def test_only_a_pipelines_credential_or_a_persons_own_records():
    """An auditor reads; a person's credential without a person commits nobody."""
    auditor = Identity(credential="c", tenant="dev", role="auditor", kind="person", name="ann")
    nobody = Identity(credential="c", tenant="dev", role="pipeline", kind="person", name=None)

    for identity in (auditor, nobody):
        with pytest.raises(Forbidden):
            prepared(request(on_behalf_of=...), identity)


@pytest.mark.parametrize("name", ["event_id", "type", "schema", "aggregate_id", "body"])
def test_a_member_that_everything_hangs_on_is_needed(name):
    """What it is, which one, about what."""
    assert refused(request(**{name: ...})) == {(f"/{name}", "required")}


WRONG = [
    ("event_id", ID.upper(), "/event_id", "uuid7"),
    ("event_id", ID.replace("-7d31", "-4d31"), "/event_id", "uuid7"),
    ("event_id", ID + "\n", "/event_id", "uuid7"),
    ("event_id", 7, "/event_id", "uuid7"),
    ("aggregate_id", "", "/aggregate_id", "identifier"),
    ("aggregate_id", "zoe@example.org", "/aggregate_id", "identifier"),
    ("aggregate_id", "a" * 129, "/aggregate_id", "identifier"),
    ("aggregate_id", "-a", "/aggregate_id", "identifier"),
    ("aggregate_id", ["a"], "/aggregate_id", "identifier"),
    ("type", "DREAM", "/type", "unknown-type"),
    ("type", ["GEN"], "/type", "unknown-type"),
    ("type", "ANCHOR", "/type", "ledger-made"),
    ("schema", 2, "/schema", "unknown-schema"),
    ("schema", True, "/schema", "unknown-schema"),
    ("schema", 1.0, "/schema", "unknown-schema"),
    ("schema", None, "/schema", "unknown-schema"),
    ("body", [], "/body", "type"),
    ("body", None, "/body", "type"),
    ("sealed", [], "/sealed", "type"),
    ("sealed", None, "/sealed", "type"),
    ("sealed", {"prompt.user": "\ud800"}, "/sealed/prompt.user", "not-canonical"),
    ("sealed", {PERSON: "emp-7"}, f"/sealed/{PERSON}", "person"),
    ("on_behalf_of", ..., "/on_behalf_of", "person-missing"),
    ("on_behalf_of", None, "/on_behalf_of", "person"),
    ("on_behalf_of", "", "/on_behalf_of", "person"),
    ("on_behalf_of", " \t", "/on_behalf_of", "person"),
    ("on_behalf_of", "e" * 257, "/on_behalf_of", "person"),
    ("on_behalf_of", "\udfff", "/on_behalf_of", "person"),
    ("on_behalf_of", ["emp-7"], "/on_behalf_of", "person"),
    ("on_behalf_of", "renderer", "/on_behalf_of", "person-is-pipeline"),
    ("on_behalf_of", " Renderer", "/on_behalf_of", "person-is-pipeline"),
    ("on_behalf_of", "nightly", "/on_behalf_of", "person-is-pipeline"),
    ("record_key", ..., "/record_key", "required"),
    ("record_key", None, "/record_key", "record-key"),
    ("record_key", encode_base64url(KEY[1:]), "/record_key", "record-key"),
    ("record_key", encode_base64url(KEY) + "=", "/record_key", "record-key"),
    ("record_key", encode_base64url(KEY)[:-1] + "9", "/record_key", "record-key"),
    ("record_key", " " + encode_base64url(KEY)[1:], "/record_key", "record-key"),
    ("record_key", 7, "/record_key", "record-key"),
    ("source", "app", "/source", "type"),
    ("source", {"id": "app", "n": "3"}, "/source/n", "type"),
    ("time", {}, "/time", "empty"),
    ("time", None, "/time", "null"),
    ("links", None, "/links", "null"),
    ("tenant", "dev", "", "unknown-field"),
]


@pytest.mark.parametrize(("name", "value", "pointer", "rule"), WRONG)
def test_a_member_that_breaks_a_rule_is_named_with_the_rule(name, value, pointer, rule):
    """Each says where and which rule, whatever JSON was sent there."""
    assert refused(request(**{name: value})) == {(pointer, rule)}


def test_a_call_is_bound_to_the_call_that_made_it():
    """By id and by leaf, so that the parent's content cannot be another one later."""
    trace, link = {"trace": ENVELOPE["trace"]}, ENVELOPE["links"][0]

    assert refused(request(**trace)) == {("/trace/parent_event", "unlinked-parent")}
    for other in ({"rel": "derived-from"}, {"id": ID[:-1] + "0"}):
        assert refused(request(**trace, links=[link | other])) == {
            ("/trace/parent_event", "unlinked-parent")
        }
    prepared(request(**trace, links=[link]))
    prepared(request("MODERATION", **trace))  # It is no call of a model itself.


def test_everything_that_is_wrong_is_said_at_once():
    """Nobody has to send a request five times to learn five things."""
    one = request(
        on_behalf_of=...,
        record_key=...,
        body=LEAST["GEN_ATTEMPT"] | {"operation": "dream"},
        sealed={"prompt": 1},
        net={"ip": "192.0.2.1"},
    )

    assert refused(one) == {
        ("/body/operation", "choice"),
        ("/sealed", "unknown-name"),
        ("/net/ip", "must-be-sealed"),
        ("/on_behalf_of", "person-missing"),
        ("/record_key", "required"),
    }


def test_the_refusal_of_a_missing_key_says_how_to_make_one():
    """Somebody who meets it for the first time can go on."""
    with pytest.raises(MalformedEvent) as refusal:
        prepared(request(record_key=...))

    assert "32 random bytes" in refusal.value.errors[0].detail


def test_an_empty_sealed_commits_the_person_alone():
    """It is the same request as one without it."""
    assert prepared(request(sealed={})).digest == prepared(request()).digest


def test_the_person_of_a_token_is_committed_and_not_part_of_the_request():
    """A token may pass to another person between two tries; the request is still the same."""
    yan = Identity(credential="c-3", tenant="dev", role="pipeline", kind="person", name="yan")
    one = request(on_behalf_of=..., sealed={"prompt.user": "a lighthouse"})

    first, again = prepared(one, ZOE), prepared(one, yan)

    assert first.digest == again.digest
    assert check_disclosures(first.disclosures.values(), sd_of(first))[PERSON] == "zoe"
    assert check_disclosures(again.disclosures.values(), sd_of(again))[PERSON] == "yan"
    added = {digest(first.disclosures[PERSON])}
    assert request_digest(client_part(recorded(first), without_sd=added)) == first.digest


def test_further_persons_are_committed_by_their_roles():
    """Who is depicted, whose right it is, who judged: personal like the person who acted."""
    one = prepared(request(subjects={"depicted": "emp-9", "reviewer": "zoe"}))

    shown = {"subjects.depicted": "emp-9", "subjects.reviewer": "zoe", PERSON: "emp-7"}
    assert check_disclosures(one.disclosures.values(), sd_of(one)) == shown
    assert b"emp-9" not in b"".join(one.frame)


@pytest.mark.parametrize(
    ("subjects", "pointer", "rule"),
    [
        ({"user": "zoe"}, "/subjects", "type"),
        ({"tenant": "zoe"}, "/subjects", "type"),
        ({}, "/subjects", "type"),
        ([], "/subjects", "type"),
        ("depicted", "/subjects", "type"),
        ({"depicted": ""}, "/subjects/depicted", "person"),
        ({"depicted": None}, "/subjects/depicted", "person"),
        ({"depicted": " Renderer"}, "/subjects/depicted", "person-is-pipeline"),
    ],
)
def test_a_further_person_is_a_person_in_a_role_that_we_know(subjects, pointer, rule):
    """And no pipeline."""
    assert refused(request(subjects=subjects)) == {(pointer, rule)}


@pytest.mark.parametrize("value", ["zoe", None, ""])
def test_a_persons_token_names_the_person_alone(value):
    """Nobody acts under another name with it."""
    assert refused(request(on_behalf_of=value), ZOE) == {("/on_behalf_of", "person-from-token")}


def test_who_acted_is_the_person_or_a_service_unless_it_is_said():
    """A pipeline is a service that acts for a person; the ledger itself is neither."""
    assert part_of(prepared(request()))["actor"] == {"kind": "service"}
    assert part_of(prepared(request(on_behalf_of=...), ZOE))["actor"] == {"kind": "human"}
    assert part_of(prepared(request(actor={"kind": "agent"})))["actor"] == {"kind": "agent"}
    assert refused(request(actor={"kind": "system"})) == {("/actor/kind", "choice")}


def test_under_producer_custody_the_ledger_sees_digests_only():
    """The entry commits to what the client says it does, and names the person's digest."""
    one = prepared(request(**custody(**{"prompt.user": "a lighthouse"})))

    assert one.disclosures == {}
    assert len(sd_of(one)) == 2
    assert part_of(one)["actor"]["person_digest"] in sd_of(one)
    assert one.digest == request_digest(client_part(recorded(one)))


def test_under_producer_custody_a_personal_digest_may_be_missing_in_the_clear():
    """It may be among the commitments, which nobody here can read."""
    body = {"asset": {"type": "image"}, "rights": {"basis": "OWNED"}}

    assert refused(request("INGEST", body=body)) == {("/body/asset/sha256", "required")}
    prepared(request("INGEST", body=body, **custody(**{"asset.sha256": D})))


MINE = custody()
OTHER = encode_base64url(bytes(32))


@pytest.mark.parametrize(
    ("changes", "pointer", "rule"),
    [
        ({"sealed": {}}, "/sealed", "custody"),
        ({"record_key": encode_base64url(KEY)}, "/record_key", "custody"),
        ({"on_behalf_of": "emp-7"}, "/on_behalf_of", "custody"),
        ({"_sd": ...}, "/_sd", "type"),
        ({"_sd": None}, "/_sd", "type"),
        ({"_sd": []}, "/_sd", "type"),
        ({"_sd": MINE["_sd"][0]}, "/_sd", "type"),
        ({"_sd": MINE["_sd"] * 65}, "/_sd", "type"),
        ({"_sd": [MINE["_sd"][0] + "="]}, "/_sd/0", "digest"),
        ({"_sd": [*MINE["_sd"], {"a": 1}]}, "/_sd/1", "digest"),
        ({"_sd": MINE["_sd"] * 2}, "/_sd", "order"),
        ({"_sd": sorted([*MINE["_sd"], OTHER], reverse=True)}, "/_sd", "order"),
        ({"person_digest": ...}, "/person_digest", "person-missing"),
        ({"person_digest": None}, "/person_digest", "person-missing"),
        ({"person_digest": ["x"]}, "/person_digest", "person-missing"),
        ({"person_digest": OTHER}, "/person_digest", "person-missing"),
    ],
)
def test_digests_of_the_clients_own_have_one_form(changes, pointer, rule):
    """Sorted, each once, the person's among them, and nothing beside them that tells."""
    assert refused(request(**{**MINE, **changes})) == {(pointer, rule)}


def test_a_persons_token_does_not_go_with_producer_custody():
    """The ledger knows that person, so it commits them itself."""
    assert refused(request(**MINE), ZOE) == {("/_sd", "custody")}


@pytest.mark.parametrize("type_", sorted(FULL))
def test_an_entry_with_every_member_there_is_can_be_checked_and_compared(type_):
    """What we take a stranger's checker takes, and the entry gives back the request's digest."""
    one = prepared(request(type_, body=FULL[type_], **ENVELOPE))

    data = canonical.encode(recorded(one))

    assert request_digest(client_part(check_entry(data))) == one.digest


def test_the_recorder_and_the_ledger_mean_the_same_request():
    """The part that the client expects in the entry is the part that we hash."""
    members = {"aggregate_id": "call-1", "on_behalf_of": "emp-7", "body": FULL["GEN_ATTEMPT"]}
    members |= {"sealed": {"prompt.user": "a lighthouse"}, "actor": {"kind": "agent"}}
    sent = recorder.prepare("GEN_ATTEMPT", 1, members, event_id=ID, record_key=KEY)

    part = part_of(prepared(canonical.parse(sent.content)))

    assert part["aggregate"].pop("type") == "Generation"
    assert part == sent.part


@pytest.mark.parametrize("type_", ["GEN", "GEN_DENY", "GEN_ERROR"])
def test_a_late_outcome_is_compared_by_the_request_as_it_was_sent(type_):
    """It is recorded as OUTCOME_LATE, and a repeat of the request is still a repeat."""
    one = prepared(request(type_, body=FULL[type_], **ENVELOPE))
    state = lifecycle.fresh("Generation", "call-1").after("GEN_ATTEMPT", LEAST["GEN_ATTEMPT"])
    state = state.after("GEN_ERROR", TIMEOUT)

    late = lifecycle.decide(state, type_, 1, one.body, {})
    entry = check_entry(canonical.encode(recorded(one, late)))

    assert entry["type"] == "OUTCOME_LATE"
    assert request_digest(client_part(entry)) == one.digest


def large(size: int) -> dict[str, Any]:
    """A GEN whose part has exactly `size` bytes."""
    outputs = [LEAST["GEN"]["outputs"][0] | {"asset_id": f"a-{n}"} for n in range(60)]
    empty = request("GEN", body={"outputs": [one | {"ref": "x"} for one in outputs]})
    missing = size - len(canonical.encode(part_of(prepared(empty))))
    for output in outputs:
        more = min(missing, 255)
        output["ref"] = "x" * (1 + more)
        missing -= more
    assert missing == 0
    return request("GEN", body={"outputs": outputs})


def test_what_fits_in_time_fits_when_it_is_late_as_well():
    """The ledger's own members have their room, so size is no reason to lose a late outcome."""
    one = prepared(large(PART_MAX))
    assert len(canonical.encode(part_of(one))) == PART_MAX
    late = lifecycle.Rewritten(
        "OUTCOME_LATE", 1, {"claimed": {"type": "GEN", "schema": 1, "body": one.body}}
    )

    assert len(canonical.encode(recorded(one, late, tenant="t" * 256))) <= ENTRY_MAX

    with pytest.raises(TooLarge) as refusal:
        prepared(large(PART_MAX + 1))
    assert refusal.value.status == 413


def test_the_groups_are_all_members_and_nothing_else_is():
    """A member that is not read would be a promise that nobody keeps."""
    assert set(GROUPS) == set(Envelope.model_fields)
    assert set(GROUPS) < MEMBERS


def test_the_ledgers_own_entries_have_no_request():
    """The ledger is the actor, unless somebody is named; the credential is kept apart."""
    reader = {"kind": "human", "credential": "c-9"}

    own, look = (
        ledger_made("ANCHOR", "2026-01-14", OWN["ANCHOR"]),
        ledger_made("ACCESS", "log", OWN["ACCESS"], event_id=ID, actor=reader),
    )

    assert entry_of(own)["actor"] == {"kind": "system"}
    assert (own.by_ledger, own.source, sd_of(own)) == (True, None, [])
    assert own.digest == request_digest(part_of(own))
    assert (look.event_id, part_of(look)["actor"]) == (ID, {"kind": "human"})
    assert entry_of(look)["actor"] == {"kind": "human", "credential": "c-9"}
    assert reader == {"kind": "human", "credential": "c-9"}


def test_the_ledger_keeps_to_its_own_types_and_forms():
    """Its timeout is the one outcome that it records; a wrong body is our own mistake."""
    ledger_made("GEN_ERROR", "call-1", TIMEOUT)

    for type_, body in (
        ("GEN", LEAST["GEN"]),
        ("GEN_ERROR", LEAST["GEN_ERROR"]),
        ("ANCHOR", OWN["ANCHOR"] | {"day": "today"}),
    ):
        with pytest.raises(MalformedEvent):
            ledger_made(type_, "x", body)
