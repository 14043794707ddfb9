# SPDX-License-Identifier: GPL-3.0-or-later
"""COSE receipts: other people's code takes ours, and what nobody signed is refused."""

import dataclasses
import json
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import cbor2
import pytest
import scitt_cose
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st
from packet_maker import Log
from receipt_maker import ORIGIN, Operator

from sealtrail.verify import cbor, command
from sealtrail.verify.build import build_verifier
from sealtrail.verify.cose_receipt import (
    CoseReceipt,
    check_consistency_receipt,
    check_inclusion_receipt,
)
from sealtrail.verify.errors import Refuted, Unreadable, VerifyError
from sealtrail.verify.merkle import leaf_hash
from sealtrail.verify.note import VerifierKey
from sealtrail.verify.trust import Trust

pytestmark = pytest.mark.once

LEAVES = [sha256(b"\x00%d" % number).digest() for number in range(40)]
LOG = Operator(LEAVES)
VECTORS = Path(__file__).resolve().parents[2] / ".." / "shared" / "vectors" / "cose-receipts"


def check(data, leaf, keys=(LOG.key,), origin=ORIGIN):
    return check_inclusion_receipt(data, leaf=leaf, origin=origin, keys=keys)


@given(st.integers(2, 40), st.data())
def test_every_entry_of_every_log_has_a_receipt(size, data):
    position = data.draw(st.integers(0, size - 1))

    found = check(LOG.included(position, size).print(), LEAVES[position])

    assert (found.position, found.size, found.origin) == (position, size, ORIGIN)


@given(st.integers(2, 40), st.data())
def test_every_growth_of_every_log_has_a_receipt(size, data):
    old = data.draw(st.integers(1, size - 1))
    root = LOG.tree.root(old)

    receipt = LOG.extended(old, size).print()
    found = check_consistency_receipt(receipt, old_root=root, origin=ORIGIN, keys=[LOG.key])

    assert (found.old_size, found.size) == (old, size)
    with pytest.raises(Refuted):
        check_consistency_receipt(receipt, old_root=LEAVES[0], origin=ORIGIN, keys=[OTHER])
    with pytest.raises(Refuted):
        check_consistency_receipt(
            receipt, old_root=sha256(b"").digest(), origin=ORIGIN, keys=[LOG.key]
        )


OTHER = Operator([], seed=b"the key of another one in tests.").key


PEM = LOG.private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def theirs(receipt, number):
    """What scitt-cose, which shares no line with us, says of a receipt."""
    return scitt_cose.verify_receipt(
        receipt, leaf_entry_hex=(b"%d" % number).hex(), log_public_key_pem=PEM
    )


def test_another_implementation_verifies_our_receipt():
    receipt = LOG.included(3, 5).print()

    found = theirs(receipt, 3)

    assert (found.ok, found.errors) == (True, [])
    assert (found.tree_size, found.leaf_index) == (5, 3)
    assert (found.issuer, found.subject) == (ORIGIN, "checkpoint/5")
    assert found.protected_header_ext == {4: LOG.key.label().encode()}
    assert not theirs(receipt, 4).ok
    assert not theirs(receipt[:-1] + b"!", 3).ok


def test_another_implementation_verifies_the_growth_of_a_log():
    """There the root is attached, as RFC 9942 has it."""
    sign1 = cbor2.loads(LOG.extended(3, 5).print()).value
    protected, unprotected, root, signature = sign1
    old_size, size, path = cbor2.loads(unprotected[396][-2][0])

    signed = cbor2.dumps(("Signature1", protected, b"", root))
    LOG.private.public_key().verify(signature, signed)  # Raises if it is another's.

    old_root = LOG.tree.root(3).hex()
    path = [one.hex() for one in path]
    assert scitt_cose.verify_consistency(old_root, root.hex(), old_size, size, path)


