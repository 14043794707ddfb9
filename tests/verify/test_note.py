# SPDX-License-Identifier: GPL-3.0-or-later
"""Signed notes and checkpoints: the public examples, and every second spelling refused."""

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from sealtrail.verify.ed25519 import KeyRefused
from sealtrail.verify.errors import Incomplete, Refuted, Unreadable, VerifyError
from sealtrail.verify.note import (
    MAX_NOTE,
    Checkpoint,
    Note,
    NoteRefused,
    SignatureLine,
    VerifierKey,
    check_note,
    key_id,
    open_checkpoint,
)

VECTORS = Path(__file__).resolve().parents[2] / ".." / "shared" / "vectors" / "c2sp"

PRIVATE = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
OTHER = Ed25519PrivateKey.from_private_bytes(bytes(32))
KEY = VerifierKey.ed25519("log.example/a", PRIVATE.public_key().public_bytes_raw())
FOREIGN = VerifierKey.ed25519("witness.example", OTHER.public_key().public_bytes_raw())
CHECKPOINT = Checkpoint(origin="log.example/a", size=7, root=bytes(range(32)))


def vector(name):
    path = VECTORS / name
    if not path.exists():
        pytest.skip("the public C2SP examples are not beside the repository")
    return path.read_bytes()


def sign(text, private=PRIVATE, key=KEY):
    signature = private.sign(text.encode())
    return SignatureLine(name=key.name, key_id=key.key_id, signature=signature)


def note(text, *lines):
    return Note(text=text, signatures=lines or (sign(text),))


GOOD = note(CHECKPOINT.print()).print()


def test_the_public_example_verifies_and_no_changed_byte_of_it_does():
    """C2SP's own note under its own key; each byte is changed in turn."""
    data = vector("signed-note-example.txt")
    key = VerifierKey.parse(vector("signed-note-example.vkey").decode().strip())

    assert check_note(Note.parse(data), [key]) == [key]
    for position in range(len(data)):
        damaged = bytearray(data)
        damaged[position] ^= 1
        with pytest.raises(VerifyError):
            check_note(Note.parse(bytes(damaged)), [key], backend="cryptography")


def test_the_public_checkpoint_is_read_as_printed():
    """C2SP's example of a checkpoint."""
    data = vector("checkpoint-example.txt")

    checkpoint = Checkpoint.parse(Note.parse(data).text)

    assert (checkpoint.origin, checkpoint.size) == ("example.com/behind-the-sofa", 20852163)
    assert Note.parse(data).print() == data


def test_a_checkpoint_is_opened_with_its_own_key_only():
    """A stranger's key, or another log's name, opens nothing."""
    assert open_checkpoint(GOOD, origin="log.example/a", keys=[KEY, FOREIGN])[1] == CHECKPOINT

    with pytest.raises(NoteRefused, match="not signed by any"):
        open_checkpoint(GOOD, origin="log.example/a", keys=[FOREIGN])
    with pytest.raises(NoteRefused, match="another log"):
        open_checkpoint(GOOD, origin="log.example/b", keys=[KEY])
    with pytest.raises(NoteRefused, match="not signed by any"):
        open_checkpoint(GOOD, origin=None, keys=[])


def test_lines_of_unknown_keys_are_kept_and_ignored():
    """A witness's line stands beside the log's; so does one that borrows a name or an id."""
    text = CHECKPOINT.print()
    lines = [
        SignatureLine(name=KEY.name, key_id=b"\0\0\0\1", signature=b"x"),
        SignatureLine(name="log.example/b", key_id=KEY.key_id, signature=b"y" * 2420),
        sign(text, OTHER, FOREIGN),
        sign(text),
    ]
    whole = note(text, *lines)

    assert Note.parse(whole.print()) == whole
    assert check_note(whole, [KEY]) == [KEY]
    assert check_note(whole, [KEY, FOREIGN]) == [FOREIGN, KEY]


def test_a_wrong_line_of_a_known_key_spoils_the_note():
    """Even beside a good line of another known key: somebody lies in the name of a trusted key."""
    text = CHECKPOINT.print()
    wrong = SignatureLine(name=KEY.name, key_id=KEY.key_id, signature=bytes(64))

    with pytest.raises(NoteRefused, match="wrong"):
        check_note(note(text, sign(text, OTHER, FOREIGN), wrong), [KEY, FOREIGN])
    with pytest.raises(NoteRefused):
        check_note(note(text, sign(text), wrong), [KEY])


def test_a_key_of_an_unknown_algorithm_proves_nothing_and_refutes_nothing():
    """A later kind of key may stand in a trust file; what only it signed is incomplete."""
    name, key = "log.example/a", bytes(1312)
    later = VerifierKey(name=name, key_id=key_id(name, 6, key), algorithm=6, key=key)
    text = CHECKPOINT.print()
    line = SignatureLine(name=name, key_id=later.key_id, signature=bytes(2420))

    assert VerifierKey.parse(later.vkey()) == later
    assert check_note(note(text, line, sign(text)), [later, KEY]) == [KEY]
    with pytest.raises(Incomplete):
        check_note(note(text, line), [later, KEY])


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\n",
        b"text\n",
        b"text\n\n",
        GOOD[:-1],
        GOOD + b"\n",
        GOOD + b" ",
        b"\xef\xbb\xbf" + GOOD.replace(b"\n\n", b"\n"),
        GOOD.replace(b"\n", b"\r\n"),
        GOOD.replace(b"log", b"l\x00g"),
        GOOD.replace(b"log", b"l\xffg"),
        GOOD.replace(b"log", b"l\tg"),
        GOOD.replace("—".encode(), b"-"),
        GOOD.replace("— ".encode(), "—".encode()),
        GOOD.replace("— ".encode(), "—  ".encode()),
        GOOD.replace("— log".encode(), "— l+g".encode()),
        GOOD.replace("— log".encode(), "— l\u00a0g".encode()),
        GOOD.replace("— log".encode(), "— l\u2003g".encode()),
        GOOD.replace("— log.example/a".encode(), "— ".encode()),
        GOOD[:-2] + b"\n",
        GOOD[:-1] + b"=\n",
        GOOD[:-1] + b" \n",
        GOOD[:-3] + b"!=\n",
        "text\n\n— log.example/a AAAAAA==\n".encode(),
        "text\n\n— log.example/a AAAA\n".encode(),
        GOOD + "— w.example AAAAAAB=\n".encode(),
        GOOD + "— w.example AAAAAAA=\n".encode() * 100,
        b"x" * MAX_NOTE + GOOD,
    ],
)
def test_what_is_not_exactly_a_note_is_unreadable(data):
    """No second spelling of a note: cut, padded, translated, with foreign spaces or no key."""
    with pytest.raises(Unreadable):
        Note.parse(data)


