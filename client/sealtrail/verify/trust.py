# SPDX-License-Identifier: Apache-2.0
"""What the reader of a packet already believes, from another source than the packet.

    {"v": 1,
     "logs": [{"origin": "ledger.example/acme", "vkeys": ["ledger.example/acme+0a1b2c3d+AQ..."],
               "until": {"ledger.example/acme+0a1b2c3d+AQ...":
                         {"size": 1042, "time": "2026-02-01T00:00:00.000Z"}}}],
     "packet_keys": [{"origin": "ledger.example/acme",
                      "vkeys": ["ledger.example/acme/packet+0a1b2c3d+AQ..."]}],
     "tsa_roots": ["-----BEGIN CERTIFICATE-----..."]}

A log may have several keys (rotation). One that was replaced stands in `until`, which is left out
if there is none: alone it speaks for no log larger than that, and what it signed alone has to be
stamped before that time, so that whoever steals a key later can add nothing to what it once signed.
`packet_keys`, which
may be left out, are those that sign a log's evidence packs for other people's formats; they speak
for no log. `tsa_roots` are the certificates of time-stamping authorities at which every chain must
end. Any layout of the JSON is read; unknown members are
refused, because a reader who believes to have pinned something must not be mistaken.
"""

import json
import textwrap
from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Self

from sealtrail.verify import base64text, canonical
from sealtrail.verify.errors import Unreadable
from sealtrail.verify.note import VerifierKey
from sealtrail.verify.timestamp import certificates_from_pem

MAX_TRUST: Final = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """How far a replaced key speaks without the one that replaced it."""

    size: int  #: For logs of so many entries at most.
    time: datetime  #: With time stamps from before this.

    @classmethod
    def parse(cls, value: canonical.JSON) -> Self:
        members = _members(value, {"size", "time"}, "What a key speaks for")
        size, text = members["size"], _text(members["time"], "time")
        if not isinstance(size, int) or isinstance(size, bool) or size < 0:
            raise Unreadable("The size up to which a key speaks must be a whole number.")
        try:
            found = cls(size=size, time=datetime.fromisoformat(text))
        except ValueError:
            found = None
        if found is None or not text.endswith("Z") or found.json()["time"] != text:
            raise Unreadable("The time until which a key speaks must be in UTC, with milliseconds.")
        return found

    def json(self) -> dict[str, canonical.JSON]:
        at = self.time.isoformat(timespec="milliseconds").replace("+00:00", "Z")
        return {"size": self.size, "time": at}


