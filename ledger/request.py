# SPDX-License-Identifier: GPL-3.0-or-later
"""From a request to the client's part of an entry: checked, committed, ready for the writer.

What the client may say is in MEMBERS; what it may not leave out depends on the event and on whose
credential it is. Personal values become salted commitments here, under the record_key that came
with the request, and go no further: nothing of them is stored or logged, and no error repeats
what was sent. All that is wrong with the fields of a request is said at once.

    record_key ──► sealed values, and the person of the request or of the token ──► _sd
    _sd        ──► producer custody: the client keeps keys and values, we see digests only
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import Any, Final, Literal, NamedTuple

from ledger import catalog, clock, lifecycle
from ledger.commitments import commit_values
from ledger.decoding import fast_parse
from ledger.errors import FieldError, Forbidden, MalformedEvent
from ledger.frame import Frame, framed
from ledger.lifecycle.references import Reference
from ledger.references import references_of
from ledger.vault.owners import NAMED, NAMES, Owned, owned_in
from sealtrail.verify import canonical
from sealtrail.verify.disclosure import PERSON, RECORD_KEY_BYTES, decode_base64url, digest
from sealtrail.verify.entry import ENTRY_MAX
from sealtrail.verify.errors import VerifyError
from sealtrail.verify.merkle import HASH_BYTES

JSON = dict[str, Any]

#: Optional groups of the envelope, checked by the catalogue and taken over as they are.
GROUPS: Final[tuple[str, ...]] = (
    "time", "trace", "links", "actor", "net", "clock", "retention", "classification",
    "policy_bundle", "red_team_suite", "origin_software", "producer", "source",
)  # fmt: skip
_GROUPS: Final = frozenset(GROUPS)
_NONE: Final[Mapping[str, Any]] = MappingProxyType({})
_NO_BODY: Final[JSON] = {}
_REQUIRED: Final = ("event_id", "type", "schema", "aggregate_id", "body")
_COMMITTED: Final = ("on_behalf_of", "sealed", "subjects", "record_key")
MEMBERS: Final = frozenset({*_REQUIRED, *GROUPS, "_sd", "person_digest", *_COMMITTED})

UUID7: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
_AGGREGATE_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/-]{0,127}")
_PERSON_MAX: Final = 256
_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_SD_MAX: Final = catalog.SEALED_COUNT + 1

#: Bytes of the client's part of an entry. The rest of the 16 KiB is for what the ledger adds, so
#: that an outcome which could be recorded in time can also be recorded late (OUTCOME_LATE).
PART_MAX: Final = ENTRY_MAX - 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Whose credential came with a request."""

    credential: str  #: The credential's random id: what entries name instead of a person.
    tenant: str
    role: Literal["pipeline", "auditor"]
    kind: Literal["person", "pipeline"]
    name: str | None  #: A person's subject id or a pipeline's name; never in an entry in clear.


class Prepared(NamedTuple):
    """A checked request: all of its entry but what only the writer can know.

    A tuple: one is made per event.
    """

    event_id: str
    type: str
    schema: int
    aggregate: str
    aggregate_id: str
    frame: Frame  #: The entry's bytes, personal values as digests.
    digest: bytes  #: request_digest.
    body: JSON  #: Empty for a type whose body decides nothing (lifecycle.UNREAD).
    disclosures: dict[str, str]
    owned: tuple[Owned, ...]  #: Whose they are.
    source: tuple[str, int] | None = None
    by_ledger: bool = False
    references: tuple[Reference, ...] = ()  #: What it names that has to be looked up.

    @property
    def stream(self) -> str:
        """The stream of the event's aggregate."""
        return f"{self.aggregate}/{self.aggregate_id}"

    def __repr__(self) -> str:
        return f"Prepared({self.type} {self.event_id})"  # What was sent may be personal.


def prepare(
    request: JSON,
    identity: Identity,
    *,
    received_ms: int,
    pipelines: frozenset[str],
    strict: bool = False,
) -> Prepared:
    """Check one request and return what the writer needs.

    pipelines: names registered as pipelines of this tenant; they are no persons.
    strict: the tenant refuses what names something unknown (ledger.references).
    Raises MalformedEvent naming each field and rule that was found broken, TooLarge for a part
    over PART_MAX, Forbidden when this credential may not record. No message holds a value of the
    request, nor the name of a member that we do not know.
    """
    if identity.role != "pipeline":
        raise Forbidden("an auditor's credential reads and does not record")
    if identity.kind == "person" and not identity.name:
        raise Forbidden("this credential is a person's and names no person")
    _check_members(request)
    event = catalog.lookup(request["type"], request["schema"])
    groups = {name: value for name, value in request.items() if name in _GROUPS}
    custody = "_sd" in request or "person_digest" in request
    record_key = b"" if custody else _base64url(request.get("record_key"))
    body = request["body"]
    errors = catalog.faults(event, body, request.get("sealed", _NONE), custody=custody)
    errors += catalog.envelope_faults(event, groups)
    errors += _whose_faults(request, identity, pipelines, record_key, custody=custody)
    if errors:
        raise MalformedEvent(errors=errors)
    commitments = _commit(request, record_key, identity)
    frame, digest = framed(
        _part(request, event.aggregate, groups, identity, commitments.sent),
        sd=commitments.all,
        credential=identity.credential,
        received=clock.rfc3339(received_ms),
        at_most=PART_MAX,
    )
    source = groups.get("source")
    return Prepared(
        event_id=request["event_id"],
        type=event.type,
        schema=event.schema,
        aggregate=event.aggregate,
        aggregate_id=request["aggregate_id"],
        frame=frame,
        digest=digest,
        body=_NO_BODY if event.type in lifecycle.UNREAD else body,
        disclosures=commitments.disclosures,
        owned=owned_in(commitments.values, event.owners) if commitments.values else (),
        source=(source["id"], source["n"]) if source else None,
        references=references_of(event.type, groups.get("links"), body, strict=strict),
    )


