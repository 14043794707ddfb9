# SPDX-License-Identifier: GPL-3.0-or-later
"""The two slots of a stored checkpoint: one of them is whole and durable at every moment."""

import errno
import os
from pathlib import Path

import pytest
from test_checkpoint_store import ORIGIN, TRUE, never, open_store, stored_file

from anchoring.checkpoint_store import StoreUnavailable
from ledger import durable
from ledger.errors import IntegrityViolation


@pytest.fixture
def directory(tmp_path):
    return tmp_path / "checkpoints"


@pytest.fixture
def store(directory):
    """A store that holds the empty log."""
    store = open_store(directory)
    store.initialise(ORIGIN, TRUE.note(0))
    return store


def slots(directory: Path) -> list[bytes]:
    data = stored_file(directory).read_bytes()
    assert len(data) == 8_192
    return [data[:4_096].rstrip(b"\0"), data[4_096:].rstrip(b"\0")]


def test_the_newer_note_is_never_written_over(store, directory):
    """Each put takes the place of the older of the two."""
    for size in range(1, 7):
        store.put(ORIGIN, TRUE.note(size), TRUE.prove)

        assert sorted(slots(directory)) == sorted([TRUE.note(size), TRUE.note(size - 1)])
        assert slots(directory)[size % 2] == TRUE.note(size)


def test_a_file_of_one_note_alone_is_read_and_gets_slots(store, directory):
    """As the store once wrote them, and as an operator may put one there."""
    stored_file(directory).write_bytes(TRUE.note(5))
    other = open_store(directory)

    assert other.read(ORIGIN) == (TRUE.note(5), store.read(ORIGIN)[1])
    assert other.put(ORIGIN, TRUE.note(6), TRUE.prove).size == 6
    assert slots(directory) == [TRUE.note(5), TRUE.note(6)]


def test_every_changed_byte_of_the_stored_file_is_seen(directory, store):
    """No byte of the file is decoration: neither slot's note, nor the zeros after it."""
    store.put(ORIGIN, TRUE.note(5), never)
    path = stored_file(directory)
    original = path.read_bytes()
    length = len(TRUE.note(5))
    places = [*range(length + 2), *range(4_094, 4_096 + length + 2), 8_191]

    for index in places:
        changed = original[:index] + bytes([original[index] ^ 1]) + original[index + 1 :]
        path.write_bytes(changed)
        for reader in (store, open_store(directory)):
            with pytest.raises(IntegrityViolation):
                reader.read(ORIGIN)


@pytest.mark.parametrize("failing", ["pwrite", "fdatasync"])
def test_a_disk_error_leaves_the_old_or_the_new_and_a_retry_makes_it_sure(
    directory, store, monkeypatch, failing
):
    """Else a receipt could leave for a checkpoint that a power failure takes back."""
    store.put(ORIGIN, TRUE.note(4), never)

    def broken(*_arguments):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patch:
        patch.setattr(os, failing, broken)
        with pytest.raises(StoreUnavailable):
            store.put(ORIGIN, TRUE.note(5), TRUE.prove)
    left = 5 if failing == "fdatasync" else 4
    assert open_store(directory).read(ORIGIN)[1].size == left

    synced = []
    real = durable.sync_data
    monkeypatch.setattr(durable, "sync_data", lambda what: (synced.append(what), real(what))[1])
    assert store.put(ORIGIN, TRUE.note(5), TRUE.prove).size == 5
    assert store.put(ORIGIN, TRUE.note(5), TRUE.prove).size == 5

    assert len(synced) == 1


def test_what_another_process_wrote_is_made_sure_before_the_older_is_written_over(
    directory, store, monkeypatch
):
    """It may have died between its write and the disk's answer: then only the older one is safe."""
    other = open_store(directory)
    other.put(ORIGIN, TRUE.note(4), never)
    written = []
    real = os.pwrite
    monkeypatch.setattr(
        os, "pwrite", lambda *call: (written.append(call[1].rstrip(b"\0")), real(*call))[1]
    )

    store.put(ORIGIN, TRUE.note(6), TRUE.prove)

    assert written == [TRUE.note(4), TRUE.note(6)]


def test_an_accepted_checkpoint_costs_one_fdatasync_and_a_repeated_one_none(store, monkeypatch):
    """The price of a receipt's promise is known: no name, no directory, no fsync."""
    calls = []
    for name in ("fdatasync", "fsync", "rename"):
        real = getattr(os, name)
        monkeypatch.setattr(
            os, name, lambda *call, name=name, real=real: (calls.append(name), real(*call))[1]
        )

    store.put(ORIGIN, TRUE.note(4), never)
    assert calls == ["fdatasync"]
    store.put(ORIGIN, TRUE.note(4), never)
    assert calls == ["fdatasync"]