def test_a_hundred_signatures_are_read():
    """The limit is beyond what witnesses will send; C2SP demands at least sixteen."""
    text = CHECKPOINT.print()
    whole = note(text, *[sign(text)] * 100)

    assert Note.parse(whole.print()) == whole


def test_the_text_of_a_note_may_hold_empty_lines():
    """The last empty line parts text and signatures."""
    whole = note("one\n\ntwo\n\n\n")

    assert Note.parse(whole.print()) == whole
    check_note(whole, [KEY])


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n\n\n",
        "o\n1\n",
        CHECKPOINT.print()[:-1],
        CHECKPOINT.print() + "\n",
        "\n7\n" + CHECKPOINT.print().split("\n")[2] + "\n",
        CHECKPOINT.print().replace("\n7\n", "\n07\n"),
        CHECKPOINT.print().replace("\n7\n", "\n+7\n"),
        CHECKPOINT.print().replace("\n7\n", "\n-7\n"),
        CHECKPOINT.print().replace("\n7\n", "\n7 \n"),
        CHECKPOINT.print().replace("\n7\n", "\n1_0\n"),
        CHECKPOINT.print().replace("\n7\n", "\n٣\n"),
        CHECKPOINT.print().replace("\n7\n", "\n7.0\n"),
        CHECKPOINT.print().replace("\n7\n", "\n" + "9" * 5000 + "\n"),
        CHECKPOINT.print().replace("=\n", "\n"),
        CHECKPOINT.print().replace("8=\n", "9=\n"),
        CHECKPOINT.print().replace("\n7\n", "\n7\nAAAA\n"),
        CHECKPOINT.print().replace("AAEC", "AA EC"),
        "o\n7\n" + "A" * 42 + "é=\n",
    ],
)
def test_what_is_not_exactly_a_checkpoint_is_unreadable(text):
    """Numbers and roots have one spelling; `int` and `b64decode` would take most of these."""
    with pytest.raises(Unreadable):
        Checkpoint.parse(text)


@given(
    origin=st.text(st.characters(codec="utf-8", categories=["L", "N", "P", "Zs"]), min_size=1),
    size=st.integers(0, 10**19 - 1),
    root=st.binary(min_size=32, max_size=32),
    extensions=st.lists(st.text(st.characters(codec="utf-8", categories=["L"]), min_size=1)),
)
def test_what_a_checkpoint_prints_it_reads(origin, size, root, extensions):
    """Any origin, even one with spaces or characters that other programs take for line ends."""
    checkpoint = Checkpoint(origin=origin, size=size, root=root, extensions=tuple(extensions))

    assert Checkpoint.parse(checkpoint.print()) == checkpoint
    assert Note.parse(note(checkpoint.print()).print()).text == checkpoint.print()


@given(st.binary(max_size=300) | st.text(max_size=300).map(str.encode))
def test_any_bytes_are_a_note_that_prints_equal_or_unreadable(data):
    """No other exception, and nothing read that would be written otherwise."""
    try:
        read = Note.parse(data)
    except Unreadable:
        return
    assert read.print() == data


@pytest.mark.parametrize(
    "vkey",
    [
        "",
        "a+b+c",
        KEY.vkey() + "\n",
        " " + KEY.vkey(),
        KEY.vkey().replace("log", "l g"),
        KEY.vkey().replace("log", "l+g"),
        KEY.vkey().replace("log", "lag"),
        KEY.vkey().replace(KEY.key_id.hex(), KEY.key_id.hex().upper()),
        KEY.vkey().replace(KEY.key_id.hex(), "00000000"),
        KEY.vkey()[:-1],
        KEY.vkey() + "=",
        KEY.vkey()[KEY.vkey().index("+") :],
        "log.example/a+00000000+",
    ],
)
def test_a_misspelt_verifier_key_is_unreadable(vkey):
    """A key that a person pinned by hand is pinned exactly or not at all."""
    with pytest.raises(Unreadable):
        VerifierKey.parse(vkey)


@pytest.mark.parametrize("key", [bytes(32), b"\x01" + bytes(31), b"\xff" * 32, bytes(31), b""])
def test_a_key_that_binds_nothing_is_refused_as_a_verifier_key(key):
    """Small order, not canonical, wrong length: whoever publishes it, it is refused."""
    with pytest.raises(KeyRefused):
        VerifierKey.ed25519("log.example/a", key)
    text = VerifierKey.ed25519("n", KEY.key).vkey()
    assert VerifierKey.parse(text).vkey() == text


def test_refusals_are_of_the_family_that_says_what_to_do():
    """A damaged note is unreadable; one by the wrong key is refuted."""
    assert issubclass(NoteRefused, Refuted)
    assert not issubclass(NoteRefused, Unreadable)
