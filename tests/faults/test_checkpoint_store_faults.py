# SPDX-License-Identifier: GPL-3.0-or-later
"""Rows of the fault matrix: the checkpoint store, which must accept before a receipt leaves."""

import shutil
import time

import pytest
from administrator import administrator
from answers import is_ready, kept, refused
from failing_disk import failing, full, read_only
from house import attempt

from ledger.errors import HistoryRewritten, IntegrityViolation

#: What is asked here does not depend on which PostgreSQL it is.
pytestmark = pytest.mark.once

DEPENDENCY = "Checkpoint store"


@pytest.fixture
def store(service):
    return service.house.directory / "checkpoints"


def stored_size(service):
    return service.house.second_process().store.read(service.house.origin)[1].size


def test_a_checkpoint_that_was_not_written(service, store):
    """The disk refuses the checkpoint's bytes; the old checkpoint stays.

    Kind: failed, not persisted
    Write: checkpoint
    Ingest: refused with 503 until the store takes checkpoints again
    Lost: nothing; the entry is committed and kept
    Operator: 503 `checkpoint-store-unavailable`, `/readyz` red
    """
    request = attempt()
    kept(service, attempt())
    before = stored_size(service)

    with failing("pwrite", store):
        problem, ready = refused(service, request), is_ready(service)
    again = stored_size(service)

    assert (problem, ready, again) == ("checkpoint-store-unavailable", False, before)
    assert service.size == before + 1
    assert kept(service, request)["position"] == before
    assert is_ready(service)


def test_a_checkpoint_that_was_written_and_nobody_knows(service, store):
    """The new checkpoint is in its place, but the disk does not confirm it.

    Kind: reported as failed, persisted
    Write: checkpoint
    Ingest: this request is refused with 503, the next one makes it sure first
    Lost: nothing; the entry is committed and kept
    Operator: 503 `checkpoint-store-unavailable`
    """
    request = attempt()
    with failing("fdatasync", store, times=1) as disk:
        problem = refused(service, request)
        with failing("fdatasync", store):
            ready = is_ready(service)  # Whoever looks into the store must not take it for safe.
            time.sleep(0.1)  # Nor a writer that was idle.
            unsure = refused(service, request)
        persisted = stored_size(service)

    assert (problem, unsure, disk.count) == ("checkpoint-store-unavailable",) * 2 + (1,)
    assert (ready, persisted) == (False, service.size)
    assert kept(service, request)["position"] == service.size - 1


@pytest.mark.parametrize("call", ["pwrite", "fdatasync", "open"])
def test_two_failures_in_a_row_and_then_a_third(service, store, call):
    """The first try fails, the retry fails, and so does the next.

    Kind: two in a row
    Ingest: refused with 503 each time
    Lost: nothing; the entry is recorded once and kept
    Operator: 503 `checkpoint-store-unavailable`, `/readyz` red while it lasts
    """
    request, size = attempt(), service.size
    with failing(call, store) as disk:
        problems = {refused(service, request) for _ in range(3)}

    assert problems == {"checkpoint-store-unavailable"}
    assert disk.count >= 3
    assert kept(service, request)["position"] == size
    assert service.size == size + 1


def test_a_full_disk(service, store):
    """Not a byte more can be written; a checkpoint takes the place of an older one.

    Kind: full disk
    Ingest: goes on (on a file system that copies what is written over: refused with 503)
    Lost: nothing
    Operator: nothing from this disk; what else lies on it complains
    """
    first = kept(service, attempt())
    with full(store):
        answer, ready = service.post(attempt()), is_ready(service)
        proof = service.public(f"/proofs/{first['position']}").status_code

    assert (answer.status_code, ready, proof) == (201, True, 200)
    assert stored_size(service) == service.size


def test_a_read_only_disk(service, store):
    """The file system was remounted read-only after an error.

    Kind: read-only disk
    Ingest: refused with 503 until it can be written
    Lost: nothing; what was committed is kept
    Operator: `/readyz` red, 503 `checkpoint-store-unavailable`; proofs are still given
    """
    first, request = kept(service, attempt()), attempt()
    with read_only(store):
        problem, ready = refused(service, request), is_ready(service)
        proof = service.public(f"/proofs/{first['position']}").status_code

    assert (problem, ready, proof) == ("checkpoint-store-unavailable", False, 200)
    assert kept(service, request)["position"] == service.size - 1


def test_a_store_that_was_unmounted(service, store):
    """The directory is not there any more.

    Kind: gone
    Ingest: refused with 503 until it is there
    Lost: nothing; what was committed is kept
    Operator: `/readyz` red, 503 `checkpoint-store-unavailable`
    """
    request = attempt()
    shutil.move(store, store.with_name("elsewhere"))
    problem, ready = refused(service, request), is_ready(service)
    shutil.move(store.with_name("elsewhere"), store)

    assert (problem, ready) == ("checkpoint-store-unavailable", False)
    assert kept(service, request)["position"] == service.size - 1


def test_an_empty_directory_in_its_place(own):
    """Another, empty file system is mounted where the store should be.

    Kind: gone
    Ingest: stopped; a start with it is refused, too
    Lost: nothing; once the right store is back, a restart goes on
    Operator: `checkpoint-missing`: 500, `/readyz` red, CRITICAL in the log
    """
    receipt = own.post(attempt()).json()
    store = own.house.directory / "checkpoints"
    shutil.move(store, store.with_name("elsewhere"))
    store.mkdir()

    answer = own.post(attempt())

    assert (answer.status_code, answer.json()["code"]) == (500, "checkpoint-missing")
    assert not is_ready(own)
    with pytest.raises(IntegrityViolation):
        own.house.second_process().book(own.house.tenant)
    store.rename(store.with_name("empty"))
    shutil.move(store.with_name("elsewhere"), store)
    again = own.house.second_process()
    assert own.house.post(attempt(), by=again)[0].row.link.position > receipt["position"]


def test_an_older_backup_under_a_running_server(own):
    """The store's files of an hour ago are put back while the server runs.

    Kind: older backup
    Ingest: stopped: a checkpoint that was held before is gone
    Lost: nothing; a restart finds database and store in agreement and goes on
    Operator: `history-rewritten`: 500, `/readyz` red, CRITICAL in the log
    """
    own.post(attempt())
    path = next((own.house.directory / "checkpoints").glob("*.checkpoint"))
    files = {one: one.read_bytes() for one in path.parent.glob("*.checkpoint")}
    receipt = own.post(attempt()).json()
    for one, data in files.items():
        one.write_bytes(data)

    answer = own.post(attempt())

    assert (answer.status_code, answer.json()["code"]) == (500, HistoryRewritten.problem)
    assert not is_ready(own)
    restarted = own.house.second_process()
    assert own.house.post(attempt(), by=restarted)[0].row.link.position > receipt["position"]


def test_an_older_backup_of_the_database_alone(own):
    """The database is restored to an hour ago; the store was not.

    Kind: older backup
    Ingest: stopped in every process, at start and while it runs
    Lost: the entries since then, from the database; their receipts prove that they were there
    Operator: `history-rewritten`: 500, `/readyz` red; docs/operations.md says how to go on
    """
    own.post(attempt())
    with administrator(own.house) as admin:
        admin.save()
        own.post(attempt())
        admin.restore()

    answer = own.post(attempt())

    assert answer.status_code == 500
    assert answer.json()["code"] == HistoryRewritten.problem
    with pytest.raises(HistoryRewritten):
        own.house.second_process().book(own.house.tenant)
