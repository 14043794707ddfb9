# SPDX-License-Identifier: GPL-3.0-or-later
"""Rows of the fault matrix: PostgreSQL, where entries, chosen anchors and time stamps are kept."""

import os
import signal
import subprocess
import tempfile
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from answers import is_ready, kept, refused
from cut_line import line_to
from dev_ledger import eventually
from failing_disk import fill
from house import attempt, house_in
from served_house import serving

from anchoring.anchors import Anchors
from anchoring.night import Night
from ledger.database import Database
from ledger.errors import Unavailable
from ledger.writer import Limits

#: A full disk moves fifty tables; once is enough.
pytestmark = pytest.mark.once

DEPENDENCY = "PostgreSQL"
DOWN = "ledger-unavailable"

by_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small file system")


@pytest.fixture(scope="module")
def line(pattern, tmp_path_factory):
    """A served tenant whose every connection to the database goes over a line that can be cut."""
    with (
        house_in(pattern, tmp_path_factory.mktemp("line")) as house,
        line_to(house.app_url) as line,
    ):
        house.shelf = house.second_process(database=Database(line.url))
        house.database = house.shelf.database
        with serving(house) as service:
            service.line = line
            yield service
        house.close()


def cut(service, request, when):
    """Cut the line when the entry of this request is sent, and post it."""
    cuts = service.line.cut
    service.line.cut_at(b'"event_id":"' + request["event_id"].encode(), when)
    problem = refused(service, request)
    assert service.line.cut == cuts + 1
    return problem


_OTHERS_AT_WORK = """
SELECT count(*) FROM pg_stat_activity
 WHERE datname = current_database() AND pid <> pg_backend_pid() AND state = 'active'
"""


def sessions(service, name):
    """The server's processes behind the sessions of one sort of this ledger."""
    with service.house.owner() as owner:
        found = owner.execute(
            "SELECT pid FROM pg_stat_activity"
            " WHERE application_name = %s AND datname = current_database()",
            (f"sealtrail writer {service.house.schema}"[:63] if name == "writer" else "sealtrail",),
        ).fetchall()
    return [pid for (pid,) in found]


def test_a_commit_that_never_arrived(line):
    """The connection is cut before the statement reaches PostgreSQL.

    Kind: failed, not persisted
    Write: entries
    Ingest: this request is refused with 503; the next one is recorded
    Lost: nothing; sent again it is recorded
    Operator: 503 `ledger-unavailable` for the requests of one batch
    """
    kept(line, attempt())
    request, size = attempt(), line.size

    problem = cut(line, request, "before")

    assert (problem, line.size) == (DOWN, size)
    assert line.post(request).status_code == 201
    assert line.size == size + 1


def test_a_commit_whose_answer_was_lost(line):
    """The connection is cut after the COMMIT was done, before PostgreSQL's answer is heard.

    Kind: reported as failed, persisted
    Write: entries
    Ingest: this request is refused with 503; sent again it is answered 200
    Lost: nothing; the entry is there once, and kept
    Operator: 503 `ledger-unavailable` for the requests of one batch
    """
    kept(line, attempt())
    request, size = attempt(), line.size

    problem = cut(line, request, "after")

    assert problem == DOWN
    eventually(lambda: line.size == size + 1)
    again = line.post(request)
    assert (again.status_code, again.headers["sealtrail-repeat"]) == (200, "true")
    assert (again.json()["position"], line.size) == (size, size + 1)


def test_two_cuts_in_a_row(line):
    """The request's COMMIT does not arrive, and the answer to its retry is lost.

    Kind: two in a row
    Ingest: refused with 503 twice, then answered 200
    Lost: nothing; the entry is there once, and kept
    Operator: 503 `ledger-unavailable` for the requests of two batches
    """
    kept(line, attempt())
    request, size = attempt(), line.size

    problems = [cut(line, request, "before"), cut(line, request, "after")]

    assert problems == [DOWN, DOWN]
    assert kept(line, request)["position"] == size
    assert line.size == size + 1


@pytest.fixture
def night(noon, authority):
    """A closed day, and a night whose connections to the database go over a line."""
    noon.post(attempt())
    noon.now_ms.move(days=1)
    with line_to(noon.app_url) as line:
        shelf = noon.second_process(database=Database(line.url))
        tsa = authority.authority()
        book = shelf.book(noon.tenant)
        yield noon, line, lambda: list(Night(book, [tsa]).catch_up(noon.now_ms()))
        shelf.close()
        shelf.database.close()


def anchors_of(house):
    found = [one.entry.value["body"] for one in house.book.reader.of_topic("ANCHOR/1")]
    return [(one["kind"], len(one["tokens"])) for one in found]


