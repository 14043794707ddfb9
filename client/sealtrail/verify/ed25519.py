# SPDX-License-Identifier: Apache-2.0
"""Checks that a text was signed with the private half of a given public key.

An Ed25519 *verifier*. It holds no secret, so its timing tells nobody anything; there is no signer
here and there must never be one.

    signature = R (32 bytes) ‖ S (32 bytes, little endian)
    k         = SHA-512(R ‖ A ‖ message) mod L
    accepted  : encode([S]B - [k]A) equals R, byte for byte        (no cofactor)

The two back ends (the package `cryptography`, or the arithmetic below) never see input that they
could judge differently: `verify` first refuses what the authors of verifiers disagree about.

Source: RFC 8032 §5.1 for the curve and the equation; Chalkias, Garillot and Nikolaenko, "Taming
the many EdDSAs" (2020), for the list of disagreements.
"""

import hashlib
from functools import lru_cache
from typing import Final, Literal

from sealtrail.verify.errors import Incomplete, Refuted

Backend = Literal["auto", "python", "cryptography"]

KEY_LENGTH: Final = 32
SIGNATURE_LENGTH: Final = 64


class KeyRefused(Refuted):
    """These bytes are not a public key that can bind a signature to one message."""


class SignatureInvalid(Refuted):
    """The signature does not belong to this text and this key."""


def check_public_key(key: bytes) -> None:
    """Return if `key` is a canonical Ed25519 point outside the small subgroup; else raise.

    A key of small order would accept one signature for many texts. Raises KeyRefused; the caller
    must get another key.
    """
    if len(key) != KEY_LENGTH:
        raise KeyRefused(f"An Ed25519 public key has {KEY_LENGTH} bytes, this one {len(key)}.")
    reason = _unfit(key)
    if reason:
        raise KeyRefused(f"The Ed25519 public key {reason}.")
    _decompress(key)


def verify(
    *, public_key: bytes, message: bytes, signature: bytes, backend: Backend = "auto"
) -> None:
    """Return if `signature` is the key holder's signature over exactly `message`; else raise.

    Pure Python takes about 2 ms, `cryptography` a tenth of that; the verdict is the same.
    Raises KeyRefused, SignatureInvalid, or Incomplete if the back end asked for is not installed.
    """
    check_public_key(public_key)
    if len(signature) != SIGNATURE_LENGTH:
        raise SignatureInvalid(
            f"An Ed25519 signature has {SIGNATURE_LENGTH} bytes, this one {len(signature)}."
        )
    if int.from_bytes(signature[32:], "little") >= _L:
        raise SignatureInvalid("The signature's S is not below the group order.")
    reason = _unfit(signature[:32])
    if reason:
        raise SignatureInvalid(f"The signature's R {reason}.")

    if backend != "python" and _verified_by_cryptography(
        public_key, message, signature, required=backend == "cryptography"
    ):
        return
    _verify_in_python(public_key, message, signature)


def _verified_by_cryptography(
    public_key: bytes, message: bytes, signature: bytes, *, required: bool
) -> bool:
    """Whether `cryptography` is here and accepted; a refusal raises. False: it is not installed."""
    try:
        from cryptography.exceptions import (  # noqa: PLC0415  optional
            InvalidSignature,
            UnsupportedAlgorithm,
        )
        from cryptography.hazmat.primitives.asymmetric.ed25519 import (  # noqa: PLC0415  optional
            Ed25519PublicKey,
        )
    except ImportError:
        if required:
            raise Incomplete("The package `cryptography` is not installed.") from None
        return False
    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(signature, message)
    except UnsupportedAlgorithm:  # Its OpenSSL may be one that is restricted to older curves.
        if required:
            raise Incomplete("The package `cryptography` has no Ed25519 here.") from None
        return False
    except (InvalidSignature, ValueError):
        raise SignatureInvalid(_DOES_NOT_FIT) from None
    return True


def _verify_in_python(public_key: bytes, message: bytes, signature: bytes) -> None:
    """Return if the equation above holds; else raise. The front door has been passed."""
    digest = hashlib.sha512(signature[:32] + public_key + message).digest()
    k = int.from_bytes(digest, "little") % _L
    s = int.from_bytes(signature[32:], "little")
    if _encode(_combine(s, k, _negated_multiples(public_key))) != signature[:32]:
        raise SignatureInvalid(_DOES_NOT_FIT)


_DOES_NOT_FIT: Final = "The signature does not belong to this text and this key."

# ---- the curve -x² + y² = 1 + d·x²·y² over the integers mod p, RFC 8032 §5.1