def ledger_made(
    type_: str,
    aggregate_id: str,
    body: JSON,
    *,
    event_id: str | None = None,
    actor: JSON | None = None,
) -> Prepared:
    """Prepare an entry of the ledger's own; it goes through the same writer as any other.

    actor: who it is if not the ledger itself; its `credential` is kept apart, as a client's is.
    Raises MalformedEvent for a body that is not of the catalogue's form: our own mistake.
    """
    event = catalog.lookup(type_, 1)
    catalog.validate(type_, 1, body, {}, by_ledger=True)
    actor = dict(actor or {"kind": "system"})
    credential = actor.pop("credential", None)
    event_id = event_id or str(clock.new_id())
    part: JSON = {
        "v": 1,
        "type": type_,
        "schema": 1,
        "event_id": event_id,
        "aggregate": {"type": event.aggregate, "id": aggregate_id},
        "actor": actor,
        "body": body,
    }
    frame, digest = framed(part, sd=(), credential=credential, received=None, at_most=ENTRY_MAX)
    return Prepared(
        event_id=event_id,
        type=type_,
        schema=1,
        aggregate=event.aggregate,
        aggregate_id=aggregate_id,
        frame=frame,
        digest=digest,
        body=body,
        disclosures={},
        owned=(),
        by_ledger=True,
    )


def parse_body(data: bytes) -> Any:
    """Parse a request body as strict I-JSON. Raises canonical.NotCanonical with its rule."""
    value = fast_parse(data)
    return canonical.parse(data) if value is None else value


def _part(request: JSON, aggregate: str, groups: JSON, identity: Identity, sent: list[str]) -> JSON:
    """Return the client's part of an entry. sent: digests that count for request_digest."""
    part: JSON = {
        "v": 1,
        "type": request["type"],
        "schema": request["schema"],
        "event_id": request["event_id"],
        "aggregate": {"type": aggregate, "id": request["aggregate_id"]},
        **groups,
        "actor": _actor(request, identity),
        "body": request["body"],
    }
    if sent:
        part["_sd"], part["_sd_alg"] = sent, "sha-256"
    return part


class _Commitments(NamedTuple):
    sent: list[str]  #: What counts for request_digest.
    all: list[str]
    disclosures: dict[str, str]
    values: Mapping[str, Any]


def _check_members(request: JSON) -> None:
    """Raise unless the members that everything else looks at are there and of their type."""
    errors = []
    if not MEMBERS.issuperset(request):
        detail = "a member is none of those in docs/events.md"
        errors.append(FieldError("", "unknown-field", detail))
    errors += [
        FieldError(f"/{name}", "required", f"{name} is missing")
        for name in _REQUIRED
        if name not in request
    ]
    if not errors:
        errors += _id_faults(request)
    if errors:
        raise MalformedEvent(errors=errors)


def _id_faults(request: JSON) -> list[FieldError]:
    errors = []
    if not _matches(UUID7, request["event_id"]):
        detail = "event_id is a UUID of version 7 in lower case"
        errors.append(FieldError("/event_id", "uuid7", detail))
    if not _matches(_AGGREGATE_ID, request["aggregate_id"]):
        detail = "aggregate_id is 1 to 128 of A-Z a-z 0-9 . _ : / -, a letter or digit first"
        errors.append(FieldError("/aggregate_id", "identifier", detail))
    if not isinstance(request["body"], dict):
        errors.append(FieldError("/body", "type", "body is an object"))
    if not isinstance(request.get("sealed", {}), dict):
        errors.append(FieldError("/sealed", "type", "sealed is an object of names and values"))
    if "subjects" in request and not _is_cast(request["subjects"]):
        detail = f"subjects is an object of one or more of {', '.join(NAMED)}"
        errors.append(FieldError("/subjects", "type", detail))
    return errors


def _is_cast(subjects: object) -> bool:
    return isinstance(subjects, dict) and bool(subjects) and set(NAMED).issuperset(subjects)


def _matches(pattern: re.Pattern[str], value: object) -> bool:
    return isinstance(value, str) and pattern.fullmatch(value) is not None


def _whose_faults(
    request: JSON,
    identity: Identity,
    pipelines: frozenset[str],
    record_key: bytes,
    *,
    custody: bool,
) -> list[FieldError]:
    """Say what is wrong with the person and the commitments of a request."""
    if custody:
        return _custody_faults(request, identity)
    errors = _person_faults(request, identity, pipelines)
    return errors if len(record_key) == RECORD_KEY_BYTES else errors + _key_faults(request)


