# SPDX-License-Identifier: GPL-3.0-or-later
"""What all tests share lies beside this file, which puts its folder on the path.

The server is imported inside the fixtures: tests of the verifier alone must run without it.

SEALTRAIL_TEST_POSTGRES=debian15 runs whatever asks for `postgres` on Debian's PostgreSQL 15
instead of the embedded one; `-m database` selects just these tests.
"""

import os
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# How long an example takes says more about who else is at work on this machine than about ours.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")

#: Files that take long, the longest first. One that began last would be all that still runs.
LONG = (
    "kills/test_kill_load.py",
    "test_docs.py",
    "scripts/test_commands.py",
    "rotation/test_killed_rotation.py",
    "attacks/test_attack_command.py",
    "restore/test_restore_again.py",
    "anchoring/test_two_years.py",
    "test_deployment.py",
    "scripts/test_desk_commands.py",
    "scripts/test_custody_commands.py",
    "ledger/test_shapes.py",
    "api/test_lost_answer.py",
    "simulation/test_simulation.py",
    "anchoring/test_retention_sweep.py",
    "scripts/test_backup_command.py",
    "api/test_database_down.py",
    "scripts/test_restore_command.py",
    "verify/test_verifier.py",
    "restore/test_rewound_database.py",
    "fail_closed/test_fail_closed.py",
    "ledger/test_s3_archive.py",
    "scripts/test_rotate_commands.py",
    "vault/test_vault_lives.py",
)

#: Bytes that the run's PostgreSQL may need; three processes have one each.
ROOM = 4 * 1024**3


def pytest_configure(config):
    config.addinivalue_line("markers", "database: works in the run's one PostgreSQL; never by hand")


def pytest_collection_modifyitems(items):
    """Long files first; and mark every test that asks, however indirectly, for `postgres`."""
    here = Path(__file__).parent
    rank = {here / name: number for number, name in enumerate(LONG)}
    items.sort(key=lambda item: rank.get(item.path, len(rank)))
    for item in items:
        found = item._fixtureinfo.name2fixturedefs.get("postgres", ())
        if found and found[-1].func.__module__ == postgres.__module__:
            item.add_marker("database")


def pytest_terminal_summary(terminalreporter):
    """Print each number that chance chose in this run, so that anybody can choose it again."""
    for report in terminalreporter.stats.get("passed", []):
        for name, value in report.user_properties:
            if name == "seed":
                terminalreporter.write_line(f"chance: {value}")


@pytest.fixture(scope="session")
def postgres(tmp_path_factory):
    """One real PostgreSQL for the whole run; every test has its own tenant in it."""
    wanted = os.environ.get("SEALTRAIL_TEST_POSTGRES", "embedded")
    if wanted == "debian15":
        from debian_postgres import DebianPostgres

        with DebianPostgres(memory() or Path("/tmp")) as running:
            yield running
        return
    assert wanted == "embedded", "SEALTRAIL_TEST_POSTGRES is embedded or debian15"
    from ledger.embedded import EmbeddedPostgres

    if memory() is None:
        with EmbeddedPostgres(tmp_path_factory.mktemp("postgres") / "data") as running:
            yield unswept(running)
        return
    with (
        tempfile.TemporaryDirectory(prefix="sealtrail-", dir=memory()) as directory,
        EmbeddedPostgres(Path(directory, "data")) as running,
    ):
        yield unswept(running)


def unswept(running):
    """The same server without autovacuum, which would go through sixty thousand tables in turn."""
    import psycopg

    with psycopg.connect(running.url(), autocommit=True) as owner:
        owner.execute("ALTER SYSTEM SET autovacuum = off")
        owner.execute("SELECT pg_reload_conf()")
    return running


def memory():
    """Where files of this machine's memory lie, if there is room for a server's.

    What a crash leaves on a disk is asked by tests that start servers of their own. All others
    make a hundred tables each, for which a disk takes half of their time.
    """
    found = Path("/dev/shm")
    return found if found.is_dir() and shutil.disk_usage(found).free >= ROOM else None


@pytest.fixture(scope="session")
def authority(tmp_path_factory):
    """One real time-stamping authority for the whole run."""
    from anchoring.authority import LocalAuthority, make_authority

    directory = tmp_path_factory.mktemp("authority") / "tsa"
    make_authority(directory)
    with LocalAuthority(directory) as running:
        yield running


@pytest.fixture(scope="session")
def ceph():
    """One real S3 with Object Lock for the whole run; every test makes its own bucket."""
    from ceph_bucket import Buckets
    from ceph_gateway import CephGateway

    with CephGateway() as gateway:
        yield Buckets(gateway)


@pytest.fixture
def bucket(ceph):
    """A bucket that locks everything in compliance mode."""
    made = ceph.bucket()
    yield made
    made.client.close()


@pytest.fixture(scope="session")
def pattern(postgres):
    """What the databases of single tests are copies of."""
    from house_pattern import Pattern

    return Pattern(postgres)


@pytest.fixture
def house(pattern, tmp_path):
    """A fresh tenant with both of its Books."""
    from house import house_in

    with house_in(pattern, tmp_path) as made:
        yield made


@pytest.fixture
def noon(pattern, tmp_path):
    """A fresh tenant whose clock stands at noon, four days ago, until `noon.now_ms` is moved.

    So it may be moved by three days at any hour: no time-stamp authority stamps what is to come.
    """
    from house import Hand, house_in, noon_before

    with house_in(pattern, tmp_path, now_ms=Hand(noon_before(4))) as made:
        yield made
