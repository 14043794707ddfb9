# SPDX-License-Identifier: GPL-3.0-or-later
"""Requests as clients send them, and the entry that comes of one."""

from typing import Any

import pytest
from event_bodies import LEAST, NEEDED
from event_values import AT, ID

from ledger.errors import MalformedEvent
from ledger.request import Identity, Prepared, prepare
from sealtrail.verify.disclosure import PERSON, commit, digest, encode_base64url
from sealtrail.verify.entry import check_entry, client_part

KEY = bytes(range(32))
PIPELINES = frozenset({"renderer", "Nightly "})
PIPELINE = Identity(
    credential="c-1", tenant="dev", role="pipeline", kind="pipeline", name="renderer"
)
ZOE = Identity(credential="c-2", tenant="dev", role="pipeline", kind="person", name="zoe")


def request(type_: str = "GEN_ATTEMPT", **changes: Any) -> dict[str, Any]:
    """A request as a pipeline sends it; a change to ... leaves the member out."""
    whole = {
        "event_id": ID,
        "type": type_,
        "schema": 1,
        "aggregate_id": "call-1",
        "on_behalf_of": "emp-7",
        "body": LEAST[type_],
        "record_key": encode_base64url(KEY),
        "sealed": NEEDED.get(type_, ...),
        **changes,
    }
    return {name: value for name, value in whole.items() if value is not ...}


def prepared(one: Any, identity: Identity = PIPELINE) -> Prepared:
    return prepare(one, identity, received_ms=1, pipelines=PIPELINES)


def refused(one: Any, identity: Identity = PIPELINE) -> set[tuple[str, str]]:
    with pytest.raises(MalformedEvent) as refusal:
        prepared(one, identity)
    return {(error.pointer, error.rule) for error in refusal.value.errors}


def entry_of(one: Prepared, *, tenant: str = "dev") -> dict[str, Any]:
    """The entry that comes of a request, at a late version and time."""
    return check_entry(one.frame.entry(2**53 - 1, tenant.encode(), AT.encode()))


def part_of(one: Prepared) -> dict[str, Any]:
    """The client's part of the entry, with all of its digests."""
    return client_part(entry_of(one))


def sd_of(one: Prepared) -> list[str]:
    return entry_of(one).get("_sd", [])


def recorded(one: Prepared, rewritten: Any = None, tenant: str = "dev") -> dict[str, Any]:
    """The entry that comes of a request, as another event if it is rewritten."""
    entry = entry_of(one, tenant=tenant)
    if rewritten is not None:
        entry |= {"type": rewritten.type, "schema": rewritten.schema, "body": rewritten.body}
    return entry


def custody(**fields: Any) -> dict[str, Any]:
    """What a client sends that keeps its values: digests, and which of them is the person's."""
    digests, disclosures = commit(KEY, {PERSON: "emp-7", **fields})
    mine = {"_sd": digests, "person_digest": digest(disclosures[PERSON])}
    return {"on_behalf_of": ..., "record_key": ..., **mine}
