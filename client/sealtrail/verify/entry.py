# SPDX-License-Identifier: Apache-2.0
"""An entry: who did what to which thing, when, in the exact bytes that are hashed.

Entry = canonical JSON of

    v type schema event_id tenant aggregate{type,id,version} time{recorded,…} actor{kind,…}
    source{id,n} trace links body _sd _sd_alg

and a few optional groups. Absent means absent: there are no nulls here. Its place in the log, its
leaf hash and its MAC are never inside. Of each entry the client supplies all but what
LEDGER_ASSIGNED lists; that client's part is what a repeated request is compared by.
This module knows the envelope; what `body` may hold, each event type says itself.
Source: RFC 8785, RFC 9562 (UUIDv7), RFC 3339, RFC 9901 (`_sd`), RFC 6901 (pointers in messages).
"""

import itertools
import re
from collections.abc import Callable, Collection
from datetime import datetime
from hashlib import sha256
from typing import Any

from sealtrail.verify import canonical
from sealtrail.verify.disclosure import PERSON, BadDisclosure, decode_base64url
from sealtrail.verify.errors import Refuted, Unreadable
from sealtrail.verify.merkle import HASH_BYTES

__all__ = [
    "ENTRY_MAX",
    "LEDGER_ASSIGNED",
    "OUTCOME_LATE",
    "PERSON",
    "EntryInvalid",
    "check_entry",
    "check_members",
    "client_part",
    "request_digest",
]

#: No entry is larger, in bytes; what is larger is an artifact with a digest.
ENTRY_MAX = 16_384

#: The members that the ledger and not the client supplies. `request_digest` leaves them out.
LEDGER_ASSIGNED = (
    "/aggregate/version",
    "/time/request_received",
    "/time/recorded",
    "/tenant",
    "/actor/credential",
    "/actor/auth",
)

#: The type under which the ledger records an outcome that came after its own timeout. The body's
#: `claimed` holds type, schema and body as they were sent.
OUTCOME_LATE = "OUTCOME_LATE"


class EntryInvalid(Refuted):
    """A member of the entry is not what the format says."""

    def __init__(self, pointer: str, expected: str) -> None:
        super().__init__(f"The entry's member {pointer or '/'} {expected}.")
        self.pointer = pointer  #: JSON pointer into the entry (RFC 6901).


def client_part(
    entry: dict[str, Any], *, without_sd: Collection[str] = frozenset()
) -> dict[str, Any]:
    """A deep copy of what the client sent of this entry, personal values as digests.

    without_sd: digests to leave out of `_sd`: that of a person whom the ledger took from the
    caller's token. Groups that become empty are left out, `_sd_alg` with the last digest.
    """
    part: dict[str, Any] = _copy(entry)
    if part.get("type") == OUTCOME_LATE:
        claimed = part["body"]["claimed"]
        part |= {name: claimed[name] for name in ("type", "schema", "body")}
    for pointer in LEDGER_ASSIGNED:
        _remove(part, pointer)
    digests = [digest for digest in part.pop("_sd", ()) if digest not in without_sd]
    if digests:
        part["_sd"] = digests
    else:
        part.pop("_sd_alg", None)
    return part


def request_digest(part: dict[str, Any]) -> bytes:
    """SHA-256 over the canonical bytes of a client's part: equal if the request was the same."""
    return sha256(canonical.encode(part)).digest()


def check_entry(data: bytes) -> dict[str, Any]:
    """The entry that these exact bytes are.

    Raises Unreadable if they are not canonical JSON of at most 16 KiB, and EntryInvalid, naming
    the member, if the envelope has another shape. `body` is checked to be an object, no more
    (that of OUTCOME_LATE to hold the claim that `client_part` takes from it).
    """
    if len(data) > ENTRY_MAX:
        raise Unreadable("The entry is larger than 16 KiB.")
    return check_members(canonical.decode(data))


def check_members(entry: canonical.JSON) -> dict[str, Any]:
    """The entry that this value, decoded from canonical bytes, is; raises EntryInvalid."""
    if not isinstance(entry, dict):
        raise EntryInvalid("", "is not an object")
    for name in _REQUIRED:
        if name not in entry:
            raise EntryInvalid(f"/{name}", "is missing")
    for name, value in entry.items():
        check = _MEMBERS.get(name)
        if check is None:
            # The name is not told: it is not ours, so it may be anything.
            raise EntryInvalid("", "has a member that this version does not know")
        check(f"/{name}", value)
    if ("_sd" in entry) != ("_sd_alg" in entry):
        raise EntryInvalid("/_sd_alg", "is present exactly when /_sd is")
    if entry["type"] == OUTCOME_LATE:
        _CLAIMED("/body", entry["body"])
    return entry


def _copy(value: Any) -> Any:
    if type(value) is dict:
        return {name: _copy(item) for name, item in value.items()}
    if type(value) is list:
        return [_copy(item) for item in value]
    return value


def _remove(part: dict[str, Any], pointer: str) -> None:
    *group, name = pointer[1:].split("/")
    if not group:
        part.pop(name, None)
    elif isinstance(part.get(group[0]), dict):
        part[group[0]].pop(name, None)
        if not part[group[0]]:
            del part[group[0]]


_Check = Callable[[str, Any], None]


