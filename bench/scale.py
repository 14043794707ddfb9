# SPDX-License-Identifier: GPL-3.0-or-later
"""What grows: many Books in one database, the checkpoint store under every commit, memory."""

import hashlib
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import events
import load
from server import Server

from anchoring.checkpoint import sign_checkpoint, verifier_key
from anchoring.checkpoint_store import FileCheckpointStore
from anchoring.shelf import Shelf
from ledger.database import Database, connect
from ledger.keys import chain_key, log_key
from ledger.keystore import FileKeystore
from ledger.migrate import migrate, pending
from scripts.assembly import make_tenant, open_keystore, open_store, origins_of
from scripts.configure import settings_from
from sealtrail.verify.frontier import Frontier
from sealtrail.verify.note import Checkpoint

OPENED = 64
Figure = tuple[str, str]  #: What, and how much of it.


def store_cost(directory: Path | None = None, puts: int = 500) -> Iterator[Figure]:
    """Time the store's compare-and-swap as each commit does it: signature, proof, two fsyncs."""
    with tempfile.TemporaryDirectory(dir=directory) as folder:
        keys = FileKeystore(Path(folder) / "keys", b"bench")
        keys.make(log_key("bench/store"), "ed25519")
        own = verifier_key(keys, "bench/store")
        store = FileCheckpointStore(Path(folder) / "store", lambda _: [own])
        frontier = Frontier.empty().append([bytes(32)])
        first = Checkpoint(origin="bench/store", size=1, root=frontier.root())
        store.initialise("bench/store", sign_checkpoint(keys, first))
        times, cpu = [], time.process_time()
        for number in range(puts):
            leaves = [hashlib.sha256(b"%d %d" % (number, n)).digest() for n in range(32)]
            path, frontier = frontier.consistency(leaves), frontier.append(leaves)
            head = Checkpoint(origin="bench/store", size=frontier.size, root=frontier.root())
            began = time.perf_counter()
            note = sign_checkpoint(keys, head)
            store.put("bench/store", note, lambda _old, _new, path=path: path)
            times.append(time.perf_counter() - began)
        cpu = (time.process_time() - cpu) / puts
        yield "checkpoint store, puts a second", f"{puts / sum(times):,.0f}"
        yield "checkpoint store, p50 of a put", f"{statistics.median(times) * 1000:.2f} ms"
        yield "checkpoint store, CPU of a put with its proof", f"{cpu * 1000:.2f} ms"


def memory(server: Server, rounds: int = 8, each: int = 5_000) -> Iterator[Figure]:
    """Sample the server's resident memory while it records, round after round."""
    for number in range(rounds):
        requests = [
            load.http_post("/v1/events", server.token, events.encoded(events.attempt()))
            for _ in range(each)
        ]
        load.run(server.address, requests, 64)
        yield f"resident after {(number + 1) * each:,} events", f"{server.memory_mib():.0f} MiB"


def many_books(books: int = 2_000, posts: int = 2_000) -> Iterator[Figure]:
    """Make so many Books beside the one that is measured; open some of them in one process."""
    server = Server.start()
    settings = settings_from(server.data / "ledger")
    yield "one tenant: POST, 64 clients", f"{_rate(server, posts):,.0f}/s"
    keys = open_keystore(settings)
    began = time.monotonic()
    with connect(server.owner_url) as owner:
        store = open_store(settings, keys)
        for number in range(books // 2):
            origin = f"bench.example/t{number}"
            for each in origins_of(origin):  # `init` would also write an escrow for each.
                keys.make(log_key(each), "ed25519")
                keys.make(chain_key(each, 0), "hmac")
            make_tenant(owner, keys, store, tenant=f"t{number}", origin=origin)
            if number % 100 == 99:
                print(f"  {2 * number + 2} Books", flush=True)
        yield f"making {books:,} Books", f"{time.monotonic() - began:.0f} s"
        server.stop(keep=True)
    server = Server.start_in(server.data)
    server.stop(keep=True)
    began = time.monotonic()
    server = Server.start_in(server.data)
    try:
        yield f"start of the server with {books:,} Books", f"{time.monotonic() - began:.1f} s"
        with connect(server.owner_url) as owner:
            began = time.monotonic()
            owner.execute("DELETE FROM sealtrail.migration WHERE name = '0004_book_storage.sql'")
            done = sum(1 for _ in migrate(owner))
            yield f"one migration of {done:,} Books", f"{time.monotonic() - began:.1f} s"
            began = time.monotonic()
            assert pending(owner) == []
            yield "asking what is pending", f"{time.monotonic() - began:.2f} s"
        yield f"POST on one Book of {books:,}, 64 clients", f"{_rate(server, posts):,.0f}/s"
        yield "server's memory", f"{server.memory_mib():.0f} MiB"
        yield from _opened(settings.database_url or "", server)
    finally:
        server.stop()


def _opened(url: str, server: Server) -> Iterator[Figure]:
    """Open Books in this process and say what each one costs."""
    settings = settings_from(server.data / "ledger")
    keys = open_keystore(settings)
    with Database(url) as database:
        shelf = Shelf(
            database=database, keys=keys, store=open_store(settings, keys), open_max=OPENED
        )
        names = [name for name in shelf.rows() if name.startswith("t")][: 3 * OPENED]
        shelf.book(names[0])
        before, began = _resident_kib(), time.process_time()
        for name in names[1:OPENED]:
            shelf.book(name)
        opened = len(shelf.open_books()) - 1
        cpu = (time.process_time() - began) / opened
        yield "memory of an open Book", f"{(_resident_kib() - before) / opened:.0f} KiB"
        yield "CPU of opening a Book", f"{cpu * 1000:.1f} ms"
        yield "threads of the process", f"{len(list(Path('/proc/self/task').iterdir()))}"
        for name in names[OPENED:]:
            shelf.book(name)
        yield f"open after {len(names)} were asked for", f"{len(shelf.open_books())}"
        yield "memory then", f"{(_resident_kib() - before) / 1024:.0f} MiB more"
        shelf.close()


def _rate(server: Server, posts: int) -> float:
    requests = [
        load.http_post("/v1/events", server.token, events.encoded(events.attempt()))
        for _ in range(posts)
    ]
    load.run(server.address, requests[: posts // 4], 64)
    return load.run(server.address, requests[posts // 4 :], 64).rate


def _resident_kib() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    return 0
