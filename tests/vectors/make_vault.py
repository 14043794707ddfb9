# SPDX-License-Identifier: GPL-3.0-or-later
"""Vectors for the vault's bytes, made by a second program that shares no code.

AES from FIPS 197 and GCM from NIST SP 800-38D the slow, obvious way: the S-box is computed, the
field is multiplied bit by bit. It imports nothing of the product and no cryptography.

    python tests/vectors/make_vault.py [folder]       writes vault.json, by default beside itself
"""

import json
import sys
from hashlib import sha256
from hmac import digest as hmac_of
from pathlib import Path


def doubled(byte):
    """Times x in GF(2^8) with AES's polynomial."""
    return (byte << 1) ^ (0x11B if byte & 0x80 else 0)


def times(a, b):
    product = 0
    while b:
        product, a, b = product ^ (a if b & 1 else 0), doubled(a), b >> 1
    return product


def substituted(byte):
    """FIPS 197 §5.1.1: the inverse, then an affine map."""
    inverse = next((one for one in range(256) if times(byte, one) == 1), 0)
    turned = [inverse << shift | inverse >> (8 - shift) for shift in range(5)]
    return (turned[0] ^ turned[1] ^ turned[2] ^ turned[3] ^ turned[4] ^ 0x63) & 255


S_BOX = [substituted(byte) for byte in range(256)]


def words_of(key):
    """FIPS 197 §5.2 for a key of 32 bytes: sixty words."""
    words, constant = [list(key[at : at + 4]) for at in range(0, 32, 4)], 1
    while len(words) < 60:
        word = list(words[-1])
        if len(words) % 8 == 0:
            word = [S_BOX[byte] for byte in word[1:] + word[:1]]
            word[0] ^= constant
            constant = doubled(constant)
        elif len(words) % 8 == 4:
            word = [S_BOX[byte] for byte in word]
        words.append([a ^ b for a, b in zip(words[-8], word, strict=True)])
    return words


def block_of(words, block):
    """FIPS 197 §5.1: fourteen rounds."""
    state = list(block)
    for turn in range(15):
        if turn:
            state = [S_BOX[byte] for byte in state]
            state = [state[(at + 4 * (at % 4)) % 16] for at in range(16)]
        if 0 < turn < 14:
            state = [
                times(2, state[at])
                ^ times(3, state[at - at % 4 + (at + 1) % 4])
                ^ state[at - at % 4 + (at + 2) % 4]
                ^ state[at - at % 4 + (at + 3) % 4]
                for at in range(16)
            ]
        key = [byte for word in words[4 * turn : 4 * turn + 4] for byte in word]
        state = [a ^ b for a, b in zip(state, key, strict=True)]
    return bytes(state)


def product_of(x, y):
    """SP 800-38D §6.3: in GF(2^128), the first bit is that of x^0."""
    product = 0
    for bit in range(127, -1, -1):
        product ^= y if x >> bit & 1 else 0
        y = y >> 1 ^ (0xE1 << 120 if y & 1 else 0)
    return product


def padded(data):
    return data + bytes(-len(data) % 16)


def gcm(key, nonce, data, bound):
    """SP 800-38D §7.1 for a nonce of 12 bytes: cipher text and a tag of 16 bytes."""
    words = words_of(key)
    stream = b"".join(
        block_of(words, nonce + (at + 2).to_bytes(4)) for at in range(-(-len(data) // 16))
    )
    cipher = bytes(a ^ b for a, b in zip(data, stream, strict=False))
    lengths = (8 * len(bound)).to_bytes(8) + (8 * len(cipher)).to_bytes(8)
    hashed, total = int.from_bytes(block_of(words, bytes(16))), 0
    text = padded(bound) + padded(cipher) + lengths
    for at in range(0, len(text), 16):
        total = product_of(total ^ int.from_bytes(text[at : at + 16]), hashed)
    mask = block_of(words, nonce + (1).to_bytes(4))
    return cipher + bytes(a ^ b for a, b in zip(total.to_bytes(16), mask, strict=True))


def secret(name, size=32):
    """Bytes that anybody can make again."""
    return sha256(f"sealtrail vector: {name}".encode()).digest()[:size]


def blob(number, disclosures):
    subject, dek = secret(f"subject {number}"), secret(f"dek {number}")
    event_id, ref = secret(f"event {number}", 16), secret(f"ref {number}", 16)
    nonce = secret(f"nonce {number}", 12)
    printed = ("[" + ",".join(f'"{one}"' for one in disclosures) + "]").encode()
    label = b"sealtrail.vault.dek.v1\0"
    return {
        "subject_key": subject.hex(),
        "dek": dek.hex(),
        "nonce": nonce.hex(),
        "event_id": event_id.hex(),
        "ref": ref.hex(),
        "disclosures": disclosures,
        "wrapped_dek": (nonce + gcm(subject, nonce, dek, label + event_id + ref)).hex(),
        "blob": gcm(dek, bytes(12), printed, event_id + ref).hex(),
    }


def bound(label, number, data, aad=b""):
    subject, ref, nonce = secret("subject 9"), secret("ref 9", 16), secret(f"{label} {number}", 12)
    full = f"sealtrail.vault.{label}.v1\0".encode() + ref + aad
    return {
        "subject_key": subject.hex(),
        "ref": ref.hex(),
        "nonce": nonce.hex(),
        "data": data.hex(),
        "aad": aad.hex(),
        "sealed": (nonce + gcm(subject, nonce, data, full)).hex(),
    }


def index(field, value, composed):
    """composed: the value with letters and accents in one character, written out here."""
    key = secret("index")
    message = field.encode() + b"\0" + composed.encode()
    return {
        "key": key.hex(),
        "field": field,
        "value": value,
        "message": message.hex(),
        "index": hmac_of(key, message, "sha256").hex(),
    }


def vectors():
    return {
        "blob": [blob(1, ["YWJj"]), blob(2, ["YWJj", "ZGVmZ2hpamtsbW5vcHFy", "-_-_"])],
        "identity": [bound("identity", 1, b"employee-7"), bound("identity", 2, "Zoë".encode())],
        "wrap": [bound("wrap", 1, secret("artifact"), b"artifact 1"), bound("wrap", 2, b"")],
        "index": [
            index("net.ip", "::1", "::1"),
            index("subject", "rene\u0301", "ren\u00e9"),
            index("subject", "\u1100\u1161", "\uac00"),
        ],
    }


def main():
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parent
    text = json.dumps(vectors(), indent=1, ensure_ascii=True) + "\n"
    (folder / "vault.json").write_text(text, "utf-8")


if __name__ == "__main__":
    main()
