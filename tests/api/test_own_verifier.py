# SPDX-License-Identifier: GPL-3.0-or-later
"""Acceptance: somebody who has read C2SP's text, and none of our code, checks a proof of ours.

Everything between the two lines was written from tlog-proof, tlog-checkpoint and signed-note of
C2SP; the path goes through pymerkle, the signature through cryptography. It is under 60 lines.
"""

import base64
import hashlib
import inspect
import json

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from house import attempt
from pymerkle import InclusionProof, InvalidProof, verify_inclusion

# ------------------------------------------------------------------------------------------------


def verify(proof: str, entry: bytes, origin: str, vkey: str) -> tuple[int, int]:
    """Check a `.tlog-proof` of `entry`; returns its index and the size of the log, or raises."""
    header, _, checkpoint = proof.partition("\n\n")
    version, *lines = header.split("\n")
    if version != "c2sp.org/tlog-proof@v1":
        raise ValueError("not a tlog-proof")
    if lines[0].startswith("extra "):
        lines.pop(0)
    word, _, index = lines.pop(0).partition(" ")
    if word != "index" or str(int(index)) != index:
        raise ValueError("no index")
    path = [base64.b64decode(line, validate=True) for line in lines]

    body, _, signatures = checkpoint.rpartition("\n\n")
    text = body + "\n"
    name, hash_, key = vkey.split("+", 2)
    public = base64.b64decode(key, validate=True)
    if public[0] != 1 or hashlib.sha256(f"{name}\n".encode() + public).digest()[:4].hex() != hash_:
        raise ValueError("not an Ed25519 verifier key")
    for line in signatures.splitlines():
        dash, signer, blob = line.split(" ")
        signature = base64.b64decode(blob, validate=True)
        if dash == "—" and signer == name and signature[:4].hex() == hash_:
            Ed25519PublicKey.from_public_bytes(public[1:]).verify(signature[4:], text.encode())
            break
    else:
        raise ValueError("no signature of this key")

    said, size, root, *_ = text.splitlines()
    if said != origin or str(int(size)) != size:
        raise ValueError("a checkpoint of another log")
    leaf = hashlib.sha256(b"\x00" + entry).digest()
    check_path(leaf, int(index), int(size), path, base64.b64decode(root, validate=True))
    return int(index), int(size)


def check_path(leaf: bytes, index: int, size: int, path: list[bytes], root: bytes) -> None:
    """Let pymerkle check an RFC 9162 path: it counts from 1 and takes the leaf as first node."""
    sides, place, last = [], index, size - 1
    while last:
        if place & 1 or place < last:
            sides.append(place & 1)
        place, last = place >> 1, last >> 1
    proof = InclusionProof(
        algorithm="sha256", security=True, size=size, index=index + 1,
        rule=[*sides, 0], path=[leaf, *path],
    )  # fmt: skip
    verify_inclusion(leaf, root, proof, index=index + 1, size=size, algorithm="sha256")


# ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def receipts(dev):
    """Some entries, posted one by one, so that each has a checkpoint of its own size."""
    return [dev.post(attempt()).json() for _ in range(9)]


@pytest.fixture(scope="module")
def vkeys(dev):
    logs = json.loads(dev.trust)["logs"]
    return {log["origin"]: log["vkeys"][0] for log in logs}


def fetched(dev, receipt):
    answer = dev.get(f"/v1/events/{receipt['event_id']}/proof", headers={"accept": "text/plain"})
    assert answer.headers["content-type"].startswith("text/plain")
    return answer.text


def test_a_fetched_proof_verifies_with_a_verifier_of_under_sixty_lines(dev, receipts, vkeys):
    """The proof comes from the API, the key from the trust file, the bytes from the receipt."""
    for receipt in receipts:
        entry = base64.b64decode(receipt["entry"])

        index, size = verify(fetched(dev, receipt), entry, "localhost/dev", vkeys["localhost/dev"])

        assert index == receipt["position"]
        assert size > receipts[-1]["position"]
    lines = inspect.getsource(verify) + inspect.getsource(check_path)
    assert len(lines.splitlines()) < 60


def test_the_proof_inside_a_receipt_verifies_as_well(receipts, vkeys):
    for receipt in receipts:
        entry = base64.b64decode(receipt["entry"])

        index, size = verify(receipt["proof"], entry, receipt["origin"], vkeys["localhost/dev"])

        assert (index, size) == (receipt["position"], receipt["size"])


def test_the_verifier_is_not_one_that_accepts_everything(dev, receipts, vkeys):
    """One changed bit in entry, path, index, root or signature, and it refuses."""
    receipt = receipts[0]
    entry, key = base64.b64decode(receipt["entry"]), vkeys["localhost/dev"]
    proof = fetched(dev, receipt)
    node = next(line for line in proof.splitlines()[2:] if line)
    other = base64.b64encode(bytes([base64.b64decode(node)[0] ^ 1]) + base64.b64decode(node)[1:])
    spoiled = {
        "entry": (proof, entry[:-1] + b" "),
        "path": (proof.replace(node, other.decode()), entry),
        "index": (
            proof.replace(f"index {receipt['position']}", f"index {receipt['position'] ^ 1}"),
            entry,
        ),
        "root": (proof.replace("localhost/dev\n", "localhost/dev\n1", 1), entry),
    }

    for text, data in spoiled.values():
        with pytest.raises((InvalidProof, InvalidSignature, ValueError)):
            verify(text, data, "localhost/dev", key)
    with pytest.raises(ValueError, match="signature"):
        verify(proof, entry, "localhost/dev", vkeys["localhost/dev/access"])
