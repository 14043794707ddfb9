# SPDX-License-Identifier: GPL-3.0-or-later
"""The offline proof file: read exactly, and proving exactly one entry at one position."""

import base64

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from sealtrail.verify import merkle
from sealtrail.verify.errors import Refuted, Unreadable, VerifyError
from sealtrail.verify.note import Checkpoint, Note, NoteRefused, SignatureLine, VerifierKey
from sealtrail.verify.tlog_proof import TlogProof, check_tlog_proof

ORIGIN = "log.example/a"
PRIVATE = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
KEY = VerifierKey.ed25519(ORIGIN, PRIVATE.public_key().public_bytes_raw())
LEAVES = [merkle.leaf_hash(b"entry %d" % n) for n in range(4)]
LEFT = merkle.node_hash(LEAVES[0], LEAVES[1])


def checkpoint(size, root):
    text = Checkpoint(origin=ORIGIN, size=size, root=root).print()
    line = SignatureLine(name=ORIGIN, key_id=KEY.key_id, signature=PRIVATE.sign(text.encode()))
    return Note(text=text, signatures=(line,)).print()


PROOF = TlogProof(
    index=2,
    path=(LEAVES[3], LEFT),
    checkpoint=checkpoint(4, merkle.tree_root(LEAVES)),
)
GOOD = PROOF.print()


def check(data, leaf=LEAVES[2], origin=ORIGIN, keys=(KEY,)):
    return check_tlog_proof(data, leaf=leaf, origin=origin, keys=keys)


def test_a_proof_tells_the_checkpoint_and_the_position():
    """What the reader learns: the entry is at position 2 of the 4 that the log signed."""
    signed, index = check(GOOD)

    assert (signed.size, index) == (4, 2)


def test_the_format_is_the_one_of_the_specification():
    """Line by line, as any other program would write it."""
    lines = GOOD.decode().split("\n")

    assert lines[:2] == ["c2sp.org/tlog-proof@v1", "index 2"]
    assert [base64.b64decode(line) for line in lines[2:4]] == [LEAVES[3], LEFT]
    assert lines[4:7] == ["", ORIGIN, "4"]


def test_the_proof_of_the_only_entry_has_no_path():
    """Head, empty line, checkpoint."""
    proof = TlogProof(index=0, path=(), checkpoint=checkpoint(1, LEAVES[0]))

    assert check(proof.print(), leaf=LEAVES[0])[1] == 0


def test_extra_data_is_carried_and_trusted_for_nothing():
    """It is printed before the index and authenticated by nobody."""
    data = TlogProof(
        index=2, path=PROOF.path, checkpoint=PROOF.checkpoint, extra=b"out of band"
    ).print()

    assert TlogProof.parse(data).extra == b"out of band"
    assert check(data)[1] == 2


def test_every_flipped_bit_is_noticed():
    """There is no byte in the file that means nothing."""
    for position in range(len(GOOD)):
        damaged = bytearray(GOOD)
        damaged[position] ^= 1 << position % 8
        with pytest.raises(VerifyError):
            check(bytes(damaged))


def test_another_entry_position_log_or_key_is_refuted():
    """A well-formed proof of something else proves nothing here."""
    with pytest.raises(merkle.ProofInvalid):
        check(GOOD, leaf=LEAVES[1])
    with pytest.raises(merkle.ProofInvalid):
        check(GOOD.replace(b"index 2", b"index 1"))
    with pytest.raises(merkle.ProofInvalid):
        check(GOOD.replace(b"index 2", b"index 4"))
    with pytest.raises(NoteRefused):
        check(GOOD, origin="log.example/b")
    with pytest.raises(Refuted):
        check(GOOD, keys=())


HASH = base64.b64encode(LEFT)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        GOOD.replace(b"@v1", b"@v2"),
        GOOD.replace(b"index 2\n", b""),
        GOOD.replace(b"index 2", b"index 02"),
        GOOD.replace(b"index 2", b"index  2"),
        GOOD.replace(b"index 2", b"index 2 "),
        GOOD.replace(b"index 2", b"index -2"),
        GOOD.replace(b"index 2", b"extra \nindex 2"),
        GOOD.replace(b"index 2", b"extra YQ\nindex 2"),
        GOOD.replace(b"index 2", b"index 2\nextra YQ=="),
        GOOD.replace(b"index 2", b"index 2\nAAAA"),
        GOOD.replace(HASH, HASH[:-1]),
        GOOD.replace(HASH, HASH + b"\r"),
        GOOD.replace(HASH, HASH + b"\xc3\xa9"),
        GOOD.replace(HASH, (HASH + b"\n") * 64 + HASH),
        GOOD.replace(b"\n\n", b"\n\n\n", 1),
        GOOD.replace(b"\n\n", b"\n", 1),
        b"\n" + GOOD,
        GOOD + b"\n",
        GOOD.partition(b"\n\n")[0] + b"\n\n",
        b"c2sp.org/tlog-proof@v1\nindex 0\n\n" + b"x" * (2 << 20),
    ],
)
def test_what_is_not_exactly_a_proof_is_unreadable(data):
    """One spelling only; nothing before, between or behind."""
    with pytest.raises(Unreadable):
        TlogProof.parse(data)


@given(
    index=st.integers(0, 10**19 - 1),
    path=st.lists(st.binary(min_size=32, max_size=32), max_size=64),
    extra=st.none() | st.binary(min_size=1),
)
def test_what_a_proof_prints_it_reads(index, path, extra):
    """Any index, path and extra data."""
    proof = TlogProof(index=index, path=tuple(path), checkpoint=PROOF.checkpoint, extra=extra)

    assert TlogProof.parse(proof.print()) == proof
