# SPDX-License-Identifier: GPL-3.0-or-later
"""What a simulation plays with: processes on one Book, their lines and clocks, and the faults.

A process is a Shelf with a keystore, a pool and a checkpoint store of its own, behind a line to
PostgreSQL that can be cut at a chosen statement. To kill it is to cut its line for good: whatever
it still meant to do never arrives.
"""

import base64
import time
from contextlib import suppress

from cut_line import Line
from house import Hand

from anchoring.overdue import Sweep
from ledger import durable
from ledger.database import Database
from ledger.errors import Unavailable

_ROWS = """
SELECT e.position, e.leaf, e.mac, e.event_id::text, e.stream, e.version, e.topic, e.recorded_at,
       e.request_digest, e.source_id, e.source_n, b.bytes
  FROM {b}.entry e LEFT JOIN {b}.entry_body b USING (position)
 WHERE e.position >= %s ORDER BY e.position
"""
_HEAD = "SELECT epoch, size, frontier, mac, last_time, tag FROM {b}.head"
_ACTIVE = """
SELECT count(*) FROM pg_stat_activity WHERE usename = 'sealtrail_app' AND state <> 'idle'
"""


class Process:
    """One server process, without its HTTP."""

    def __init__(self, house, clock_ms):
        self._house = house
        self.hand = Hand(clock_ms)
        self.line = Line(house.app_url)
        self._database = Database(self.line.url)
        try:
            self.shelf = house.second_process(now_ms=self.hand, database=self._database)
        except BaseException:
            self._database.close()
            self.line.close()
            raise
        self.shaken = False  #: Its connections may be gone; one 503 is excused.
        self._sweep = None

    @property
    def book(self):
        return self.shelf.book(self._house.tenant)

    @property
    def sweep(self):
        """The sweep of this process, which remembers from where attempts can be open."""
        book = self.book
        if self._sweep is None or self._sweep.book is not book:
            self._sweep = Sweep(book)
        return self._sweep

    def kill(self):
        self.line.close()
        self.shelf.close()
        self._database.close()
        self._house.others.remove(self.shelf)


class World:
    """The house, its database as an administrator sees it, and up to three processes."""

    def __init__(self, house, owner):
        self.house, self._owner = house, owner
        self.processes = []
        self.outage = False

    def start(self, clock_ms):
        """Start a process; while the checkpoint store is away none starts."""
        with suppress(Unavailable):
            self.processes.append(Process(self.house, clock_ms))

    def close(self):
        self.store_returns()
        while self.processes:
            self.processes.pop().kill()

    def kill(self, process):
        self.processes.remove(process)
        process.kill()

    def terminate(self):
        """End every session of every process, as a restart of PostgreSQL does."""
        self._do(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'sealtrail_app'"
        )
        for process in self.processes:
            process.shaken = True

    def store_goes(self):
        """Take the checkpoint store away: where its directory was is something else."""
        if not self.outage:
            self._store.rename(self._away)
            self._store.write_bytes(b"")
            self.outage = True

    def store_returns(self):
        if self.outage:
            self._store.unlink()
            self._away.rename(self._store)
            self.outage = False

    def stored(self):
        """Size and root of the checkpoint in the store."""
        where = self._away if self.outage else self._store
        data = (where / f"{durable.safe_name(self.house.origin)}.checkpoint").read_bytes()
        found = []
        for slot in (data[:4096], data[4096:]):
            if slot.strip(b"\0"):
                origin, size, root, *_ = slot.decode().split("\n")
                assert origin == self.house.origin
                found.append((int(size), base64.b64decode(root)))
        return max(found)

    def confirm(self, until_ms):
        self._do(
            "INSERT INTO sealtrail.clock_confirmation (book, until_ms) VALUES (%s, %s)"
            " ON CONFLICT DO NOTHING",
            self.house.tenant,
            until_ms,
        )

    def rows(self, begin):
        """(bytes, columns) of every entry from a position on, once nothing is under way."""
        self._settle()
        found = self._do(_ROWS, begin)
        return [(_bytes(row[-1]), tuple(_bytes(value) for value in row[:-1])) for row in found]

    def head(self):
        (row,) = self._do(_HEAD)
        return tuple(_bytes(value) for value in row)

    def all(self, table, columns, order):
        found = self._do(f"SELECT {columns} FROM {{b}}.{table} ORDER BY {order}")
        return [tuple(_bytes(value) for value in row) for row in found]

    def _settle(self):
        """Wait until no statement of any process is being worked on."""
        deadline = time.monotonic() + 20
        while self._do(_ACTIVE)[0][0]:
            assert time.monotonic() < deadline, "a statement does not end"
            time.sleep(0.001)

    def _do(self, statement, *values):
        done = self._owner.execute(statement.replace("{b}", self.house.schema), values)
        return done.fetchall() if done.description else []

    @property
    def _store(self):
        return self.house.directory / "checkpoints"

    @property
    def _away(self):
        return self.house.directory / "checkpoints-away"


def _bytes(value):
    return bytes(value) if isinstance(value, memoryview) else value
