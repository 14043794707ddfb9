# SPDX-License-Identifier: Apache-2.0
"""The members of a receipt with their types, read without trust in whoever answered.

What is read raises ReceiptInvalid with `shape`, and repeats no value.
"""

from typing import Any

from sealtrail.errors import ReceiptInvalid
from sealtrail.verify import merkle


def text(members: dict[str, Any], name: str) -> str:
    value = members.get(name)
    if not isinstance(value, str):
        raise invalid("shape", f"The receipt's member {name} is missing or not text.")
    return value


def number(members: dict[str, Any], name: str) -> int:
    value = members.get(name)
    if type(value) is not int or value < 0:
        raise invalid("shape", f"The receipt's member {name} is not a whole number.")
    return value


def texts(members: dict[str, Any], name: str) -> list[str]:
    value = members.get(name)
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise invalid("shape", f"The receipt's member {name} is not a list of texts.")
    return value


def disclosures(members: dict[str, Any]) -> dict[str, str]:
    value = members.get("disclosures")
    if not isinstance(value, dict) or not all(isinstance(item, str) for item in value.values()):
        raise invalid("shape", "The receipt's member disclosures is not an object of texts.")
    return value


def digest_of(text: str) -> bytes:
    return digests_of([text])[0]


def digests_of(texts: list[str]) -> tuple[bytes, ...]:
    try:
        digests = [bytes.fromhex(text[7:]) for text in texts]
    except ValueError:
        digests = []
    # Printed again: the decoder skips white space and takes capitals.
    printed = [f"sha256:{digest.hex()}" for digest in digests if len(digest) == merkle.HASH_BYTES]
    if printed != texts:
        raise invalid("shape", "A hash in the receipt is not sha256: and 64 digits.")
    return tuple(digests)


def hex_text(digest: bytes) -> str:
    return f"sha256:{digest.hex()}"


def invalid(check: str, message: str) -> ReceiptInvalid:
    return ReceiptInvalid(message, check=check)