_P: Final = 2**255 - 19
_L: Final = 2**252 + 27742317777372353535851937790883648493
_D: Final = -121665 * pow(121666, -1, _P) % _P
_D2: Final = 2 * _D % _P
_ROOT_OF_MINUS_ONE: Final = pow(2, (_P - 1) // 4, _P)
_ORDER_8: Final = 0x05FC536D880238B13933C6D305ACDFD5F098EFF289F4C345B027B2C28F95E826
#: The y coordinates of the eight points of small order: orders 4, 1, 2, 8, 8.
_SMALL_ORDER_Y: Final = frozenset({0, 1, _P - 1, _ORDER_8, _P - _ORDER_8})

_Point = tuple[int, int, int, int]  # X, Y, Z, T with x = X/Z, y = Y/Z, xy = T/Z
_Addend = tuple[int, int, int, int]  # Y-X, Y+X, 2dT, 2Z: what an addition needs of its second point
_IDENTITY: Final[_Point] = (0, 1, 1, 0)


def _unfit(encoded: bytes) -> str:
    """Why 32 bytes may not stand for a point here; empty if they may.

    x is zero only where y is 1 or -1, so refusing small order also refuses the "negative zero".
    """
    y = int.from_bytes(encoded, "little") & (2**255 - 1)
    if y >= _P:
        return "is not in canonical form"
    if y in _SMALL_ORDER_Y:
        return "is a point of small order"
    return ""


@lru_cache(maxsize=64)
def _decompress(key: bytes) -> tuple[int, int]:
    """The affine point of a canonical encoding (RFC 8032 §5.1.3); KeyRefused if there is none."""
    number = int.from_bytes(key, "little")
    sign, y = number >> 255, number & (2**255 - 1)
    u, v = (y * y - 1) % _P, (_D * y * y + 1) % _P
    x = u * pow(v, 3, _P) * pow(u * pow(v, 7, _P), (_P - 5) // 8, _P) % _P
    if (v * x * x - u) % _P != 0:
        x = x * _ROOT_OF_MINUS_ONE % _P
        if (v * x * x - u) % _P != 0:
            raise KeyRefused("The Ed25519 public key is not a point of the curve.")
    return (_P - x if x & 1 != sign else x), y


def _encode(point: _Point) -> bytes:
    inverse = pow(point[2], -1, _P)
    x, y = point[0] * inverse % _P, point[1] * inverse % _P
    return (y | (x & 1) << 255).to_bytes(32, "little")


def _addend(point: _Point) -> _Addend:
    x, y, z, t = point
    return (y - x) % _P, (y + x) % _P, _D2 * t % _P, 2 * z % _P


def _add(point: _Point, addend: _Addend) -> _Point:
    """Complete: also right for equal points and the identity (Hisil et al. 2008, §3.1)."""
    x, y, z, t = point
    a, b = (y - x) * addend[0], (y + x) * addend[1]
    c, d = t * addend[2], z * addend[3]
    e, f, g, h = (b - a) % _P, (d - c) % _P, (d + c) % _P, (b + a) % _P
    return e * f % _P, g * h % _P, f * g % _P, e * h % _P


def _double(point: _Point) -> _Point:
    x, y, z, _ = point
    a, b = x * x, y * y
    h = a + b
    g = (a - b) % _P
    e = (h - (x + y) * (x + y)) % _P
    f = (2 * z * z + g) % _P
    return e * f % _P, g * h % _P, f * g % _P, e * h % _P


def _odd_multiples(x: int, y: int, count: int) -> tuple[_Addend, ...]:
    """1P, 3P, 5P, ..."""
    point: _Point = (x, y, 1, x * y % _P)
    twice = _addend(_double(point))
    table = []
    for _ in range(count):
        table.append(_addend(point))
        point = _add(point, twice)
    return tuple(table)


@lru_cache(maxsize=64)
def _negated_multiples(public_key: bytes) -> tuple[_Addend, ...]:
    x, y = _decompress(public_key)
    return _odd_multiples(_P - x, y, 2 ** (_WIDTH_KEY - 2))


@lru_cache(maxsize=1)
def _base_multiples() -> tuple[_Addend, ...]:
    x, y = _decompress((4 * pow(5, -1, _P) % _P).to_bytes(32, "little"))
    return _odd_multiples(x, y, 2 ** (_WIDTH_BASE - 2))


_WIDTH_KEY: Final = 5
_WIDTH_BASE: Final = 7


def _signed_digits(scalar: int, width: int) -> list[int]:
    """`scalar` in base 2 with odd digits below 2^(width-1), mostly zeros, least first (wNAF)."""
    digits = []
    while scalar:
        digit = 0
        if scalar & 1:
            digit = scalar & ((1 << width) - 1)
            if digit >> (width - 1):
                digit -= 1 << width
            scalar -= digit
        digits.append(digit)
        scalar >>= 1
    return digits


def _combine(s: int, k: int, negated_key: tuple[_Addend, ...]) -> _Point:
    """[s]B + [k](-A) with one shared run of doublings."""
    base, digits_s, digits_k = (
        _base_multiples(),
        _signed_digits(s, _WIDTH_BASE),
        _signed_digits(k, _WIDTH_KEY),
    )
    length = max(len(digits_s), len(digits_k))
    digits_s += [0] * (length - len(digits_s))
    digits_k += [0] * (length - len(digits_k))
    point = _IDENTITY
    for of_s, of_k in zip(reversed(digits_s), reversed(digits_k), strict=True):
        point = _double(point)
        for digit, table in ((of_s, base), (of_k, negated_key)):
            if digit > 0:
                point = _add(point, table[digit >> 1])
            elif digit < 0:
                minus, plus, twist, z = table[-digit >> 1]
                point = _add(point, (plus, minus, -twist, z))
    return point
