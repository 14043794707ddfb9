# SPDX-License-Identifier: GPL-3.0-or-later
"""From a request to the client's part of an entry: checked, committed, ready for the writer.

What the client may say is in MEMBERS; what it may not leave out depends on the event and on whose
credential it is. Clear personal values are turned into salted commitments here, under the
record_key that came with the request, and go no further. Nothing of this is stored or logged.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from sealtrail.verify import canonical
from sealtrail.verify.disclosure import commit, decode_base64url
from sealtrail.verify.entry import PERSON, request_digest
from sealtrail.verify.errors import VerifyError

from ledger import catalog, clock
from ledger.errors import FieldError, Forbidden, MalformedEvent

JSON = dict[str, Any]

#: Optional groups of the envelope, checked by the catalogue and taken over as they are.
GROUPS: Final = (
    "time", "trace", "links", "actor", "net", "clock", "retention", "classification",
    "policy_bundle", "red_team_suite", "origin_software", "producer", "source",
)  # fmt: skip
_REQUIRED: Final = ("event_id", "type", "schema", "aggregate_id", "body")
_CUSTODY: Final = ("_sd", "person_digest")
MEMBERS: Final = frozenset(
    {*_REQUIRED, *GROUPS, *_CUSTODY, "on_behalf_of", "sealed", "record_key"}
)

UUID7: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
_AGGREGATE_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/-]{0,127}")
_PERSON_MAX: Final = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Whose credential came with a request."""

    credential: str  #: The credential's random id: what entries name instead of a person.
    tenant: str
    role: Literal["pipeline", "auditor"]
    kind: Literal["person", "pipeline"]
    name: str | None  #: A person's subject id or a pipeline's name; never in an entry in clear.


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A checked request: all of its entry but what only the writer can know."""

    event_id: str
    type: str
    schema: int
    aggregate: str
    aggregate_id: str
    part: JSON = field(repr=False)  #: The client's part of the entry.
    digest: bytes  #: request_digest of `part`.
    body: JSON = field(repr=False)
    received_ms: int
    sd: tuple[str, ...] = ()  #: All commitments, a person's from the token included; sorted.
    disclosures: Mapping[str, str] = field(default_factory=dict, repr=False)
    credential: str | None = None
    source: tuple[str, int] | None = None
    by_ledger: bool = False

    @property
    def stream(self) -> str:
        return f"{self.aggregate}/{self.aggregate_id}"


def prepare(
    request: JSON, identity: Identity, *, received_ms: int, pipelines: frozenset[str]
) -> Prepared:
    """Check one request and return what the writer needs.

    pipelines: names registered as pipelines of this tenant; they are no persons.
    Raises MalformedEvent naming each field and rule that was found broken, Forbidden when this
    credential may not record. No message holds a value of the request.
    """
    if identity.role != "pipeline":
        raise Forbidden("an auditor's credential reads and does not record")
    _check_members(request)
    event = catalog.lookup(request["type"], request["schema"])
    sealed = request.get("sealed", {})
    body = catalog.validate(request["type"], request["schema"], request["body"], sealed)
    groups = {name: request[name] for name in GROUPS if name in request}
    catalog.validate_envelope(groups)
    actor = {"kind": "human", **groups.get("actor", {})}
    part: JSON = {
        "v": 1,
        "type": request["type"],
        "schema": request["schema"],
        "event_id": request["event_id"],
        "aggregate": {"type": event.aggregate, "id": request["aggregate_id"]},
        **groups,
        "actor": actor,
        "body": body,
    }
    commitments = _commit(request, sealed, identity, pipelines)
    if "person_digest" in request:
        part["actor"] = {**actor, "person_digest": request["person_digest"]}
    if commitments.sent:
        part["_sd"] = list(commitments.sent)
        part["_sd_alg"] = "sha-256"
    source = groups.get("source")
    return Prepared(
        event_id=request["event_id"],
        type=request["type"],
        schema=request["schema"],
        aggregate=event.aggregate,
        aggregate_id=request["aggregate_id"],
        part=part,
        digest=request_digest(part),
        body=body,
        received_ms=received_ms,
        sd=commitments.all,
        disclosures=commitments.disclosures,
        credential=identity.credential,
        source=(source["id"], source["n"]) if source else None,
    )


def ledger_made(
    type_: str,
    aggregate_id: str,
    body: JSON,
    *,
    event_id: str | None = None,
    actor: JSON | None = None,
) -> Prepared:
    """Prepare an entry of the ledger's own; it goes through the same writer as any other."""
    event = catalog.lookup(type_, 1)
    catalog.validate(type_, 1, body, {}, by_ledger=True)
    part: JSON = {
        "v": 1,
        "type": type_,
        "schema": 1,
        "event_id": event_id or str(clock.new_id()),
        "aggregate": {"type": event.aggregate, "id": aggregate_id},
        "actor": actor or {"kind": "system"},
        "body": body,
    }
    credential = part["actor"].pop("credential", None)
    return Prepared(
        event_id=part["event_id"],
        type=type_,
        schema=1,
        aggregate=event.aggregate,
        aggregate_id=aggregate_id,
        part=part,
        digest=request_digest(part),
        body=body,
        received_ms=clock.now_ms(),
        credential=credential,
        by_ledger=True,
    )


