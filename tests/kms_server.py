# SPDX-License-Identifier: GPL-3.0-or-later
"""A key management service that speaks the wire format of AWS KMS, for tests.

It does what the API's documentation says of the calls that we make, over HTTP and JSON, with real
keys: what is refused there is refused here, in the same words. We do not use moto: its KMS has no
Ed25519 keys and still decrypts with a key whose deletion is scheduled, which is just what has to be
tested. Signatures of requests are not checked.
"""

import base64
import hashlib
import hmac
import json
import os
import re
import threading
import time
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from ledger.aws import Client, Credentials

JSON = dict[str, Any]
_ACCOUNT = "arn:aws:kms:eu-central-1:111122223333:"


class RefusalError(Exception):
    """An answer of status 400, by the name of its exception."""


class Key:
    def __init__(self, spec: str, usage: str, origin: str, description: str) -> None:
        self.id = str(uuid.uuid4())
        self.arn = f"{_ACCOUNT}key/{self.id}"
        self.spec, self.usage, self.origin = spec, usage, origin
        self.description = description
        self.state = "Enabled"
        self.deleted: float | None = None
        self.secret = os.urandom(32)

    def metadata(self) -> JSON:
        told = {
            "KeyId": self.id,
            "Arn": self.arn,
            "KeySpec": self.spec,
            "KeyUsage": self.usage,
            "Origin": self.origin,
            "Description": self.description,
            "KeyState": self.state,
            "Enabled": self.state == "Enabled",
            "MultiRegion": False,
        }
        return told if self.deleted is None else {**told, "DeletionDate": self.deleted}


