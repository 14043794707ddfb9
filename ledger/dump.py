# SPDX-License-Identifier: GPL-3.0-or-later
"""PostgreSQL's own programs copy the database: one consistent snapshot out, one transaction in.

    pg_dump     live rows only, as of one snapshot: no WAL, no dead row, so nothing that was deleted
                before comes along, as it would in a copy of the data files
    pg_restore  into an empty database

They are taken from PATH, from where Debian puts them, or from the wheel of the embedded PostgreSQL:
those of the server's own major version, or else the next newer ones. What they need to log in goes
through a file of mode 0600 (libpq's connection service file) and never through arguments, which
every user of the machine can read.
"""

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Final, NamedTuple

from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from ledger.database import Connection
from ledger.embedded_user import WHEEL
from ledger.errors import Refused, Unavailable

_DEBIAN: Final = Path("/usr/lib/postgresql")
_VERSION: Final = re.compile(r"\(PostgreSQL\) ([1-9][0-9])[.a-z ]")
_LOCK_WAIT: Final = "60s"  #: For a migration that holds a table; longer, and it is told.

#: The partitions of a Book's bodies, none where PostgreSQL was built without lz4 or does not
#: compress them at all.
_BODIES: Final = """
SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
  JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'bytes' AND a.attstorage = 'x'
 WHERE n.nspname = %s AND c.relname LIKE 'entry\\_body%%' AND c.relkind IN ('r', 'p')
   AND (SELECT 'lz4' = ANY (enumvals) FROM pg_settings WHERE name = 'default_toast_compression')
"""


class DumpFailed(Unavailable):
    """PostgreSQL's own program could not copy the database; its first error says why."""

    problem = "dump-failed"


class ProgramsMissing(Unavailable):
    """PostgreSQL's pg_dump and pg_restore are not here in a version that fits the server."""

    problem = "programs-missing"


class Programs(NamedTuple):
    """A directory with pg_dump and pg_restore of one major version."""

    major: int
    directory: Path


def server_major(connection: Connection) -> int:
    """Return the major version of the server at the other end."""
    return connection.info.server_version // 10_000


def programs(least: int) -> Programs:
    """Return programs of major version `least`, or else the next newer ones.

    Raises ProgramsMissing: older ones cannot read a newer server, or a newer dump.
    """
    found = [one for one in _installed() if one.major >= least]
    if not found:
        raise ProgramsMissing(
            f"pg_dump and pg_restore of PostgreSQL {least} or newer are not on PATH: install"
            f" PostgreSQL's client programs, or sealtrail-server[embedded]"
        )
    return min(found, key=lambda one: one.major)


def dump(
    using: Programs,
    url: str,
    *,
    schemas: Sequence[str],
    snapshot: str,
    directory: Path,
    jobs: int = 1,
) -> None:
    """Write `schemas` as of `snapshot` into the new `directory`, in pg_dump's directory format.

    snapshot: what pg_export_snapshot() gave to a transaction that is still open. Durable on return.
    Raises DumpFailed.
    """
    _run(
        using,
        "pg_dump",
        url,
        "--format=directory",
        f"--file={directory}",
        f"--snapshot={snapshot}",
        f"--jobs={jobs}",
        "--no-toast-compression",  # Another server may not have lz4; see `store_as_here`.
        "--compress=1",  # Bytes that are sealed already do not get smaller by trying harder.
        f"--lock-wait-timeout={_LOCK_WAIT}",
        *(f"--schema={name}" for name in schemas),
    )


def load(using: Programs, url: str, directory: Path, *, jobs: int = 1) -> None:
    """Bring what `dump` wrote into an empty database, all of it or nothing; as its new owner.

    With several jobs it takes several transactions, and a failure leaves a part: drop the database
    then. The roles of the dump must exist. Raises DumpFailed.
    """
    whole = ("--single-transaction",) if jobs == 1 else (f"--jobs={jobs}", "--exit-on-error")
    _run(using, "pg_restore", url, "--no-owner", *whole, str(directory))


def store_as_here(connection: Connection, schemas: Sequence[str]) -> None:
    """Have bodies compressed as a Book that is made here does (migration 0004), if lz4 is here."""
    for name in schemas:
        for (table,) in connection.execute(_BODIES, (name,)).fetchall():
            query = "ALTER TABLE {} ALTER COLUMN bytes SET COMPRESSION lz4"
            connection.execute(sql.SQL(query).format(sql.Identifier(name, table)))


def check_empty(connection: Connection) -> None:
    """Return if this database holds no ledger; raises Refused."""
    row = connection.execute(
        "SELECT count(*) FROM pg_namespace WHERE nspname = 'sealtrail' OR nspname LIKE 'book\\_%'"
    ).fetchone()
    if row is None or row[0]:
        raise Refused("this database holds a ledger; a backup is restored into an empty database")


def drop(connection: Connection, schemas: Sequence[str]) -> None:
    """Remove what a restore that failed has left in a database that was empty before."""
    for name in schemas:
        connection.execute(sql.SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(sql.Identifier(name)))


def _run(using: Programs, program: str, url: str, *arguments: str) -> None:
    with _service(url) as environment, tempfile.TemporaryFile() as said:
        done = subprocess.run(
            [str(using.directory / program), "--no-password", "--dbname=service=sealtrail",
             *arguments],
            check=False,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=said,
            env={**os.environ, **environment, "LC_ALL": "C"},
            umask=0o077,
        )  # fmt: skip
        if done.returncode == 0:
            return
        said.seek(0)
        text = said.read(100_000).decode(errors="replace")
    # The first line only: those below it quote rows.
    error = next((line for line in text.splitlines() if "error:" in line), "no reason given")
    raise DumpFailed(f"{error[:300]} (exit code {done.returncode})")


@contextmanager
def _service(url: str) -> Iterator[dict[str, str]]:
    """Yield the environment in which libpq knows `url` as the service `sealtrail`."""
    given = {name: str(value) for name, value in conninfo_to_dict(url).items() if value is not None}
    if any("\n" in value for value in given.values()):
        raise Refused("the database's URL holds a line break")
    with tempfile.TemporaryDirectory(prefix="sealtrail-service-") as directory:
        path = Path(directory) / "pg_service.conf"
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write("[sealtrail]\n")
            file.writelines(f"{name}={value}\n" for name, value in given.items())
        yield {"PGSERVICEFILE": str(path)}


def _installed() -> Iterator[Programs]:
    """Yield every pair of programs that runs here."""
    found = shutil.which("pg_dump")
    # Debian's wrapper of all versions has its own mind about servers; what it wraps follows.
    wrapper = found is None or Path(found).resolve().name == "pg_wrapper"
    directories = [] if found is None or wrapper else [Path(found).parent]
    directories += sorted(_DEBIAN.glob("*/bin"))
    spec = find_spec(WHEEL)
    for place in (spec and spec.submodule_search_locations) or ():
        directories += sorted(Path(place).glob("pginstall*/bin"))
    for directory in dict.fromkeys(directories):
        majors = {_major(directory / name) for name in ("pg_dump", "pg_restore")}
        major = majors.pop()
        if major is not None and not majors:
            yield Programs(major, directory)


def _major(program: Path) -> int | None:
    try:
        done = subprocess.run(
            [str(program), "--version"], check=False, capture_output=True, text=True
        )
    except OSError:
        return None
    found = _VERSION.search(done.stdout)
    return int(found[1]) if done.returncode == 0 and found else None
