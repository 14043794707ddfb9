# SPDX-License-Identifier: GPL-3.0-or-later
"""Whole PostgreSQL clusters that are copied, rewound, recovered and promoted, as operators do it.

The programs are those of the embedded PostgreSQL. Everything lies in one short directory of /tmp,
owned by whoever runs the server, so that one server can name the other's socket and archive.
"""

import shlex
import shutil
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

import psycopg

from ledger.embedded_user import ServerUser

_OPTIONS = ("--listen_addresses=", "--timezone=UTC", "--archive_mode=on", "--wal_level=replica",
            "--max_wal_senders=4", "--hot_standby=on")  # fmt: skip


class Site:
    """A place for clusters, and who runs them."""

    def __init__(self, directory):
        self.directory = directory
        self.user = ServerUser.for_cluster(directory / "nowhere")
        self.user.give(directory)
        self.user.give(directory / "archive")
        self.programs = self.user.programs()

    def run(self, program, *arguments, check=True):
        done = self.user.run(
            [str(self.programs / program), *map(str, arguments)],
            environment={"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TMPDIR": str(self.directory)},
        )
        assert done.returncode == 0 or not check, f"{program}: {done.stdout[-1500:]}"
        return done


class Cluster:
    """One data directory with its server."""

    def __init__(self, site, name):
        self.site, self.name = site, name
        self.data, self.socket = site.directory / name, site.directory / f"{name}.s"
        site.user.give(self.socket)
        self.running = False

    def make(self):
        self.site.run("initdb", "--username=postgres", "--auth=trust", "--no-sync",
                      "--encoding=UTF8", "--locale=C", f"--pgdata={self.data}")  # fmt: skip
        return self

    def start(self):
        archive = f"cp %p {self.site.directory}/archive/%f"
        options = [*_OPTIONS, f"--unix_socket_directories={self.socket}",
                   f"--archive_command={archive}"]  # fmt: skip
        log = self.site.directory / f"{self.name}.log"
        done = self.site.run("pg_ctl", "start", "--wait", "--silent", f"--pgdata={self.data}",
                             f"--log={log}", f"--options={shlex.join(options)}",
                             check=False)  # fmt: skip
        assert done.returncode == 0, log.read_text()[-1500:]
        self.running = True
        return self

    def stop(self, mode="fast"):
        if self.running:
            self.site.run("pg_ctl", "stop", "--wait", "--silent", f"--mode={mode}",
                          f"--pgdata={self.data}")  # fmt: skip
            self.running = False

    def promote(self):
        """Make a standby a server of its own."""
        self.site.run("pg_ctl", "promote", "--wait", "--silent", f"--pgdata={self.data}")

    def url(self, user="postgres", dbname="postgres"):
        return f"postgresql://{user}@/{dbname}?host={self.socket}&port=5432"

    def ask(self, query):
        with psycopg.connect(self.url(), autocommit=True) as connection:
            row = connection.execute(query).fetchone()
        return row[0] if row is not None else None

    def backup(self, name, *options):
        """A base backup of this running server, as a cluster that was not started yet."""
        copy = Cluster(self.site, name)
        self.site.run("pg_basebackup", f"--dbname={self.url()}", "--checkpoint=fast", "--no-sync",
                      f"--pgdata={copy.data}", *options)  # fmt: skip
        return copy

    def configure(self, signal, **settings):
        """Have a copy come up as a standby, or recover from the archive."""
        with (self.data / "postgresql.auto.conf").open("a") as file:
            file.writelines(f"{name} = '{value}'\n" for name, value in settings.items())
        path = self.data / f"{signal}.signal"
        path.touch()
        shutil.chown(path, self.site.user.uid, self.site.user.gid)

    def copied(self):
        """A copy of the stopped cluster's files, by which `put_back` rewinds it."""
        aside = self.data.with_suffix(".aside")
        _copy(self.data, aside)
        return aside

    def put_back(self, aside):
        shutil.rmtree(self.data)
        _copy(aside, self.data)


def _copy(source, target):
    shutil.copytree(source, target, symlinks=True)
    owner = source.stat()
    for path in [target, *target.rglob("*")]:
        shutil.chown(path, owner.st_uid, owner.st_gid)


def wait_until(holds, patience_s=20):
    deadline = time.monotonic() + patience_s
    while not holds():
        assert time.monotonic() < deadline, "it did not come to that"
        time.sleep(0.02)


@contextmanager
def site():
    """A site whose clusters are stopped and removed at the end."""
    directory = Path(tempfile.mkdtemp(prefix="sealtrail-site-", dir="/tmp"))
    clusters = []

    def cluster(one):
        clusters.append(one)
        return one

    try:
        yield Site(directory), cluster
    finally:
        for one in clusters:
            one.stop("immediate")
        shutil.rmtree(directory)
