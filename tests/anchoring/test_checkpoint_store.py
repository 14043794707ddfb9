# SPDX-License-Identifier: GPL-3.0-or-later
"""The checkpoint store: two histories never both get in, whoever tries."""

import errno
import fcntl
import hashlib
import multiprocessing
import os
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from anchoring.checkpoint_store import (
    CheckpointDamaged,
    CheckpointExists,
    CheckpointMissing,
    FileCheckpointStore,
    LocksRefused,
    StoreUnavailable,
)
from ledger.errors import HistoryRewritten, IntegrityViolation, Refused
from sealtrail.verify import merkle
from sealtrail.verify.frontier import Frontier
from sealtrail.verify.note import Checkpoint, Note, SignatureLine, VerifierKey

ORIGIN = "ledger.example/Acme"
OURS = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
FOREIGN = Ed25519PrivateKey.from_private_bytes(bytes(range(1, 33)))


def leaf(number: int, history: str = "true") -> bytes:
    return hashlib.sha256(f"{history} {number}".encode()).digest()


class Log:
    """A log in memory that can be cut anywhere, and signed by anyone."""

    def __init__(self, history: str = "true", *, fork_at: int = 0) -> None:
        self.leaves = [leaf(n, "true" if n < fork_at else history) for n in range(64)]

    def note(self, size: int, *, key=OURS, origin: str = ORIGIN, extensions=()) -> bytes:
        root = Frontier.empty().append(self.leaves[:size]).root()
        text = Checkpoint(origin=origin, size=size, root=root, extensions=extensions).print()
        public = VerifierKey.ed25519(origin, key.public_key().public_bytes_raw())
        line = SignatureLine(name=origin, key_id=public.key_id, signature=key.sign(text.encode()))
        return Note(text=text, signatures=(line,)).print()

    def prove(self, old: int, new: int) -> list[bytes]:
        assert 0 < old < new
        return Frontier.empty().append(self.leaves[:old]).consistency(self.leaves[old:new])


TRUE = Log()


def keys_of(origin: str) -> list[VerifierKey]:
    return [VerifierKey.ed25519(origin, OURS.public_key().public_bytes_raw())]


def never(_old: int, _new: int) -> list[bytes]:
    raise AssertionError("no proof is needed here")


def open_store(directory: Path) -> FileCheckpointStore:
    return FileCheckpointStore(directory, keys_of)


@pytest.fixture
def directory(tmp_path) -> Path:
    return tmp_path / "checkpoints"


@pytest.fixture
def store(directory) -> FileCheckpointStore:
    """A store that holds the empty log."""
    store = open_store(directory)
    store.initialise(ORIGIN, TRUE.note(0))
    return store


def stored_file(directory: Path) -> Path:
    (file,) = directory.glob("*.checkpoint")
    return file


def test_what_was_put_is_what_is_read(store, directory):
    """The note comes back byte for byte, also in a later process."""
    now = store.put(ORIGIN, TRUE.note(5), never)

    assert now.size == 5
    for reader in (store, open_store(directory)):
        note, checkpoint = reader.read(ORIGIN)
        assert note == TRUE.note(5)
        assert checkpoint == now


@settings(max_examples=30, deadline=None)
@given(sizes=st.lists(st.integers(0, 64), min_size=1, max_size=8))
def test_the_largest_of_one_history_stays(tmp_path_factory, sizes):
    """Whatever the order in which processes arrive, the store only grows."""
    directory = tmp_path_factory.mktemp("store")
    store = open_store(directory)
    store.initialise(ORIGIN, TRUE.note(0))

    for count, size in enumerate(sizes, start=1):
        writer = store if count % 2 else open_store(directory)
        assert writer.put(ORIGIN, TRUE.note(size), TRUE.prove).size == max(sizes[:count])


def test_a_smaller_checkpoint_of_the_same_history_gets_the_larger_one(store):
    """A slow process proves its own a prefix and goes on with the stored one."""
    store.put(ORIGIN, TRUE.note(9), never)

    now = store.put(ORIGIN, TRUE.note(4), TRUE.prove)

    assert now.size == 9
    assert store.read(ORIGIN)[0] == TRUE.note(9)


@pytest.mark.parametrize(("stored", "new"), [(9, 12), (9, 9), (9, 4), (9, 8)])
def test_another_history_is_refused_and_nothing_changes(store, stored, new):
    """Larger, equal or smaller: a log that is not ours continued is HistoryRewritten."""
    store.put(ORIGIN, TRUE.note(stored), never)
    fork = Log("forged", fork_at=3)

    with pytest.raises(HistoryRewritten) as refusal:
        store.put(ORIGIN, fork.note(new), fork.prove)

    assert isinstance(refusal.value, IntegrityViolation)
    assert refusal.value.facts == {"origin": ORIGIN, "stored_size": stored, "new_size": new}
    assert store.read(ORIGIN)[0] == TRUE.note(stored)


