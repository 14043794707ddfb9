# SPDX-License-Identifier: GPL-3.0-or-later
"""A process that checks requests and does nothing else: `python -m api.checker FD`.

It has no key, no database and no file; it reads frames from a socket that it inherits, answers each
in order, and ends when the server at the other end does. Frames: int32 length ‖ MessagePack.

    to the checker     ["caller", index, identity, pipelines, strict]   who index means from now on
                       ["one" | "array" | "lines", number, index, received_ms, body]
    from the checker   [0, []]                                   ready
                       [number, [result, …]]                     api.checking.pack
                       [number, refusal of the whole body]
"""

import contextlib
import gc
import signal
import socket
import struct
import sys
from typing import Any, Final

from api import checking
from api.checking import Caller
from ledger.decoding import packed, unpacked
from ledger.request import Identity

_LENGTH: Final = struct.Struct("!I")
_READ: Final = 1 << 20

#: Objects made and not yet given back; Python's own 700 are a few events.
_COLLECT_AFTER: Final = 20_000

#: Results are sent when so many bytes of them are there, or nothing more waits.
_SEND: Final = 64 * 1024


def collect_rarely() -> None:
    """Have the collector look for cycles less often: an event makes many objects, and no cycle.

    What exists now lives as long as the process, and need not be looked at again.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_COLLECT_AFTER, 20, 100)


class Frames:
    """Cuts what arrives into frames."""

    def __init__(self) -> None:
        self._data = b""

    def take(self, data: bytes) -> list[Any]:
        """Return the frames that are complete with `data`."""
        data = self._data + data if self._data else data
        found, at, end = [], 0, len(data)
        while end - at >= 4:
            (length,) = _LENGTH.unpack_from(data, at)
            if end - at - 4 < length:
                break
            found.append(unpacked(data[at + 4 : at + 4 + length]))
            at += 4 + length
        self._data = data[at:]
        return found


def frame(value: Any) -> bytes:
    """Print one frame."""
    data = packed(value)
    return _LENGTH.pack(len(data)) + data


class _Checker:
    def __init__(self) -> None:
        self._callers: dict[int, Caller] = {}

    def answer(self, message: list[Any]) -> bytes:
        """Return the frame that answers a message; none for news about callers."""
        if message[0] == "caller":
            _, index, identity, pipelines, strict = message
            self._callers[index] = Caller(Identity(**identity), frozenset(pipelines), strict)
            return b""
        kind, number, index, received_ms, data = message
        caller = self._callers[index]
        if kind == "one":
            return frame([number, [checking.pack(checking.check_one(data, caller, received_ms))]])
        try:
            found = checking.check_many(data, caller, received_ms, in_lines=kind == "lines")
        except Exception as error:  # noqa: BLE001 - a bug is answered, and told without its values
            return frame([number, checking.pack(checking.refused(error))])
        return frame([number, [checking.pack(one) for one in found]])


def run(sock: socket.socket) -> None:
    """Answer until the other end is closed."""
    checker, frames = _Checker(), Frames()
    collect_rarely()
    sock.sendall(frame([0, []]))
    while data := sock.recv(_READ):
        out = b""
        for message in frames.take(data):
            out += checker.answer(message)
            if len(out) >= _SEND:
                sock.sendall(out)
                out = b""
        sock.sendall(out)


def main() -> int:
    # The server decides when this ends: whoever stops it with Ctrl-C stops all of its processes.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    with contextlib.suppress(ConnectionError), socket.socket(fileno=int(sys.argv[1])) as sock:
        run(sock)
    return 0


if __name__ == "__main__":
    sys.exit(main())
