# SPDX-License-Identifier: GPL-3.0-or-later
"""Proof latency in a log of a year: rows and tiles made synthetically, but in the real tables.

    bench/run --only proofs [--entries 36500000] [--keep]

Leaf i is SHA-256 of i as eight bytes; SAMPLES entries among them have real bytes, so that they can
be read and proved by their event id. The head gets a valid tag and the checkpoint store a signed
checkpoint, so the server that is then started cold opens the Book as it would any other. Positions
are random, the ragged edge and old sizes included; proofs are verified. What was built stays beside
the other ledgers of this user if `keep` says so, and is used again.
"""

import base64
import json
import os
import random
import shutil
import time
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any
from uuid import UUID

import load
import psycopg
from server import Server

from anchoring.checkpoint import sign_checkpoint
from ledger import clock
from ledger.database import connect
from ledger.head import Chain
from ledger.keystore import FileKeystore, read_passphrase
from ledger.printing import canonical_bytes
from ledger.tiles import Edge
from sealtrail.verify.merkle import check_inclusion, leaf_hash
from sealtrail.verify.note import Checkpoint

STEP = 256 * 1_024
SAMPLES = 2_000
ROWS = """
INSERT INTO book_dev.entry (position, leaf, mac, event_id, stream, version, topic, recorded_at,
                            request_digest)
SELECT i, sha256(int8send(i)), sha256(int8send(-i)),
       (lpad(to_hex(i), 12, '0') || '7000a000' || lpad(to_hex(i), 12, '0'))::uuid,
       'Asset/' || i, 1, 'INGEST/1', %s, sha256(int8send(i + 1))
  FROM generate_series(%s::bigint, %s::bigint) AS i WHERE NOT i = ANY(%s::bigint[])
"""
COLUMNS = "position, leaf, mac, event_id, stream, version, topic, recorded_at, request_digest"


