# SPDX-License-Identifier: GPL-3.0-or-later
"""Every rotation under load, killed with SIGKILL after each thing it does to a key."""

import itertools
import multiprocessing
import os
import signal
import threading
from contextlib import suppress
from types import SimpleNamespace

import pytest
from house import PASSPHRASE, attempt
from rotating import Rotating, believed

from anchoring.fsck import Fsck
from anchoring.rotation import KeyRotation, NothingToEnd, RotationOpen
from anchoring.shelf import Shelf
from ledger.database import Database
from ledger.holds import Holds
from ledger.keystore import FileKeystore
from ledger.writer import Limits
from scripts.assembly import open_store

#: What is asked here does not depend on which PostgreSQL it is.
pytestmark = pytest.mark.once

_PERSONS = 50

_COUNTED = frozenset({"make", "evolve", "sign", "wrap", "unwrap", "destroy"})


class DyingKeys:
    """A keystore whose process is killed once it has done so many things to keys."""

    def __init__(self, keys, deadly):
        self._keys, self._left = keys, deadly

    def __getattr__(self, name):
        method = getattr(self._keys, name)
        if name not in _COUNTED:
            return method

        def counted(*arguments):
            try:
                return method(*arguments)
            finally:
                self._left -= 1
                if self._left == 0:
                    os.kill(os.getpid(), signal.SIGKILL)

        return counted


def rotate(url, directory, tenant, kind, deadly):
    """What the command does, in a process of its own."""
    keys = DyingKeys(FileKeystore(directory / "keystore", PASSPHRASE), deadly)
    store = open_store(SimpleNamespace(checkpoint_store=directory / "checkpoints"), keys)
    limits = Limits(epoch_entries=1) if kind == "chain" else Limits()
    with Database(url) as database:
        shelf = Shelf(database=database, keys=keys, store=store, limits=limits)
        book = shelf.book(tenant)
        if kind == "chain":
            book.settle()
        elif kind in ("wrapping", "subjects"):
            book.vault.rewrap(Holds.of(book), rekey=kind == "subjects")
        else:
            world = Rotating(SimpleNamespace(directory=directory))
            rotation = KeyRotation(book=book, publish=world.publish)
            with suppress(RotationOpen):
                rotation.begin(0)
            with suppress(NothingToEnd):
                rotation.end()
        shelf.close()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["chain", "checkpoint", "wrapping", "subjects"])
def test_a_rotation_that_is_killed_under_load_loses_nothing(rotating, kind):
    """Whoever records is never refused; started again it ends; every receipt and value is there."""
    house, receipts, persons, failures = rotating.house, [], {}, []
    stop, vault = threading.Event(), rotating.house.book.vault
    rotating.trust()
    receipts += [rotating.receipt(attempt()) for _ in range(3)]
    before = (house.book.reader.head().epoch, house.keys.names())

    def load():
        while not stop.wait(0.01):
            try:
                receipts.append(rotating.receipt(attempt()))
                if len(persons) == _PERSONS:
                    continue
                person = f"person-{len(persons)}"
                ref = vault.subject_for(person)
                persons[person] = ref, vault.wrap_for(ref, person.encode(), b"a key of theirs")
            except Exception as error:  # noqa: BLE001 - told below
                failures.append(error)

    worker = threading.Thread(target=load)
    worker.start()
    try:
        kills = _until_done((house.app_url, house.directory, house.tenant, kind))
    finally:
        stop.set()
        worker.join()

    assert failures == []
    assert kills >= 2
    for receipt in receipts:
        believed(receipt, rotating.trust())
        assert "prompt.user" in vault.open(receipt.event_id).disclosures
    for person, (ref, wrapped) in persons.items():
        assert vault.subject_of(person).ref == ref
        assert vault.unwrap_for(ref, wrapped, b"a key of theirs") == person.encode()
    after = (house.book.reader.head().epoch, house.keys.names())
    assert after[0] > before[0] if kind == "chain" else after[1] != before[1]
    assert not set(_replaced(kind, house.origin)) & set(after[1])
    assert not Fsck(house.book).run().damage


def _until_done(arguments) -> int:
    """Rotate again and again, killed later each time, until it comes to its end; count the kills.

    After the first four steps it lives twice as long each time: every subject is a step.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["scripts.assembly", "ledger.holds"])
    deadly = 1
    for kills in itertools.count():
        child = context.Process(target=rotate, args=(*arguments, deadly))
        child.start()
        child.join(60)
        assert child.exitcode in (0, -signal.SIGKILL)
        if child.exitcode == 0:
            return kills
        assert kills < 50
        deadly += max(1, deadly // 4 * 4)
    raise AssertionError


def _replaced(kind, origin):
    """The keys that must be gone in the end."""
    return {
        "chain": [f"chain/{origin}/0"],
        "checkpoint": [f"log/{origin}"],
        "wrapping": [f"subjects/{origin}/1", f"index/{origin}/1"],
        "subjects": [f"subjects/{origin}/1", f"index/{origin}/1"],
    }[kind]
