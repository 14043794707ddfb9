# SPDX-License-Identifier: GPL-3.0-or-later
"""Signatures: the RFC's vectors, the cases verifiers disagree about, and damage of every kind.

The cases are made here, with a second, naive implementation of the curve (affine coordinates, one
bit at a time), so that the keys and signatures can be ones that no honest signer would make.
"""

import hashlib
import random
import time
from dataclasses import dataclass

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from sealtrail.verify import ed25519
from sealtrail.verify.errors import Refuted

BACKENDS = ["python", "cryptography"]

P = 2**255 - 19
L = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, -1, P) % P


def add(one, two):
    (x1, y1), (x2, y2) = one, two
    product = D * x1 * x2 * y1 * y2 % P
    return (
        (x1 * y2 + x2 * y1) * pow(1 + product, -1, P) % P,
        (y1 * y2 + x1 * x2) * pow(1 - product, -1, P) % P,
    )


def times(scalar, point):
    total = (0, 1)
    for bit in f"{scalar:b}":
        total = add(total, total)
        if bit == "1":
            total = add(total, point)
    return total


def root(number):
    candidate = pow(number, (P + 3) // 8, P)
    if candidate * candidate % P != number % P:
        candidate = candidate * pow(2, (P - 1) // 4, P) % P
    return candidate if candidate * candidate % P == number % P else None


def on_curve(y):
    """The point with this y and even x, or None."""
    x = root((y * y - 1) * pow(D * y * y + 1, -1, P))
    return None if x is None else (P - x if x & 1 else x, y)


def encode(point):
    return (point[1] | (point[0] & 1) << 255).to_bytes(32, "little")


B = on_curve(4 * pow(5, -1, P) % P)


def torsion():
    """A point of order 8: L times some point of the curve that lies outside the large subgroup."""
    for y in range(2, 100):
        point = on_curve(y)
        if point is not None:
            small = times(L, point)
            if times(4, small) != (0, 1):
                return small
    raise AssertionError


T8 = torsion()
SMALL = [times(n, T8) for n in range(8)]


def challenge(r, a, message):
    return int.from_bytes(hashlib.sha512(r + a + message).digest(), "little") % L


def raw(r, s):
    return r + s.to_bytes(32, "little")


@dataclass(frozen=True, kw_only=True)
class Case:
    name: str
    key: bytes
    message: bytes
    signature: bytes
    accepted: bool


def disagreements():
    """The twelve kinds of signature about which verifiers disagree (Taming the many EdDSAs, §5)."""
    dice = random.Random(8032)
    a, r = dice.randrange(L), dice.randrange(L)
    pure_a, pure_r = times(a, B), times(r, B)
    mixed_a = add(pure_a, T8)

    def case(name, key, message, signature, *, accepted=False):
        return Case(name=name, key=key, message=message, signature=signature, accepted=accepted)

    def signed(key, nonce, message, *, hashed_key=None, hashed_nonce=None, plus=0):
        k = challenge(hashed_nonce or nonce, hashed_key or key, message)
        return raw(nonce, (r + k * a) % L + plus)

    small, identity = encode(SMALL[1]), encode((0, 1))
    yield case("small A, small R, S = 0", small, b"0", raw(encode(SMALL[3]), 0))
    k = challenge(encode(pure_r), small, b"1")
    yield case("small A, large R", small, b"1", raw(encode(add(pure_r, SMALL[-k % 8])), r))
    k = challenge(small, encode(pure_a), b"2")
    yield case("large A, small R", encode(pure_a), b"2", raw(small, k * a % L))
    fits = differs = None
    for n in range(200):
        message, nonce = b"3 %d" % n, encode(add(pure_r, SMALL[5]))
        k = challenge(nonce, encode(mixed_a), message)
        if (k + 5) % 8 == 0:
            fits = message
        else:
            differs = message
    nonce = encode(add(pure_r, SMALL[5]))
    mixed = encode(mixed_a)
    yield case("mixed A and R, both equations", mixed, fits, signed(mixed, nonce, fits),
               accepted=True)  # fmt: skip
    yield case("mixed A and R, cofactor only", mixed, differs, signed(mixed, nonce, differs))
    plain = next(
        m for m in (b"5 %d" % n for n in range(99)) if challenge(encode(pure_r), mixed, m) % 8
    )
    yield case("mixed A, large R", mixed, plain, signed(mixed, encode(pure_r), plain))
    key, nonce = encode(pure_a), encode(pure_r)
    yield case("S above L", key, b"6", signed(key, nonce, b"6", plus=L))
    yield case("S far above L", key, b"7", signed(key, nonce, b"7", plus=14 * L))
    k = challenge((P + 1).to_bytes(32, "little"), key, b"8")
    odd = (P + 1).to_bytes(32, "little")
    yield case("R not canonical, hashed as sent", key, b"8", raw(odd, k * a % L))
    k = challenge(identity, key, b"9")
    yield case("R not canonical, hashed reduced", key, b"9", raw(odd, k * a % L))
    yield case("A not canonical, hashed as sent", odd, b"10", raw(nonce, r))
    yield case("A not canonical, hashed reduced", odd, b"11", raw(nonce, r))


def damaged():
    """An honest signature, and what a careless parser would still take for it."""
    dice = random.Random(1)
    private = Ed25519PrivateKey.from_private_bytes(dice.randbytes(32))
    key, message = private.public_key().public_bytes_raw(), b"a checkpoint\n"
    good = private.sign(message)
    s = int.from_bytes(good[32:], "little")

    def case(name, *, k=key, m=message, sig=good, accepted=False):
        return Case(name=name, key=k, message=m, signature=sig, accepted=accepted)

    yield case("honest", accepted=True)
    yield case("honest, empty message", m=b"", sig=private.sign(b""), accepted=True)
    for factor in (1, 2, 4, 8, 15):
        yield case(f"S plus {factor} L", sig=raw(good[:32], s + factor * L))
    for bit in (252, 253, 254, 255):
        yield case(f"S with bit {bit}", sig=raw(good[:32], s | 1 << bit))
    for name, value in [("0", 0), ("1", 1), ("L", L), ("L-1", L - 1), ("2^256-1", 2**256 - 1)]:
        yield case(f"S is {name}", sig=raw(good[:32], value))
    yield from misspelt(case, good, s)
    for length in (0, 1, 32, 63):
        yield case(f"cut to {length}", sig=good[:length])
    yield case("one byte more", sig=good + b"\0")
    yield case("one byte before", sig=b"\0" + good)
    yield case("twice", sig=good + good)
    yield case("in hexadecimal", sig=good.hex().encode())
    for length in (0, 31, 33):
        yield case(f"key of {length}", k=(key + b"\0")[:length])
    yield case("other message", m=message + b"\n")
    yield case("A negated", k=key[:31] + bytes([key[31] ^ 128]))
    for position in range(0, 512, 5):
        flipped = bytearray(good)
        flipped[position // 8] ^= 1 << position % 8
        yield case(f"signature bit {position}", sig=bytes(flipped))


def misspelt(case, good, s):
    """Points that are of small order, not canonical, or not on the curve at all."""
    for name, value in [("0", 0), ("1", 1), ("p", P), ("p-1", P - 1), ("2^256-1", 2**256 - 1)]:
        yield case(f"R is {name}", sig=raw(value.to_bytes(32, "little"), s))
        yield case(f"A is {name}", k=value.to_bytes(32, "little"))
    for sign in (0, 1):
        for n, point in enumerate(SMALL):
            encoded = bytearray(encode(point))
            encoded[31] ^= sign << 7
            yield case(f"A of order 8, {n} {sign}", k=bytes(encoded), sig=raw(good[:32], 0))
            yield case(f"R of order 8, {n} {sign}", sig=raw(bytes(encoded), s))
    yield case("R negated", sig=good[:31] + bytes([good[31] ^ 128]) + good[32:])
    yield case("halves swapped", sig=good[32:] + good[:32])
    off = next(y for y in range(2, 99) if on_curve(y) is None).to_bytes(32, "little")
    yield case("A off the curve", k=off)
    yield case("R off the curve", sig=raw(off, s))


CASES = [*disagreements(), *damaged()]


def verdict(case, backend):
    try:
        ed25519.verify(
            public_key=case.key,
            message=case.message,
            signature=case.signature,
            backend=backend,
        )
    except Refuted as refusal:
        return f"{type(refusal).__name__}: {refusal}"
    return "accepted"


#: RFC 8032 §7.1: key, message, signature.
RFC_8032 = [
    (
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        b"",
        bytes.fromhex(
            "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46b"
            "d25bf5f0595bbe24655141438e7a100b"
        ),
    ),
    (
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        b"\x72",
        bytes.fromhex(
            "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c"
            "387b2eaeb4302aeeb00d291612bb0c00"
        ),
    ),
    (
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
        b"\xaf\x82",
        bytes.fromhex(
            "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc659"
            "4a7c15e9716ed28dc027beceea1ec40a"
        ),
    ),
    (
        "ec172b93ad5e563bf4932c70e1245034c35467ef2efd4d64ebf819683467e2bf",
        hashlib.sha512(b"abc").digest(),
        bytes.fromhex(
            "dc2a4459e7369633a52b1bf277839a00201009a3efbf3ecb69bea2186c26b58909351fc9ac90b3ecfdfbc7c66431e030"
            "3dca179c138ac17ad9bef1177331a704"
        ),
    ),
]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("vector", RFC_8032, ids=["empty", "one byte", "two bytes", "sha(abc)"])
def test_the_vectors_of_the_rfc_verify(vector, backend):
    """RFC 8032 §7.1, with either back end."""
    key, message, signature = vector

    ed25519.verify(
        public_key=bytes.fromhex(key),
        message=message,
        signature=signature,
        backend=backend,
    )


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_both_back_ends_give_the_verdict_of_the_front_door(case):
    """A stranger without `cryptography` sees the same verdict, in the same words."""
    verdicts = {verdict(case, backend) for backend in BACKENDS}

    assert len(verdicts) == 1
    assert (verdicts == {"accepted"}) is case.accepted


def test_random_signatures_of_another_implementation_verify():
    """Carries and borrows of the arithmetic: 100 keys, messages of all short lengths."""
    dice = random.Random(2)

    for length in range(100):
        private = Ed25519PrivateKey.from_private_bytes(dice.randbytes(32))
        message = dice.randbytes(length)
        ed25519.verify(
            public_key=private.public_key().public_bytes_raw(),
            message=message,
            signature=private.sign(message),
            backend="python",
        )


@pytest.mark.parametrize("point", SMALL, ids=range(8))
def test_every_point_of_small_order_is_refused_as_a_key(point):
    """One signature by such a key would fit many texts."""
    with pytest.raises(ed25519.KeyRefused, match="small order"):
        ed25519.check_public_key(encode(point))


@pytest.mark.parametrize("y", range(P, 2**255), ids=lambda y: f"p+{y - P}")
def test_every_second_spelling_of_a_key_is_refused(y):
    """The nineteen numbers from p to 2^255 spell a y that has a shorter spelling."""
    for sign in (0, 1 << 255):
        with pytest.raises(ed25519.KeyRefused, match="canonical"):
            ed25519.check_public_key((y | sign).to_bytes(32, "little"))


def test_pure_python_takes_less_than_ten_milliseconds():
    """A packet of a thousand entries is checked in seconds, without any package."""
    private = Ed25519PrivateKey.generate()
    key, signature = private.public_key().public_bytes_raw(), private.sign(b"text")

    fastest = 1.0
    for _ in range(10):
        start = time.perf_counter()
        ed25519.verify(public_key=key, message=b"text", signature=signature, backend="python")
        fastest = min(fastest, time.perf_counter() - start)

    assert fastest < 0.010
