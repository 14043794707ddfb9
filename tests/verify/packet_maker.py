# SPDX-License-Identifier: GPL-3.0-or-later
"""Real packets for tests: a log with a real key, and time stamps by a real OpenSSL authority.

Everything is handed out as a dictionary of files, so that a test can play the forger: change a
file, `pack` again with right lists and checksums, and see which check notices.
"""

import json
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from sealtrail.verify import base64text, canonical, merkle
from sealtrail.verify.bag import seal
from sealtrail.verify.disclosure import commit
from sealtrail.verify.frontier import Frontier, inclusion_paths
from sealtrail.verify.note import Checkpoint, Note, SignatureLine, VerifierKey
from sealtrail.verify.tlog_proof import TlogProof
from sealtrail.verify.trust import Trust
from sealtrail.verify.zip import write_zip

ORIGIN = "ledger.example/acme"
NOW = datetime.now(UTC)
RECORD_KEY = bytes(range(32))
SEALED = {"actor.subject_id": "person-7", "prompt.user": "a lighthouse", "prompt.negative": "fog"}

_CONFIG = """
[tsa]
default_tsa = it
[it]
serial = serial
crypto_device = builtin
signer_cert = tsa.pem
certs = tsa.pem
signer_key = key.pem
signer_digest = sha256
default_policy = 1.2.3.4.1
digests = sha256
accuracy = secs:1
ess_cert_id_chain = no
ess_cert_id_alg = sha256
"""


@dataclass(frozen=True, kw_only=True)
class Authority:
    """A time-stamping authority: its root, its signer's certificate and key."""

    root: x509.Certificate
    signer: x509.Certificate
    key: bytes

    @property
    def root_der(self) -> bytes:
        return self.root.public_bytes(serialization.Encoding.DER)

    @property
    def root_pem(self) -> str:
        return self.root.public_bytes(serialization.Encoding.PEM).decode()

    @property
    def signer_pem(self) -> bytes:
        return self.signer.public_bytes(serialization.Encoding.PEM)

    def stamp(self, message: bytes) -> tuple[bytes, bytes]:
        """A request over `message`, with a nonce, and the reply, both made by `openssl ts`."""
        with TemporaryDirectory() as folder:
            home = Path(folder)
            for name, content in {
                "data": message,
                "tsa.pem": self.signer_pem,
                "key.pem": self.key,
                "serial": b"01",
                "conf": _CONFIG.encode(),
            }.items():
                (home / name).write_bytes(content)
            for command in (
                "openssl ts -query -data data -sha256 -cert -out request",
                "openssl ts -reply -queryfile request -config conf -out reply",
            ):
                subprocess.run(command.split(), cwd=home, check=True, capture_output=True)
            return (home / "request").read_bytes(), (home / "reply").read_bytes()


