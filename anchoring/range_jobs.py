# SPDX-License-Identifier: GPL-3.0-or-later
"""Has the ranges of a log checked, here or in several processes, and gives the results in order.

All processes read one snapshot: the one that the caller's transaction has exported. A process that
dies, or loses the database, ends the whole check with Unavailable: half a check is none.
"""

import gc
import multiprocessing
import os
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from typing import Final

from psycopg import sql

from anchoring.range_walk import RangeFound, RangeWalk
from ledger.database import Connection, Database
from ledger.errors import Unavailable
from ledger.reader import Reader

#: Entries of one range: small enough for its result to travel, and a whole number of tiles.
LEAST: Final = 4_096
MOST: Final = 65_536
#: A process is started for at least so many entries; it takes half a second to start one.
WORTH: Final = 100_000


def all_cores() -> int:
    """Return how many processes this one may have running at a time."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def check_ranges(
    connection: Connection, reader: Reader, database: Database, schema: str, *, size: int, jobs: int
) -> Iterator[RangeFound]:
    """Yield what is found in each range of [0, size), in order.

    connection: in a transaction at isolation level REPEATABLE READ, with the read role. `jobs`: in
    so many processes at most; 1 is this one.
    """
    if jobs == 1:
        walk = RangeWalk(reader, schema)
        for begin in range(0, size, LEAST):
            yield walk.check(connection, begin, min(begin + LEAST, size))
        return
    width = min(MOST, max(LEAST, -(-size // (jobs * 4)) // LEAST * LEAST))
    ranges = iter([(begin, min(begin + width, size)) for begin in range(0, size, width)])
    row = connection.execute("SELECT pg_export_snapshot()").fetchone()
    pool = ProcessPoolExecutor(
        jobs,
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_start,
        initargs=(database.url, schema, row[0] if row is not None else ""),
    )
    waiting: list[Future[RangeFound]] = []
    try:
        # As many wait as are being checked, so that what was found is not piled up.
        waiting += [pool.submit(_check, *one) for one in islice(ranges, 2 * jobs)]
        while waiting:
            found = waiting.pop(0).result()
            waiting += [pool.submit(_check, *one) for one in islice(ranges, 1)]
            yield found
    except BrokenProcessPool as error:
        raise Unavailable("a process that checks the log has died") from error
    finally:
        pool.shutdown(cancel_futures=True)


#: In a process of the pool: the walk, and the connection for as long as the process lives.
_own: list[tuple[RangeWalk, Connection]] = []


def _start(url: str, schema: str, snapshot: str) -> None:
    gc.disable()  # Entries hold no cycles, and there are many.
    database = Database(url, pool_max=1)
    connection = database.dedicated(schema, "read")
    connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
    connection.execute(sql.SQL("SET TRANSACTION SNAPSHOT {}").format(snapshot))
    _own.append((RangeWalk(Reader(database, schema), schema), connection))


def _check(begin: int, end: int) -> RangeFound:
    walk, connection = _own[0]
    return walk.check(connection, begin, end)
