# SPDX-License-Identifier: GPL-3.0-or-later
"""A tenant's two Books, made by the migrations once, and databases that are copies of them.

The hundred tables of a Book cost PostgreSQL a tenth of a second of work, and most tests want two
Books that nobody has written to. PostgreSQL copies a database's files in a fraction of that, so
the migrations run once for each server, and each test gets a database of its own, which goes with
it: its tables are the migrations' own, and there are no other tests' tables beside them.

What belongs to the server is shared: the Books' roles have one name in all copies.
"""

import itertools
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import psycopg

from ledger import clock
from ledger.database import connect
from ledger.migrate import make_book, migrate
from scripts.assembly import origins_of

#: Of Books that are in the pattern only; whoever takes a copy gives them their origin.
NOBODY = "ledger.test/nobody"


@dataclass(frozen=True)
class Copy:
    """A database with the empty Books of one tenant."""

    server: Any
    name: str
    tenant: str

    def url(self, user: str = "postgres") -> str:
        return self.server.url(user=user, dbname=self.name)

    def name_logs(self, origin: str) -> None:
        """Let the Books be those of this origin, as if they had been made with it."""
        with psycopg.connect(self.url()) as owner:
            for before, after in zip(origins_of(NOBODY), origins_of(origin), strict=True):
                owner.execute(
                    "UPDATE sealtrail.book SET origin = %s WHERE origin = %s", (after, before)
                )


class Pattern:
    """The database that copies are made of. Nobody is ever connected to it."""

    def __init__(self, server: Any) -> None:
        mark = clock.random_bytes(3).hex()
        self._server, self._name, self._tenant = server, f"pattern_{mark}", f"t-{mark}"
        self._numbers = itertools.count(1)
        self._used: list[str] = []
        with psycopg.connect(server.url(), autocommit=True) as owner:
            owner.execute(f"CREATE DATABASE {self._name}")
        with connect(server.url(dbname=self._name)) as owner:
            list(migrate(owner))
            for kind, origin in zip(("main", "access"), origins_of(NOBODY), strict=True):
                make_book(owner, tenant=self._tenant, kind=kind, origin=origin)

    @contextmanager
    def copy(self) -> Iterator[Copy]:
        """A database for one test. It goes when the next one is made: by then nobody uses it."""
        name = f"{self._name}_{next(self._numbers)}"
        with psycopg.connect(self._server.url(), autocommit=True) as owner:
            for used in tuple(self._used):
                with suppress(psycopg.errors.ObjectInUse):  # Of a busy machine: then the next time.
                    owner.execute(f"DROP DATABASE {used} WITH (FORCE)")
                    self._used.remove(used)
            # Copied as files: through the log, as is the default, costs more.
            owner.execute(f"CREATE DATABASE {name} TEMPLATE {self._name} STRATEGY file_copy")
        try:
            yield Copy(server=self._server, name=name, tenant=self._tenant)
        finally:
            self._used.append(name)
