# SPDX-License-Identifier: GPL-3.0-or-later
"""The database goes back under the ledger: a copied directory, a standby that lagged, a recovery.

Real servers and real copies. In every case a process that was there before writes nothing more, at
once or with its first look, answers so, and signs nothing; `restore --accept` is the way on.
"""

import pytest
from clusters import Cluster, site, wait_until
from cut_line import line_to
from house import attempt, house_in
from psycopg.conninfo import conninfo_to_dict
from restoring import accept, as_file, look, post
from served_house import serving

from anchoring.fsck import Fsck
from anchoring.restored_receipt import judge_receipt
from ledger.errors import HistoryRewritten, IntegrityViolation, Unavailable


class Through:
    """A PostgreSQL as a house knows it, at an address that can lead to another server."""

    def __init__(self, cluster, line):
        self._cluster, self._line = cluster, line

    def url(self, user="postgres", dbname="postgres"):
        _, _, where = self._line.url.partition("?")
        return f"postgresql://{user}@/{dbname}?{where}"

    def lead_to(self, cluster):
        self._line._upstream = conninfo_to_dict(cluster.url())


@pytest.fixture(scope="module")
def primary():
    """A server with an archive, and a place for its copies."""
    with site() as (here, keep):
        yield keep(Cluster(here, "one").make().start()), keep


@pytest.fixture
def moved(primary, tmp_path):
    """A house that reaches its server through a line that can be led elsewhere."""
    server, keep = primary
    with line_to(server.url()) as line:
        address = Through(server, line)
        with house_in(address, tmp_path) as house:
            yield house, server, keep, address


def wait_for_refusal(house):
    """Post until the writer has noticed: what goes before is 503, the line is being changed."""
    for _ in range(20):
        try:
            house.post(attempt())
        except Unavailable:
            continue
        except IntegrityViolation as error:
            return error
        pytest.fail("an entry was recorded")
    return None


def test_a_rewound_database_stops_the_running_server(moved):
    """The server of a tenant keeps running while its database is stopped, replaced by a copy of
    yesterday and started: POST answers 500, /readyz is red, nothing is signed, and a restart
    changes nothing. After `restore --accept` a new process records again.
    """
    house, server, _, _ = moved
    with serving(house) as service:
        assert service.post(attempt()).status_code == 201
        server.stop()
        aside = server.copied()
        server.start()
        lost = []
        for _ in range(3):
            answer = service.post(attempt())
            while answer.status_code == 503:  # It is just back.
                answer = service.post(attempt())
            lost.append(answer)
        last_word, _ = house.store.read(house.origin)
        server.stop()
        server.put_back(aside)
        server.start()

        answers = [service.post(attempt()) for _ in range(4)]
        ready = service.ask("GET", "/readyz")

        assert {one.status_code for one in answers} <= {500, 503}
        assert answers[-1].status_code == 500
        assert answers[-1].json()["code"] == "history-rewritten"
        assert ready.status_code == 503
        assert "history-rewritten" in ready.text
        assert house.store.read(house.origin)[0] == last_word
    house.reopen()
    with pytest.raises(HistoryRewritten, match="restore --accept"):
        house.shelf.book(house.tenant)
    assert look(house).orphaned == (1, 4)
    accept(house)
    house.reopen()
    post(house, attempt())
    assert judge_receipt(lost[0].content, [house.book]).verdict == "orphaned by restore"


def test_a_failover_to_a_standby_that_lagged_stops_the_writer(moved):
    """A streaming standby is promoted without the last acknowledged entries, behind the address at
    which the ledger looks. Synchronous replication would have kept them; `doctor` says so.
    """
    house, server, keep, address = moved
    kept = post(house, attempt(), attempt())
    standby = keep(server.backup("two", "--wal-method=stream"))
    standby.configure("standby", primary_conninfo=f"host={server.socket} user=postgres")
    standby.start()
    kept += post(house, attempt())
    written = server.ask("SELECT pg_current_wal_flush_lsn()")
    wait_until(lambda: standby.ask(f"SELECT pg_last_wal_replay_lsn() >= '{written}'"))
    standby.stop()
    lost = post(house, attempt(), attempt())

    server.stop("immediate")
    address.lead_to(standby)
    standby.start().promote()
    error = wait_for_refusal(house)

    assert isinstance(error, HistoryRewritten)
    house.reopen()
    assert look(house).orphaned == (3, 5)
    accept(house)
    house.reopen()
    post(house, attempt())
    verdicts = [judge_receipt(as_file(one), [house.book]).verdict for one in (*kept, *lost)]
    assert verdicts == ["in the log"] * 3 + ["orphaned by restore"] * 2
    standby.stop()
    server.start()


def test_a_recovery_to_a_point_in_time_is_not_served_until_it_is_accepted(moved):
    """A base backup and the archived WAL up to a named point: no process opens the Book, until
    `restore --accept`; then everything that survived is sound, access Book included.
    """
    house, server, keep, address = moved
    post(house, attempt())
    recovered = keep(server.backup("three", "--wal-method=none"))
    kept = post(house, attempt())
    server.ask("SELECT pg_create_restore_point('before')::text")
    lost = post(house, attempt(), attempt())
    segment = server.ask("SELECT pg_walfile_name(pg_switch_wal())")
    wait_until((server.site.directory / "archive" / segment).exists)
    recovered.configure(
        "recovery",
        restore_command=f"cp {server.site.directory}/archive/%f %p",
        recovery_target_name="before",
        recovery_target_action="promote",
        recovery_target_timeline="current",
    )
    address.lead_to(recovered)
    recovered.start()
    wait_until(lambda: recovered.ask("SELECT NOT pg_is_in_recovery()"))
    house.close()
    house.shelf = house.second_process()
    house.database = house.shelf.database

    with pytest.raises(HistoryRewritten, match="restore --accept"):
        house.shelf.book(house.tenant)
    assert house.shelf.book(f"{house.tenant}-access").origin == f"{house.origin}/access"
    accept(house)
    house.reopen()
    post(house, attempt())

    assert Fsck(house.book).run().damage == []
    verdicts = [judge_receipt(as_file(one), [house.book]).verdict for one in (*kept, *lost)]
    assert verdicts == ["in the log", "orphaned by restore", "orphaned by restore"]
    recovered.stop()