@dataclass(frozen=True, slots=True)
class _Commitments:
    sent: tuple[str, ...]  #: What counts for request_digest.
    all: tuple[str, ...]
    disclosures: Mapping[str, str]


def _check_members(request: JSON) -> None:
    errors = [
        FieldError("", "unknown-field", "the request has a member that this ledger does not know")
        for name in request
        if name not in MEMBERS
    ][:1]
    errors += [
        FieldError(f"/{name}", "required", f"{name} is missing")
        for name in _REQUIRED
        if name not in request
    ]
    if not errors:
        errors += _check_ids(request)
    if errors:
        raise MalformedEvent(errors=errors)


def _check_ids(request: JSON) -> list[FieldError]:
    errors = []
    if not _matches(UUID7, request["event_id"]):
        errors.append(
            FieldError("/event_id", "uuid7", "event_id is a UUID of version 7 in lower case")
        )
    if not _matches(_AGGREGATE_ID, request["aggregate_id"]):
        errors.append(
            FieldError(
                "/aggregate_id",
                "identifier",
                "aggregate_id is 1 to 128 of A-Z a-z 0-9 . _ : / - and starts with one of the "
                "first three kinds",
            )
        )
    if not isinstance(request["body"], dict):
        errors.append(FieldError("/body", "type", "body is an object"))
    if not isinstance(request.get("sealed", {}), dict):
        errors.append(FieldError("/sealed", "type", "sealed is an object of names and values"))
    return errors


def _matches(pattern: re.Pattern[str], value: object) -> bool:
    return isinstance(value, str) and pattern.fullmatch(value) is not None


def _commit(
    request: JSON, sealed: JSON, identity: Identity, pipelines: frozenset[str]
) -> _Commitments:
    if "_sd" in request or "person_digest" in request:
        return _custody(request, identity)
    person = _person(request, identity, pipelines)
    record_key = _record_key(request)
    try:
        digests, disclosures = commit(record_key, {**sealed, PERSON: person})
    except VerifyError as error:
        raise _malformed("/sealed", "commitment", str(error)) from error
    if identity.kind == "pipeline":
        return _Commitments(tuple(digests), tuple(digests), disclosures)
    sent, _ = commit(record_key, sealed)  # The token's person may change hands; the request not.
    return _Commitments(tuple(sent), tuple(digests), disclosures)


def _person(request: JSON, identity: Identity, pipelines: frozenset[str]) -> str:
    """Return the natural person behind the request."""
    sent = request.get("on_behalf_of")
    if identity.kind == "person":
        if sent is not None:
            raise _malformed(
                "/on_behalf_of", "person-from-token", "this token is a person's; leave it out"
            )
        return identity.name or ""
    if sent is None:
        raise _malformed(
            "/on_behalf_of",
            "person-missing",
            "a pipeline names the natural person for whom it acts, such as an employee id",
        )
    if not isinstance(sent, str) or not 1 <= len(sent) <= _PERSON_MAX or not sent.strip():
        raise _malformed("/on_behalf_of", "person", "a person's id is 1 to 256 characters")
    if sent in pipelines:
        raise _malformed(
            "/on_behalf_of", "person-is-pipeline", "this name is registered as a pipeline's"
        )
    return sent


def _record_key(request: JSON) -> bytes:
    sent = request.get("record_key")
    if sent is None:
        raise _malformed(
            "/record_key",
            "required",
            "record_key is missing: make 32 random bytes for each event, send them in base64url "
            "without padding, and keep them until the receipt is verified",
        )
    try:
        key = decode_base64url(sent) if isinstance(sent, str) else b""
    except VerifyError:
        key = b""
    if len(key) != 32:
        raise _malformed("/record_key", "record-key", "record_key is 32 bytes in base64url")
    return key


def _custody(request: JSON, identity: Identity) -> _Commitments:
    """Producer custody: the client keeps keys and values, and we see commitments only."""
    for name in ("sealed", "record_key", "on_behalf_of"):
        if name in request:
            raise _malformed(
                f"/{name}", "custody", f"with _sd the client keeps its values; leave {name} out"
            )
    if identity.kind == "person":
        raise _malformed("/_sd", "custody", "a person's token commits the person by record_key")
    digests = request.get("_sd")
    if not isinstance(digests, list) or not 1 <= len(digests) <= 64:
        raise _malformed("/_sd", "type", "_sd is a list of 1 to 64 digests")
    for at, digest in enumerate(digests):
        if not _is_sd_digest(digest):
            raise _malformed(f"/_sd/{at}", "digest", "a digest is SHA-256 in base64url")
    if sorted(set(digests)) != digests:
        raise _malformed("/_sd", "order", "_sd is sorted and names no digest twice")
    if request.get("person_digest") not in digests:
        raise _malformed(
            "/person_digest",
            "person-missing",
            f"name the digest in _sd that commits the natural person, {PERSON}",
        )
    return _Commitments(tuple(digests), tuple(digests), {})


def _is_sd_digest(value: object) -> bool:
    try:
        return isinstance(value, str) and len(decode_base64url(value)) == 32
    except VerifyError:
        return False


def _malformed(pointer: str, rule: str, detail: str) -> MalformedEvent:
    return MalformedEvent(detail, errors=[FieldError(pointer, rule, detail)])


def parse_body(data: bytes) -> Any:
    """Parse a request body as strict I-JSON. Raises canonical.NotCanonical with its rule."""
    return canonical.parse(data)
