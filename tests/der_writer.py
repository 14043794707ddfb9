# SPDX-License-Identifier: GPL-3.0-or-later
"""Writes DER for tests. It shares nothing with the reader under test, and writes nonsense as asked.

Source: ITU-T X.690 §8 and §10.
"""

from datetime import datetime


def tlv(tag: int, *parts: bytes) -> bytes:
    content = b"".join(parts)
    size = len(content)
    if size < 128:
        return bytes([tag, size]) + content
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes([tag, 128 + len(length)]) + length + content


def seq(*parts: bytes) -> bytes:
    return tlv(0x30, *parts)


def set_of(*parts: bytes) -> bytes:
    return tlv(0x31, *sorted(parts))


def integer(number: int) -> bytes:
    size = 1
    while not -(1 << 8 * size - 1) <= number < 1 << 8 * size - 1:
        size += 1
    return tlv(0x02, number.to_bytes(size, "big", signed=True))


def oid(dotted: str) -> bytes:
    first, second, *rest = map(int, dotted.split("."))
    body = b""
    for arc in (40 * first + second, *rest):
        septets = [arc & 127]
        while arc := arc >> 7:
            septets.append(arc & 127 | 128)
        body += bytes(reversed(septets))
    return tlv(0x06, body)


def octets(data: bytes) -> bytes:
    return tlv(0x04, data)


def bits(data: bytes) -> bytes:
    return tlv(0x03, b"\0", data)


def named_bits(*numbers: int) -> bytes:
    if not numbers:
        return tlv(0x03, b"\0")
    field = bytearray(max(numbers) // 8 + 1)
    for number in numbers:
        field[number // 8] |= 128 >> number % 8
    return tlv(0x03, bytes([7 - max(numbers) % 8]), bytes(field))


NULL = tlv(0x05)
TRUE = tlv(0x01, b"\xff")


def utc_time(moment: datetime) -> bytes:
    return tlv(0x17, f"{moment:%y%m%d%H%M%SZ}".encode())


def general_time(text: str) -> bytes:
    return tlv(0x18, text.encode())


def name(common: str, *, tag: int = 0x0C) -> bytes:
    return seq(set_of(seq(oid("2.5.4.3"), tlv(tag, common.encode()))))


def algorithm(dotted: str, *parameters: bytes) -> bytes:
    return seq(oid(dotted), *parameters)
