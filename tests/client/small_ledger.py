# SPDX-License-Identifier: GPL-3.0-or-later
"""A ledger of a hundred lines that keeps the wire contract over real HTTP, or breaks it on demand.

It appends to a real tree, signs real checkpoints and remembers requests by their id. A test gives
it `mishaps` (what happens to the next requests) and changes (what it lies about in the entry before
it hashes it, or in the receipt after).
"""

import base64
import hashlib
import json
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from sealtrail.verify import canonical, merkle
from sealtrail.verify.disclosure import PERSON, commit, decode_base64url
from sealtrail.verify.entry import client_part, request_digest
from sealtrail.verify.frontier import Frontier, inclusion_paths
from sealtrail.verify.note import Checkpoint, Note, SignatureLine, VerifierKey
from sealtrail.verify.tlog_proof import TlogProof
from sealtrail.verify.trust import Trust

ORIGIN = "ledger.example/test"
TOKEN = "token-of-a-pipeline"

Members = dict[str, Any]


class SmallLedger:
    def __init__(self) -> None:
        self.key = Ed25519PrivateKey.generate()
        self.entries: list[bytes] = []
        self.position_of: dict[str, int] = {}
        self.requests: list[bytes] = []
        self.refusal: tuple[int, Members] | None = None
        self.mishaps: list[str] = []
        self.person_of_token: str | None = None
        self.key_for_person: bytes | None = None
        self.late = False
        self.change_entry: Callable[[Members], None] = lambda _: None
        self.change_receipt: Callable[[Members], None] = lambda _: None
        self.instead: Any = None
        self.kinds = {"INGEST": "Asset"}
        self.packet = b""
        self.purposes: list[str | None] = []
        self.lock = threading.Lock()

    @property
    def vkey(self) -> VerifierKey:
        return VerifierKey.ed25519(ORIGIN, self.key.public_key().public_bytes_raw())

    @property
    def trust(self) -> Trust:
        return Trust(origins={ORIGIN: (self.vkey,)}, tsa_roots=())

    def record(self, content: bytes) -> tuple[int, Members]:
        request = canonical.parse(content)
        assert isinstance(request, dict)
        record_key = decode_base64url(request.pop("record_key"))
        fields = request.pop("sealed", {})
        person = request.pop("on_behalf_of", self.person_of_token)
        if person is not None and self.key_for_person is None:
            fields[PERSON] = person
        digests, disclosures = commit(record_key, fields)
        if person is not None and self.key_for_person is not None:
            more, shown = commit(self.key_for_person, {PERSON: person})
            digests, disclosures = sorted(digests + more), disclosures | shown
        entry = self._entry(request, digests)
        position = self.position_of.get(request["event_id"])
        repeat = position is not None
        if position is not None:
            before = canonical.decode(self.entries[position])
            if request_digest(client_part(before)) != request_digest(client_part(entry)):
                return 409, {"status": 409, "code": "event-id-used"}
        else:
            self.change_entry(entry)
            position = len(self.entries)
            self.position_of[request["event_id"]] = position
            self.entries.append(canonical.encode(entry))
        return 200 if repeat else 201, self._receipt(position, disclosures)

    def _entry(self, request: Members, digests: list[str]) -> Members:
        now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        entry = {name: value for name, value in request.items() if name != "aggregate_id"}
        if self.late:
            claimed = {name: entry[name] for name in ("type", "schema", "body")}
            entry |= {"type": "OUTCOME_LATE", "schema": 1, "body": {"claimed": claimed}}
        kind = self.kinds.get(request["type"], "Generation")
        entry["v"] = 1
        entry["tenant"] = "test"
        entry["aggregate"] = {"type": kind, "id": request["aggregate_id"], "version": 1}
        entry["time"] = {**request.get("time", {}), "recorded": now, "request_received": now}
        actor = {"kind": "service"} | request.get("actor", {})
        entry["actor"] = actor | {"credential": "token:1", "auth": "bearer"}
        if digests:
            entry |= {"_sd": digests, "_sd_alg": "sha-256"}
        return entry

    def _receipt(self, position: int, disclosures: dict[str, str]) -> Members:
        leaves = [merkle.leaf_hash(entry) for entry in self.entries]
        path = tuple(inclusion_paths(Frontier.empty(), leaves)[position])
        text = Checkpoint(origin=ORIGIN, size=len(leaves), root=merkle.tree_root(leaves)).print()
        checkpoint = self.sign(text)
        proof = TlogProof(index=position, path=path, checkpoint=checkpoint).print()
        entry = json.loads(self.entries[position])
        return {
            "event_id": entry["event_id"],
            "origin": ORIGIN,
            "position": position,
            "leaf": f"sha256:{leaves[position].hex()}",
            "size": len(leaves),
            "recorded_at": entry["time"]["recorded"],
            "entry": base64.b64encode(self.entries[position]).decode(),
            "path": [f"sha256:{node.hex()}" for node in path],
            "checkpoint": checkpoint.decode(),
            "proof": proof.decode(),
            "disclosures": disclosures,
        }

    def read(self, path: str, content: bytes) -> tuple[int, bytes]:
        """An auditor's reads: proofs by event id, packets; here a packet is its own request."""
        name = path.removeprefix("/v1/").split("/")
        if name[0] == "events" and name[1] in self.position_of:
            return 200, self._receipt(self.position_of[name[1]], {})["proof"].encode()
        if name == ["packets"]:
            self.packet = b"PK" + content
            digest = f"sha256:{hashlib.sha256(self.packet).hexdigest()}"
            made = {"id": "00ff", "sha256": digest, "size": len(self.packet)}
            return 201, json.dumps(made).encode()
        if name == ["packets", "00ff"]:
            return 200, self.packet
        leaves = [merkle.leaf_hash(entry) for entry in self.entries]
        if name == ["checkpoint"]:
            root = merkle.tree_root(leaves)
            return 200, self.sign(Checkpoint(origin=ORIGIN, size=len(leaves), root=root).print())
        if name[0].startswith("consistency?"):
            old, new = (int(one.partition("=")[2]) for one in name[0][12:].split("&"))
            nodes = Frontier.empty().append(leaves[:old]).consistency(leaves[old:new])
            return 200, json.dumps({"path": [f"sha256:{node.hex()}" for node in nodes]}).encode()
        return 404, b'{"code":"not-found"}'

    def sign(self, text: str) -> bytes:
        line = SignatureLine(
            name=ORIGIN, key_id=self.vkey.key_id, signature=self.key.sign(text.encode())
        )
        return Note(text=text, signatures=(line,)).print()

    def answer(self, content: bytes) -> tuple[int, dict[str, str], bytes] | None:
        """Status, header fields and body; None to hang up."""
        with self.lock:
            self.requests.append(content)
            mishap = self.mishaps.pop(0) if self.mishaps else ""
            if mishap == "hang up before":
                return None
            if mishap.isdigit():
                return int(mishap), {}, b'{"code":"unavailable"}'
            if mishap.startswith("503 after "):
                return 503, {"Retry-After": mishap.removeprefix("503 after ")}, b"{}"
            if self.refusal:
                status, problem = self.refusal
                return status, {}, json.dumps(problem).encode()
            status, members = self.record(content)
            if mishap == "hang up after":
                return None
            if status < 300:
                self.change_receipt(members)
            members = self.instead if self.instead is not None else members
            fields = {"Sealtrail-Repeat": "true"} if status == 200 else {}
            if mishap == "half an answer":
                fields["Half"] = "1"
            return status, fields, json.dumps(members).encode()


@contextmanager
def serving(ledger: SmallLedger) -> Iterator[str]:
    """The URL of `ledger` on a port of this machine."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = 5

        def do_POST(self) -> None:
            content = self.rfile.read(int(self.headers["Content-Length"]))
            assert self.headers["Authorization"] == f"Bearer {TOKEN}"
            if self.path == "/v1/packets":
                self.reply(*ledger.read(self.path, content))
                return
            assert self.path == "/v1/events"
            answer = ledger.answer(content)
            if answer is None:
                self.close_connection = True
                return
            status, fields, body = answer
            half = fields.pop("Half", "")
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            for name, value in fields.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body[: len(body) // 2] if half else body)
            self.close_connection = bool(half)

        def do_GET(self) -> None:
            self.reply(*ledger.read(self.path, b""))

        def reply(self, status: int, body: bytes) -> None:
            ledger.purposes.append(self.headers["Sealtrail-Purpose"])
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = False

        def handle_error(self, request: Any, client_address: Any) -> None:
            """A client may hang up; anything else is a bug of this file."""
            if not isinstance(sys.exception(), ConnectionError):
                super().handle_error(request, client_address)

    server = Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
