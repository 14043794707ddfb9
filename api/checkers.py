# SPDX-License-Identifier: GPL-3.0-or-later
"""The processes that check requests, so that a second core has work to do.

Reading and checking an event takes as long as all else that a server does for it, and Python runs
one thread at a time. What is checked is checked the same way in here (`api.checking`), and that is
what happens while no checker is ready, or when there is none: one that dies takes nothing along but
the requests it was looking at, which are given to another one once, and then refused with 503. One
that does not answer is killed.
"""

import asyncio
import contextlib
import logging
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Final, cast

from api import checker as wire
from api import checking, problems
from api.checking import Caller, Checked, Refusal
from ledger.decoding import packed, unpacked
from ledger.errors import Overloaded, Unavailable

log = logging.getLogger("sealtrail.api")

#: Told once, in the event loop: a result for each event, or what condemns them all.
Then = Callable[[list[Checked] | Refusal], None]

_LOOK_S: Final = 1.0

#: A checker that has not answered for so long, in seconds, is killed. Eight megabytes take one.
_SILENT_S: Final = 15.0

#: Requests that may wait for one checker.
_WAITING_MAX: Final = 1_024
_CALLERS_MAX: Final = 4_096
_KINDS: Final = {"one": wire.ONE, "array": wire.ARRAY, "lines": wire.LINES}


class CheckerLost(Unavailable):
    """A process of this server ended while it looked at the request; nothing was recorded."""

    problem = "checker-lost"


@dataclass(slots=True, eq=False)
class _Task:
    """One request on its way."""

    kind: str
    data: bytes = field(repr=False)
    caller: Caller
    received_ms: int
    since: float
    then: Then
    tries: int = 0

    def tell(self, results: list[Checked] | Refusal) -> None:
        """Tell whoever waits; one caller's mishap is not the next one's."""
        try:
            self.then(results)
        except Exception as error:  # noqa: BLE001 - told to the log, without values
            problems.unexpected(error)


class _Checker(asyncio.Protocol):
    """One process and the requests it has."""

    def __init__(self, pool: "Checkers") -> None:
        self._pool = pool
        ours, theirs = socket.socketpair()
        with theirs:
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-m", "api.checker", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                env=os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
            )
        self.socket = ours
        self.tasks: dict[int, _Task] = {}
        self.ready = False
        self._frames = wire.Frames()
        self._callers: dict[Caller, int] = {}
        self._last: tuple[Caller | None, int] = (None, 0)  #: Whose request was the last one.
        self._number = 0
        self._out: list[bytes] = []
        self._away = 0  #: Requests that were sent and are not answered: it is awake.
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        for kind, number, _, _, result in self._frames.take(data):
            if kind == wire.READY:
                self.ready = True
                continue
            task = self.tasks.pop(number)
            self._away -= 1
            if kind == wire.ONE:
                task.tell([checking.unpack(result)])
            elif kind == wire.MANY:
                task.tell([checking.unpack(one) for one in unpacked(result)])
            else:
                task.tell(cast("Refusal", checking.unpack(result)))
        if self._out:
            self._flush()

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self.ready = False
        self._pool.lost(self)

    def give(self, task: _Task) -> None:
        """Send a request, or keep it until those sent before are answered: then all go at once."""
        caller, index = self._last
        if task.caller is not caller:
            known = self._callers.get(task.caller)
            index = self._introduce(task.caller) if known is None else known
            self._last = (task.caller, index)
        self._number = number = self._number + 1
        self.tasks[number] = task
        data = task.data
        self._send(wire.header(_KINDS[task.kind], len(data), number, index, task.received_ms), data)

    def _introduce(self, caller: Caller) -> int:
        if len(self._callers) >= _CALLERS_MAX:
            self._callers.clear()
        index = self._callers[caller] = len(self._callers)
        identity, pipelines, strict = caller
        data = packed([asdict(identity), sorted(pipelines), strict])
        self._send(wire.header(wire.CALLER, len(data), caller=index), data)
        return index

    def _send(self, header: bytes, data: bytes) -> None:
        if not self._out and not self._away:
            asyncio.get_running_loop().call_soon(self._flush)
        self._out += (header, data)

    def _flush(self) -> None:
        data, self._out = b"".join(self._out), []
        self._away = len(self.tasks)
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)

    def close(self) -> None:
        """Let the process end: it reads the end of what it is sent."""
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)
        if self._transport is not None:
            self._transport.close()
        self.socket.close()