def _person_faults(
    request: JSON, identity: Identity, pipelines: frozenset[str]
) -> list[FieldError]:
    """Say what is wrong with the natural person behind a request."""
    errors = []
    if identity.kind == "person":
        if "on_behalf_of" in request:
            detail = "this token is a person's; leave it out"
            errors.append(FieldError("/on_behalf_of", "person-from-token", detail))
    elif "on_behalf_of" not in request:
        detail = "a pipeline names the natural person for whom it acts, such as an employee id"
        errors.append(FieldError("/on_behalf_of", "person-missing", detail))
    else:
        errors += _name_faults("/on_behalf_of", request["on_behalf_of"], pipelines)
    for role, name in request.get("subjects", _NONE).items():
        errors += _name_faults(f"/subjects/{role}", name, pipelines)
    return errors


def _key_faults(request: JSON) -> list[FieldError]:
    if "record_key" in request:
        detail = "record_key is 32 bytes in base64url without padding: 43 characters"
        return [FieldError("/record_key", "record-key", detail)]
    detail = (
        "record_key is missing: make 32 random bytes for each event, send them in base64url "
        "without padding, and keep them until the receipt is verified"
    )
    return [FieldError("/record_key", "required", detail)]


def _name_faults(pointer: str, name: object, pipelines: frozenset[str]) -> list[FieldError]:
    if (
        not isinstance(name, str)
        or not 1 <= len(name) <= _PERSON_MAX
        or not name.strip()
        or _SURROGATE.search(name)
    ):
        detail = "a person's id is a string of 1 to 256 characters"
        return [FieldError(pointer, "person", detail)]
    if names_a_pipeline(name, pipelines):
        detail = "this name is registered as a pipeline's; name the natural person"
        return [FieldError(pointer, "person-is-pipeline", detail)]
    return []


def names_a_pipeline(name: str, pipelines: frozenset[str]) -> bool:
    """Whether a person's name is one of these; another case does not make a pipeline a person."""
    return name.strip().casefold() in _folded(pipelines)


@lru_cache(maxsize=64)
def _folded(pipelines: frozenset[str]) -> frozenset[str]:
    return frozenset(name.strip().casefold() for name in pipelines)


def _custody_faults(request: JSON, identity: Identity) -> list[FieldError]:
    """Say what is wrong with digests that a client made itself."""
    errors = [
        FieldError(f"/{name}", "custody", f"with _sd the client keeps its values; leave {name} out")
        for name in _COMMITTED
        if name in request
    ]
    if identity.kind == "person":
        detail = "a person's token commits the person by record_key"
        return [*errors, FieldError("/_sd", "custody", detail)]
    digests = request.get("_sd")
    if not isinstance(digests, list) or not 1 <= len(digests) <= _SD_MAX:
        detail = f"_sd is a list of 1 to {_SD_MAX} digests"
        return [*errors, FieldError("/_sd", "type", detail)]
    wrong = [at for at, one in enumerate(digests) if len(_base64url(one)) != HASH_BYTES]
    if wrong:
        detail = "a digest is SHA-256 in base64url without padding: 43 characters"
        return [*errors, *(FieldError(f"/_sd/{at}", "digest", detail) for at in wrong)]
    if sorted(set(digests)) != digests:
        errors.append(FieldError("/_sd", "order", "_sd is sorted and names no digest twice"))
    if request.get("person_digest") not in digests:
        detail = f"name the digest in _sd that commits the natural person, {PERSON}"
        errors.append(FieldError("/person_digest", "person-missing", detail))
    return errors


def _base64url(text: object) -> bytes:
    """Return the bytes of base64url in its one spelling; none for anything else."""
    try:
        return decode_base64url(text) if isinstance(text, str) else b""
    except VerifyError:
        return b""


def _actor(request: JSON, identity: Identity) -> JSON:
    """Return who acted: what the request says, else a person or a service, as the token is."""
    actor = {"kind": "human" if identity.kind == "person" else "service"}
    if "actor" in request:
        actor |= request["actor"]
    if "person_digest" in request:
        actor["person_digest"] = request["person_digest"]
    return actor


def _commit(request: JSON, record_key: bytes, identity: Identity) -> _Commitments:
    """Commit what is sealed and the person, under the record key; or take the client's digests."""
    if "_sd" in request:
        return _Commitments(request["_sd"], request["_sd"], {}, _NONE)
    by_token = identity.kind == "person"
    person = identity.name if by_token else request["on_behalf_of"]
    values = {**request.get("sealed", _NONE), PERSON: person}
    for role, name in request.get("subjects", _NONE).items():
        values[NAMES[role]] = name
    digests, disclosures = commit_values(record_key, values)
    if not by_token:
        return _Commitments(digests, digests, disclosures, values)
    # The token's person may change hands; the request is the same.
    added = digest(disclosures[PERSON])
    sent = [one for one in digests if one != added]
    return _Commitments(sent, digests, disclosures, values)