def test_an_empty_log_with_a_root_is_refused(directory):
    """Size 0 has one root only; without this rule it would be a joker."""
    root = bytes(32)
    text = Checkpoint(origin=ORIGIN, size=0, root=root).print()
    line = SignatureLine(
        name=ORIGIN, key_id=keys_of(ORIGIN)[0].key_id, signature=OURS.sign(text.encode())
    )
    store = open_store(directory)
    store.initialise(ORIGIN, Note(text=text, signatures=(line,)).print())
    assert root != merkle.EMPTY_ROOT

    with pytest.raises(HistoryRewritten):
        store.put(ORIGIN, TRUE.note(3), TRUE.prove)


def test_a_store_that_holds_nothing_is_an_alarm(directory, store):
    """An unmounted disk looks empty. Only `init` may start from nothing."""
    file = stored_file(directory)

    for spoil in (file.unlink, file.touch):
        spoil()
        for ask in (lambda: store.read(ORIGIN), lambda: store.put(ORIGIN, TRUE.note(1), never)):
            with pytest.raises(CheckpointMissing):
                ask()


def test_the_first_checkpoint_is_stored_once(directory, store):
    """`init` can be repeated after a crash; it cannot replace a log by another."""
    assert store.initialise(ORIGIN, TRUE.note(0)).size == 0
    stored_file(directory).write_bytes(b"")
    assert store.initialise(ORIGIN, TRUE.note(0)).size == 0

    store.put(ORIGIN, TRUE.note(7), never)
    with pytest.raises(CheckpointExists):
        store.initialise(ORIGIN, TRUE.note(0))
    stored_file(directory).unlink()
    with pytest.raises(HistoryRewritten):
        store.initialise(ORIGIN, TRUE.note(0))

    assert not list(directory.glob("*.checkpoint"))


@pytest.mark.parametrize(
    "spoiled",
    [
        TRUE.note(5, key=FOREIGN),
        TRUE.note(5, origin="ledger.example/other"),
        TRUE.note(5, extensions=("one more line",)),
        TRUE.note(5).replace(b"\n5\n", b"\n6\n"),
        TRUE.note(5)[:-1],
        TRUE.note(5) + b"\n",
        b"\0" * 200,
        b"x" * 100_000,
    ],
    ids=["key", "origin", "extension", "size", "cut", "longer", "zeros", "huge"],
)
def test_a_checkpoint_that_is_not_ours_is_refused_in_the_store_and_at_its_door(
    directory, store, spoiled
):
    """A damaged or foreign file stops the ledger; a foreign note does not get in."""
    with pytest.raises(CheckpointDamaged):
        store.put(ORIGIN, spoiled, TRUE.prove)
    assert store.read(ORIGIN)[0] == TRUE.note(0)

    stored_file(directory).write_bytes(spoiled)
    for ask in (lambda: store.read(ORIGIN), lambda: store.put(ORIGIN, TRUE.note(9), TRUE.prove)):
        with pytest.raises(CheckpointDamaged):
            ask()
    assert stored_file(directory).read_bytes() == spoiled


def test_keys_are_looked_up_again_for_a_key_that_was_made_since(directory):
    """Keys are remembered; one that another process has made since is asked for, a foreign one too.

    So a note of the new key gets in, one of a key that this log never had does not, and a spoilt
    signature beside a good one of a remembered key is found.
    """
    asked = []
    keys = keys_of(ORIGIN)

    def counted(origin: str) -> list[VerifierKey]:
        asked.append(origin)
        return list(keys)

    store = FileCheckpointStore(directory, counted)
    store.initialise(ORIGIN, TRUE.note(0))
    for size in (3, 4, 5):
        store.put(ORIGIN, TRUE.note(size), TRUE.prove)
    assert asked == [ORIGIN]

    with pytest.raises(CheckpointDamaged):
        store.put(ORIGIN, TRUE.note(6, key=FOREIGN), TRUE.prove)
    keys.append(VerifierKey.ed25519(ORIGIN, FOREIGN.public_key().public_bytes_raw()))
    store.put(ORIGIN, TRUE.note(6, key=FOREIGN), TRUE.prove)
    assert asked == [ORIGIN] * 3

    ours, theirs = (Note.parse(TRUE.note(7, key=key)) for key in (OURS, FOREIGN))
    (line,) = theirs.signatures
    spoilt = SignatureLine(name=ORIGIN, key_id=line.key_id, signature=line.signature[::-1])
    both = Note(text=ours.text, signatures=(*ours.signatures, spoilt)).print()
    with pytest.raises(CheckpointDamaged):
        store.put(ORIGIN, both, TRUE.prove)


