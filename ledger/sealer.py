# SPDX-License-Identifier: GPL-3.0-or-later
"""Signs and stores the checkpoint of one commit, under load while the next commit runs.

    writer thread   … COMMIT n ─► COMMIT n+1 ─► …
    sealer thread            └─► sign n, store accepts, receipts of n ─► sign n+1 …

In order and one at a time, so no receipt leaves before its own checkpoint is stored. At most two
commits wait here; then the writer waits. When the store refuses, what was committed is answered
503 and gets its receipt on retry, and the writer commits nothing more until the store works again.
"""

import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from ledger.errors import LedgerError

_CLOSE: Final = None
_AHEAD: Final = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """One commit that waits for its checkpoint.

    seal: signs and stores; returns the note. None: nothing to sign, only to answer in order.
    answer: takes the note, or what went wrong.
    """

    seal: Callable[[], bytes] | None
    answer: Callable[[bytes | LedgerError], None]


class Sealer:
    """A thread that finishes commits in the order in which they were made."""

    def __init__(self, name: str, unexpected: Callable[[Exception], LedgerError]) -> None:
        self._unexpected = unexpected
        self._queue: queue.Queue[Work | None] = queue.Queue(maxsize=_AHEAD)
        self._failed = False
        self._thread = threading.Thread(target=self._run, name=f"sealer {name}", daemon=True)
        self._started = False  # Most Books never have so much to do that they need it.

    @property
    def failed(self) -> bool:
        """Whether a checkpoint could not be stored since the last `drain`."""
        return self._failed

    @property
    def busy(self) -> bool:
        """Whether a commit still waits for its checkpoint."""
        return self._queue.unfinished_tasks > 0

    def finish(self, work: Work, *, later: bool) -> None:
        """Finish a commit: `later`, in the sealer's thread, or now, in the caller's.

        Later waits while two are waiting already; now waits for all that were handed over before.
        """
        if later:
            if not self._started:
                self._started = True
                self._thread.start()
            self._queue.put(work)
        else:
            self._queue.join()
            self._finish(work)

    def drain(self) -> None:
        """Wait until every commit that was handed over is answered; forget past failures."""
        self._queue.join()
        self._failed = False

    def close(self) -> None:
        """Finish what waits, then end the thread."""
        if self._started:
            self._queue.put(_CLOSE)
            self._thread.join()

    def _run(self) -> None:
        while (work := self._queue.get()) is not None:
            try:
                self._finish(work)
            finally:
                self._queue.task_done()

    def _finish(self, work: Work) -> None:
        try:
            work.answer(self._sealed(work))
        except Exception as error:  # noqa: BLE001 - nobody may wait for ever, nor the next one
            self._failed = True
            work.answer(self._unexpected(error))

    def _sealed(self, work: Work) -> bytes | LedgerError:
        if work.seal is None:
            return b""
        try:
            return work.seal()
        except LedgerError as error:
            self._failed = True
            return error
        except Exception as error:  # noqa: BLE001 - a bug must not leave callers waiting for ever
            self._failed = True
            return self._unexpected(error)