def event_id(position: int) -> str:
    text = f"{position:012x}7000a000{position:012x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def samples(entries: int) -> list[int]:
    """Name the positions that have bytes, in order; the last entries are among them."""
    generator = random.Random(2)
    chosen = {generator.randrange(entries) for _ in range(min(SAMPLES, entries // 2))}
    return sorted(chosen | set(range(max(0, entries - 100), entries)))


def report(position: int, recorded_ms: int) -> dict[str, Any]:
    """The last report of completeness: all before it is closed, as in any log with nights."""
    day = clock.day_of(recorded_ms)
    counts = dict.fromkeys(("attempts", "gen", "deny", "error", "late"), 0)
    return {
        "type": "COMPLETENESS_REPORT",
        "aggregate": {"type": "AnchorDay", "id": day, "version": 1},
        "body": {"kind": "provisional", "day": day, "number": 1, "from_size": 0,
                 "to_size": position, "counts": counts, "open_count": 0, "open": []},
    }  # fmt: skip


def entry(position: int, recorded_ms: int, *, last: bool) -> bytes:
    """Print the bytes of a sampled entry, about 1.7 kB; the last one is the report."""
    filling = [sha256(bytes([n]) + position.to_bytes(8, "big")).hexdigest() for n in range(18)]
    return canonical_bytes(
        {
            "v": 1,
            "type": "INGEST",
            "schema": 1,
            "event_id": event_id(position),
            "tenant": "dev",
            "aggregate": {"type": "Asset", "id": str(position), "version": 1},
            "time": {"recorded": clock.rfc3339(recorded_ms)},
            "actor": {"kind": "service"},
            "body": {"filling": filling},
            **(report(position, recorded_ms) if last else {}),
        }
    )


def build(server: Server, entries: int) -> None:
    """Fill the main Book of a stopped ledger's database with `entries` synthetic entries."""
    edge, began = Edge.empty(), time.monotonic()
    recorded_ms = clock.now_ms()
    bodies = {at: entry(at, recorded_ms, last=at == entries - 1) for at in samples(entries)}
    with psycopg.connect(server.owner_url, autocommit=True) as owner:
        for setting in ("synchronous_commit = off", "maintenance_work_mem = '1GB'"):
            owner.execute(f"SET {setting}")
        dropped = drop_indexes(owner)
        for begin in range(0, entries, STEP):
            end = min(begin + STEP, entries)
            leaves = [sha256(i.to_bytes(8, "big")).digest() for i in range(begin, end)]
            here = [at for at in bodies if begin <= at < end]
            for at in here:
                leaves[at - begin] = leaf_hash(bodies[at])
            edge, tiles = edge.append(leaves)
            owner.execute(ROWS, (recorded_ms, begin, end - 1, here))
            copy_rows(
                owner,
                f"entry ({COLUMNS})",
                "int8 bytea bytea uuid text int8 text int8 bytea",
                [
                    (at, leaves[at - begin], bytes(32), UUID(event_id(at)), *_stream(bodies[at]),
                     recorded_ms, bytes(32))
                    for at in here
                ],
            )  # fmt: skip
            copy_rows(owner, "entry_body (position, bytes)", "int8 bytea",
                  [(at, bodies[at]) for at in here])  # fmt: skip
            copy_rows(owner, 'tile (level, "index", root, hashes)', "int2 int8 bytea bytea",
                  [(tile.level, tile.index, tile.root, tile.hashes) for tile in tiles])  # fmt: skip
            if begin // STEP % 8 == 7:
                say(began, f"{end:,} of {entries:,} synthetic entries")
        for at, statement in enumerate(dropped, 1):
            say(began, f"index {at} of {len(dropped)}")
            owner.execute(statement)
        for table in ("entry", "entry_body", "tile"):
            owner.execute(f"VACUUM ANALYZE book_dev.{table}")
        owner.execute("CHECKPOINT")
    set_head(server, edge, recorded_ms)
    say(began, "built")


def _stream(data: bytes) -> tuple[str, int, str]:
    value = json.loads(data)
    return f"{value['aggregate']['type']}/{value['aggregate']['id']}", 1, f"{value['type']}/1"


def copy_rows(
    owner: psycopg.Connection, into: str, types: str, rows: list[tuple[object, ...]]
) -> None:
    statement = f"COPY book_dev.{into} FROM STDIN (FORMAT BINARY)"
    with owner.cursor() as cursor, cursor.copy(statement) as sink:
        sink.set_types(types.split())
        for row in rows:
            sink.write_row(row)


def say(began: float, what: str) -> None:
    print(f"  {time.monotonic() - began:6.0f} s  {what}", flush=True)


def drop_indexes(owner: psycopg.Connection) -> list[str]:
    """Drop what only slows the filling down; return the statements that make it again."""
    statements = []
    for name, definition in owner.execute(
        "SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint"
        " WHERE conrelid = 'book_dev.entry'::regclass AND contype IN ('u', 'p')"
    ).fetchall():
        owner.execute(f"ALTER TABLE book_dev.entry DROP CONSTRAINT {name}")
        statements.append(f"ALTER TABLE book_dev.entry ADD CONSTRAINT {name} {definition}")
    for name, definition in owner.execute(
        "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'book_dev'"
        " AND tablename = 'entry'"
    ).fetchall():
        owner.execute(f"DROP INDEX book_dev.{name}")
        statements.append(definition)
    return statements


def set_head(server: Server, edge: Edge, recorded_ms: int) -> None:
    """Give the head a valid tag, and the checkpoint store the checkpoint that goes with it."""
    data = server.data / "ledger"
    keys = FileKeystore(data / "keystore", read_passphrase(data / "passphrase"))
    chain = Chain(keys, "localhost/dev")
    frontier = edge.frontier()
    head = chain.head(epoch=0, frontier=frontier, mac=bytes(32), last_time=recorded_ms)
    with connect(server.owner_url) as owner:
        owner.execute(
            "UPDATE book_dev.head SET size = %s, frontier = %s, mac = %s, last_time = %s, tag = %s",
            (frontier.size, frontier.pack(), head.mac, head.last_time, head.tag),
        )
    note = sign_checkpoint(
        keys, Checkpoint(origin="localhost/dev", size=frontier.size, root=frontier.root())
    )
    (path,) = [p for p in (data / "checkpoints").glob("*.checkpoint") if "access" not in p.name]
    path.write_bytes(note)


def measure(server: Server, entries: int, count: int = 5_000) -> Iterator[tuple[str, float, float]]:
    """Yield (what, p50, p99) in milliseconds; the process has answered nothing before the first."""
    generator = random.Random(1)
    positions = [generator.randrange(entries) for _ in range(count)]
    positions[::10] = [entries - 1 - generator.randrange(600) for _ in positions[::10]]
    first = load.run(server.address, [load.http_get(f"/v1/proofs/{positions[1]}")], 1)
    _verify(first.last)
    yield "first request of a cold process", first.at(0.5), first.at(0.99)
    newest = [load.http_get(f"/v1/proofs/{position}") for position in positions]
    yield _timed(server, "newest checkpoint, 1 client", newest)
    yield _timed(server, "newest checkpoint, again", newest)
    sizes = [generator.randint(position + 1, entries) for position in positions]
    old = [
        load.http_get(f"/v1/proofs/{position}?size={size}")
        for position, size in zip(positions, sizes, strict=True)
    ]
    yield _timed(server, "any size, 1 client", old)
    chosen = generator.choices(samples(entries), k=count // 5)
    by_id = [load.http_get(f"/v1/events/{event_id(at)}/proof", server.auditor) for at in chosen]
    yield _timed(server, "by event id, with its ACCESS entry, 1 client", by_id)


def _timed(server: Server, what: str, requests: list[bytes]) -> tuple[str, float, float]:
    result = load.run(server.address, requests, 1)
    if set(result.statuses) != {200}:
        raise RuntimeError(f"answers were {result.statuses}: {result.last[:300]!r}")
    _verify(result.last)
    return what, result.at(0.5), result.at(0.99)


def _verify(answer: bytes) -> None:
    proof = json.loads(answer)
    root = proof.get("root")
    if root is None:
        checkpoint = proof["checkpoint"].split("\n")
        root_bytes = base64.b64decode(checkpoint[2])
    else:
        root_bytes = bytes.fromhex(root.removeprefix("sha256:"))
    check_inclusion(
        leaf=bytes.fromhex(proof["leaf"].removeprefix("sha256:")),
        index=proof["position"],
        size=proof["size"],
        path=[bytes.fromhex(node.removeprefix("sha256:")) for node in proof["path"]],
        root=root_bytes,
    )


def prepared(entries: int) -> Path:
    """Make the synthetic ledger, if it is not there, and return the directory to start it in."""
    root = Path("/var/lib/sealtrail" if os.geteuid() == 0 else Path.home() / ".cache/sealtrail")
    data = root / f"bench-year-{entries}"
    if (data / "built").exists():
        return data
    shutil.rmtree(data, ignore_errors=True)
    data.mkdir(parents=True)
    server = Server.start_in(data)
    try:
        build(server, entries)
    finally:
        server.stop(keep=True)
    (data / "built").touch()
    return data