def shape(data):
    """What the RFC's grammar names of a receipt, as somebody else's CBOR reads it."""
    sign1 = cbor2.loads(data)
    protected, unprotected, payload, signature = sign1.value
    header = cbor2.loads(protected)
    ((kind, (proof,)),) = unprotected[396].items()
    first, second, path = cbor2.loads(proof)
    return {
        "tag": sign1.tag,
        "vds": header[395],
        "labels": set(header),
        "unprotected": set(unprotected),
        "kind": kind,
        "numbers": (first, second),
        "path": [len(one) for one in path],
        "signature": len(signature),
        "claims": 1 in header[15],
    } | ({"payload": payload} if kind == -1 else {})


@pytest.mark.skipif(
    not VECTORS.is_dir(), reason="the public examples (shared/vectors/cose-receipts) are not here"
)
@pytest.mark.parametrize(
    ("name", "ours"),
    [("inclusion", LOG.included(3, 5)), ("consistency", LOG.extended(3, 5))],
    ids=["inclusion", "consistency"],
)
def test_ours_has_the_shape_of_the_public_examples(name, ours):
    """Same tag, labels, proof and lengths; the examples' ECDSA and our Ed25519 sign 64 bytes."""
    example = (VECTORS / f"{name}-receipt.cbor").read_bytes()

    assert cbor.decode(example) is not None
    assert shape(ours.print()) == shape(example)
    with pytest.raises(Unreadable):  # Another algorithm, and not in the one spelling of ours.
        CoseReceipt.parse(example)


def test_the_bytes_are_deterministic_cbor():
    data = LOG.included(3, 5).print()

    assert cbor2.dumps(cbor2.loads(data), canonical=True) == data
    header = cbor2.loads(data).value[0]
    assert cbor2.dumps(cbor2.loads(header), canonical=True) == header
    assert data.startswith(bytes.fromhex("d284"))


def test_a_note_is_no_receipt_and_a_receipt_no_note():
    """One key signs both: what one signature says must be nothing that the other could say."""
    note_begins = ORIGIN.encode()[0]
    signed = cbor.encode(["Signature1", b"", b"", bytes(32)])

    assert signed[0] == 0x84
    with pytest.raises(UnicodeDecodeError):
        bytes([signed[0], note_begins]).decode()  # No text begins with this byte.


@given(st.integers(0, len(LOG.included(3, 5).print()) - 1), st.integers(1, 255))
def test_no_byte_of_a_receipt_can_be_changed(at, change):
    data = bytearray(LOG.included(3, 5).print())
    data[at] ^= change

    with pytest.raises(VerifyError):
        check(bytes(data), LEAVES[3])


@pytest.mark.parametrize("spelling", ["order", "true"])
def test_a_receipt_has_one_spelling(spelling):
    """What is printed again from what was read is what was signed, and nothing else is."""
    protected, *rest = cbor2.loads(LOG.included(3, 5).print()).value
    header = dict(cbor2.loads(protected))
    if spelling == "order":
        header = dict(reversed(header.items()))
    else:
        header[395] = True  # Which is 1 to Python.
    data = cbor2.dumps(cbor2.CBORTag(18, [cbor2.dumps(header), *rest]))

    assert cbor.decode(data) is not None
    with pytest.raises(Unreadable, match="one spelling"):
        check(data, LEAVES[3])


@given(st.integers(0, 4), st.integers(0, 4))
def test_a_receipt_is_of_one_entry(position, other):
    data = LOG.included(position, 5).print()

    if position == other:
        check(data, LEAVES[other])
    else:
        with pytest.raises(Refuted):
            check(data, LEAVES[other])