class Checkers:
    """Checks requests in `count` processes; in this one while none of them is ready."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._loop: asyncio.AbstractEventLoop | None = None
        self._running: list[_Checker] = []
        self._watching: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Start the processes; does not wait until they are ready."""
        await self._fill()
        if self._count:
            self._watching = asyncio.get_running_loop().create_task(self._watch())

    async def _fill(self) -> None:
        """Start as many as are missing."""
        while len(self._running) < self._count:
            await self._start_one()

    async def _start_one(self) -> None:
        checker = _Checker(self)
        self._running.append(checker)
        loop = asyncio.get_running_loop()
        await loop.create_unix_connection(lambda: checker, sock=checker.socket)

    @property
    def processes(self) -> list[int]:
        """Return the process ids of those that are ready."""
        return [one.process.pid for one in self._running if one.ready]

    def check(
        self,
        kind: str,
        data: bytes,
        caller: Caller,
        received_ms: int,
        then: Then,
        *,
        here: bool = False,
    ) -> None:
        """Check a body (`one`, `array` or `lines`); `then` is told the results, now or later.

        here: in this process, which has nothing better to do: the way to another takes longer.
        Raises Overloaded when too many wait already.
        """
        loop = self._loop
        if loop is None:  # Asking for it asks the system for the process's id, each time.
            loop = self._loop = asyncio.get_running_loop()
        task = _Task(kind, data, caller, received_ms, loop.time(), then)
        if here:
            task.tell(_check_here(task))
        else:
            self._place(task)

    def lost(self, checker: _Checker) -> None:
        """Hear that a process is gone: what it had is given to another, once."""
        if checker not in self._running:
            return
        self._running.remove(checker)
        checker.close()
        checker.process.kill()
        checker.process.wait()
        tasks, checker.tasks = list(checker.tasks.values()), {}
        log.error("a checker ended with %s requests; another one will be started", len(tasks))
        for task in tasks:
            self._again(task)

    def close(self) -> None:
        """End all processes."""
        if self._watching is not None:
            self._watching.cancel()
        running, self._running = self._running, []
        for checker in running:
            checker.close()
        for checker in running:
            try:
                checker.process.wait(_LOOK_S)
            except subprocess.TimeoutExpired:
                checker.process.kill()
                checker.process.wait()

    def _place(self, task: _Task) -> None:
        checker = None
        for one in self._running:
            if one.ready and (checker is None or len(one.tasks) < len(checker.tasks)):
                checker = one
        if checker is None:
            task.tell(_check_here(task))
            return
        if len(checker.tasks) >= _WAITING_MAX:
            raise Overloaded
        checker.give(task)

    def _again(self, task: _Task) -> None:
        """Give a request to another checker; the one that it may have killed was the last."""
        task.tries += 1
        ready = any(one.ready for one in self._running)
        if task.tries > 1 or not ready:
            task.tell(checking.refused(CheckerLost()))
            return
        try:
            self._place(task)
        except Overloaded as error:
            task.tell(checking.refused(error))

    async def _watch(self) -> None:
        """Once a second kill whoever is silent, and start whoever is missing."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(_LOOK_S)
            for checker in self._running:
                oldest = next(iter(checker.tasks.values()), None)
                if oldest is not None and loop.time() - oldest.since > _SILENT_S:
                    checker.process.kill()
            try:
                await self._fill()
            except OSError as error:  # No memory, no process: requests are checked here meanwhile.
                log.error("no checker can be started: %s", error.strerror)  # noqa: TRY400


def _check_here(task: _Task) -> list[Checked] | Refusal:
    if task.kind == "one":
        return [checking.check_one(task.data, task.caller, task.received_ms)]
    try:
        return checking.check_many(
            task.data, task.caller, task.received_ms, in_lines=task.kind == "lines"
        )
    except Exception as error:  # noqa: BLE001 - a bug is answered, and told without its values
        return checking.refused(error)
