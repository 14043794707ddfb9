# SPDX-License-Identifier: GPL-3.0-or-later
r"""Whose is the content that an entry names, and under whose key its own key lies.

What an entry commits to belongs to whoever owns that committed value in the vault. What it has in
clear belongs to the person who asked, if it is an output, and to the tenant else: models, texts and
licensed assets are nobody's personal data. The tenant's content lies under a wrapping key of the
keystore, everybody else's under the subject's own, which goes when the subject is erased.

    wrapped = subject's key, or wrap(artifacts/<origin>/<g>), over the artifact's key, bound to
              "sealtrail.artifact.key.v1\0" ‖ artifact_id ‖ event_id ‖ name
"""

import contextlib
import re
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any, Final, Protocol
from uuid import UUID

from ledger.errors import Conflict, NotFound
from ledger.events.kind import pattern_of
from ledger.keys import KeyExists, Keys, was_made
from ledger.store import Entry
from ledger.vault.opening import Opened
from sealtrail.verify.disclosure import PERSON

#: Digests in clear of content that was made for the person of the event.
_PERSONS: Final = frozenset({"outputs[*].sha256", "outputs[*].before_moderation.sha256"})

_DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}")
_STEP: Final = re.compile(r"([a-z0-9_]+)((?:\[(?:0|[1-9][0-9]{0,5})\])*)")
_KEY: Final = b"sealtrail.artifact.key.v1\0"


class ArtifactNotNamed(NotFound):
    """This event has no digest under that name, or none that can be opened here."""

    problem = "artifact-not-named"


class NotInOurCustody(Conflict):
    """The producer keeps this event's values, so nobody here could erase its content."""

    problem = "producer-custody"


class Opening(Protocol):
    """What is asked of the vault (ledger.vault.vault.Vault)."""

    def open(
        self,
        event_id: str,
        names: Collection[str] | None = None,
        *,
        sd: Collection[str] | None = None,
    ) -> Opened: ...
    def wrap_for(self, ref: UUID, secret: bytes, aad: bytes) -> bytes: ...
    def unwrap_for(self, ref: UUID, wrapped: bytes, aad: bytes) -> bytes: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """Content as an entry names it."""

    digest: bytes = field(repr=False)  #: SHA-256 of the content, 32 bytes.
    clear: bool  #: Whether the entry has it in clear.
    owner: UUID | None  #: The data subject; None: the tenant.


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """Which key wraps an artifact's own key: a data subject's, or a generation of the tenant's."""

    owner: UUID | None
    generation: int | None


class Custody:
    """Finds the owner of content, and wraps its keys. origin: `BookRow.first_origin`."""

    def __init__(self, vault: Opening, keys: Keys, origin: str) -> None:
        self._vault, self._keys, self._origin = vault, keys, origin

    def named(self, entry: Entry, name: str) -> Named:
        """Return what an entry says of the content called `name`, such as `outputs[0].sha256`.

        Raises ArtifactNotNamed, NotInOurCustody, or ValuesErased.
        """
        clear = _at(entry.value["body"], name)
        sd = entry.value.get("_sd", ())
        if clear is not None:
            if pattern_of(name) not in _PERSONS:
                return Named(digest=_digest(clear), clear=True, owner=None)
            owners = self._opened(entry, PERSON, sd).owners
            return Named(digest=_digest(clear), clear=True, owner=owners[PERSON])
        opened = self._opened(entry, name, sd)
        return Named(digest=_digest(opened.values[name]), clear=False, owner=opened.owners[name])

    def holder(self, owner: UUID | None, generation: int) -> Holder:
        """Return the key that wraps for an owner; makes the tenant's of that generation."""
        if owner is not None:
            return Holder(owner=owner, generation=None)
        self.make(generation)
        return Holder(owner=None, generation=generation)

    def wrap(self, holder: Holder, key: bytes, bound: bytes) -> bytes:
        """Encrypt an artifact's key; `bound` names the artifact."""
        if holder.owner is not None:
            return self._vault.wrap_for(holder.owner, key, _KEY + bound)
        return self._keys.wrap(self._tenant_key(holder.generation), key, _KEY + bound)

    def unwrap(self, holder: Holder, wrapped: bytes, bound: bytes) -> bytes:
        """Return an artifact's key; raises ValuesErased once its subject is erased."""
        if holder.owner is not None:
            return self._vault.unwrap_for(holder.owner, wrapped, _KEY + bound)
        return self._keys.unwrap(self._tenant_key(holder.generation), wrapped, _KEY + bound)

    def make(self, generation: int) -> None:
        """Make the tenant's wrapping key of a generation, unless it is there."""
        name = self._tenant_key(generation)
        if not was_made(self._keys, name):
            with contextlib.suppress(KeyExists):  # Another process was faster.
                self._keys.make(name, "wrap")

    def destroy_before(self, generation: int, held: Callable[[str], object]) -> None:
        """Destroy the tenant's older wrapping keys; nothing may be wrapped under them any more.

        held: whether a legal hold keeps a key, by its name.
        """
        for number in range(1, generation):
            name = self._tenant_key(number)
            if self._keys.has(name) and not held(name):
                self._keys.destroy(name)

    def _opened(self, entry: Entry, name: str, sd: Collection[str]) -> Opened:
        opened = self._vault.open(entry.event_id, [name], sd=sd)
        if name in opened.values:
            return opened
        if opened.gone:
            raise ArtifactNotNamed(erasures=list(opened.erasures))
        if not opened.values and sd and not self._vault.open(entry.event_id, sd=sd).values:
            raise NotInOurCustody
        raise ArtifactNotNamed

    def _tenant_key(self, generation: int | None) -> str:
        return tenant_key(self._origin, generation)


def tenant_key(origin: str, generation: int | None) -> str:
    """Return the name of the key that wraps the keys of a tenant's own content."""
    return f"artifacts/{origin}/{generation}"


def bound_to(artifact_id: UUID, event_id: str, name: str) -> bytes:
    """Return what ties keys and cipher texts to one artifact: 16 + 16 bytes and the name."""
    return artifact_id.bytes + UUID(event_id).bytes + name.encode()


def _at(body: Any, name: str) -> Any:
    """Return what stands in a body under a dotted path with indexes; None if nothing does."""
    value = body
    for part in name.split("."):
        step = _STEP.fullmatch(part)
        if step is None or not isinstance(value, dict):
            return None
        value = value.get(step[1])
        for index in re.findall(r"[0-9]+", step[2]):
            if not isinstance(value, list) or int(index) >= len(value):
                return None
            value = value[int(index)]
    return value


def _digest(value: Any) -> bytes:
    if not isinstance(value, str) or not _DIGEST.fullmatch(value):
        raise ArtifactNotNamed
    return bytes.fromhex(value.removeprefix("sha256:"))