CHOICE, TOKEN = b".anchor (", b".token ("  # As the two statements name their tables.


def cut_night(night, marker, when):
    """Break the night off at a statement, and return what was there then and after the next one."""
    house, line, run = night
    schema = f'"{house.schema}"'.encode()
    line.cut_at(schema + marker, when)
    with pytest.raises(Unavailable):
        run()
    assert line.cut == 1
    anchor_id = next((one.anchor_id for one in Anchors(house.book).newest_days()), None)
    with house.owner() as owner:  # A statement that nobody waits for any more goes on.
        eventually(lambda: owner.execute(_OTHERS_AT_WORK).fetchone() == (0,))
    tokens = [] if anchor_id is None else Anchors(house.book).tokens(anchor_id)
    there = (anchor_id is not None, len(tokens))
    run()
    return there


def test_a_chosen_anchor_that_was_not_kept(night):
    """The connection is cut before the choice of what is stamped arrives.

    Kind: failed, not persisted
    Write: chosen anchor
    Ingest: goes on
    Lost: nothing; nobody was asked yet, and the next night chooses
    Operator: one error line of the scheduler
    """
    assert cut_night(night, CHOICE, "before") == (False, 0)
    assert anchors_of(night[0]) == [("day", 1)]


def test_a_chosen_anchor_whose_answer_was_lost(night):
    """The connection is cut after the choice of what is stamped was committed.

    Kind: reported as failed, persisted
    Write: chosen anchor
    Ingest: goes on
    Lost: nothing; the next night stamps what was chosen, byte for byte
    Operator: one error line of the scheduler
    """
    assert cut_night(night, CHOICE, "after") == (True, 0)
    assert anchors_of(night[0]) == [("day", 1)]


def test_a_time_stamp_that_was_not_kept(night):
    """The authority's reply is verified, and the connection cut before it is kept.

    Kind: failed, not persisted
    Write: time-stamp reply
    Ingest: goes on
    Lost: one token; the next night asks for another over the same bytes
    Operator: one error line of the scheduler
    """
    assert cut_night(night, TOKEN, "before") == (True, 0)
    assert anchors_of(night[0]) == [("day", 1)]


def test_a_time_stamp_whose_keeping_was_not_confirmed(night):
    """The connection is cut after the authority's reply was kept.

    Kind: reported as failed, persisted
    Write: time-stamp reply
    Ingest: goes on
    Lost: nothing; the next night uses the token that it finds
    Operator: one error line of the scheduler
    """
    assert cut_night(night, TOKEN, "after") == (True, 1)
    assert anchors_of(night[0]) == [("day", 1)]


@contextmanager
def small_tablespace(house):
    """Have the bodies of a Book's entries lie on a disk of one megabyte."""
    place = Path(tempfile.mkdtemp(prefix="sealtrail-small-", dir="/tmp"))
    with house.owner() as owner:
        user = Path(f"/proc/{owner.info.backend_pid}").stat()  # As whom PostgreSQL runs.
        options = f"size=1m,mode=700,uid={user.st_uid},gid={user.st_gid}"
        subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", place], check=True)
        name = f"small_{house.schema}"
        bodies = owner.execute(
            "SELECT c.oid::regclass::text FROM pg_class c JOIN pg_namespace n"
            " ON n.oid = relnamespace WHERE nspname = %s AND relkind = 'r'"
            " AND relname LIKE 'entry_body%%'",
            (house.schema,),
        ).fetchall()
        try:
            owner.execute(f"CREATE TABLESPACE {name} LOCATION '{place}'")
            for (table,) in bodies:
                owner.execute(f"ALTER TABLE {table} SET TABLESPACE {name}")
            yield place
            for (table,) in bodies:
                owner.execute(f"ALTER TABLE {table} SET TABLESPACE pg_default")
            owner.execute(f"DROP TABLESPACE {name}")
        finally:
            subprocess.run(["umount", place], check=True)
            place.rmdir()


@by_root
def test_a_full_disk(own):
    """The disk under a table is full; PostgreSQL refuses every insert.

    Kind: full disk
    Ingest: refused with 503 until there is room; reads go on
    Lost: nothing; what was refused was never acknowledged
    Operator: 503 `ledger-unavailable`; PostgreSQL's own log names the disk
    """
    receipts, problems = [own.post(attempt()).json()], set()
    with small_tablespace(own.house) as place:
        filler = fill(place)
        size = own.size
        for _ in range(400):  # The page under way still has room for some.
            answer = own.post(request := attempt())
            if answer.status_code != 201:
                break
            receipts.append(answer.json())
        assert answer.status_code == 503
        problems = {refused(own, request) for _ in range(2)}
        read = own.get(f"/v1/events/{receipts[0]['event_id']}").status_code
        filler.unlink()
        eventually(lambda: own.post(request).status_code in (200, 201))

    assert (problems, read) == ({DOWN}, 200)
    positions = [one["position"] for one in receipts]
    assert positions == list(range(receipts[0]["position"], size + len(receipts) - 1))
    assert kept(own, request)["position"] == own.size - 1 == positions[-1] + 1


