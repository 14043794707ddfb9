# SPDX-License-Identifier: GPL-3.0-or-later
r"""Keys inside a key management service that speaks AWS KMS; every use is one call to it.

    ed25519   ECC_NIST_EDWARDS25519   SIGN_VERIFY            Sign, RAW, ED25519_SHA_512
    hmac      HMAC_256                GENERATE_VERIFY_MAC    GenerateMac, HMAC_SHA_256
    wrap      SYMMETRIC_DEFAULT       ENCRYPT_DECRYPT        Encrypt, Decrypt

A key is used only if the service says that it was made there (Origin AWS_KMS) and is of one region:
one that somebody imported, whose bytes he may have, is refused. It is named by its ARN on the card;
the alias alias/sealtrail/<32 hex of SHA-256(name)> only keeps a name from being used twice.

The additional data of a cipher text goes to the service, and into its log, as a digest only:

    EncryptionContext = {"sealtrail": hex SHA-256("sealtrail.kms.context.v1\0" ‖ aad)}

KNOWN GAP: the service destroys after seven days, its shortest wait. From the first moment a
destroyed key can do nothing, but until then whoever may call CancelKeyDeletion can bring it back:
`attest` says from when on it is gone. Deny that call, and PutKeyPolicy, to everybody.

KNOWN GAP: between CreateKey and CreateAlias a crash leaves a key that nobody uses; its description
begins with `sealtrail`.

KNOWN GAP: each epoch of a Book is a key of the service, made in the writer's way (four calls) and
deleted a week later. A hundred thousand entries a day are three; a million an hour are too many for
the service's quota. Considered: one such key for several epochs, which gives up that destroying one
ends it.

Source: AWS KMS API 2014-11-01.
"""

import hashlib
import threading
from datetime import datetime
from typing import Any, Final

from ledger import clock
from ledger.aws import AwsRefused, AwsUnavailable, Client
from ledger.keydrivers.device import CipherRefused, Made
from ledger.keys import KeyExists, KeyMissing, KeystoreUnreachable, KeystoreUnsafe, Kind

NOTE: Final = (
    "Made in the service and not extractable; its operator and the account's administrators can"
    " use it, and a destroyed key can be brought back until the service's wait of seven days ends"
)

_WAIT_DAYS: Final = 7
_SPECS: Final[dict[Kind, tuple[str, str]]] = {
    "ed25519": ("ECC_NIST_EDWARDS25519", "SIGN_VERIFY"),
    "hmac": ("HMAC_256", "GENERATE_VERIFY_MAC"),
    "wrap": ("SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT"),
}

#: SubjectPublicKeyInfo of an Ed25519 key up to its 32 bytes (RFC 8410 §4).
_SPKI: Final = bytes.fromhex("302a300506032b6570032100")

_ABSENT: Final = frozenset({"NotFoundException", "KMSInvalidStateException"})
_ALTERED: Final = frozenset({"InvalidCiphertextException", "IncorrectKeyException"})


