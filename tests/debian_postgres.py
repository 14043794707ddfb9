# SPDX-License-Identifier: GPL-3.0-or-later
"""The PostgreSQL that Debian 12 ships, in a directory of its own: the oldest one we promise.

It has the two things that tests ask of `ledger.embedded.EmbeddedPostgres`: a context and `url`.
PostgreSQL refuses to run as root, so root lends the directory to a system user.
"""

import os
import pwd
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any, Final, Self
from urllib.parse import quote

PROGRAMS: Final = Path("/usr/lib/postgresql/15/bin")
_USERS: Final = (
    "postgres",
    "nobody",
)  #: Who may run it for root; Debian's package makes the first.


class DebianPostgres:
    """A fresh cluster of PostgreSQL 15 that ends with its context.

    below: a directory that is open to other users, as pytest's own are not.
    """

    def __init__(self, below: Path) -> None:
        self._directory = Path(tempfile.mkdtemp(prefix="sealtrail-pg15-", dir=below))
        self._as_user: dict[str, Any] = {}
        if os.geteuid() == 0:
            user = _system_user()
            os.chown(self._directory, user.pw_uid, user.pw_gid)
            self._as_user = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}

    def __enter__(self) -> Self:
        cluster = self._directory / "cluster"
        self._run("initdb", "--username=postgres", "--auth=trust", "--encoding=UTF8", "--locale=C",
                  f"--pgdata={cluster}")  # fmt: skip
        options = f"--listen_addresses= --unix_socket_directories={self._directory} --timezone=UTC"
        self._run("pg_ctl", "start", "--wait", "--silent", f"--pgdata={cluster}",
                  f"--log={self._directory / 'log'}", f"--options={options}")  # fmt: skip
        return self

    def __exit__(self, *_: object) -> None:
        self._run("pg_ctl", "stop", "--wait", "--silent", "--mode=fast",
                  f"--pgdata={self._directory / 'cluster'}")  # fmt: skip
        shutil.rmtree(self._directory)

    def url(self, user: str = "postgres", dbname: str = "postgres") -> str:
        """Return the URL for libpq: over the Unix socket, without a password."""
        host = quote(str(self._directory), safe="")
        return f"postgresql://{quote(user, safe='')}@/{quote(dbname, safe='')}?host={host}"

    def _run(self, program: str, *arguments: str) -> None:
        with (self._directory / f".{program}").open("w+b") as said:
            done = subprocess.run(
                [PROGRAMS / program, *arguments],
                check=False,
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=subprocess.STDOUT,
                env={"PATH": os.defpath, "LC_ALL": "C"},
                **self._as_user,
            )
            said.seek(0)
            if done.returncode != 0:
                raise RuntimeError(f"{program} failed: {said.read().decode(errors='replace')}")


def _system_user() -> pwd.struct_passwd:
    for name in _USERS:
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise RuntimeError("PostgreSQL does not run as root, and there is no user postgres or nobody")