def test_a_read_only_database(own):
    """PostgreSQL takes no writes any more, as managed ones do when their disk is nearly full.

    Kind: read-only disk
    Ingest: refused with 503 until it takes writes
    Lost: nothing; what was refused was never acknowledged
    Operator: `/readyz` red (`unsafe-database`), 503 `ledger-unavailable`
    """
    own.post(attempt())
    request = attempt()
    with psycopg.connect(
        own.house.owner_url, autocommit=True, options="-c default_transaction_read_only=off"
    ) as owner:
        owner.execute("ALTER SYSTEM SET default_transaction_read_only = on")
        try:
            owner.execute("SELECT pg_reload_conf()")
            eventually(lambda: not is_ready(own))
            problem, ready = refused(own, request), own.ask("GET", "/readyz").json()["facts"]
        finally:
            owner.execute("ALTER SYSTEM RESET default_transaction_read_only")
            owner.execute("SELECT pg_reload_conf()")

    eventually(lambda: is_ready(own))
    assert problem == DOWN
    assert ready == {"database": "unsafe-database"}
    assert kept(own, request)["position"] == own.size - 1


def test_a_session_that_an_administrator_ends(service):
    """pg_terminate_backend, a failover of a proxy, or a restart between two requests.

    Kind: gone
    Ingest: the next request may be refused with 503 once; the one after it is recorded
    Lost: nothing; sent again it is recorded once
    Operator: at most one 503 for each server process and Book
    """
    kept(service, attempt())
    request, size = attempt(), service.size
    with service.house.owner() as owner:
        for pid in sessions(service, "writer"):
            owner.execute("SELECT pg_terminate_backend(%s, 5000)", (pid,))

    answers = [service.post(request).status_code for _ in range(2)]

    assert answers in ([503, 201], [201, 200])
    assert service.size == size + 1


def test_a_server_that_hangs(service):
    """PostgreSQL neither answers nor closes the connection: its disk stalls, its host swaps.

    Kind: slow
    Ingest: waits, and is answered when it goes on; beyond the queue it is refused with 503
    Lost: nothing; a client that gives up sends the same request again
    Operator: `sealtrail_writer_waiting` grows; `/livez` answers
    """
    kept(service, attempt())
    (pid,) = sessions(service, "writer")
    request, answers = attempt(), []
    os.kill(pid, signal.SIGSTOP)
    try:
        thread = threading.Thread(target=lambda: answers.append(service.post(request)))
        thread.start()
        alive = service.ask("GET", "/livez").status_code
        waiting = f'sealtrail_writer_waiting{{book="{service.house.tenant}"}} 1'
        eventually(lambda: waiting in service.ask("GET", "/metrics").text)
        thread.join(timeout=0.3)
        waited = not answers
    finally:
        os.kill(pid, signal.SIGCONT)
    thread.join()

    assert (alive, waited) == (200, True)
    assert answers[0].status_code == 201


def test_more_than_can_wait(pattern, tmp_path):
    """PostgreSQL hangs until as many events wait as may.

    Kind: crowd
    Ingest: what waits is recorded later; what is beyond is refused with 503 at once
    Lost: nothing; nothing that was taken is dropped
    Operator: 503 `overloaded`, `sealtrail_writer_waiting` at its limit
    """
    with house_in(pattern, tmp_path, queue_max=4) as house, serving(house) as service:
        house.shelf._limits = Limits(queue_max=4)
        kept(service, attempt())
        (pid,) = sessions(service, "writer")
        taken = [attempt() for _ in range(4)]
        os.kill(pid, signal.SIGSTOP)
        try:
            first = house.book.record([house.prepare(taken[0])])
            others = house.book.record([house.prepare(one) for one in taken[1:]])
            began = time.monotonic()
            problem = refused(service, attempt())
            took = time.monotonic() - began
        finally:
            os.kill(pid, signal.SIGCONT)

        assert (problem, took < 1) == ("overloaded", True)
        assert len(first.result(timeout=10) + others.result(timeout=10)) == 4
        assert service.size == 5
