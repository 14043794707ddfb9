# SPDX-License-Identifier: GPL-3.0-or-later
"""CAP's chain over a pack's events: each names the hash of the one before, and is signed.

    EventHash  = "sha256:" + hex(SHA-256(RFC 8785 of the event without EventHash and Signature))
    Signature  = "ed25519:" + base64(Ed25519 over the text of EventHash)

The key is the tenant's packet key, `packet/<origin>`, never the log's: what a pack says is derived
from entries by this program, and a mistake in it must not have the log's signature. CAP's own texts
differ on what is signed, the text of the hash (the schemas' test vectors) or its 32 bytes (v1.0
§8.3). The event carries the first; the second stands beside it, in `event_signatures.json`.
Source: CAP v1.0 §8; RFC 8785; RFC 8032.
"""

import base64
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Final, Self

from evidence.cap_json import JSON, encode
from ledger.errors import Unavailable
from ledger.keys import KeyMissing, Keys, packet_key, packet_keys
from sealtrail.verify.note import VerifierKey

UNHASHED: Final = ("EventHash", "Signature")


class PacketKeyMissing(Unavailable):
    """No key for evidence packs is in the keystore and published; run `keys rotate packet`."""

    problem = "packet-key-missing"


@dataclass(frozen=True, slots=True, kw_only=True)
class Signer:
    """Signs with one tenant's newest packet key."""

    keys: Keys
    name: str  #: Of the key.
    verifier: VerifierKey

    @classmethod
    def of(cls, keys: Keys, origin: str) -> Self:
        """Return who signs for a tenant; raises KeyMissing if it has no packet key.

        origin: the tenant's first one: a restore goes on with the same key.
        """
        names = packet_keys(keys, origin)
        if not names:
            raise KeyMissing
        return cls(keys=keys, name=names[-1], verifier=_verifier(keys, origin, names[-1]))

    def over_text(self, text: str) -> str:
        return self._sign(text.encode("ascii"))

    def over_hash(self, event_hash: str) -> str:
        """Sign the 32 bytes that a hash's text means."""
        return self._sign(bytes.fromhex(event_hash.removeprefix("sha256:")))

    def _sign(self, message: bytes) -> str:
        signature = self.keys.sign(self.name, message)
        return f"ed25519:{base64.b64encode(signature).decode('ascii')}"


def packet_verifiers(keys: Keys, origin: str) -> tuple[VerifierKey, ...]:
    """Return the public halves of all packet keys of a tenant, as strangers pin them."""
    return tuple(_verifier(keys, origin, name) for name in packet_keys(keys, origin))


def rotate_packet_key(
    keys: Keys, origin: str, publish: Callable[[Sequence[VerifierKey]], None]
) -> VerifierKey:
    """Make a tenant's next packet key, or its first, publish it, and destroy those before it.

    What those have signed stays provable: their public halves are published on. Safe to repeat.
    """
    before = packet_keys(keys, origin)
    keys.make(packet_key(origin, len(before) + 1), "ed25519")
    published = packet_verifiers(keys, origin)
    publish(published)
    for name in before:
        keys.destroy(name)
    return published[-1]


def _verifier(keys: Keys, origin: str, name: str) -> VerifierKey:
    """Return a key's public half under a name that is not the log's: it is no key of a log."""
    return VerifierKey.ed25519(f"{origin}/packet", keys.public_key(name))


def hash_text(data: bytes) -> str:
    return f"sha256:{sha256(data).hexdigest()}"


def event_hash(event: JSON) -> str:
    """Return the EventHash of a CAP event, whatever it says of itself."""
    return hash_text(encode({n: v for n, v in event.items() if n not in UNHASHED}))


def chained(events: Iterable[JSON], chain_id: str, signer: Signer) -> Iterator[JSON]:
    """Yield the events in their order, each with its place in the chain, hash and signature."""
    previous: str | None = None
    for event in events:
        linked = {**event, "ChainID": chain_id, "PrevHash": previous}
        previous = event_hash(linked)
        yield {**linked, "EventHash": previous, "Signature": signer.over_text(previous)}
