# SPDX-License-Identifier: GPL-3.0-or-later
"""An entry has one shape, and its client's part can be told from what the ledger added."""

import copy
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealtrail.verify import canonical
from sealtrail.verify.disclosure import commit
from sealtrail.verify.entry import (
    ENTRY_MAX,
    LEDGER_ASSIGNED,
    PERSON,
    EntryInvalid,
    check_entry,
    client_part,
    request_digest,
)
from sealtrail.verify.errors import Refuted, Unreadable

VECTORS = Path(__file__).resolve().parents[1] / "vectors"
OURS = json.loads((VECTORS / "entry.json").read_text(encoding="ascii"))
SD = commit(bytes(32), {PERSON: "employee-0042", "prompt.user": "sunset"})[0]

ENTRY = {
    "v": 1,
    "type": "GEN_ATTEMPT",
    "schema": 1,
    "event_id": "0190b6f0-9c1e-7d43-8a11-3f2e5d6c7b8a",
    "tenant": "acme",
    "aggregate": {"type": "Generation", "id": "urn:cap:asset:acme:1", "version": 1},
    "time": {
        "recorded": "2026-01-14T18:23:45.123Z",
        "request_received": "2026-01-14T18:23:45.120Z",
        "producer": "2024-02-29T23:59:59.999Z",
    },
    "actor": {"kind": "human", "role": "CREATOR", "credential": "c-7f3a"},
    "source": {"id": "gateway-1", "n": 0},
    "trace": {"trace_id": "0af7651916cd43dd8448eb211c80319c"},
    "links": [
        {"rel": "parent-call", "type": "GEN", "id": "x-1", "leaf": "sha256:" + "0a" * 32},
        {"rel": "used-policy", "type": "Policy", "id": "p-3"},
    ],
    "body": {"params": {"seed": "18446744073709551615"}},
    "_sd": SD,
    "_sd_alg": "sha-256",
    "classification": "INTERNAL",
    "policy_bundle": {"id": "p", "version": "3"},
}


def changed(pointer, value):
    """ENTRY with one member replaced, added, or (value is ...) taken away."""
    entry = copy.deepcopy(ENTRY)
    *way, last = [int(part) if part.isdigit() else part for part in pointer[1:].split("/")]
    target = entry
    for part in way:
        target = target[part]
    if value is ...:
        del target[last]
    else:
        target[last] = value
    return entry


@pytest.mark.parametrize("case", OURS["cases"], ids=lambda case: case["name"])
def test_the_clients_part_is_that_of_the_second_implementation(case):
    """What was sent, personal values as digests, a late outcome under its own type."""
    entry = check_entry(bytes.fromhex(case["entry"]))

    part = client_part(entry, without_sd=set(case["without_sd"]))

    assert canonical.encode(part).hex() == case["client_part"]
    assert request_digest(part).hex() == case["request_digest"]


def test_an_entry_is_read_from_its_exact_bytes():
    """The bytes that are hashed are the bytes that are read."""
    assert check_entry(canonical.encode(ENTRY)) == ENTRY


@pytest.mark.parametrize("name", ["source", "trace", "links", "classification", "policy_bundle"])
def test_what_is_optional_may_be_absent(name):
    """Absent means absent; there is no null."""
    check_entry(canonical.encode(changed(f"/{name}", ...)))

    with pytest.raises(EntryInvalid):
        check_entry(canonical.encode(changed(f"/{name}", None)))


def test_an_entry_without_personal_fields_needs_no_digests():
    """The ledger's own entries commit to nobody."""
    entry = changed("/_sd", ...)
    del entry["_sd_alg"]

    assert check_entry(canonical.encode(entry)) == entry


@pytest.mark.parametrize(
    ("pointer", "value"),
    [
        ("/v", 2),
        ("/v", True),
        ("/v", ...),
        ("/type", "gen"),
        ("/type", ...),
        ("/type", "GEN\n"),
        ("/schema", 0),
        ("/schema", "1"),
        ("/event_id", "0190b6f0-9c1e-4d43-8a11-3f2e5d6c7b8a"),
        ("/event_id", "0190B6F0-9C1E-7D43-8A11-3F2E5D6C7B8A"),
        ("/event_id", ...),
        ("/tenant", ""),
        ("/tenant", "two\nlines"),
        ("/tenant", ...),
        ("/aggregate", "Generation/1"),
        ("/aggregate/type", "generation"),
        ("/aggregate/id", " 1"),
        ("/aggregate/id", "x" * 129),
        ("/aggregate/version", 0),
        ("/aggregate/version", True),
        ("/aggregate/version", ...),
        ("/time/recorded", ...),
        ("/time/recorded", "2026-01-14T18:23:45Z"),
        ("/time/recorded", "2026-01-14T18:23:45.123+00:00"),
        ("/time/recorded", "2026-02-30T18:23:45.123Z"),
        ("/time/recorded", "2026-01-14T24:00:00.000Z"),
        ("/time/producer", "2026-01-14T18:23:60.000Z"),
        ("/time/producer", "٢٠٢٦-01-14T18:23:45.123Z"),
        ("/time/provider", 1768415025123),
        ("/actor", []),
        ("/actor/kind", ...),
        ("/actor/kind", "robot"),
        ("/source/n", -1),
        ("/source/n", "0"),
        ("/source/id", ...),
        ("/trace", "x"),
        ("/links", {}),
        ("/links/0", "x"),
        ("/links/0/rel", ...),
        ("/links/1/leaf", "0a" * 32),
        ("/links/1/leaf", "sha256:" + "0A" * 32),
        ("/body", []),
        ("/body", ...),
        ("/_sd", "x"),
        ("/_sd/0", SD[0] + "A"),
        ("/_sd/1", SD[1][:-1] + "="),
        ("/_sd/0", 1),
        ("/_sd", SD[::-1]),
        ("/_sd", [SD[0], SD[0]]),
        ("/_sd_alg", "sha-512"),
        ("/_sd_alg", ...),
        ("/classification", 3),
        ("/net", "x"),
    ],
    ids=lambda value: ascii(value)[:40],
)
def test_a_member_of_another_shape_is_named_by_its_pointer(pointer, value):
    """A reader learns which member is wrong; the sentence does not repeat what it holds."""
    with pytest.raises(EntryInvalid) as refusal:
        check_entry(canonical.encode(changed(pointer, value)))

    assert refusal.value.pointer == pointer
    assert pointer in str(refusal.value)
    assert isinstance(refusal.value, Refuted)
    if isinstance(value, str) and len(value) > 3:
        assert value not in str(refusal.value)


