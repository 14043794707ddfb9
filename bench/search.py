# SPDX-License-Identifier: GPL-3.0-or-later
"""Search over a large log: every kind of page, trees and lineages, and making the model again.

    bench/run --only search [--search-entries 1000000] [--keep] [--json]

The read model is made again, all of it. Then a cold server is asked over HTTP by one client, each
answer with its ACCESS entry: every query with several values, page after page in both directions.
What was built stays in the directory of this user's ledgers if `keep` says so, and is used again.
"""

import json
import os
import random
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import events
import load
import search_log
from server import Server

from ledger import clock
from ledger.database import Database
from ledger.readmodel.follower import rebuild
from scripts.configure import settings_from

SCHEMA = "book_dev"
PAGES = 3  #: Of one query, one after the other; then one back.
LIMIT = 50
SEALED = 500  #: Events that are recorded through the API, with persons.

Figure = tuple[str, float, float, float]  #: What, p50, p95 and worst, in ms.


def queries(generator: random.Random, now: str) -> dict[str, list[str]]:
    """Queries by kind: what is frequent, rare, combined, empty, late or early in the log."""
    models = [search_log.model_of(n) for n in (0, 1, 5, 17, 39)]
    traces = [search_log.trace_of(generator.randrange(10_000)) for _ in range(5)]
    noon, dawn = f"{now}T06:00:00.000Z", f"{now}T00:10:00.000Z"
    return {
        "everything": [""],
        "by type": ["type:GEN", "type:GEN_DENY", "type:INGEST,EXPORT", "stage:EXPORT"],
        "by model": [f"model:{one['provider']}/{one['name']}@{one['version']}" for one in models],
        "by template": [f"template:template-{n}" for n in (0, 9, 60, 150, 199)],
        "by trace": [f"trace:{one}" for one in traces],
        "by source": ["source:gateway-3", "source:bench"],
        "by risk": ["risk:NCII_RISK", "risk:VIOLENCE", "risk:NOTHING"],
        "by label, rule": ["label:weapon", "rule:R-17", "rule:R-59"],
        "by outcome": ["outcome:timeout", "outcome:denied", "outcome:open", "outcome:generated"],
        "by flag": ["flag:unknown-model", "flag:unknown-consent", "flag:revoked-consent"],
        "by tier, hold": ["tier:database", "tier:cold", "hold:any"],
        "negations": ["-stage:GEN -type:INGEST", "-model:painter type:GEN_DENY", "-type:GEN"],
        "with times": [
            f"type:GEN_DENY after:{noon}", f"risk:NCII_RISK before:{noon}",
            f"stage:EXPORT before:{dawn}", f"after:{noon} -outcome:generated stage:GEN",
        ],
        "combined": [
            "type:GEN_DENY risk:NCII_RISK model:acme/painter", "type:GEN label:weapon",
            "type:MODERATION action:warn rule:R-17 template:template-9",
            "provider:umbra outcome:timeout type:GEN_ERROR", "type:EXPORT model:painter",
        ],
        "words": ['"partial nudity"', "violence", "images type:GEN_ERROR", "nosuchword"],
        "by person": [f"actor:employee-{generator.randrange(events.PERSONS)}" for _ in range(5)],
    }  # fmt: skip


def built(server: Server, entries: int) -> Iterator[tuple[str, float, str]]:
    """Make the read model; yields (what, seconds, detail)."""
    settings = settings_from(server.data / "ledger")
    with Database(settings.database_url or "") as database:
        began, told = time.monotonic(), 0

        def progress(done: int, whole: int) -> None:
            nonlocal told
            if done - told >= entries // 10:
                told = done
                print(f"  {time.monotonic() - began:6.0f} s  {done:,} of {whole:,}", flush=True)

        cpu = time.process_time()
        rebuild(database, SCHEMA, progress=progress)
        took, cpu = time.monotonic() - began, time.process_time() - cpu
        busy = f"{cpu:.0f} s of one core; load {os.getloadavg()[0]:.0f}"
        yield "rebuild, every part", took, f"{entries / took:,.0f} entries/s, {busy}"
    with server.owner() as owner:
        for table in ("search_term", "search_text", "register"):
            owner.execute(f"VACUUM ANALYZE {SCHEMA}.{table}")
            row = owner.execute(
                f"SELECT pg_total_relation_size('{SCHEMA}.{table}') / 1048576, count(*)"
                f" FROM {SCHEMA}.{table}"
            ).fetchone()
            yield f"size of {table}", 0.0, f"{row[0]:,} MiB in {row[1]:,} rows" if row else ""


