# SPDX-License-Identifier: GPL-3.0-or-later
"""Acceptance: with PostgreSQL down nothing is promised; a retry after its return counts once."""

import os
import shutil
import signal
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from dev_ledger import eventually
from house import attempt, house_in
from served_house import serving

from ledger import access
from ledger.embedded import EmbeddedPostgres

DEPENDENCY = "PostgreSQL"


class OwnPostgres:
    """A database of this file's own, which it may kill and start again."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._users = [EmbeddedPostgres(directory)]
        self._users[0].start()

    def url(self, **options: str) -> str:
        return self._users[-1].url(**options)

    def kill(self) -> None:
        """End it as the out-of-memory killer does: at once, with all it had not written."""
        cluster = self.directory / "server" / "cluster"
        pid = int((cluster / "postmaster.pid").read_text().split()[0])
        os.kill(pid, signal.SIGKILL)
        eventually(lambda: _has_ended(pid))

    def start(self) -> None:
        self._users.append(EmbeddedPostgres(self.directory))
        self._users[-1].start()

    def stop(self) -> None:
        for user in self._users:
            user.stop()


def _has_ended(pid: int) -> bool:
    """Whether a process is gone, or a zombie that nobody has waited for."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


@pytest.fixture(scope="module")
def database():
    # A short path: the socket's must fit, and stay the same when the server starts again.
    directory = Path(tempfile.mkdtemp(prefix="sealtrail-down-"))
    directory.chmod(0o755)
    postgres = OwnPostgres(directory / "postgres")
    yield postgres
    postgres.stop()
    shutil.rmtree(directory)


@pytest.fixture(scope="module")
def own(database, tmp_path_factory):
    with house_in(database, tmp_path_factory.mktemp("down")) as house, serving(house) as made:
        yield made


def test_with_the_database_down_there_is_no_promise_and_a_retry_counts_once(own, database):
    """PostgreSQL is killed and comes back.

    Kind: gone
    Ingest: refused with 503 and Retry-After until it is back, with reads; no restart is needed
    Lost: nothing; a request sent again counts once
    Operator: `/readyz` red, `/livez` green
    """
    receipt = own.post(attempt()).json()
    request = attempt()
    database.kill()

    began = time.monotonic()
    asks = [
        lambda: own.post(request),
        lambda: own.post([request, attempt()], "/v1/events:batch"),
        lambda: own.get(f"/v1/events/{receipt['event_id']}"),
        lambda: own.ask("GET", "/readyz"),
        lambda: own.ask("GET", "/livez"),
    ]
    with ThreadPoolExecutor(len(asks)) as pool:
        *refused, ready, alive = pool.map(lambda ask: ask(), asks)

    for answer in (*refused, ready):
        assert answer.status_code == 503, answer.text[:300]
        assert answer.headers["content-type"] == "application/problem+json"
        assert int(answer.headers["retry-after"]) >= 1
        assert "postgres" not in answer.json()["detail"].replace("PostgreSQL", "")
    assert ready.json()["code"] == "not-ready"
    assert alive.status_code == 200
    assert time.monotonic() - began < 30

    database.start()
    eventually(lambda: own.ask("GET", "/readyz").status_code == 200, seconds=30)
    again = own.post(request)
    twice = own.post(request)

    assert again.status_code in (200, 201)  # 200: the COMMIT was done, and its answer lost.
    assert twice.status_code == 200
    assert twice.json()["position"] == again.json()["position"]
    assert own.size == again.json()["position"] + 1
    assert own.get(f"/v1/events/{receipt['event_id']}").status_code == 200


def test_many_clients_are_all_answered_soon_while_it_is_down(own, database):
    """PostgreSQL is down, and a hundred clients send at once, with known tokens or not.

    Kind: crowd
    Ingest: refused with 503 within seconds; nobody queues behind another's time-out
    Lost: nothing
    Operator: `/readyz` red, `/livez` green
    """
    own.post(attempt())
    database.kill()
    time.sleep(access.CACHE_S)
    answers = []
    began = time.monotonic()

    def send():
        answers.append(own.post(attempt()).status_code)

    threads = [threading.Thread(target=send) for _ in range(100)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    took = time.monotonic() - began
    alive = own.ask("GET", "/livez").status_code
    database.start()
    eventually(lambda: own.ask("GET", "/readyz").status_code == 200, seconds=30)

    assert set(answers) == {503}
    assert len(answers) == 100
    assert alive == 200
    assert took < 12
    request = attempt()
    eventually(lambda: own.post(request).status_code == 201)


def test_killed_under_load_every_receipt_is_kept_and_nothing_is_there_twice(own, database):
    """PostgreSQL is killed under load, before some COMMITs and after others.

    Kind: gone
    Ingest: refused with 503 until it is back
    Lost: nothing; every receipt is kept, and whoever got none sends again and has one
    Operator: `/readyz` red while it lasts
    """
    sent, receipts, stop = [], {}, threading.Event()

    def send():
        while not stop.is_set():
            request = attempt()
            sent.append(request)
            answer = own.post(request)
            if answer.status_code == 201:
                receipts[request["event_id"]] = answer.json()
            else:
                assert answer.status_code == 503, answer.text[:300]

    threads = [threading.Thread(target=send) for _ in range(6)]
    for thread in threads:
        thread.start()
    eventually(lambda: len(receipts) > 8)
    database.kill()
    stop.set()
    for thread in threads:
        thread.join()
    database.start()
    eventually(lambda: own.ask("GET", "/readyz").status_code == 200, seconds=30)
    # A session that was idle when its server died is found dead by who writes next: one more 503.
    eventually(lambda: own.post(sent[0]).status_code in (200, 201))

    assert receipts
    for request in sent:
        answer = own.post(request)
        before = receipts.get(request["event_id"])
        said = (answer.status_code, answer.text[:300])
        assert said[0] == 200 if before else said[0] in (200, 201), said
        if before:
            assert answer.json()["position"] == before["position"]
            assert answer.json()["leaf"] == before["leaf"]
    entries = own.house.book.reader.between(0, own.size)
    ids = [one.entry.event_id for one in entries]
    assert len(ids) == len(set(ids))
    assert {request["event_id"] for request in sent} <= set(ids)
