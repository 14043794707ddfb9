# SPDX-License-Identifier: GPL-3.0-or-later
"""The embedded PostgreSQL: it starts, survives its owner, is adopted, and goes when told to."""

import os
import pwd
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import textwrap
import time
from pathlib import Path

import psycopg
import pytest

from ledger import embedded_user
from ledger.embedded import EmbeddedPostgres, EmbeddedUnavailable
from ledger.embedded_user import ServerUser

HOUSE = Path(__file__).resolve().parents[2]

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root has another user to run as")

OWNER = """
    import sys, time
    from pathlib import Path
    from ledger.embedded import EmbeddedPostgres
    postgres = EmbeddedPostgres(Path(sys.argv[1]))
    postgres.start()
    print(postgres.url(), flush=True)
    sys.stdin.read()
    postgres.stop()
"""


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    """One cluster for all tests of this file; whatever a test leaves running is stopped."""
    directory = tmp_path_factory.mktemp("embedded") / "data"
    yield directory
    assert not processes(directory)


@pytest.fixture
def postgres(data_dir):
    with EmbeddedPostgres(data_dir) as postgres:
        yield postgres


def ask(postgres: EmbeddedPostgres | str, query: str) -> str:
    url = postgres if isinstance(postgres, str) else postgres.url()
    with psycopg.connect(url, autocommit=True) as connection:
        row = connection.execute(query).fetchone()  # type: ignore[arg-type]
    assert row is not None
    return str(row[0])


def processes(data_dir: Path) -> dict[int, int]:
    """The server's processes and whose they are: all work in the cluster's directory."""
    found = {}
    for link in Path("/proc").glob("[0-9]*/cwd"):
        try:
            if link.samefile(data_dir / "server" / "cluster"):
                found[int(link.parent.name)] = link.parent.stat().st_uid
        except OSError:  # ended meanwhile
            continue
    return found


def owner(data_dir: Path) -> tuple[subprocess.Popen[str], str]:
    """Another process that uses the server, and the URL it got."""
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(OWNER), str(data_dir)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    return process, process.stdout.readline().strip()


def test_it_is_a_real_postgresql_that_keeps_what_it_acknowledged(data_dir, postgres):
    """Version 18, fsync on, no network, UTC and UTF-8 whatever the machine is set to."""
    asked = "fsync full_page_writes listen_addresses timezone server_encoding data_checksums"

    assert ask(postgres, "SHOW server_version").startswith("18.")
    assert [ask(postgres, f"SHOW {name}") for name in asked.split()] == [
        "on", "on", "", "UTC", "UTF8", "on",
    ]  # fmt: skip
    assert len(processes(data_dir)) > 3


def test_stop_leaves_no_process_and_the_next_start_takes_a_moment(data_dir):
    """Data stays, processes and socket go; a second start is a matter of tenths of a second."""
    with EmbeddedPostgres(data_dir) as first:
        url = first.url()
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("CREATE TABLE kept AS SELECT 42 AS n")

    first.stop()  # once more does no harm

    assert not processes(data_dir)
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(url)
    with pytest.raises(EmbeddedUnavailable):
        first.url()
    began = time.monotonic()
    with EmbeddedPostgres(data_dir) as second:
        assert time.monotonic() - began < 15
        assert ask(second, "SELECT n FROM kept") == "42"


def test_a_killed_owner_leaves_a_server_that_the_next_one_adopts_and_stops(data_dir):
    """kill -9 of the process that started it: same server, same data, and it can be ended."""
    process, url = owner(data_dir)
    started = ask(url, "SELECT pg_postmaster_start_time()")
    process.kill()
    process.communicate()
    assert ask(url, "SELECT 1") == "1"

    with EmbeddedPostgres(data_dir) as adopter:
        assert ask(adopter, "SELECT pg_postmaster_start_time()") == started

    assert not processes(data_dir)


def test_the_last_user_stops_it(data_dir):
    """A command that ends does not take the server from under a service that runs."""
    process, url = owner(data_dir)

    with EmbeddedPostgres(data_dir) as guest:
        assert guest.url() == url
    assert ask(url, "SELECT 1") == "1"
    process.communicate("")

    assert process.returncode == 0
    assert not processes(data_dir)


def test_two_that_start_at_once_share_one_server(data_dir):
    """The second waits for the first and adopts."""
    owners = [owner(data_dir) for _ in range(3)]

    assert len({url for _, url in owners}) == 1
    for process, _ in owners:
        process.communicate("")
    assert not processes(data_dir)


