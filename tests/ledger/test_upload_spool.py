# SPDX-License-Identifier: GPL-3.0-or-later
"""Uploads under way: offsets, crashes, and that nothing lies there in clear."""

import signal
import subprocess
import sys

import pytest
from repository import HOUSE

from ledger import clock
from ledger.archive import spool as module
from ledger.archive.spool import (
    OffsetWrong,
    UploadBusy,
    UploadFragmented,
    UploadSpool,
    UploadTooLarge,
)
from ledger.archive.stream import ContentDamaged

ID = str(clock.new_id())
SIZE = 300_000
CONTENT = (b"the quick brown fox " * 20_000)[:SIZE]


@pytest.fixture
def spool(tmp_path):
    return UploadSpool(tmp_path / "uploads")


def wrap(key):
    """A wrapping that tests can undo; the real one is the vault's."""
    return bytes(byte ^ 0x55 for byte in key)


def append(spool, offset, *chunks):
    """Append chunks of bytes, or one iterable of them."""
    content = chunks if all(isinstance(one, bytes) for one in chunks) else chunks[0]
    with spool.turn(ID):
        return spool.append(ID, offset, content, size=SIZE, wrap=wrap)


def whole(spool):
    return b"".join(spool.content(ID, wrap))


def test_an_upload_in_parts_is_the_same_content(spool, tmp_path):
    """Offsets add up over processes: only the directory remembers."""
    assert spool.offset(ID) == 0
    assert append(spool, 0, CONTENT[:1]) == 1
    assert append(spool, 1, CONTENT[1:70_000], CONTENT[70_000:100_000]) == 100_000

    again = UploadSpool(tmp_path / "uploads")
    assert again.offset(ID) == 100_000
    assert append(again, 100_000, CONTENT[100_000:]) == SIZE
    assert whole(again) == CONTENT
    assert again.ids() == [ID]
    again.remove(ID)
    assert (again.offset(ID), again.ids()) == (0, [])


def test_what_arrived_before_a_connection_broke_is_kept(spool):
    """The client goes on from there instead of from the beginning."""

    def broken():
        yield CONTENT[:80_000]
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        append(spool, 0, broken())

    assert spool.offset(ID) == 80_000
    append(spool, 80_000, CONTENT[80_000:])
    assert whole(spool) == CONTENT


def test_a_wrong_offset_and_too_many_bytes_are_refused(spool):
    """Neither a gap nor an overlap; and nobody fills our disk beyond what was announced."""
    append(spool, 0, CONTENT[:1000])

    for offset in (0, 999, 1001, SIZE):
        with pytest.raises(OffsetWrong) as refusal:
            append(spool, offset, b"x")
        assert refusal.value.facts == {"offset": 1000}
    with pytest.raises(UploadTooLarge):
        append(spool, 1000, CONTENT[1000:], b"x")

    assert spool.offset(ID) == SIZE
    assert whole(spool) == CONTENT


def test_one_sends_at_a_time(spool):
    """Two at once would each overwrite the other's part."""
    with spool.turn(ID), pytest.raises(UploadBusy):
        append(spool, 0, CONTENT)


def test_nothing_lies_there_in_clear(spool, tmp_path):
    """Not even the half that came before a crash."""
    append(spool, 0, CONTENT[:200_000])
    left = tmp_path / "uploads" / ID / "incoming-0011"
    left.write_bytes(b"cut off")

    lying = b"".join(path.read_bytes() for path in (tmp_path / "uploads").rglob("*.part"))
    append(spool, 200_000, CONTENT[200_000:])

    assert b"quick brown" not in lying
    assert not left.exists()
    assert whole(spool) == CONTENT


def test_the_same_bytes_sent_twice_are_never_encrypted_under_one_key(spool, tmp_path):
    """A client that lost the answer sends an offset again, perhaps with other bytes."""

    def only_part():
        (path,) = (tmp_path / "uploads" / ID).glob("*.part")
        return path.read_bytes()

    append(spool, 0, CONTENT[:50])
    first = only_part()
    spool.remove(ID)
    append(spool, 0, CONTENT[:50])

    assert first[2:34] != only_part()[2:34]  # the wrapped key
    assert first[34:] != only_part()[34:]


def test_a_part_that_was_changed_or_moved_is_refused(spool, tmp_path):
    """Whoever can write to the directory puts no other content into an upload."""
    append(spool, 0, CONTENT[:50])
    append(spool, 50, CONTENT[50:100])
    first, second = sorted((tmp_path / "uploads" / ID).glob("*.part"))
    kept = first.read_bytes()

    for data in (kept[:-1] + bytes([kept[-1] ^ 1]), second.read_bytes()):
        first.write_bytes(data)
        with pytest.raises(ContentDamaged):
            whole(spool)


def test_an_upload_in_crumbs_is_thrown_away(spool, monkeypatch):
    """A directory with a million files is an attack on everybody else's uploads."""
    monkeypatch.setattr(module, "PARTS_MAX", 3)
    for offset in range(3):
        append(spool, offset, b"x")

    with pytest.raises(UploadFragmented):
        append(spool, 3, b"x")

    assert spool.offset(ID) == 0


_KILLED = """
import os, signal, sys
from pathlib import Path
from ledger.archive.spool import UploadSpool

def content():
    yield b"x" * 200_000
    os.kill(os.getpid(), signal.SIGKILL)

spool = UploadSpool(Path(sys.argv[1]))
with spool.turn(sys.argv[2]):
    spool.append(sys.argv[2], int(sys.argv[3]), content(), size=300_000, wrap=lambda key: key)
"""


def test_a_process_that_is_killed_leaves_what_was_whole_before(spool, tmp_path):
    """Its part never got a name, its turn is free, and the client goes on where it was."""
    append(spool, 0, CONTENT[:10_000])
    done = subprocess.run(
        [sys.executable, "-c", _KILLED, tmp_path / "uploads", ID, "10000"], check=False, cwd=HOUSE
    )
    left = [path.name for path in (tmp_path / "uploads" / ID).glob("incoming-*")]

    assert done.returncode == -signal.SIGKILL
    assert len(left) == 1
    assert spool.offset(ID) == 10_000
    append(spool, 10_000, CONTENT[10_000:])
    assert whole(spool) == CONTENT
    assert list((tmp_path / "uploads" / ID).glob("incoming-*")) == []
