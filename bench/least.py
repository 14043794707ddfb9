# SPDX-License-Identifier: GPL-3.0-or-later
"""The least that a signed and durable answer costs here: `python bench/least.py URL FILE`.

One process answers each POST after one row is committed, a signature made and verified, and a slot
of a file synced, one after the other as the ledger must. No request is checked, nothing chained,
proved or sealed, no thread or process is in between: what any ledger of this kind needs at least.
"""

import asyncio
import os
import subprocess
import sys
import time
from pathlib import Path

import load
import psycopg
import uvloop
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

_SLOT = 4_096
_INSERT = "INSERT INTO bench.raw (body) VALUES (%b)"


class Answerer(asyncio.Protocol):
    """Answers requests that come one at a time on each connection."""

    def __init__(self, database: psycopg.Connection, slot: int) -> None:
        self._database, self._slot, self._key = database, slot, Ed25519PrivateKey.generate()
        self._data = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._data += data
        head, _, body = self._data.partition(b"\r\n\r\n")
        at = head.find(b"Content-Length: ")
        if at < 0 or len(body) < int(head[at + 16 :].split(b"\r\n", 1)[0]):
            return
        self._data = b""
        self._database.execute(_INSERT, (body,), prepare=True)
        signature = self._key.sign(body[:200])
        self._key.public_key().verify(signature, body[:200])
        os.pwrite(self._slot, signature.ljust(_SLOT, b"\0"), 0)
        os.fdatasync(self._slot)
        answer = b"HTTP/1.1 201 Created\r\ncontent-length: %d\r\n\r\n" % len(signature) + signature
        self._transport.write(answer)  # type: ignore[attr-defined]


def measure(url: str, directory: Path, body: bytes, pause_s: float = 0.0) -> float:
    """Return the median of POSTs by one client, with a pause between them, in milliseconds."""
    command = [sys.executable, __file__, url, str(directory / "least")]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        address = ("127.0.0.1", int(process.stdout.readline()))
        try:
            return posts(address, [load.http_post("/", "none", body)] * 300, pause_s)
        finally:
            process.kill()


def posts(address: load.Address, requests: list[bytes], pause_s: float) -> float:
    """Return the median of single POSTs with a pause before each, in milliseconds."""
    times = []
    with load.connect(address) as sock:
        for request in requests:
            time.sleep(pause_s)
            began = time.perf_counter()
            sock.sendall(request)
            sock.recv(262_144)
            times.append(time.perf_counter() - began)
    return sorted(times)[len(times) // 2] * 1000


async def serve(url: str, path: str) -> None:
    database = psycopg.connect(url, autocommit=True)
    slot = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Answerer(database, slot), "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(*sys.argv[1:3]))
