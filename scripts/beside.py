# SPDX-License-Identifier: GPL-3.0-or-later
"""The scheduler of a development ledger: a process of its own beside the API.

    dev ── fork, while it has no threads ──► waits ── settings ──► scheduler ── "stop" ──► ends
                                               └── the pipe is closed: `dev` was killed ──► ends

In one interpreter whatever the scheduler does would keep requests waiting. It is forked, not
started, because what it needs is imported already, a second and a half of work. Its pipe tells it
of the end of `dev`, however that comes: it is then gone at once, as if it had been killed, too,
which nothing that it does minds.
"""

import contextlib
import json
import logging
import os
import signal
import threading
from collections.abc import Mapping
from typing import Final, NoReturn, TextIO

from ledger.errors import LedgerError
from ledger.settings import Settings
from scripts.assembly import authorities, open_ledger
from scripts.configure import log_to_stderr
from scripts.scheduler import Scheduler

log = logging.getLogger("sealtrail.dev")

_STOP: Final = "stop"

#: What waits for nobody gives way to what somebody waits for.
_NICE: Final = 10


class Beside:
    """A child that runs the scheduler once it is given settings; make it before any thread."""

    def __init__(self) -> None:
        ours, theirs = os.pipe()[::-1]
        self._pid = os.fork()
        if self._pid == 0:
            os.close(ours)
            _live(theirs)
        os.close(theirs)
        self._pipe = os.fdopen(ours, "w", encoding="utf-8")
        self._stopping = False
        self._watch: threading.Thread | None = None

    def start(self, variables: Mapping[str, str]) -> None:
        """Have the scheduler started with these settings; does not wait until it works."""
        self._say(json.dumps(variables))
        self._watch = threading.Thread(target=self._see_it_end, name="scheduler", daemon=True)
        self._watch.start()

    def stop(self) -> None:
        """Let the jobs that run end, then the scheduler; return when it is gone."""
        self._stopping = True
        self._say(_STOP)
        self._gone()

    def close(self) -> None:
        """Close the pipe; a scheduler that was not stopped before is gone at once."""
        self._stopping = True
        with contextlib.suppress(BrokenPipeError):
            self._pipe.close()
        self._gone()

    def _gone(self) -> None:
        """Return when the child is gone."""
        if self._watch is None:
            os.waitpid(self._pid, 0)
        else:
            self._watch.join()

    def _say(self, line: str) -> None:
        with contextlib.suppress(BrokenPipeError):  # It is gone, which whoever watches has said.
            print(line, file=self._pipe, flush=True)

    def _see_it_end(self) -> None:
        _, status = os.waitpid(self._pid, 0)
        if not self._stopping:
            code = os.waitstatus_to_exitcode(status)
            log.error("the scheduler ended with %d: no nights, no sweeps", code)


def _live(pipe: int) -> NoReturn:
    """Be the child, to the end of its process: nothing of the parent's is cleaned up here."""
    code = 1
    try:
        # Whoever stops `dev` with Ctrl-C stops all of its processes; the pipe says when.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
        null = os.open(os.devnull, os.O_RDWR)
        os.dup2(null, 0)
        os.dup2(null, 1)
        os.nice(_NICE)
        with os.fdopen(pipe, encoding="utf-8") as lines:
            code = _run(lines)
    except LedgerError as error:
        log.error("the scheduler: %s (%s)", error, error.problem)  # noqa: TRY400 - no values in logs
    except BaseException as error:
        log.critical("the scheduler: %s", type(error).__name__, exc_info=True)
    finally:
        os._exit(code)


def _run(lines: TextIO) -> int:
    """Run the scheduler from the first line to the second; return the exit code."""
    told = lines.readline()
    if not told:
        return 0  # `dev` came to nothing.
    settings = Settings.from_environment(json.loads(told))
    log_to_stderr(settings)
    with open_ledger(settings) as ledger:
        url = settings.database_url or ""
        jobs = Scheduler(ledger.shelf, settings, authorities(settings), url, beside_api=True)
        jobs.start()
        if lines.readline() == f"{_STOP}\n":
            jobs.stop()
            return 0
    os._exit(1)  # Nobody is there any more for whom a job could be ended.