class KmsServer:
    """One account in one region; a context that listens on a free port of this host."""

    def __init__(self) -> None:
        self.keys: dict[str, Key] = {}
        self.aliases: dict[str, str] = {}
        self.asked: list[tuple[str, JSON]] = []  #: Operation and parameters, as its log has them.
        self.down = False
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def client(self) -> Client:
        return Client(
            "kms",
            endpoint=self.url,
            region="eu-central-1",
            credentials=Credentials(access_key="AKIATEST", secret="secret"),
        )

    def answer(self, operation: str, asked: JSON) -> JSON:
        with self._lock:
            self.asked.append((operation, asked))
            if self.down:
                raise RefusalError("KMSInternalException")
            return getattr(self, "_" + _snake(operation))(asked)

    def _find(self, name: str, *, usable: str | None = None) -> Key:
        """Return a key by id, ARN or alias; `usable` is the use that it has to allow."""
        name = self.aliases.get(name.removeprefix(_ACCOUNT), name)
        key = self.keys.get(name.rpartition("/")[2])
        if key is None:
            raise RefusalError("NotFoundException")
        if usable is not None and key.state == "Disabled":
            raise RefusalError("DisabledException")
        if usable is not None and key.state != "Enabled":
            raise RefusalError("KMSInvalidStateException")
        if usable is not None and key.usage != usable:
            raise RefusalError("InvalidKeyUsageException")
        return key

    def _create_key(self, asked: JSON) -> JSON:
        key = Key(asked["KeySpec"], asked["KeyUsage"], asked["Origin"], asked["Description"])
        self.keys[key.id] = key
        return {"KeyMetadata": key.metadata()}

    def _describe_key(self, asked: JSON) -> JSON:
        return {"KeyMetadata": self._find(asked["KeyId"]).metadata()}

    def _create_alias(self, asked: JSON) -> JSON:
        if asked["AliasName"] in self.aliases:
            raise RefusalError("AlreadyExistsException")
        self.aliases[asked["AliasName"]] = self._find(asked["TargetKeyId"]).id
        return {}

    def _delete_alias(self, asked: JSON) -> JSON:
        if self.aliases.pop(asked["AliasName"], None) is None:
            raise RefusalError("NotFoundException")
        return {}

    def _get_public_key(self, asked: JSON) -> JSON:
        key = self._find(asked["KeyId"], usable="SIGN_VERIFY")
        public = Ed25519PrivateKey.from_private_bytes(key.secret).public_key()
        told = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        return {"PublicKey": _text(told)}

    def _sign(self, asked: JSON) -> JSON:
        key = self._find(asked["KeyId"], usable="SIGN_VERIFY")
        message = _data(asked["Message"])
        if asked["SigningAlgorithm"] != "ED25519_SHA_512" or asked["MessageType"] != "RAW":
            raise RefusalError("ValidationException")
        _bounded(message)
        signature = Ed25519PrivateKey.from_private_bytes(key.secret).sign(message)
        return {"KeyId": key.arn, "Signature": _text(signature)}

    def _generate_mac(self, asked: JSON) -> JSON:
        key = self._find(asked["KeyId"], usable="GENERATE_VERIFY_MAC")
        message = _data(asked["Message"])
        _bounded(message)
        return {"KeyId": key.arn, "Mac": _text(hmac.digest(key.secret, message, "sha256"))}

    def _encrypt(self, asked: JSON) -> JSON:
        key = self._find(asked["KeyId"], usable="ENCRYPT_DECRYPT")
        plain = _data(asked["Plaintext"])
        _bounded(plain)
        nonce = os.urandom(12)
        sealed = AESGCM(key.secret).encrypt(nonce, plain, _bound(asked))
        blob = uuid.UUID(key.id).bytes + nonce + sealed
        return {"KeyId": key.arn, "CiphertextBlob": _text(blob)}

    def _decrypt(self, asked: JSON) -> JSON:
        key = self._find(asked["KeyId"], usable="ENCRYPT_DECRYPT")
        blob = _data(asked["CiphertextBlob"])
        if len(blob) < 44 or blob[:16] not in {uuid.UUID(one).bytes for one in self.keys}:
            raise RefusalError("InvalidCiphertextException")
        if blob[:16] != uuid.UUID(key.id).bytes:
            raise RefusalError("IncorrectKeyException")
        try:
            plain = AESGCM(key.secret).decrypt(blob[16:28], blob[28:], _bound(asked))
        except InvalidTag:
            raise RefusalError("InvalidCiphertextException") from None
        return {"KeyId": key.arn, "Plaintext": _text(plain)}

    def _schedule_key_deletion(self, asked: JSON) -> JSON:
        key = self._find(asked["KeyId"])
        days = asked.get("PendingWindowInDays", 30)
        if not 7 <= days <= 30:
            raise RefusalError("ValidationException")
        if key.state == "PendingDeletion":
            raise RefusalError("KMSInvalidStateException")
        key.state, key.deleted = "PendingDeletion", time.time() + days * 86_400
        return {"KeyId": key.arn, "KeyState": key.state, "DeletionDate": key.deleted}

    def _cancel_key_deletion(self, asked: JSON) -> JSON:
        key = self._find(asked["KeyId"])
        if key.state != "PendingDeletion":
            raise RefusalError("KMSInvalidStateException")
        key.state, key.deleted = "Disabled", None
        return {"KeyId": key.arn}

    def _enable_key(self, asked: JSON) -> JSON:
        self._find(asked["KeyId"]).state = "Enabled"
        return {}


def _handler(server: KmsServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = 65_536  # Head and body in one packet: else each answer waits for the first.

        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            operation = self.headers["X-Amz-Target"].removeprefix("TrentService.")
            status, told = 200, {}
            try:
                told = server.answer(operation, asked)
            except RefusalError as refusal:
                status = 500 if server.down else 400
                told = {"__type": str(refusal), "message": "refused"}
            data = json.dumps(told).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/x-amz-json-1.1")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    return Handler


def _snake(operation: str) -> str:
    return re.sub(r"(?<!^)([A-Z])", r"_\1", operation).lower()


def _bound(asked: JSON) -> bytes:
    return hashlib.sha256(json.dumps(asked["EncryptionContext"]).encode()).digest()


def _bounded(data: bytes) -> None:
    if not 1 <= len(data) <= 4096:
        raise RefusalError("ValidationException")


def _data(text: str) -> bytes:
    return base64.b64decode(text, validate=True)


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()