@cache
def authority(name: str = "Test Stamps") -> Authority:
    """One authority per name and test run: an RSA root and a signer with the critical purpose."""
    start = NOW - timedelta(days=30)
    root_key, key = (rsa.generate_private_key(65537, 2048) for _ in range(2))

    def builder(common_name: str, public: rsa.RSAPublicKey, days: int) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)]))
            .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"{name} Root")]))
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(start)
            .not_valid_after(start + timedelta(days=days))
        )

    root = (
        builder(f"{name} Root", root_key.public_key(), 7300)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .add_extension(
            x509.SubjectKeyIdentifier.from_public_key(root_key.public_key()), critical=False
        )
        .sign(root_key, hashes.SHA256())
    )
    signer = (
        builder(name, key.public_key(), 3650)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.TIME_STAMPING]), critical=True)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(root_key.public_key()),
            critical=False,
        )
        .sign(root_key, hashes.SHA256())
    )
    return Authority(
        root=root,
        signer=signer,
        key=key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ),
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def timestamp(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def entry(position: int, kind: str = "GEN", **changes: Any) -> bytes:
    """The bytes of an entry with three committed fields."""
    digests, _ = commit(RECORD_KEY, SEALED)
    value = {
        "v": 1,
        "type": kind,
        "schema": 1,
        "event_id": f"01890a5d-ac96-774b-bcce-b302099a{position:04x}",
        "tenant": "acme",
        "aggregate": {"type": "Generation", "id": f"image-{position}", "version": 1},
        "time": {"recorded": timestamp(NOW - timedelta(hours=1))},
        "actor": {"kind": "human"},
        "body": {"n": position},
        "_sd": digests,
        "_sd_alg": "sha-256",
    }
    return canonical.encode(value | changes)


@dataclass(kw_only=True)
class Log:
    """A log with a key that signs whatever it is told to, as an operator's would."""

    origin: str = ORIGIN
    private: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)
    entries: list[bytes] = field(default_factory=lambda: [entry(n) for n in range(12)])

    @property
    def key(self) -> VerifierKey:
        return VerifierKey.ed25519(self.origin, self.private.public_key().public_bytes_raw())

    def leaves(self, size: int) -> list[bytes]:
        return [merkle.leaf_hash(data) for data in self.entries[:size]]

    def checkpoint(self, size: int) -> bytes:
        root = merkle.tree_root(self.leaves(size))
        return self.sign(Checkpoint(origin=self.origin, size=size, root=root).print())

    def sign(self, text: str) -> bytes:
        line = SignatureLine(
            name=self.origin, key_id=self.key.key_id, signature=self.private.sign(text.encode())
        )
        return Note(text=text, signatures=(line,)).print()

    def proof(self, position: int, size: int) -> bytes:
        path = inclusion_paths(Frontier.empty(), self.leaves(size))[position]
        return TlogProof(index=position, path=tuple(path), checkpoint=self.checkpoint(size)).print()

    def consistency(self, old: int, new: int) -> bytes:
        leaves = self.leaves(new)
        path = Frontier.empty().append(leaves[:old]).consistency(leaves[old:])
        return "".join(base64text.encode(node) + "\n" for node in path).encode()

    def trust(self, *authorities: Authority) -> Trust:
        roots = tuple(one.root_der for one in authorities or (authority(),))
        return Trust(origins={self.origin: (self.key,)}, tsa_roots=roots)


def anchor_files(log: Log, size: int, slug: str = "test-stamps") -> dict[str, bytes]:
    """What the night leaves behind for one checkpoint."""
    request, reply = authority().stamp(log.checkpoint(size))
    return {
        f"data/anchors/{size}/checkpoint": log.checkpoint(size),
        f"data/anchors/{size}/{slug}.tsq": request,
        f"data/anchors/{size}/{slug}.tsr": reply,
        f"data/anchors/{size}/tsa-chain.pem": authority().signer_pem,
    }


def packet_files(log: Log, positions: tuple[int, ...] = (3, 7), size: int = 12) -> dict[str, bytes]:
    """A whole packet, before it is sealed: two entries of twelve, one anchor."""
    _, disclosures = commit(RECORD_KEY, SEALED)
    files = {
        "00-READ-ME-FIRST.txt": b"How to check this packet.\n",
        "data/trust/log.vkey": (log.key.vkey() + "\n").encode(),
        "data/trust/tsa-roots.pem": authority().root_pem.encode(),
        "tools/verify.pyz": b"a copy for convenience\n",
        **anchor_files(log, size),
    }
    for position in positions:
        kind = json.loads(log.entries[position])["type"]
        files[f"data/records/{position}-{kind}.entry.json"] = log.entries[position]
        files[f"data/proofs/{position}.tlog-proof"] = log.proof(position, size)
    shown = [disclosures["prompt.user"], disclosures["actor.subject_id"]]
    files[f"data/records/{positions[0]}.disclosures.json"] = json.dumps(shown).encode()
    return files


def pack(files: Mapping[str, bytes], identifier: str = "0198-test") -> bytes:
    """The packet with right lists and checksums, whatever was done to its files."""
    bag = seal(files, {"External-Identifier": identifier})
    return write_zip({f"packet-{identifier}/{name}": data for name, data in bag.items()})
