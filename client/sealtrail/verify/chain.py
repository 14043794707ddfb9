# SPDX-License-Identifier: Apache-2.0
r"""The keyed chain beside the log: who lacks the key of the day cannot re-forge the day.

    start_0  = HMAC(K_0, "sealtrail.chain.v1\0" ‖ origin ‖ "\n" ‖ u64be(0))
    start_e  = HMAC(K_e, "sealtrail.chain.v1\0" ‖ origin ‖ "\n" ‖ u64be(e) ‖ last mac of e-1)
    mac_n    = HMAC(K_e, mac_{n-1} ‖ u64be(n) ‖ leaf_n)                     n: position from 0
    K_{e+1}  = HMAC(K_e, "sealtrail.chain.evolve.v1\0" ‖ origin)
    head tag = HMAC(K_e, "sealtrail.head.v1\0" ‖ origin ‖ u64be(e) ‖ u64be(size) ‖ frontier
                         ‖ mac ‖ u64be(last time in ms since 1970))

HMAC is HMAC-SHA256, keys and MACs are 32 bytes. Each value comes twice: the message alone, for a
writer whose key never leaves its keystore, and the keyed value, for an auditor who holds the
escrowed key. Source: RFC 2104; the forward-secure key schedule follows Bellare and Yee (2003).
"""

import hmac

_START = b"sealtrail.chain.v1\0"
_EVOLVE = b"sealtrail.chain.evolve.v1\0"
_HEAD = b"sealtrail.head.v1\0"

KEY_BYTES = 32
MAC_BYTES = 32
_U64_LIMIT = 2**64


def start(key: bytes, origin: str, epoch: int, last_mac: bytes | None) -> bytes:
    """The value that the first entry of `epoch` is chained to."""
    return _mac(key, start_message(origin, epoch, last_mac))


def link(key: bytes, previous_mac: bytes, position: int, leaf: bytes) -> bytes:
    """The MAC of the entry with hash `leaf` at `position`, chained to the one before."""
    return _mac(key, link_message(previous_mac, position, leaf))


def evolve(key: bytes, origin: str) -> bytes:
    """The key of the next epoch; there is no way back to this one."""
    return _mac(key, evolve_message(origin))


def head_tag(
    key: bytes,
    *,
    origin: str,
    epoch: int,
    size: int,
    frontier_bytes: bytes,
    mac: bytes,
    last_time_ms: int,
) -> bytes:
    """The tag that shows a head row to be the work of a holder of the chain key."""
    message = head_message(
        origin=origin,
        epoch=epoch,
        size=size,
        frontier_bytes=frontier_bytes,
        mac=mac,
        last_time_ms=last_time_ms,
    )
    return _mac(key, message)


def start_message(origin: str, epoch: int, last_mac: bytes | None) -> bytes:
    """What is MACed to open `epoch`; `last_mac` is None for epoch 0 and only for it."""
    if (last_mac is None) != (epoch == 0):
        raise ValueError("epoch 0 follows no MAC, and every other epoch follows one")
    head = _START + _line(origin) + b"\n" + _u64(epoch)
    return head if last_mac is None else head + _exactly(last_mac, MAC_BYTES)


def link_message(previous_mac: bytes, position: int, leaf: bytes) -> bytes:
    """What is MACed for one entry: 72 bytes."""
    return _exactly(previous_mac, MAC_BYTES) + _u64(position) + _exactly(leaf, 32)


def evolve_message(origin: str) -> bytes:
    """What is MACed to get the key of the next epoch."""
    return _EVOLVE + _line(origin)


def head_message(
    *,
    origin: str,
    epoch: int,
    size: int,
    frontier_bytes: bytes,
    mac: bytes,
    last_time_ms: int,
) -> bytes:
    """What is MACed to tie size, frontier, chain and clock of a head row together."""
    # The number of frontier hashes follows from the size, so the fields cannot be cut elsewhere.
    frontier = _exactly(frontier_bytes, 32 * size.bit_count())
    return b"".join(
        (
            _HEAD,
            _line(origin),
            _u64(epoch),
            _u64(size),
            frontier,
            _exactly(mac, MAC_BYTES),
            _u64(last_time_ms),
        )
    )


def _mac(key: bytes, message: bytes) -> bytes:
    return hmac.digest(_exactly(key, KEY_BYTES), message, "sha256")


def _line(origin: str) -> bytes:
    """An origin as bytes; a line feed in it could be taken for the one that ends it."""
    if not origin or "\n" in origin or "\0" in origin:
        raise ValueError("an origin is one line of text and not empty")
    return origin.encode()


def _u64(number: int) -> bytes:
    if type(number) is not int or not 0 <= number < _U64_LIMIT:
        raise ValueError("not an unsigned 64-bit number")
    return number.to_bytes(8, "big")


def _exactly(data: bytes, length: int) -> bytes:
    if len(data) != length:
        raise ValueError(f"expected {length} bytes, not {len(data)}")
    return data
