# SPDX-License-Identifier: Apache-2.0
"""Bytes written as Base64, read so that each byte string has exactly one spelling.

Python's decoder skips what it does not know; two texts would then stand for one value. Here a
text is decoded, encoded again and compared.

Source: RFC 4648 §4.
"""

import binascii
from base64 import b64decode, b64encode

from sealtrail.verify.errors import Unreadable


def encode(data: bytes) -> str:
    return b64encode(data).decode("ascii")


def decode(text: str, what: str) -> bytes:
    """The bytes that `text` spells. Raises Unreadable, naming `what` the text was meant to be."""
    try:
        data = b64decode(text.encode("ascii"), validate=True)
    except (UnicodeEncodeError, binascii.Error):
        raise Unreadable(f"{what} is not Base64.") from None
    if encode(data) != text:
        raise Unreadable(f"{what} is not the one spelling of its bytes in Base64.")
    return data
