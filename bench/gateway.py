# SPDX-License-Identifier: GPL-3.0-or-later
"""What the gateway adds to a call of a model, and whether its memory grows with streams.

    .venv/bin/python bench/gateway.py [--calls N] [--streams N] [--clients N] [--model-ms N]

A model that takes its time, the gateway, a development ledger and the clients share this machine.
The same calls go to the model directly and through the gateway, in turn; the difference of the
medians is what the gateway adds: two events on record, each with a receipt that was verified. The
clients begin one after the other: a model that always takes as long would keep them in step.
"""

import argparse
import asyncio
import json
import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

from server import REPOSITORY, Server

KEY = "stg_bench"
PICTURE = json.dumps({"model": "bench", "prompt": "a lighthouse in the fog"}).encode()
MESSAGES = [{"role": "user", "content": "a lighthouse in the fog"}]
CHAT = json.dumps({"model": "bench", "stream": True, "messages": MESSAGES}).encode()


def request(path: str, body: bytes) -> bytes:
    head = (
        f"POST {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {KEY}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


async def call(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, data: bytes) -> float:
    """Make one call and return how long it took, in milliseconds."""
    began = time.perf_counter()
    writer.write(data)
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    if not head.startswith(b"http/1.1 200"):
        raise RuntimeError(f"the call was answered {head[:40]!r}")
    at = head.find(b"content-length:")
    if at > 0:
        await reader.readexactly(int(head[at + 15 : head.index(b"\r\n", at)]))
    else:
        while size := int(await reader.readline(), 16):
            await reader.readexactly(size + 2)
        await reader.readline()
    return (time.perf_counter() - began) * 1000


async def load(port: int, data: bytes, calls: int, clients: int, ms: float = 200) -> list[float]:
    """Make so many calls by so many clients, each of them one after the other."""
    left = iter(range(calls))
    times: list[float] = []

    async def work(number: int) -> None:
        await asyncio.sleep(number * ms / 1000 / clients)
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 20)
        times.extend([await call(reader, writer, data) for _ in left])
        writer.close()

    await asyncio.gather(*(work(number) for number in range(clients)))
    return sorted(times)


@contextmanager
def model(milliseconds: float) -> Iterator[int]:
    program = REPOSITORY / "bench" / "model.py"
    process = subprocess.Popen(
        [sys.executable, str(program), str(milliseconds)], stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        yield int(process.stdout.readline())
    finally:
        process.terminate()
        process.wait()


@contextmanager
def gateway(server: Server, model_port: int, directory: Path) -> Iterator[tuple[int, int]]:
    """Start a gateway; yields its port and its process."""
    ledger = directory / "ledger"
    config = directory / "gateway.toml"
    config.write_text(
        f'[upstream.openai]\nurl = "http://127.0.0.1:{model_port}/v1"\n'
        f'[[caller]]\nkey_sha256 = "{sha256(KEY.encode()).hexdigest()}"\nperson = "emp-7"\n'
    )
    environment = os.environ | {
        "SEALTRAIL_URL": str(server.address),
        "SEALTRAIL_TOKEN": server.token,
        "SEALTRAIL_TRUST": str(ledger / "trust.json"),
        "SEALTRAIL_GATEWAY_CONFIG": str(config),
        "SEALTRAIL_GATEWAY_LISTEN": "127.0.0.1:0",
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "sealtrail_gateway.command", "serve", "--json"],
        stdout=subprocess.PIPE,
        env=environment,
    )
    assert process.stdout is not None
    try:
        told = json.loads(process.stdout.readline())
        yield int(told["gateway"].rpartition(":")[2]), process.pid
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()


def memory_mib(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    return 0.0


def measure(options: argparse.Namespace) -> Iterator[dict[str, object]]:
    server = Server.start(host="127.0.0.1")
    try:
        with (
            model(options.model_ms) as direct,
            gateway(server, direct, server.data) as (through, pid),
        ):
            picture = request("/openai/v1/images/generations", PICTURE)
            plain = request("/v1/images/generations", PICTURE)
            asyncio.run(load(through, picture, options.clients * 2, options.clients))
            added, p99 = [], []
            many = (options.calls, options.clients, options.model_ms)
            for _ in range(options.rounds):
                alone = asyncio.run(load(direct, plain, *many))
                ours = asyncio.run(load(through, picture, *many))
                added.append(statistics.median(ours) - statistics.median(alone))
                p99.append(ours[int(len(ours) * 0.99)] - alone[int(len(alone) * 0.99)])
            yield {
                "row": f"added to a call of {options.model_ms:g} ms, {options.clients} at once",
                "p50_ms": round(statistics.median(added), 2),
                "p99_ms": round(statistics.median(p99), 2),
                "floor": "p50 < 5 ms, aim 2",
            }
            chat = request("/openai/v1/chat/completions", CHAT)
            memory = [memory_mib(pid)]
            for _ in range(5):
                asyncio.run(load(through, chat, options.streams // 5, options.clients))
                memory.append(memory_mib(pid))
            yield {
                "row": f"memory over {options.streams} streams",
                "mib": [round(one, 1) for one in memory],
                "floor": "flat",
            }
    finally:
        server.stop()


def main() -> int:
    parser = argparse.ArgumentParser(description="What the gateway adds.")
    parser.add_argument("--calls", type=int, default=2_000)
    parser.add_argument("--streams", type=int, default=10_000)
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--model-ms", type=float, default=200, help="how long the model takes")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    for row in measure(options):
        text = json.dumps(row) if options.json else "  ".join(f"{n}: {v}" for n, v in row.items())
        print(text, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