@dataclass(frozen=True, slots=True, kw_only=True)
class Trust:
    """Origins with the keys that may speak for them, and roots of time-stamping authorities.

    tsa_roots: certificates as DER. until: how far a replaced key speaks, by the key's text.
    packet_keys: by origin, the keys that sign evidence packs, and nothing else.
    """

    origins: Mapping[str, tuple[VerifierKey, ...]]
    tsa_roots: tuple[bytes, ...]
    until: Mapping[str, Bound] = field(default_factory=dict)
    packet_keys: Mapping[str, tuple[VerifierKey, ...]] = field(default_factory=dict)

    def keys_for(self, origin: str, size: int) -> tuple[VerifierKey, ...]:
        """The keys that may speak for a log of this size; none for an unknown origin."""
        keys = self.origins.get(origin, ())
        bounds = self.until
        return tuple(k for k in keys if k.vkey() not in bounds or size <= bounds[k.vkey()].size)

    def signed_until(self, keys: Iterable[VerifierKey]) -> datetime | None:
        """Until when what these keys have signed has to be stamped; None if any of them is in use.

        keys: that signed one checkpoint, at least one.
        """
        bounds = [self.until.get(key.vkey()) for key in keys]
        times = [bound.time for bound in bounds if bound is not None]
        return max(times) if len(times) == len(bounds) else None

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Read a trust file of at most 4 MiB.

        Raises Unreadable, or ed25519.KeyRefused if a key could not bind a signature to one text.
        """
        if len(data) > MAX_TRUST:
            raise Unreadable(f"A trust file has more than {MAX_TRUST} bytes.")
        whole = _members(
            canonical.parse(data),
            {"v", "logs", "tsa_roots"},
            "The trust file",
            optional={"packet_keys"},
        )
        version = whole["v"]
        if isinstance(version, bool) or version != 1:
            raise Unreadable("The trust file is not of version 1.")
        origins: dict[str, tuple[VerifierKey, ...]] = {}
        until: dict[str, Bound] = {}
        for log in _list(whole["logs"], "logs"):
            members = _members(
                log, {"origin", "vkeys"}, "A log in the trust file", optional={"until"}
            )
            keys = _keys(members, origins)
            until |= _until(members.get("until", {}), [key.vkey() for key in keys])
        packet_keys: dict[str, tuple[VerifierKey, ...]] = {}
        for signer in _list(whole.get("packet_keys", []), "packet_keys"):
            _keys(_members(signer, {"origin", "vkeys"}, "A signer of packs"), packet_keys)
        roots = [
            certificate
            for pem in _list(whole["tsa_roots"], "tsa_roots")
            for certificate in _certificates(_text(pem, "tsa_roots"))
        ]
        return cls(origins=origins, tsa_roots=tuple(roots), until=until, packet_keys=packet_keys)

    def print(self) -> bytes:
        """The file, laid out for people."""
        signers = [
            {"origin": origin, "vkeys": [key.vkey() for key in keys]}
            for origin, keys in self.packet_keys.items()
        ]
        whole = {
            "v": 1,
            "logs": [self._log(origin, keys) for origin, keys in self.origins.items()],
            **({"packet_keys": signers} if signers else {}),
            "tsa_roots": [_pem(root) for root in self.tsa_roots],
        }
        return (json.dumps(whole, indent=2, ensure_ascii=False) + "\n").encode()

    def _log(self, origin: str, keys: Iterable[VerifierKey]) -> dict[str, object]:
        vkeys = [key.vkey() for key in keys]
        until = {vkey: self.until[vkey].json() for vkey in vkeys if vkey in self.until}
        log: dict[str, object] = {"origin": origin, "vkeys": vkeys}
        return {**log, "until": until} if until else log


def _keys(
    members: Mapping[str, canonical.JSON], known: dict[str, tuple[VerifierKey, ...]]
) -> tuple[VerifierKey, ...]:
    """Read an origin's keys, and add them to what is known."""
    origin = _text(members["origin"], "origin")
    if not origin or origin in known:
        raise Unreadable("The trust file names an origin twice, or an empty one.")
    vkeys = [_text(vkey, "vkeys") for vkey in _list(members["vkeys"], "vkeys")]
    if not vkeys or len(set(vkeys)) != len(vkeys):
        raise Unreadable("A log in the trust file has no key, or one key twice.")
    known[origin] = tuple(VerifierKey.parse(vkey) for vkey in vkeys)
    return known[origin]


def _until(value: canonical.JSON, vkeys: list[str]) -> dict[str, Bound]:
    """How far each replaced key speaks: some of `vkeys`, but never all of them."""
    if not isinstance(value, dict) or not value.keys() < set(vkeys):
        raise Unreadable("The member until of a log must name keys of it, and not all of them.")
    return {vkey: Bound.parse(bound) for vkey, bound in value.items()}


def _certificates(pem: str) -> list[bytes]:
    certificates = certificates_from_pem(pem)
    if not certificates:
        raise Unreadable("An entry of tsa_roots in the trust file holds no certificate.")
    return certificates


def _pem(certificate: bytes) -> str:
    body = "\n".join(textwrap.wrap(base64text.encode(certificate), 64))
    return f"-----BEGIN CERTIFICATE-----\n{body}\n-----END CERTIFICATE-----\n"


def _members(
    value: canonical.JSON, names: set[str], what: str, optional: AbstractSet[str] = frozenset()
) -> dict[str, canonical.JSON]:
    if not isinstance(value, dict) or set(value) - optional != names:
        raise Unreadable(f"{what} must have exactly the members {', '.join(sorted(names))}.")
    return value


def _list(value: canonical.JSON, name: str) -> list[canonical.JSON]:
    if not isinstance(value, list):
        raise Unreadable(f"The member {name} of the trust file must be an array.")
    return value


def _text(value: canonical.JSON, name: str) -> str:
    if not isinstance(value, str):
        raise Unreadable(f"The member {name} of the trust file must hold text.")
    return value
