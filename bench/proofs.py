# SPDX-License-Identifier: GPL-3.0-or-later
"""Proof latency in a log of a year: rows and tiles made synthetically, but in the real tables.

    bench/run --only proofs [--entries 36500000]

Leaf i is SHA-256 of i as eight bytes; entries have index rows but small bodies of their own only at
the edge. The head gets a valid tag and the checkpoint store a signed checkpoint, so the server that
is then started cold opens the Book as it would any other. Positions are random, the ragged edge and
old sizes included; every proof is verified.
"""

import base64
import json
import random
import time
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import load
import psycopg
from server import Server

from anchoring.checkpoint import sign_checkpoint
from ledger.database import connect
from ledger.head import Chain
from ledger.keystore import FileKeystore, read_passphrase
from ledger.tiles import Edge
from sealtrail.verify.frontier import Frontier
from sealtrail.verify.merkle import check_inclusion
from sealtrail.verify.note import Checkpoint

STEP = 256 * 1_024
ROWS = """
INSERT INTO book_dev.entry (position, leaf, mac, event_id, stream, version, topic, recorded_at,
                            request_digest)
SELECT i, sha256(int8send(i)), sha256(int8send(-i)), (lpad(to_hex(i), 32, '0'))::uuid,
       'Generation/' || i, 1, 'GEN_ATTEMPT/1', 1700000000000 + i, sha256(int8send(i + 1))
  FROM generate_series(%s::bigint, %s::bigint) AS i
"""


def build(server: Server, entries: int) -> None:
    """Fill the main Book of a stopped ledger's database with `entries` synthetic entries."""
    edge, frontier = Edge.empty(), Frontier.empty()
    with psycopg.connect(server.owner_url, autocommit=True) as owner:
        owner.execute("SET synchronous_commit = off")
        dropped = _drop_indexes(owner)
        for begin in range(0, entries, STEP):
            end = min(begin + STEP, entries)
            leaves = [sha256(i.to_bytes(8, "big")).digest() for i in range(begin, end)]
            frontier = frontier.append(leaves)
            edge, tiles = edge.append(leaves)
            owner.execute(ROWS, (begin, end - 1))
            with (
                owner.cursor() as cursor,
                cursor.copy(
                    'COPY book_dev.tile (level, "index", root, hashes) FROM STDIN (FORMAT BINARY)'
                ) as sink,
            ):
                sink.set_types(["int2", "int8", "bytea", "bytea"])
                for tile in tiles:
                    sink.write_row((tile.level, tile.index, tile.root, tile.hashes))
            if begin // STEP % 16 == 0:
                print(f"  synthetic entries: {end:,} of {entries:,}", flush=True)
        for statement in dropped:
            owner.execute(statement)
        owner.execute("VACUUM ANALYZE book_dev.entry")
        owner.execute("VACUUM ANALYZE book_dev.tile")
    _head(server, frontier)


def _drop_indexes(owner: psycopg.Connection) -> list[str]:
    """Drop what only slows the filling down; return the statements that make it again."""
    statements = []
    for name, definition in owner.execute(
        "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'book_dev'"
        " AND tablename = 'entry' AND indexname NOT LIKE '%%pkey' AND indexname NOT LIKE '%%key'"
    ).fetchall():
        owner.execute(f"DROP INDEX book_dev.{name}")
        statements.append(definition)
    return statements


def _head(server: Server, frontier: Frontier) -> None:
    """Give the head a valid tag, and the checkpoint store the checkpoint that goes with it."""
    data = server.data / "ledger"
    keys = FileKeystore(data / "keystore", read_passphrase(data / "passphrase"))
    chain = Chain(keys, "localhost/dev")
    head = chain.head(
        epoch=0, frontier=frontier, mac=bytes(32), last_time=int(time.time() * 1000) - 1
    )
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
    """Yield (what, p50, p99) in milliseconds: under the newest checkpoint, and under old sizes."""
    generator = random.Random(1)
    positions = [generator.randrange(entries) for _ in range(count)]
    positions[::10] = [entries - 1 - generator.randrange(600) for _ in positions[::10]]
    newest = [load.http_get(f"/v1/proofs/{position}") for position in positions]
    result = load.run(server.address, newest, 1)
    _verify(result.last)
    yield "newest checkpoint, 1 client", result.at(0.5), result.at(0.99)
    sizes = [generator.randint(position + 1, entries) for position in positions]
    old = [
        load.http_get(f"/v1/proofs/{position}?size={size}")
        for position, size in zip(positions, sizes, strict=True)
    ]
    result = load.run(server.address, old, 1)
    _verify(result.last)
    yield "any size, 1 client", result.at(0.5), result.at(0.99)


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
    """Make the synthetic ledger and return the directory from which to start it cold."""
    server = Server.start()
    try:
        build(server, entries)
    finally:
        server.stop(keep=True)
    return server.data
