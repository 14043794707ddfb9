# SPDX-License-Identifier: Apache-2.0
"""One event as it is sent, and what the ledger's entry must therefore contain.

The client makes the event's id and its record key, so that a repeated request is the same
request and so that the salts of everything personal come from here. The bytes are made once;
every attempt sends the same ones.

Source: RFC 9562 §5.7 (UUIDv7); RFC 9901 (disclosures), see `sealtrail.verify.disclosure`.
"""

import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from sealtrail.verify import canonical
from sealtrail.verify.disclosure import (
    PERSON,
    RECORD_KEY_BYTES,
    commit,
    digest,
    encode_base64url,
)

#: What a caller may add to an event in the clear, beside the named arguments of `post`.
GROUPS = frozenset(
    {
        "actor",
        "net",
        "clock",
        "retention",
        "classification",
        "policy_bundle",
        "red_team_suite",
        "origin_software",
        "producer",
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """An event as it goes over the wire: `content`, and what to hold the receipt against.

    part: the client's part of the entry, with commitments in place of what is personal.
    disclosures: ours, by name. names_person: whether we said who is behind the event; if not,
    the ledger adds a commitment to the person of the token. kept: under producer custody, what
    opens the commitments and is nowhere but here; else empty.
    """

    event_id: str
    record_key: bytes
    content: bytes
    part: dict[str, Any]
    disclosures: dict[str, str]
    names_person: bool
    kept: dict[str, str] = field(default_factory=dict)

    def __repr__(self) -> str:
        """Only the id: the rest is personal, or opens what is."""
        return f"Sent(event_id={self.event_id!r})"


def new_event_id() -> str:
    """A UUID of version 7: milliseconds since 1970, then 74 random bits; lower case."""
    now_ms = time.time_ns() // 1_000_000
    number = now_ms << 80 | int.from_bytes(os.urandom(10), "big")
    number = number & ~(0xF << 76) | 0x7 << 76
    number = number & ~(0x3 << 62) | 0x2 << 62
    digits = f"{number:032x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def now_text() -> str:
    """This machine's time as events name it: UTC, with milliseconds."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def new_record_key() -> bytes:
    """32 random bytes, made anew for each event."""
    return os.urandom(RECORD_KEY_BYTES)


def prepare(
    type_: str,
    schema: int,
    members: Mapping[str, Any],
    *,
    event_id: str | None,
    record_key: bytes | None,
    custody: bool = False,
) -> Sent:
    """The event as bytes. `members` are the request's, those that are None are left out.

    custody: values and keys stay with the producer, and the ledger gets digests only.

    Raises ValueError for members the ledger does not know, and sealtrail.verify's NotCanonical
    or BadDisclosure for values that JSON without floats cannot hold.
    """
    members = {name: value for name, value in members.items() if value is not None}
    sealed = dict(members.pop("sealed", {}))
    person = members.pop("on_behalf_of", None)
    subjects = dict(members.pop("subjects", {}))
    aggregate_id = members.pop("aggregate_id")
    _check_members(members, sealed)
    event_id = event_id or new_event_id()
    record_key = record_key or new_record_key()

    named = {} if person is None else {PERSON: person}
    named |= {f"subjects.{role}": name for role, name in subjects.items()}
    digests, disclosures = commit(record_key, {**sealed, **named})
    request = {"event_id": event_id, "type": type_, "schema": schema, **members}
    request["aggregate_id"] = aggregate_id
    kept: dict[str, str] = {}
    if custody:
        if person is None:
            raise ValueError("under producer custody each event names its person")
        person_digest = digest(disclosures[PERSON])
        request |= {"_sd": digests, "person_digest": person_digest}
        kept, disclosures = disclosures, {}
    else:
        request["record_key"] = encode_base64url(record_key)
        given = {"sealed": sealed, "on_behalf_of": person, "subjects": subjects}
        request |= {name: value for name, value in given.items() if value not in (None, {})}
    content = canonical.encode(request)
    # What goes over the wire, read again: the caller may change its dictionaries meanwhile.
    copied = json.loads(content)
    part: dict[str, Any] = {"v": 1, "type": type_, "schema": schema, "event_id": event_id}
    part |= {name: copied[name] for name in members} | {"aggregate": {"id": aggregate_id}}
    if custody:
        part["actor"] = {**part.get("actor", {}), "person_digest": copied["person_digest"]}
    if digests:
        part |= {"_sd": digests, "_sd_alg": "sha-256"}
    return Sent(
        event_id=event_id,
        record_key=record_key,
        content=content,
        part=part,
        disclosures=disclosures,
        names_person=person is not None,
        kept=kept,
    )


def _check_members(members: Mapping[str, Any], sealed: Mapping[str, Any]) -> None:
    known = {"source", "time", "trace", "links", "body"} | GROUPS
    if not known.issuperset(members):
        raise ValueError("an event has no such member; see the names in GROUPS")
    if PERSON in sealed:
        raise ValueError(f"the person is given as on_behalf_of, not as sealed {PERSON}")