def test_a_last_entry_cannot_be_shown_as_one_of_a_smaller_log():
    """Position 4 of 5 has the path of position 1 of 2; the size is signed for that reason."""
    receipt = LOG.included(4, 5)
    moved = dataclasses.replace(receipt, position=1, size=2)

    assert len(receipt.path) == 1
    check(receipt.print(), LEAVES[4])
    with pytest.raises(Refuted):
        check(moved.print(), LEAVES[4])
    lying = cbor2.loads(receipt.print()).value
    relabelled = [lying[0], {396: {-1: [cbor2.dumps([2, 1, list(receipt.path)])]}}, *lying[2:]]
    data = cbor2.dumps(cbor2.CBORTag(18, relabelled))
    assert theirs(data, 4).ok  # Whoever reads the RFC alone believes it.
    with pytest.raises(Unreadable, match="another size"):
        check(data, LEAVES[4])


def test_the_key_has_to_be_one_of_the_logs():
    data = LOG.included(3, 5).print()
    stranger = VerifierKey.ed25519("ledger.test/other", LOG.key.key)

    for keys in ((), (OTHER,), (stranger,)):
        with pytest.raises(Refuted, match="none of the keys"):
            check(data, LEAVES[3], keys=keys)
    with pytest.raises(Refuted, match="another log"):
        check(data, LEAVES[3], origin="ledger.test/other")


# The command


LEDGER = Log()


@pytest.fixture(scope="module")
def desk(tmp_path_factory):
    folder = tmp_path_factory.mktemp("receipts")
    operator = Operator([leaf_hash(one) for one in LEDGER.entries], origin=LEDGER.origin)
    (folder / "entry.json").write_bytes(LEDGER.entries[3])
    (folder / "other.json").write_bytes(LEDGER.entries[4])
    (folder / "good.receipt").write_bytes(operator.included(3, 12).print())
    (folder / "growth.receipt").write_bytes(operator.extended(3, 12).print())
    (folder / "cut.receipt").write_bytes(operator.included(3, 12).print()[:-1])
    trust = Trust(origins={LEDGER.origin: (operator.key,)}, tsa_roots=())
    (folder / "trust.json").write_bytes(trust.print())
    foreign = Trust(origins={"ledger.example/else": (OTHER_LOG,)}, tsa_roots=())
    (folder / "foreign.json").write_bytes(foreign.print())
    return folder


OTHER_LOG = VerifierKey.ed25519("ledger.example/else", LOG.key.key)


@pytest.mark.parametrize(
    ("arguments", "status", "checks"),
    [
        ("good.receipt --entry entry.json --trust trust.json", 3, "signature verified"),
        ("good.receipt --entry entry.json", 3, "signature incomplete"),
        ("good.receipt --trust trust.json", 3, "inclusion incomplete"),
        ("good.receipt --entry other.json --trust trust.json", 1, "signature refuted"),
        ("good.receipt --entry entry.json --trust foreign.json", 1, "signature refuted"),
        ("growth.receipt --trust trust.json", 3, "signature verified"),
        ("cut.receipt --entry entry.json --trust trust.json", 4, "unreadable"),
    ],
)
def test_the_command_says_what_a_receipt_is_worth(desk, arguments, status, checks, capsys):
    """Alone it is never `verified`: no time stamp stands over it."""
    words = [str(desk / one) if "." in one else one for one in arguments.split()]

    assert command.main([*words, "--json"]) == status

    shown = json.loads(capsys.readouterr().out)
    found = shown.get("findings", [])
    assert checks in [shown.get("error"), *(f"{one['check']} {one['verdict']}" for one in found)]
    assert all(one["verdict"] != "verified" for one in found if one["check"] == "time")


def test_a_stranger_checks_a_receipt_with_the_one_file_and_nothing_installed(desk):
    """The standard library reads CBOR and verifies Ed25519, as it does for a packet."""
    (desk / "verify.pyz").write_bytes(build_verifier())
    words = ["good.receipt", "--entry", "entry.json", "--trust", "trust.json"]

    done = subprocess.run(
        [sys.executable, "-I", "-S", "verify.pyz", *words],
        check=False,
        cwd=desk,
        capture_output=True,
        text=True,
    )

    assert (done.returncode, done.stderr) == (3, "")
    assert "signed by ledger.example/acme+" in done.stdout
    assert done.stdout.endswith("INCOMPLETE\n")