def pages(server: Server) -> Iterator[Figure]:
    """Time pages of every kind of query; the last row is all of them together.

    The process has answered nothing before: its first page is a row of its own.
    """
    generator = random.Random(3)
    yield _figure("first page of a cold process", _walk(server, "")[:1])
    with server.owner() as owner:
        row = owner.execute(f"SELECT recorded_at FROM {SCHEMA}.entry WHERE position = 0").fetchone()
    now = clock.day_of(row[0] if row else clock.now_ms())
    together: list[float] = []
    for kind, some in queries(generator, now).items():
        times: list[float] = []
        for query in some:
            times += _walk(server, query)
        together += times
        yield _figure(f"search {kind}", times)
    yield _figure("search, all pages", together)


def walks(server: Server, entries: int) -> Iterator[Figure]:
    """Time the tree of a request and the way of an asset, if this ledger has them."""
    generator = random.Random(4)
    chosen = [generator.randrange(entries // search_log.EACH) for _ in range(100)]
    paths = {
        "tree of a request": [f"/v1/traces/{search_log.trace_of(n)}/tree" for n in chosen],
        "lineage of an asset": [
            f"/v1/assets/{search_log.digest(f'asset-{n}-a')}" for n in chosen
        ],
    }  # fmt: skip
    for what, some in paths.items():
        requests = [load.http_get(path, server.auditor) for path in some]
        result = load.run(server.address, requests, 1)
        said = ", ".join(f"{status} {n} times" for status, n in sorted(result.statuses.items()))
        yield f"{what} (answers: {said})", result.at(0.5), result.at(0.95), result.at(1.0)


def person_events(server: Server) -> None:
    """Record some events with persons, through the API."""
    requests = [
        load.http_post("/v1/events", server.token, events.encoded(events.attempt()))
        for _ in range(SEALED)
    ]
    result = load.run(server.address, requests, 16)
    if set(result.statuses) != {201}:
        raise RuntimeError(f"answers were {result.statuses}: {result.last[:300]!r}")


def prepared(entries: int) -> Path:
    """Make the log, if it is not there, and return the directory to start it in."""
    root = Path("/var/lib/sealtrail" if os.geteuid() == 0 else Path.home() / ".cache/sealtrail")
    data = root / "bench-search"
    if (data / f"built-{entries}").exists():
        return data
    shutil.rmtree(data, ignore_errors=True)
    data.mkdir(parents=True)
    server = Server.start_in(data)
    try:
        search_log.build(server, entries)
    finally:
        server.stop(keep=True)
    (data / f"built-{entries}").touch()
    return data


def _walk(server: Server, query: str) -> list[float]:
    """Ask for some pages on, and one back; returns how long each took, in ms."""
    times: list[float] = []
    cursor: str | None = None
    for number in range(PAGES + 1):
        body: dict[str, Any] = {"q": query, "limit": LIMIT}
        if cursor is not None:
            body["cursor"] = cursor
        post = "actor:" in query or not all(":" in one for one in query.split())
        request = (
            load.http_post("/v1/search", server.auditor, json.dumps(body).encode())
            if post
            else load.http_get(f"/v1/search?{urlencode(body)}", server.auditor)
        )
        result = load.run(server.address, [request], 1)
        if set(result.statuses) != {200}:
            raise RuntimeError(f"{query}: {result.statuses}: {result.last[:300]!r}")
        times.append(result.at(0.5))
        page = json.loads(result.last)
        cursor = page["previous"] if number == PAGES - 1 else page["next"]
        if cursor is None:
            break
    return times


def _figure(what: str, times: list[float]) -> Figure:
    ordered = sorted(times)
    last = len(ordered) - 1
    return what, ordered[last // 2], ordered[min(last, round(0.95 * last))], ordered[-1]
