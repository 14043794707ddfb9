# SPDX-License-Identifier: GPL-3.0-or-later
"""Perceptual hashes as bits, and the bands by which near ones are found.

A hash of n bits is cut into n/16 bands of 16 bits. If two hashes differ in at most (n/16)(t+1) - 1
bits, then in at least one band they differ in at most t: were it t+1 in each, they would differ in
(n/16)(t+1). So whoever looks up, for every band, all values within t bits finds all that there is
within that distance: 31 bits of 256 for t = 1, with 16 x 17 looks into an index. (Multi-index
hashing: Norouzi, Punjani, Fleet, "Fast Search in Hamming Space", 2012.)

    iscc    ISCC Image-Code of 64 to 256 bits (ISO 24138); a shorter one is a longer one's beginning
    pdq     PDQ, 256 bits, as 64 hexadecimal digits
    phash   pHash, 64 bits, as 16 hexadecimal digits
"""

import binascii
import re
from base64 import b32decode, b32encode
from itertools import combinations
from typing import Final, NamedTuple

BAND_BITS: Final = 16
BITS_MAX: Final = 256

#: In bits of 256, and what is looked for unless somebody says otherwise. PDQ's authors call 31 a
#: match; what was re-encoded and scaled differs in fewer, what shows something else in about 128.
WITHIN_MAX: Final = 47
WITHIN: Final = 31

#: Kind → lengths in bits.
LENGTHS: Final = {"iscc": (64, 128, 192, 256), "pdq": (256,), "phash": (64,)}

_HEX: Final = re.compile(r"[0-9a-f]+")
_ISCC: Final = re.compile(r"ISCC:[A-Z2-7]{16,61}")
#: First byte of an Image-Code: main type CONTENT (2), sub-type IMAGE (1).
_IMAGE: Final = 0x21


class Hash(NamedTuple):
    """A perceptual hash."""

    kind: str  #: A key of LENGTHS.
    data: bytes

    @property
    def bits(self) -> int:
        return len(self.data) * 8

    @property
    def flat(self) -> bool:
        """Whether it tells nothing: half of the bits of a picture are set, none of an even area's.

        All flat pictures are near each other, so they are neither kept nor looked for.
        """
        ones = int.from_bytes(self.data, "big").bit_count()
        return not self.bits / 4 <= ones <= self.bits * 3 / 4


def parse(kind: str, value: str) -> Hash | None:
    """Return a hash as `fingerprints[]` spells it; None for another kind or another spelling."""
    if kind == "iscc":
        data = _image_code(value)
    elif kind in LENGTHS:
        data = bytes.fromhex(value) if _HEX.fullmatch(value) and len(value) % 2 == 0 else b""
    else:
        return None
    return Hash(kind, data) if len(data) * 8 in LENGTHS[kind] else None


def bands(data: bytes) -> list[int]:
    """Return the 16-bit bands of a hash, first bits first, each as a signed smallint."""
    return [int.from_bytes(data[at : at + 2], "big", signed=True) for at in range(0, len(data), 2)]


def flips(within: int) -> int:
    """Return in how many bits a band may differ so that no hash within so many of 256 is missed."""
    return -(-(within + 1) // BAND_BITS) - 1


def near(band: int, most: int) -> list[int]:
    """Return all smallints that differ from `band` in at most `most` bits."""
    value = band & 0xFFFF
    found = []
    for count in range(most + 1):
        for places in combinations(range(BAND_BITS), count):
            mask = sum(1 << place for place in places)
            other = value ^ mask
            found.append(other - 0x10000 if other & 0x8000 else other)
    return found


def distance(first: bytes, second: bytes) -> int:
    """Return in how many bits two hashes differ, over the length of the shorter one."""
    shorter = min(len(first), len(second))
    one, two = (int.from_bytes(data[:shorter], "big") for data in (first, second))
    return (one ^ two).bit_count()


def _image_code(value: str) -> bytes:
    """Return the bits of an ISCC Image-Code in its canonical form; none for another ISCC.

    The header is two bytes: main and sub-type, then version 0 and length / 32 - 1. A composite
    ISCC-CODE is another thing and has to be taken apart by whoever sends it.
    """
    if not _ISCC.fullmatch(value):
        return b""
    text = value.removeprefix("ISCC:")
    try:
        raw = b32decode(text + "=" * (-len(text) % 8))
    except binascii.Error:
        return b""
    body = raw[2:]
    if b32encode(raw).decode().rstrip("=") != text:
        return b""
    return body if raw[0] == _IMAGE and raw[1] == len(body) // 4 - 1 else b""
