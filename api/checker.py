# SPDX-License-Identifier: GPL-3.0-or-later
"""A process that checks requests and does nothing else: `python -m api.checker FD`.

It has no key, no database and no file; it reads frames from a socket that it inherits, answers each
in order, and ends when the server at the other end does. A frame is a header and bytes:

    uint32 length of the bytes ‖ uint8 kind ‖ uint64 number ‖ uint32 caller ‖ uint64 received_ms ‖ …

    to the checker     CALLER                who that caller is from now on (MessagePack)
                       ONE ARRAY LINES       a body from a caller
    from the checker   READY
                       ONE                   the one result, as api.checking.pack prints it
                       MANY                  a list of such results (MessagePack)
                       REFUSED               refusal of the whole body, printed likewise
"""

import contextlib
import gc
import signal
import socket
import struct
import sys
from typing import Final

from api import checking
from api.checking import Caller
from ledger.decoding import packed, unpacked
from ledger.request import Identity

_HEADER: Final = struct.Struct("!IBQIQ")
_READ: Final = 1 << 20

READY, CALLER, ONE, ARRAY, LINES, MANY, REFUSED = range(7)

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


#: Kind, number, caller, received_ms, and the bytes.
Frame = tuple[int, int, int, int, bytes]


class Frames:
    """Cuts what arrives into frames."""

    def __init__(self) -> None:
        self._data = b""

    def take(self, data: bytes) -> list[Frame]:
        """Return the frames that are complete with `data`."""
        data = self._data + data if self._data else data
        found: list[Frame] = []
        at, end, size = 0, len(data), _HEADER.size
        while end - at >= size:
            length, kind, number, caller, received_ms = _HEADER.unpack_from(data, at)
            begin = at + size
            if end - begin < length:
                break
            at = begin + length
            found.append((kind, number, caller, received_ms, data[begin:at]))
        self._data = data[at:]
        return found


def header(kind: int, length: int, number: int = 0, caller: int = 0, received_ms: int = 0) -> bytes:
    """Print a frame's header; `length` bytes have to follow."""
    return _HEADER.pack(length, kind, number, caller, received_ms)


class _Checker:
    def __init__(self) -> None:
        self._callers: dict[int, Caller] = {}

    def answer(self, frame: Frame) -> tuple[bytes, ...]:
        """Return the frame that answers one, in pieces; none for news about callers."""
        kind, number, index, received_ms, data = frame
        if kind == CALLER:
            identity, pipelines, strict = unpacked(data)
            self._callers[index] = Caller(Identity(**identity), frozenset(pipelines), strict)
            return ()
        caller = self._callers[index]
        if kind == ONE:
            result = checking.pack(checking.check_one(data, caller, received_ms))
            return header(ONE, len(result), number), result
        try:
            found = checking.check_many(data, caller, received_ms, in_lines=kind == LINES)
            kind, result = MANY, packed([checking.pack(one) for one in found])
        except Exception as error:  # noqa: BLE001 - a bug is answered, and told without its values
            kind, result = REFUSED, checking.pack(checking.refused(error))
        return header(kind, len(result), number), result


def run(sock: socket.socket) -> None:
    """Answer until the other end is closed."""
    checker, frames = _Checker(), Frames()
    collect_rarely()
    sock.sendall(header(READY, 0))
    while data := sock.recv(_READ):
        out: list[bytes] = []
        waiting = 0
        for frame in frames.take(data):
            answer = checker.answer(frame)
            out += answer
            waiting += sum(map(len, answer))
            if waiting >= _SEND:
                sock.sendall(b"".join(out))
                out, waiting = [], 0
        sock.sendall(b"".join(out))


def main() -> int:
    # The server decides when this ends: whoever stops it with Ctrl-C stops all of its processes.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    with contextlib.suppress(ConnectionError), socket.socket(fileno=int(sys.argv[1])) as sock:
        run(sock)
    return 0


if __name__ == "__main__":
    sys.exit(main())
