# SPDX-License-Identifier: GPL-3.0-or-later
r"""The register of a keystore whose keys lie in a device: one card per key, in a directory.

    register.json           driver, and the device's key under which every card is authenticated
    <name>.making           a key that is being made; a crash may leave it
    <name>.key              a usable key
    <name>.destroyed        a destroyed one; its name is never used again
    .lock                   held by whoever is changing something

    card = {"v":1,"name":…,"kind":…,"created":…,"reference":…,            how the device calls it
            "half":hex        public half of a signing key
            "sealed":hex      a chain key, encrypted under the device's key `reference`
            "destroyed":…,"gone":…   when, and from when on nobody can bring it back
            "mac":hex}        under the register's own key
    mac = HMAC(register key, "sealtrail.register.card.v1\0" ‖ suffix ‖ 0x00 ‖ JCS(all but mac))

Files and modes as in `ledger/keystore.py`. Nothing in the directory opens anything without the
device. Whoever can write to it can take a card away or bring an old one back, but cannot give a
name another key: a card is believed only with its MAC, and the device has no key for a card of
what was destroyed.
"""

import hmac
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import RLock
from typing import Final, Literal, TypeAlias, cast

from ledger import durable, keyfile
from ledger.keys import KINDS, KeystoreDamaged, Kind, check_name
from sealtrail.verify import canonical

Suffix: TypeAlias = Literal["making", "key", "destroyed"]

#: Returns the MAC of these bytes under the register's own key, inside the device.
Authenticate: TypeAlias = Callable[[bytes], bytes]

_DOMAIN: Final = b"sealtrail.register.card.v1\0"
_REQUIRED: Final = {"v", "name", "kind", "created", "reference", "mac"}
_OPTIONAL: Final = {"half", "sealed", "destroyed", "gone"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """What is known about one key."""

    name: str
    kind: Kind
    created: str  #: RFC 3339, UTC.
    reference: str  #: How the device calls the key.
    half: bytes | None = None
    sealed: bytes | None = field(default=None, repr=False)  #: Of a chain key, encrypted.
    destroyed: str | None = None  #: RFC 3339, UTC.
    gone: str | None = None  #: RFC 3339, UTC; may lie ahead.

    def content(self) -> dict[str, canonical.JSON]:
        """Return the card without its MAC."""
        whole: dict[str, canonical.JSON] = {
            "v": 1,
            "name": self.name,
            "kind": self.kind,
            "created": self.created,
            "reference": self.reference,
            "half": None if self.half is None else self.half.hex(),
            "sealed": None if self.sealed is None else self.sealed.hex(),
            "destroyed": self.destroyed,
            "gone": self.gone,
        }
        return {member: value for member, value in whole.items() if value is not None}


class Register:
    """The cards in one directory; several processes may share it."""

    def __init__(self, directory: Path) -> None:
        """Open the directory; make it if it is missing. Raises KeystoreUnsafe for loose modes."""
        self._directory = directory
        self._guard = RLock()
        self._authenticate: Authenticate | None = None
        with keyfile.reaching():
            if not directory.is_symlink():
                directory.parent.mkdir(parents=True, exist_ok=True)
                directory.mkdir(mode=0o700, exist_ok=True)
        keyfile.check_directory(directory)

    @contextmanager
    def changing(self) -> Iterator[None]:
        """Hold the register alone, against other threads and processes."""
        with self._guard, keyfile.reaching(), durable.locked(self._directory / ".lock"):
            yield

    def root(self, driver: str) -> str | None:
        """Return the reference of the register's own key; None for an empty directory.

        Raises KeystoreDamaged for a register of another driver, or files without register.json.
        """
        with keyfile.reaching():
            try:
                content = keyfile.read_file(self._directory / "register.json")
            except FileNotFoundError:
                if any(not path.name.startswith(".") for path in self._directory.iterdir()):
                    raise KeystoreDamaged("There are files, but no register.json.") from None
                return None
        reference = content.get("reference")
        if content.keys() != {"v", "driver", "reference"} or not isinstance(reference, str):
            raise KeystoreDamaged
        if content["v"] != 1 or content["driver"] != driver:
            raise KeystoreDamaged("This register belongs to another driver than the one set.")
        return reference

    def found(self, driver: str, reference: str) -> None:
        """Write register.json, durable on return."""
        content: dict[str, canonical.JSON] = {"v": 1, "driver": driver, "reference": reference}
        path = self._directory / "register.json"
        durable.write_durably(path, canonical.encode(content), mode=0o600)

    def believe(self, authenticate: Authenticate) -> None:
        """Authenticate every card with this from now on."""
        self._authenticate = authenticate

    def read(self, name: str, suffix: Suffix) -> Card | None:
        """Return a card, authenticated; None if there is none. Raises KeystoreDamaged."""
        check_name(name)
        with self._guard, keyfile.reaching():
            try:
                content = keyfile.read_file(self._path(name, suffix))
            except FileNotFoundError:
                return None
        members = content.keys()
        if not _REQUIRED <= members <= _REQUIRED | _OPTIONAL or content["v"] != 1:
            raise KeystoreDamaged(key=name)
        mac = keyfile.unhex(content.pop("mac"))
        if content["name"] != name or content["kind"] not in KINDS:
            raise KeystoreDamaged(key=name)
        if not hmac.compare_digest(mac, self._mac(suffix, content)):
            raise KeystoreDamaged(key=name)
        return _card(content)

    def write(self, card: Card, suffix: Suffix) -> None:
        """Write a card, durable on return. The caller holds `changing`."""
        content = card.content()
        content["mac"] = self._mac(suffix, content).hex()
        path = self._path(card.name, suffix)
        durable.write_durably(path, canonical.encode(content), mode=0o600)

    def remove(self, name: str, suffix: Suffix) -> None:
        """Overwrite a card with noise and remove it; nothing to do if it is gone."""
        durable.erase(self._path(name, suffix))

    def has(self, name: str, suffix: Suffix) -> bool:
        """Say if there is such a card; nobody looks what it says. Costs microseconds."""
        check_name(name)
        return self._path(name, suffix).exists()

    def names(self, suffix: Suffix) -> list[str]:
        """Return the names of all cards of one sort, sorted."""
        with keyfile.reaching():
            spelled = [path.stem for path in self._directory.glob(f"*.{suffix}")]
        found = (durable.name_of(stem) for stem in spelled)
        return sorted(name for name in found if name is not None)

    def sync(self) -> None:
        """Return when the names in the directory survive a power failure."""
        durable.sync_directory(self._directory)

    def _mac(self, suffix: Suffix, content: dict[str, canonical.JSON]) -> bytes:
        if self._authenticate is None:
            raise KeystoreDamaged("The register is not open.")
        return self._authenticate(_DOMAIN + suffix.encode() + b"\0" + canonical.encode(content))

    def _path(self, name: str, suffix: Suffix) -> Path:
        return self._directory / f"{durable.safe_name(name)}.{suffix}"


def _card(content: dict[str, canonical.JSON]) -> Card:
    """Make a card of what was authenticated."""

    def data(member: str) -> bytes | None:
        return keyfile.unhex(content[member]) if member in content else None

    def time(member: str) -> str | None:
        return str(content[member]) if member in content else None

    return Card(
        name=str(content["name"]),
        kind=cast("Kind", content["kind"]),
        created=str(content["created"]),
        reference=str(content["reference"]),
        half=data("half"),
        sealed=data("sealed"),
        destroyed=time("destroyed"),
        gone=time("gone"),
    )