def test_it_goes_on_after_a_killed_backend_a_checkpoint_and_a_reload(postgres):
    """What needs the data directory's path long after the start: below closed directories, too."""
    with psycopg.connect(postgres.url(), autocommit=True) as victim:
        pid = victim.info.backend_pid
        os.kill(pid, signal.SIGKILL)
        deadline = time.monotonic() + 20
        while True:
            try:
                assert ask(postgres, "SELECT 1") == "1"
                break
            except psycopg.OperationalError:
                assert time.monotonic() < deadline
                time.sleep(0.05)

    with psycopg.connect(postgres.url(), autocommit=True) as connection:
        connection.execute("CHECKPOINT")
        connection.execute("ALTER SYSTEM SET work_mem = '5MB'")
        connection.execute("SELECT pg_reload_conf()")
        connection.execute("DO LANGUAGE plpgsql 'BEGIN PERFORM 1; END'")
    deadline = time.monotonic() + 20  # The server reads its settings when it comes to it.
    while ask(postgres, "SHOW work_mem") != "5MB":
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_server_that_was_killed_itself_starts_again(data_dir):
    """kill -9 of the server: it recovers from its own log at the next start."""
    with EmbeddedPostgres(data_dir):
        server = int((data_dir / "server/cluster/postmaster.pid").read_text().split()[0])
        os.kill(server, signal.SIGKILL)

    with EmbeddedPostgres(data_dir) as postgres:
        assert ask(postgres, "SELECT 1") == "1"


def test_a_process_that_only_has_the_servers_number_is_left_alone(data_dir):
    """After a reboot the number in postmaster.pid may be anybody's."""
    with EmbeddedPostgres(data_dir):
        left = (data_dir / "server/cluster/postmaster.pid").read_text().splitlines()
    bystander = subprocess.Popen(["sleep", "60"])
    try:
        content = "\n".join([str(bystander.pid), *left[1:]]) + "\n"
        (data_dir / "server/cluster/postmaster.pid").write_text(content)

        with EmbeddedPostgres(data_dir) as postgres:
            assert ask(postgres, "SELECT 1") == "1"

        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()


def test_two_directories_run_at_once_one_with_a_long_and_unusual_path(data_dir, tmp_path):
    """A path too long for a socket gets one in /tmp, which goes with the server."""
    long = tmp_path / ("a directory, with 'quotes' and ünicode " + "x" * 60)

    with EmbeddedPostgres(data_dir) as one, EmbeddedPostgres(long) as two:
        assert one.url() != two.url()
        assert ask(one, "SELECT 1") == ask(two, "SELECT 1") == "1"
        socket = ask(two, "SHOW unix_socket_directories")
        assert stat.S_IMODE(Path(socket).stat().st_mode) == 0o700

    assert socket.startswith("/tmp/sealtrail-")
    assert not Path(socket).exists()
    assert not processes(long)


def test_a_first_start_that_was_interrupted_is_begun_again(tmp_path):
    """A half-made cluster is never taken for a whole one."""
    user = ServerUser.for_cluster(tmp_path / "server")
    user.give(tmp_path / "server")
    user.give(tmp_path / "server/cluster.new")
    (tmp_path / "server/cluster.new/PG_VERSION").write_text("18\n")

    with EmbeddedPostgres(tmp_path) as postgres:
        assert ask(postgres, "SELECT 1") == "1"


def test_a_cluster_of_another_version_is_named(tmp_path):
    """Upgrading data is not what a start does on the side."""
    user = ServerUser.for_cluster(tmp_path / "server")
    user.give(tmp_path / "server")
    user.give(tmp_path / "server/cluster")
    (tmp_path / "server/cluster/PG_VERSION").write_text("16\n")

    with pytest.raises(EmbeddedUnavailable, match="PostgreSQL 16"):
        EmbeddedPostgres(tmp_path).start()


def test_a_damaged_cluster_says_what_postgresql_said(tmp_path):
    """The end of the server's log is in the error."""
    user = ServerUser.for_cluster(tmp_path / "server")
    user.give(tmp_path / "server")
    user.give(tmp_path / "server/cluster")
    (tmp_path / "server/cluster/PG_VERSION").write_text("18\n")

    with pytest.raises(EmbeddedUnavailable, match=r"postgresql\.conf"):
        EmbeddedPostgres(tmp_path).start()