def _text(pattern: str, expected: str) -> _Check:
    compiled = re.compile(pattern)

    def check(pointer: str, value: Any) -> None:
        if not isinstance(value, str) or compiled.fullmatch(value) is None:
            raise EntryInvalid(pointer, f"is not {expected}")

    return check


def _number(least: int) -> _Check:
    def check(pointer: str, value: Any) -> None:
        if type(value) is not int or value < least:
            raise EntryInvalid(pointer, f"is not a whole number from {least}")

    return check


def _group(needed: dict[str, _Check], optional: dict[str, _Check] | None = None) -> _Check:
    """An object with these members. Members beyond them only if `optional` is None."""
    known = needed | (optional or {})

    def check(pointer: str, value: Any) -> None:
        if not isinstance(value, dict):
            raise EntryInvalid(pointer, "is not an object")
        for name in needed:
            if name not in value:
                raise EntryInvalid(f"{pointer}/{name}", "is missing")
        for name, item in value.items():
            if name in known:
                known[name](f"{pointer}/{name}", item)
            elif optional is not None:
                raise EntryInvalid(pointer, "has a member that this version does not know")
            elif item is None:
                raise EntryInvalid(pointer, "has a member that is null")

    return check


def _version(pointer: str, value: Any) -> None:
    if type(value) is not int or value != 1:
        raise EntryInvalid(pointer, "is not 1, the only version of this format")


def _time(pointer: str, value: Any) -> None:
    try:
        if not isinstance(value, str) or _TIME.fullmatch(value) is None:
            raise ValueError  # noqa: TRY301 - one message for a bad spelling and a bad date
        datetime.fromisoformat(value)
    except ValueError:
        expected = "is not a UTC time with milliseconds, such as 2026-01-14T18:23:45.123Z"
        raise EntryInvalid(pointer, expected) from None


def _links(pointer: str, value: Any) -> None:
    if not isinstance(value, list):
        raise EntryInvalid(pointer, "is not a list")
    for at, link in enumerate(value):
        _LINK(f"{pointer}/{at}", link)


def _digests(pointer: str, value: Any) -> None:
    if not isinstance(value, list):
        raise EntryInvalid(pointer, "is not a list")
    for at, digest in enumerate(value):
        _sd_digest(f"{pointer}/{at}", digest)
    if any(one >= next_one for one, next_one in itertools.pairwise(value)):
        raise EntryInvalid(pointer, "is not sorted, or names a digest twice")


def _sd_digest(pointer: str, value: Any) -> None:
    try:
        if isinstance(value, str) and len(decode_base64url(value)) == HASH_BYTES:
            return
    except BadDisclosure:
        pass
    raise EntryInvalid(pointer, "is not a SHA-256 digest in base64url")


_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}Z")
_SHORT = _text(r"[^\x00-\x1f\x7f]{1,256}", "a line of 1 to 256 characters")
_SHA256 = _text(r"sha256:[0-9a-f]{64}", "a digest of the form sha256:<64 lowercase hex digits>")
_UUID7 = _text(
    r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}",
    "a UUID of version 7 in lower case",
)
_LINK = _group({"rel": _SHORT, "id": _SHORT}, {"type": _SHORT, "leaf": _SHA256, "role": _SHORT})
_ANY_GROUP = _group({})

_TYPE = _text(r"[A-Z][A-Z0-9_]{0,63}", "an event type in capital letters")
_SCHEMA = _number(1)
_CLAIM_SHAPE = _group({"type": _TYPE, "schema": _SCHEMA, "body": _ANY_GROUP}, {})
_CLAIMED = _group({"claimed": _CLAIM_SHAPE})

_REQUIRED = (
    "v",
    "type",
    "schema",
    "event_id",
    "tenant",
    "aggregate",
    "time",
    "actor",
    "body",
)

_MEMBERS: dict[str, _Check] = {
    "v": _version,
    "type": _TYPE,
    "schema": _SCHEMA,
    "event_id": _UUID7,
    "tenant": _SHORT,
    "aggregate": _group(
        {
            "type": _text(r"[A-Z][A-Za-z0-9]{0,63}", "the name of a kind of thing"),
            "id": _text(r"[A-Za-z0-9][A-Za-z0-9._:/-]{0,127}", "an identifier"),
            "version": _number(1),
        },
        {},
    ),
    "time": _group(
        {"recorded": _time},
        {
            "request_received": _time,
            "processing_started": _time,
            "model_responded": _time,
            "producer": _time,
            "provider": _time,
        },
    ),
    "actor": _group({"kind": _text(r"human|service|agent|system", "a known kind of actor")}),
    "source": _group({"id": _SHORT, "n": _number(0)}, {}),
    "trace": _ANY_GROUP,
    "links": _links,
    "body": _ANY_GROUP,
    "_sd": _digests,
    "_sd_alg": _text(r"sha-256", "sha-256, the only algorithm of this format"),
    "net": _ANY_GROUP,
    "clock": _ANY_GROUP,
    "retention": _ANY_GROUP,
    "classification": _SHORT,
    "policy_bundle": _ANY_GROUP,
    "red_team_suite": _SHORT,
    "origin_software": _ANY_GROUP,
    "producer": _ANY_GROUP,
}