@pytest.mark.parametrize(
    ("pointer", "inside"),
    [
        ("/surprise", ""),
        ("/position", ""),
        ("/aggregate/surprise", "/aggregate"),
        ("/time/surprise", "/time"),
        ("/source/surprise", "/source"),
        ("/links/0/surprise", "/links/0"),
    ],
)
def test_an_unknown_member_is_refused(pointer, inside):
    """Whoever reads an entry understands all of it, or says that it does not."""
    with pytest.raises(EntryInvalid) as refusal:
        check_entry(canonical.encode(changed(pointer, "x")))

    assert refusal.value.pointer == inside
    assert "surprise" not in str(refusal.value)


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({}, "/body/claimed"),
        ({"claimed": "GEN"}, "/body/claimed"),
        ({"claimed": {"schema": 1, "body": {}}}, "/body/claimed/type"),
        ({"claimed": {"type": "GEN", "schema": "1", "body": {}}}, "/body/claimed/schema"),
        ({"claimed": {"type": "GEN", "schema": 1, "body": []}}, "/body/claimed/body"),
    ],
)
def test_a_late_outcome_says_what_was_claimed(body, pointer):
    """Otherwise nobody could tell which request it answers."""
    with pytest.raises(EntryInvalid) as refusal:
        check_entry(canonical.encode(ENTRY | {"type": "OUTCOME_LATE", "body": body}))

    assert refusal.value.pointer == pointer


@pytest.mark.parametrize("data", [b"", b"[]", b'"x"', b"{}", b"null", b"\xff"])
def test_what_is_no_entry_is_refused(data):
    """Other JSON and other bytes end in a verdict, not in a crash."""
    with pytest.raises((Unreadable, EntryInvalid)):
        check_entry(data)


def test_another_spelling_of_an_entry_is_unreadable():
    """It would have another leaf hash."""
    with pytest.raises(Unreadable):
        check_entry(json.dumps(ENTRY).encode())


def test_the_largest_entry_has_16_kib():
    """One byte more is an artifact with a digest."""
    room = ENTRY_MAX - len(canonical.encode(changed("/body", {"x": ""})))
    check_entry(canonical.encode(changed("/body", {"x": "y" * room})))

    with pytest.raises(Unreadable, match="16 KiB"):
        check_entry(canonical.encode(changed("/body", {"x": "y" * (room + 1)})))


assigned = st.fixed_dictionaries({
    "/aggregate/version": st.integers(1, 9),
    "/time/recorded": st.just("2027-01-01T00:00:00.000Z"),
    "/time/request_received": st.sampled_from([..., "2027-01-01T00:00:00.000Z"]),
    "/tenant": st.sampled_from(["acme", "other"]),
    "/actor/credential": st.sampled_from([..., "c-1", "c-2"]),
    "/actor/auth": st.sampled_from(["bearer", {"method": "mtls"}]),
})  # fmt: skip


@given(assigned)
def test_a_retry_is_recognised_whatever_the_ledger_adds(members):
    """Version, times, tenant and credential may differ between the first try and the next."""
    entry = copy.deepcopy(ENTRY)
    for pointer, value in members.items():
        *way, last = pointer[1:].split("/")
        target = entry[way[0]] if way else entry
        if value is ...:
            target.pop(last, None)
        else:
            target[last] = value

    assert set(members) == set(LEDGER_ASSIGNED)
    assert request_digest(client_part(entry)) == request_digest(client_part(ENTRY))


@pytest.mark.parametrize(
    ("pointer", "value"),
    [
        ("/event_id", "0190b6f0-9c1e-7d43-8a11-3f2e5d6c7b8b"),
        ("/type", "GEN"),
        ("/schema", 2),
        ("/aggregate/id", "other"),
        ("/time/producer", ...),
        ("/actor/role", "ADMIN"),
        ("/source/n", 1),
        ("/links", []),
        ("/body/params/seed", "1"),
        ("/_sd", SD[:1]),
        ("/classification", ...),
    ],
)
def test_another_request_has_another_digest(pointer, value):
    """The same id for something else is a conflict, not a retry."""
    assert request_digest(client_part(changed(pointer, value))) != request_digest(
        client_part(ENTRY)
    )


def test_the_clients_part_is_a_copy():
    """Changing it leaves the entry alone."""
    part = client_part(ENTRY)

    part["links"][0]["rel"] = part["body"]["params"]["seed"] = part["_sd"][0] = "spoilt"

    assert "spoilt" not in json.dumps(ENTRY)


def test_the_part_of_a_person_from_the_token_is_left_out():
    """Two pipelines' tokens may stand for two people; the request is the same."""
    part = client_part(ENTRY, without_sd={SD[0]})

    assert part["_sd"] == SD[1:]
    assert {"_sd", "_sd_alg"}.isdisjoint(client_part(ENTRY, without_sd=set(SD)))