def test_without_the_wheel_the_error_says_what_to_install(tmp_path, monkeypatch):
    """Or which setting to use instead."""
    monkeypatch.setattr(embedded_user, "find_spec", lambda _name: None)

    with pytest.raises(EmbeddedUnavailable, match=r"\[embedded\].*SEALTRAIL_DATABASE_URL"):
        EmbeddedPostgres(tmp_path).start()


def test_a_path_that_a_shell_would_read_differently_is_refused(tmp_path):
    """pg_ctl puts the path into a shell command."""
    for char in ('"', "$", "`", "\\"):
        with pytest.raises(EmbeddedUnavailable):
            EmbeddedPostgres(tmp_path / f"a{char}b")


def test_a_directory_that_cannot_be_used_is_unavailable(tmp_path):
    """A file in its place."""
    (tmp_path / "file").write_bytes(b"")

    with pytest.raises(EmbeddedUnavailable):
        EmbeddedPostgres(tmp_path / "file" / "data").start()


@root_only
def test_no_directory_above_the_data_changes_its_mode(tmp_path):
    """PostgreSQL runs as another user; root's closed directories stay closed, also meanwhile."""
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    above = [closed, *closed.parents]
    before = [path.stat().st_mode for path in above]

    with EmbeddedPostgres(closed / "data") as postgres:
        assert ask(postgres, "SELECT 1") == "1"
        meanwhile = [path.stat().st_mode for path in above]
        owners = set(processes(closed / "data").values())

    assert meanwhile == before
    assert owners == {pwd.getpwnam(embedded_user.ACCOUNT).pw_uid}


@root_only
def test_programs_in_a_closed_directory_are_copied_once(monkeypatch):
    """A virtual environment below /root cannot be reached by the user who runs PostgreSQL."""
    bundled = embedded_user._bundled()
    user = ServerUser.for_cluster(Path("/nonexistent"))
    with tempfile.TemporaryDirectory() as closed, tempfile.TemporaryDirectory() as cache:
        Path(cache).chmod(0o755)
        package = Path(closed) / embedded_user.WHEEL
        for source, copy in (
            (bundled.parent, package / bundled.parent.name),
            (
                bundled.parents[2] / f"{package.name}.libs",
                package.with_name(f"{package.name}.libs"),
            ),
        ):
            shutil.copytree(source, copy, copy_function=os.link)
        monkeypatch.setattr(embedded_user, "_CACHE", Path(cache) / "sealtrail")
        monkeypatch.setattr(
            embedded_user, "_bundled", lambda: package / bundled.parent.name / "bin"
        )

        programs = user.programs()

        assert programs.is_relative_to(cache)
        made = programs.stat().st_mtime_ns
        assert user.programs() == programs
        assert programs.stat().st_mtime_ns == made
        assert len(list((Path(cache) / "sealtrail").iterdir())) == 1
        for path in Path(cache).rglob("*"):
            assert path.is_symlink() or not path.stat().st_mode & 0o022
            assert path.lstat().st_uid == 0


@root_only
def test_an_ordinary_user_has_one_at_the_same_time(data_dir, postgres):
    """Neither shuts the other out, and nobody needs root."""
    python = next(
        (name for name in (sys.executable, "/usr/bin/python3") if _runs_as_nobody(name)), None
    )
    if python is None:
        pytest.skip("no Python that user nobody may run")
    with tempfile.TemporaryDirectory() as place:
        os.chown(place, 65534, 65534)
        libraries = embedded_user._bundled().parents[2]
        program = OWNER.replace("sys.stdin.read()", "pass")
        ran = subprocess.run(
            [python, "-c", textwrap.dedent(program), place],
            env={"PYTHONPATH": f"{HOUSE}:{HOUSE / 'client'}:{libraries}"}, cwd="/",
            check=False, capture_output=True, text=True, user=65534, group=65534, extra_groups=[],
        )  # fmt: skip

        assert ran.stderr == ""
        assert ran.stdout.startswith("postgresql://postgres@/postgres?host=")
        assert Path(place, "server/cluster").stat().st_uid == 65534
        assert not processes(Path(place))
    assert ask(postgres, "SELECT 1") == "1"
    assert processes(data_dir)


def _runs_as_nobody(python: str) -> bool:
    try:
        done = subprocess.run(
            [python, "-c", "import sys; sys.path.append(sys.argv[1]); import ledger", str(HOUSE)],
            check=False, capture_output=True, cwd="/", user=65534, group=65534, extra_groups=[],
        )  # fmt: skip
    except OSError:
        return False
    return done.returncode == 0