@pytest.mark.parametrize("older", [TRUE.note(5), Log("forged", fork_at=3).note(9)])
def test_a_rewound_store_stops_the_process_that_knew_it(directory, store, older):
    """Yesterday's file, or a fork of the same size: the signature is valid, the history is not."""
    store.put(ORIGIN, TRUE.note(9), never)
    stored_file(directory).write_bytes(older)

    for ask in (lambda: store.read(ORIGIN), lambda: store.put(ORIGIN, TRUE.note(12), TRUE.prove)):
        with pytest.raises(HistoryRewritten):
            ask()


def test_each_origin_has_its_own_file(store):
    """Books never share a checkpoint, nor a lock: not even if their names differ in case only."""
    for origin in ("ledger.example/acme", "ledger.example/Acme/access"):
        store.initialise(origin, TRUE.note(2, origin=origin))

    store.put(ORIGIN, TRUE.note(3), never)

    assert store.read("ledger.example/acme")[1].size == 2
    assert store.read(ORIGIN)[1].size == 3


def test_an_origin_that_no_file_name_can_hold_is_refused(store):
    """Better at `init` than at the first receipt."""
    origin = "x" * 300
    with pytest.raises(Refused):
        store.initialise(origin, TRUE.note(0, origin=origin))


def test_a_file_system_without_working_locks_is_refused(directory, monkeypatch):
    """Where `flock` says yes to everybody, two processes would sign two histories."""
    monkeypatch.setattr(fcntl, "flock", lambda _descriptor, _operation: None)

    with pytest.raises(LocksRefused):
        open_store(directory)


def test_a_file_system_that_knows_no_locks_is_refused(directory, monkeypatch):
    """ENOLCK at the first lock."""

    def no_locks(_descriptor, _operation):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", no_locks)

    with pytest.raises(StoreUnavailable):
        open_store(directory)


def test_a_directory_that_cannot_be_is_unavailable(tmp_path):
    """The message names the reason and not the path."""
    (tmp_path / "file").write_bytes(b"")

    with pytest.raises(StoreUnavailable) as refusal:
        open_store(tmp_path / "file" / "checkpoints")

    assert refusal.value.status == 503
    assert refusal.value.facts == {"reason": os.strerror(errno.ENOTDIR)}


def test_a_store_that_is_unmounted_while_in_use_is_unavailable(directory, store, tmp_path):
    """Ingest answers 503, and goes on when the store is back."""
    store.put(ORIGIN, TRUE.note(4), never)
    directory.rename(tmp_path / "away")
    directory.write_bytes(b"")

    with pytest.raises(StoreUnavailable):
        store.put(ORIGIN, TRUE.note(5), TRUE.prove)

    directory.unlink()
    (tmp_path / "away").rename(directory)
    assert store.put(ORIGIN, TRUE.note(5), TRUE.prove).size == 5


def test_a_prover_that_cannot_prove_stops_the_put(store):
    """A path of noise, or of another length, is no proof."""
    store.put(ORIGIN, TRUE.note(4), never)

    for path in ([], [bytes(32)], [b"short"], [*TRUE.prove(4, 9), bytes(32)]):
        with pytest.raises(HistoryRewritten):
            store.put(ORIGIN, TRUE.note(9), lambda _old, _new, path=path: path)

    assert store.read(ORIGIN)[1].size == 4


def _race(directory: Path, history: str, sizes: list[int], report) -> None:
    """One process: puts its checkpoints and reports what the store answered."""
    log, store = Log(history, fork_at=0 if history == "forged" else 64), open_store(directory)
    for size in sizes:
        try:
            report.put((history, store.put(ORIGIN, log.note(size), log.prove).size))
        except HistoryRewritten:
            report.put((history, "refused"))
            return


def race(directory: Path, racers: list[tuple[str, list[int]]]) -> list[tuple[str, object]]:
    spawn = multiprocessing.get_context("spawn")
    report = spawn.SimpleQueue()
    processes = [
        spawn.Process(target=_race, args=(directory, history, sizes, report))
        for history, sizes in racers
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        process.close()
    answers = []
    while not report.empty():
        answers.append(report.get())
    report.close()
    return answers


@pytest.mark.usefixtures("store")
def test_two_processes_of_one_history_race_and_both_win(directory):
    """Each gets an answer at least as large as its own; the largest stays."""
    answers = race(directory, [("true", list(range(1, 40, 2))), ("true", list(range(2, 41, 2)))])

    assert len(answers) == 40
    assert "refused" not in {answer for _, answer in answers}
    assert open_store(directory).read(ORIGIN)[0] == TRUE.note(40)


def test_two_processes_with_two_histories_race_and_one_is_stopped(directory, store):
    """Whoever comes first is history; the other one never gets a second answer."""
    sizes = list(range(1, 30))

    answers = race(directory, [("true", sizes), ("forged", sizes)])

    accepted = {history for history, answer in answers if answer != "refused"}
    refused = {history for history, answer in answers if answer == "refused"}
    assert len(accepted) == len(refused) == 1
    assert accepted | refused == {"true", "forged"}
    assert store.read(ORIGIN)[1].size == 29
