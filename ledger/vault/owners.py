# SPDX-License-Identifier: GPL-3.0-or-later
"""Whose is a committed value: each belongs to one data subject, and goes when that one goes.

    user            the natural person of the request; owns what nobody else does
    depicted        who is shown in, or gave, a picture
    rights_holder   who holds the rights of an asset
    reviewer        a member of staff who judged
    tenant          nobody: the tenant's own words, such as a system prompt

An event class says which of its names belong to another role (`Body.subjects`). Who that is says
the request, as the committed value `subjects.<role>`, which is that person's, too. Where it names
nobody the value belongs to the user. One person in two roles is one data subject.
"""

import json
from binascii import a2b_base64
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple, Protocol
from unicodedata import normalize

from ledger import catalog
from ledger.events.kind import pattern_of
from ledger.vault.construction import index_message
from sealtrail.verify.disclosure import PERSON

USER: Final = "user"
TENANT: Final = "tenant"

_FROM_URL: Final = bytes.maketrans(b"-_", b"+/")
_decode: Final = json.JSONDecoder().decode

#: Roles of natural persons that a request may name.
NAMED: Final = ("depicted", "rights_holder", "reviewer")
ROLES: Final = (USER, *NAMED, TENANT)

#: Committed names of the persons in those roles.
NAMES: Final[Mapping[str, str]] = {role: f"subjects.{role}" for role in NAMED}
_ROLE_OF_NAME: Final = {name: role for role, name in NAMES.items()}

#: What can be searched for by value: identifiers and digests, never what somebody wrote. A list
#: of strings is found by each of them.
IDENTIFIERS: Final = frozenset(
    {
        "actor.account_id",
        "actor.session_id",
        "actor.department",
        "actor.on_behalf_of",
        "net.ip",
        "asset.sha256",
        "asset.pixel_sha256",
        "asset_sha256",
        "inputs[*].sha256",
        "outputs[*].sha256",
        "outputs[*].pixel_sha256",
        "rights.holder",
        "requested_by",
        "destination.recipient",
        "review.assigned_to",
        "reviewer",
        "takedown.requester",
    }
)

#: All that an event can have sealed, as patterns.
FIELDS: Final = frozenset(
    {PERSON, *NAMES.values()}.union(*(one.sealed for one in catalog.CATALOG.values()))
)

#: The fields under which data subjects themselves are indexed; the tenant is nobody's namesake.
PERSON_FIELD: Final = "subject"
TENANT_FIELD: Final = "subject.tenant"


class Owner(NamedTuple):
    """A data subject by its own id. A tuple: it is a key of the writer's cache."""

    kind: str  #: `person` or `tenant`.
    id: str

    def __repr__(self) -> str:
        return f"Owner({self.kind})"

    @property
    def message(self) -> bytes:
        """What this subject's blind index is the MAC of."""
        return index_message(PERSON_FIELD if self.kind == "person" else TENANT_FIELD, self.id)


class Owned(NamedTuple):
    """What one data subject owns of an event. A tuple: at least one is made per event."""

    owner: Owner
    names: tuple[str, ...]
    identifiers: tuple[tuple[str, str], ...]  #: Field and value by which the event can be found.

    def __repr__(self) -> str:
        return f"Owned({self.owner})"  # The rest is personal.


class Sealable(Protocol):
    """What the vault looks at of a prepared request (ledger.request.Prepared)."""

    @property
    def event_id(self) -> str: ...
    @property
    def disclosures(self) -> Mapping[str, str]:
        """Each committed name with its disclosure; none if the client keeps them."""

    @property
    def owned(self) -> Sequence[Owned]:
        """Whose they are; all of them, each once."""


THE_TENANT: Final = Owner(TENANT, TENANT)


def person(id_: str) -> Owner:
    """Return a person; two spellings of one id (Unicode NFC) are one person."""
    return Owner("person", id_ if id_.isascii() else normalize("NFC", id_))


def value_of(disclosure: str) -> Any:
    """Return the value in a disclosure that was made or authenticated here."""
    return named_value(disclosure)[1]


def named_value(disclosure: str) -> tuple[str, Any]:
    """Return name and value in a disclosure that was made or authenticated here."""
    # More padding than needed does no harm.
    data = a2b_base64(disclosure.encode().translate(_FROM_URL) + b"==")
    _salt, name, value = _decode(data.decode())
    return name, value


def owned_in(values: Mapping[str, Any], roles: Mapping[str, str]) -> tuple[Owned, ...]:
    """Return each data subject of an event with what is its own.

    values: by committed name, the persons' own ids among them.
    roles: by name pattern, whose it is if not the user's (EventClass.owners).
    """
    user = person(values[PERSON])
    if not roles and _ROLE_OF_NAME.keys().isdisjoint(values):
        return (Owned(user, tuple(values), identifiers_in(values, values)),)
    found: dict[Owner, list[str]] = {}
    for name in values:
        role = _ROLE_OF_NAME.get(name) or roles.get(pattern_of(name), USER)
        owner = user
        if role == TENANT:
            owner = THE_TENANT
        elif role != USER and NAMES[role] in values:
            owner = person(values[NAMES[role]])
        found.setdefault(owner, []).append(name)
    return tuple(
        [
            Owned(owner, tuple(names), identifiers_in(values, names))
            for owner, names in found.items()
        ]
    )


def identifiers_in(values: Mapping[str, Any], names: Iterable[str]) -> tuple[tuple[str, str], ...]:
    """Return (field, value) of all by which an event can be found, among these of its names."""
    found: list[tuple[str, str]] = []
    for name in names:
        field = pattern_of(name)
        if field in IDENTIFIERS:
            value = values[name]
            several = value if isinstance(value, list) else (value,)
            found += [(field, one) for one in several if isinstance(one, str)]
    return tuple(found)
