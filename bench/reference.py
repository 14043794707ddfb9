# SPDX-License-Identifier: GPL-3.0-or-later
"""What raw PostgreSQL does with the same bytes on the same server: pgbench, COPY, INSERTs."""

import os
import re
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

import psycopg


def prepare(connection: psycopg.Connection, like: str) -> None:
    """Make an empty table whose column is stored as the ledger stores its bodies."""
    connection.execute("CREATE SCHEMA IF NOT EXISTS bench")
    connection.execute("DROP TABLE IF EXISTS bench.raw")
    connection.execute("CREATE TABLE bench.raw (id bigserial PRIMARY KEY, body bytea NOT NULL)")
    storage, compression = connection.execute(
        "SELECT attstorage::text, attcompression::text FROM pg_attribute"
        " WHERE attrelid = %s::regclass AND attname = 'bytes'",
        (like,),
    ).fetchone() or ("x", "")
    names = {"x": "EXTENDED", "e": "EXTERNAL", "m": "MAIN", "p": "PLAIN"}
    connection.execute(f"ALTER TABLE bench.raw ALTER COLUMN body SET STORAGE {names[storage]}")
    if compression == "l":
        connection.execute("ALTER TABLE bench.raw ALTER COLUMN body SET COMPRESSION lz4")


def pgbench(
    url: str, bodies: Sequence[bytes], *, clients: int, seconds: int, programs: Path | None
) -> float:
    """Return one-row INSERTs with COMMIT a second; each script holds one of the bodies."""
    parts = urlsplit(url)
    query = parse_qs(parts.query)
    program = str(programs / "pgbench") if programs else "pgbench"
    with tempfile.TemporaryDirectory() as folder:
        scripts = []
        for at, body in enumerate(bodies):
            path = Path(folder) / f"{at}.sql"
            path.write_text(f"INSERT INTO bench.raw (body) VALUES ('\\x{body.hex()}');\n")
            scripts += ["-f", str(path)]
        command = [program, "-n", "-M", "prepared", "-c", str(clients), "-j", "2"]
        command += ["-T", str(seconds), *scripts]
        command += ["-h", query.get("host", [parts.hostname or "localhost"])[0]]
        command += ["-p", query.get("port", [str(parts.port or 5432)])[0]]
        command += ["-U", unquote(parts.username or "postgres"), parts.path.lstrip("/")]
        done = subprocess.run(
            command, capture_output=True, text=True, check=True, env={**os.environ}
        )
    found = re.search(r"tps = ([0-9.]+)", done.stdout)
    if found is None:
        raise RuntimeError(done.stdout + done.stderr)
    return float(found[1])


def copy(connection: psycopg.Connection, bodies: Sequence[bytes], *, batch: int = 1_000) -> float:
    """Return rows a second by binary COPY, `batch` rows a transaction."""
    began = time.perf_counter()
    for at in range(0, len(bodies), batch):
        copying = "COPY bench.raw (body) FROM STDIN (FORMAT BINARY)"
        with connection.cursor() as cursor, cursor.copy(copying) as sink:
            sink.set_types(["bytea"])
            for body in bodies[at : at + batch]:
                sink.write_row((body,))
    return len(bodies) / (time.perf_counter() - began)


def insert_p50(
    connection: psycopg.Connection, bodies: Sequence[bytes], pause_s: float = 0.0
) -> float:
    """Return the median time of one INSERT with its COMMIT, in milliseconds."""
    times = []
    for body in bodies:
        time.sleep(pause_s)
        began = time.perf_counter()
        connection.execute("INSERT INTO bench.raw (body) VALUES (%b)", (body,), prepare=True)
        times.append(time.perf_counter() - began)
    return sorted(times)[len(times) // 2] * 1000