class KmsDevice:
    """`ledger.keydrivers.device.Device` at one endpoint of AWS KMS."""

    driver = "kms"
    note = NOTE
    message_max: int | None = 4_096

    def __init__(self, client: Client) -> None:
        """Nobody is asked yet."""
        self._client = client
        self._examined: set[tuple[str, Kind]] = set()
        self._guard = threading.Lock()

    def make(self, name: str, kind: Kind, reference: str) -> Made:
        """Make a key. One that was begun under this very reference was left by a crash, and goes.

        Raises KeyExists if the alias belongs to anything else.
        """
        alias, said = _alias(name), f"sealtrail {reference}"
        left = self._described(alias)
        if left is not None:
            if left.get("Description") != said:
                raise KeyExists(key=name)
            self.destroy(str(left["Arn"]))
            self._call("delete_alias", AliasName=alias)
        spec, usage = _SPECS[kind]
        made = self._call(
            "create_key",
            KeySpec=spec,
            KeyUsage=usage,
            Origin="AWS_KMS",
            MultiRegion=False,
            Description=said,
        )
        arn = str(made["KeyMetadata"]["Arn"])
        try:
            self._client.call("create_alias", AliasName=alias, TargetKeyId=arn)
        except AwsRefused as error:
            self.destroy(arn)
            if error.code == "AlreadyExistsException":
                raise KeyExists(key=name) from None
            raise KeystoreUnreachable(reason=error.code) from None
        except AwsUnavailable as error:
            raise KeystoreUnreachable(reason=str(error)) from None
        self._examine(arn, kind)
        return Made(arn, self._half(arn) if kind == "ed25519" else None)

    def holds(self, name: str) -> bool:
        """Say if a key bears the alias of this name, be it one that waits for its end."""
        return self._described(_alias(name)) is not None

    def sign(self, reference: str, message: bytes) -> bytes:
        self._examine(reference, "ed25519")
        answer = self._call(
            "sign",
            KeyId=reference,
            Message=message,
            MessageType="RAW",
            SigningAlgorithm="ED25519_SHA_512",
        )
        return bytes(answer["Signature"])

    def mac(self, reference: str, message: bytes) -> bytes:
        self._examine(reference, "hmac")
        answer = self._call(
            "generate_mac", KeyId=reference, Message=message, MacAlgorithm="HMAC_SHA_256"
        )
        return bytes(answer["Mac"])

    def encrypt(self, reference: str, secret: bytes, aad: bytes) -> bytes:
        self._examine(reference, "wrap")
        answer = self._call(
            "encrypt",
            KeyId=reference,
            Plaintext=secret,
            EncryptionContext=_context(aad),
            EncryptionAlgorithm="SYMMETRIC_DEFAULT",
        )
        return bytes(answer["CiphertextBlob"])

    def decrypt(self, reference: str, sealed: bytes, aad: bytes) -> bytes:
        """Open what `encrypt` made; the key is named, so that no other one is tried."""
        if not sealed:
            raise CipherRefused
        self._examine(reference, "wrap")
        answer = self._call(
            "decrypt",
            KeyId=reference,
            CiphertextBlob=sealed,
            EncryptionContext=_context(aad),
            EncryptionAlgorithm="SYMMETRIC_DEFAULT",
        )
        return bytes(answer["Plaintext"])

    def destroy(self, reference: str) -> str:
        """Schedule the key's deletion; it can do nothing from now on. Returns the date of it."""
        with self._guard:
            self._examined = {one for one in self._examined if one[0] != reference}
        try:
            answer = self._client.call(
                "schedule_key_deletion", KeyId=reference, PendingWindowInDays=_WAIT_DAYS
            )
        except AwsUnavailable as error:
            raise KeystoreUnreachable(reason=str(error)) from None
        except AwsRefused as error:
            if error.code not in _ABSENT:
                raise KeystoreUnreachable(reason=error.code) from None
            found = self._described(reference)
            if found is None:
                return clock.rfc3339(clock.now_ms())
            if "DeletionDate" not in found:
                raise KeystoreUnreachable(reason=error.code) from None
            answer = found
        deleted: datetime = answer["DeletionDate"]
        return clock.rfc3339(int(deleted.timestamp() * 1000))

    def _examine(self, reference: str, kind: Kind) -> None:
        """Return if the service made this key for this job; asked once per process."""
        if (reference, kind) in self._examined:
            return
        found = self._described(reference)
        if found is None:
            raise KeyMissing
        spec, usage = _SPECS[kind]
        if (found.get("KeySpec"), found.get("KeyUsage")) != (spec, usage):
            raise KeystoreUnsafe("A key of the service is of another kind than its card says.")
        if found.get("Origin") != "AWS_KMS" or found.get("MultiRegion"):
            raise KeystoreUnsafe("A key of the service was not made there, or can be copied out.")
        with self._guard:
            self._examined.add((reference, kind))

    def _half(self, arn: str) -> bytes:
        data = bytes(self._call("get_public_key", KeyId=arn)["PublicKey"])
        if len(data) != len(_SPKI) + 32 or not data.startswith(_SPKI):
            raise KeystoreUnreachable("The service gives a public key of another form.")
        return data.removeprefix(_SPKI)

    def _described(self, key: str) -> dict[str, Any] | None:
        """Return what the service says about a key; None if it knows none."""
        try:
            answer = self._client.call("describe_key", KeyId=key)
        except AwsUnavailable as error:
            raise KeystoreUnreachable(reason=str(error)) from None
        except AwsRefused as error:
            if error.code == "NotFoundException":
                return None
            raise KeystoreUnreachable(reason=error.code) from None
        metadata: dict[str, Any] = answer["KeyMetadata"]
        return metadata

    def _call(self, operation: str, **parameters: Any) -> dict[str, Any]:
        try:
            return self._client.call(operation, **parameters)
        except AwsUnavailable as error:
            raise KeystoreUnreachable(reason=str(error)) from None
        except AwsRefused as error:
            if error.code in _ALTERED:
                raise CipherRefused from None
            if error.code in _ABSENT:
                raise KeyMissing from None
            raise KeystoreUnreachable(reason=error.code) from None


def _alias(name: str) -> str:
    return f"alias/sealtrail/{hashlib.sha256(name.encode()).hexdigest()[:32]}"


def _context(aad: bytes) -> dict[str, str]:
    return {"sealtrail": hashlib.sha256(b"sealtrail.kms.context.v1\0" + aad).hexdigest()}
