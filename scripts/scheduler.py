# SPDX-License-Identifier: GPL-3.0-or-later
"""Starts what is due: night, overdue sweep, daily fsck, hourly look at the store, old packets.

The clock decides only when to look. What is due is read from the ledger's own state, so a start
that was missed, late or doubled does no harm. One scheduler at a time works (advisory lock); others
wait and take over. This module is apscheduler's only home.
"""

import logging
import signal
import threading
from collections.abc import Callable, Sequence
from typing import Final

from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.cron import CronTrigger
from apscheduler.triggers.interval import IntervalTrigger

from anchoring.consent_effects import begin_effects
from anchoring.desk_alarms import watch_deadlines
from anchoring.fsck import Fsck
from anchoring.key_sheet import sheet_if_moved
from anchoring.night import Night
from anchoring.overdue import Sweep
from anchoring.rotation import KeyRotation
from anchoring.shelf import Book, Shelf
from anchoring.source_watch import SourceWatch
from anchoring.sweep import RetentionSweep
from anchoring.sweep_desk import cold_of
from anchoring.thaw import Retrievals
from anchoring.timestamp import Authority
from anchoring.upgrade_watch import watch_answers
from evidence.spool import Spool
from ledger import clock
from ledger.archive.upkeep import Upkeep
from ledger.database import LINE, Connection
from ledger.erasure.cases import Case
from ledger.erasure.erasures import Erasures
from ledger.errors import LedgerError
from ledger.readmodel.follower import catch_up
from ledger.redaction.detector import installed
from ledger.redaction.follower import Follower
from ledger.retention.cold import Cold
from ledger.settings import Settings
from scripts.assembly import open_archive, open_storeroom, publisher

log = logging.getLogger("sealtrail.scheduler")

_LOCK: Final = "SELECT pg_try_advisory_lock(hashtext('sealtrail.scheduler'))"
_SWEEP_S: Final = 15

#: Of which so many belong to each follower where the cores have to serve an API as well.
_BESIDE_S: Final = 3
_NIGHT_RETRY_S: Final = 600
_CUSTODY_S: Final = 60


_ENDS: Final = frozenset({signal.SIGINT, signal.SIGTERM})


def hold_signals() -> None:
    """Keep SIGINT and SIGTERM until `wait` takes them: call before any thread exists.

    A handler would run only between two steps of the main thread. A signal that comes just before
    that thread begins to wait would be noticed with the next signal, which may never come.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, _ENDS)


def wait() -> None:
    """Return when the process is told to stop, or was since `hold_signals`."""
    signal.sigwait(_ENDS)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _ENDS)  # Told twice, it ends at once.


class Leader:
    """Whether this process is the one scheduler; held as a lock of one database session."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._lock = threading.Lock()
        self._session: Connection | None = None

    def leads(self) -> bool:
        """Return True if the lock is ours, taking it if it is free."""
        with self._lock:
            try:
                if self._session is None or self._session.closed:
                    self._session = Connection.connect(self._url, autocommit=True, **LINE)
                    row = self._session.execute(_LOCK).fetchone()
                    if row is None or not row[0]:
                        self._drop()
                        return False
                self._session.execute("SELECT 1")
            except Exception:  # noqa: BLE001 - a lost session is a lost lock, whatever lost it
                self._drop()
                return False
            return True

    def resign(self) -> None:
        with self._lock:
            self._drop()

    def _drop(self) -> None:
        if self._session is not None:
            self._session.close()
            self._session = None


class Scheduler:
    """Runs the jobs of every Book on `shelf` while this process leads."""

    def __init__(
        self,
        shelf: Shelf,
        settings: Settings,
        authorities: Sequence[Authority],
        url: str,
        *,
        beside_api: bool = False,
    ) -> None:
        """beside_api: on the few cores of the API, which whatever runs here makes slower."""
        self._follow_s = _BESIDE_S if beside_api else _SWEEP_S
        self._shelf, self._settings, self._authorities = shelf, settings, authorities
        self._leader = Leader(url)
        self._sweeps: dict[str, Sweep] = {}
        self._followers: dict[str, tuple[Book, Follower]] = {}
        self._watches: dict[str, SourceWatch] = {}
        self._spool = Spool(settings.packet_dir, ttl_s=settings.packet_ttl_h * 3600)
        self._storeroom = open_storeroom(settings)
        self._scheduler = BackgroundScheduler(timezone="UTC")

    def start(self) -> None:
        """Start the jobs; the night runs at once, to catch up."""
        hour, minute = self._settings.night_time.split(":")
        self._add("night", self._night, CronTrigger(hour=hour, minute=minute, timezone="UTC"))
        # A job for once would be taken off the list when it ran, which stumbles over `stop`.
        self._add("night retry", self._night, IntervalTrigger(seconds=_NIGHT_RETRY_S), now=True)
        self._add("sweep", self._sweep, IntervalTrigger(seconds=_SWEEP_S))
        self._add("fsck", self._fsck, CronTrigger(hour=int(hour), minute=30, timezone="UTC"))
        self._add("artifacts", self._artifacts, IntervalTrigger(seconds=_CUSTODY_S))
        self._add("archive holds", self._follow_holds, IntervalTrigger(hours=1), now=True)
        self._add("archive", self._bury, CronTrigger(hour=int(hour), minute=55, timezone="UTC"))
        self._add("custody", self._custody, IntervalTrigger(seconds=_CUSTODY_S))
        self._add("erasures", self._erase, CronTrigger(hour=int(hour), minute=45, timezone="UTC"))
        self._add("late erasures", self._erase_late, IntervalTrigger(hours=1), now=True)
        later = CronTrigger(hour=(int(hour) + 1) % 24, minute=15, timezone="UTC")
        self._add("retention", self._keep, later)
        self._add("desk", self._watch_desk, IntervalTrigger(seconds=_CUSTODY_S), now=True)
        self._add("retrievals", self._retrieve, IntervalTrigger(seconds=_SWEEP_S))
        self._add("store", self._look, IntervalTrigger(hours=1))
        self._add("overlaps", self._end_overlaps, IntervalTrigger(hours=1), now=True)
        self._add("redaction", self._redact, IntervalTrigger(seconds=_SWEEP_S))
        self._add("read model", self._read, IntervalTrigger(seconds=_SWEEP_S))
        self._add("redaction tidy", self._tidy, IntervalTrigger(hours=24))
        self._add("answers", self._watch_answers, IntervalTrigger(seconds=_CUSTODY_S))
        self._add("sources", self._watch_sources, IntervalTrigger(seconds=_CUSTODY_S))
        self._add_job("key sheets", self._sheets, IntervalTrigger(seconds=_CUSTODY_S), now=True)
        self._add_job("packets", self._expire, IntervalTrigger(hours=1), now=True)
        self._scheduler.start()

    def stop(self) -> None:
        """Finish the jobs that run, then stop."""
        self._scheduler.shutdown(wait=True)
        self._leader.resign()

    def _add(
        self, name: str, work: Callable[[Book], None], trigger: object, *, now: bool = False
    ) -> None:
        self._add_job(name, self._guarded(name, work), trigger, now=now)

    def _add_job(
        self, name: str, job: Callable[[], None], trigger: object, *, now: bool = False
    ) -> None:
        # Late starts are wanted: the default would drop a job that starts a second late.
        self._scheduler.add_job(
            job,
            trigger,
            id=name,
            coalesce=True,
            max_instances=1,
            misfire_grace_time=None,
            **({"next_run_time": clock.now()} if now else {}),
        )

    def _guarded(self, name: str, work: Callable[[Book], None]) -> Callable[[], None]:
        def job() -> None:
            if not self._leader.leads():
                return
            try:
                names = list(self._shelf.rows())
            except LedgerError as error:
                log.error("%s: %s", name, error.problem)  # noqa: TRY400 - no values in logs
                return
            for book_name in names:
                try:
                    work(self._shelf.book(book_name))
                except LedgerError as error:
                    # Without the traceback: no values in logs.
                    log.error("%s of %s: %s (%s)", name, book_name, error, error.problem)  # noqa: TRY400
                except Exception as error:  # noqa: BLE001 - one Book's damage harms no other's night
                    log.critical("%s of %s failed: %s", name, book_name, type(error).__name__)

        return job

    def _night(self, book: Book) -> None:
        night = Night(book, self._authorities, quorum=self._settings.tsa_quorum)
        for step in night.catch_up(book.database.now_ms()):
            if step.recorded:
                log.info("%s %s: size %d, anchored", book.row.name, step.anchor_id, step.size)
            else:
                missing = ", ".join(step.missing) or "an authority"
                log.warning("%s %s waits for %s", book.row.name, step.anchor_id, missing)

    def _sweep(self, book: Book) -> None:
        sweep = self._sweeps.get(book.row.name)
        if sweep is None or sweep.book is not book:
            sweep = Sweep(book, deadline_s=self._settings.attempt_deadline_s)
            self._sweeps[book.row.name] = sweep
        closed = sweep.run()
        if closed:
            log.warning("%s: %d attempts closed without an outcome", book.row.name, closed)

    def _fsck(self, book: Book) -> None:
        report = Fsck(book, cold=self._cold(book)).run()
        for finding in report.damage:
            log.critical("fsck of %s: %s", book.row.name, finding.sentence)
        if not report.damage:
            log.info("fsck of %s: %d entries are sound", book.row.name, report.size)

    def _cold(self, book: Book) -> Cold | None:
        """Return the cold tier; None if the archive is away: the log is checked all the same."""
        try:
            return cold_of(book, open_archive(self._settings))
        except LedgerError as error:
            log.warning("%s: the archive cannot be asked: %s", book.row.name, error.problem)
            return None

    def _artifacts(self, book: Book) -> None:
        """Finish uploads that a crash left, and tell of content that has not arrived."""
        if book.row.kind != "main":
            return
        artifacts = self._storeroom.of(book)
        artifacts.finish_waiting()
        for event_id, name in artifacts.miss_overdue():
            log.warning("%s: the content %s of %s has not arrived", book.row.name, name, event_id)

    def _follow_holds(self, book: Book) -> None:
        """Put the log's legal holds on the objects of the archive, too."""
        changed = Upkeep(book, self._storeroom.archive, now_ms=clock.now_ms).follow_holds()
        if changed:
            log.info("%s: %d objects of the archive were held or released", book.row.name, changed)

    def _bury(self, book: Book) -> None:
        """Delete what was erased or has expired, once its lock has run out."""
        buried = Upkeep(book, self._storeroom.archive, now_ms=clock.now_ms).bury()
        if buried:
            log.info("%s: %d objects without a key were deleted", book.row.name, buried)

    def _custody(self, book: Book) -> None:
        """Follow holds that came or were released: approved erasures wait, or go on."""
        moved = Erasures.of(book).advance(backup_keep_d=self._settings.backup_keep_d)
        self._tell_erasures(book, moved)

    def _erase(self, book: Book) -> None:
        keep = self._settings.backup_keep_d
        finished, moved = Erasures.of(book).complete(backup_keep_d=keep)
        self._tell_erasures(book, moved)
        for name in finished.destroyed:
            log.info("%s: the key %s is destroyed", book.row.name, name)

    def _keep(self, book: Book) -> None:
        """Move and expire what is due; forget what was brought back for a while."""
        archive = open_archive(self._settings)
        for step in RetentionSweep(book, archive).run():
            level = logging.CRITICAL if step.what == "refused" else logging.INFO
            log.log(level, "%s: %s", book.row.name, step.sentence)
        Retrievals(book, archive).forget()

    def _watch_desk(self, book: Book) -> None:
        """Begin what revoked consents promised, and tell of deadlines before and after them."""
        if book.row.kind != "main":
            return
        for begun in begin_effects(book):
            log.info("%s: a revocation led to %s %s", book.row.name, begun.started, begun.ref)
        watch_deadlines(book, book.database.now_ms())

    def _retrieve(self, book: Book) -> None:
        retrievals = Retrievals(book, None)
        if retrievals.waiting():
            Retrievals(book, open_archive(self._settings)).work_all()

    def _redact(self, book: Book) -> None:
        """Make redacted copies of new prompts; nothing to do where no library is installed."""
        if book.row.kind != "main" or not installed():
            return
        done = self._follower(book).run(budget_s=self._follow_s)
        if done.withheld:
            log.warning(
                "%s: %d prompts could not be redacted in time", book.row.name, done.withheld
            )

    def _watch_answers(self, book: Book) -> None:
        """Tell of models that answered and that nobody has registered."""
        if book.row.kind == "main":
            watch_answers(book)

    def _read(self, book: Book) -> None:
        """Feed the read model, so that whoever searches has little left to wait for."""
        catch_up(book.database, book.row.schema, budget_s=self._follow_s)

    def _watch_sources(self, book: Book) -> None:
        """Raise alerts about numbers, writers and outcomes that are missing or late."""
        if book.row.kind != "main":
            return
        watch = self._watches.get(book.row.name)
        if watch is None or watch.book is not book:
            watch = self._watches[book.row.name] = SourceWatch(book)
        watch.run(book.database.now_ms())

    def _tidy(self, book: Book) -> None:
        self._follower(book).tidy()

    def _follower(self, book: Book) -> Follower:
        of, follower = self._followers.get(book.row.name, (None, None))
        if follower is None or of is not book:
            model = self._settings.redaction_model
            follower = Follower(book.database, book.vault, book.row.schema, model=model)
            self._followers[book.row.name] = (book, follower)
        return follower

    def _sheets(self) -> None:
        """Write how the vaults' keys are wrapped, whenever an erasure or rotation moved them on."""
        directory = self._settings.key_sheet_dir
        if directory is None or not self._leader.leads():
            return
        try:
            rows = list(self._shelf.rows().values())
            sheet = sheet_if_moved(self._shelf.database, rows, self._shelf.keys, directory)
        except LedgerError as error:
            log.error("key sheets: %s", error.problem)  # noqa: TRY400 - no values in logs
            return
        if sheet is not None:
            log.info("key sheet of %s written", sheet.made)

    def _end_overlaps(self, book: Book) -> None:
        """Destroy log keys that were replaced and whose overlap is over."""
        rotation = KeyRotation(book=book, publish=publisher(self._settings))
        now_ms = book.database.now_ms()
        for name in rotation.end(now_ms=now_ms) if rotation.due(now_ms) else ():
            log.info("%s: the key %s is destroyed", book.row.name, name)

    def _erase_late(self, book: Book) -> None:
        """Make up for a night in which nobody was here."""
        if Erasures.of(book).late(book.database.now_ms()):
            self._erase(book)

    def _tell_erasures(self, book: Book, moved: Sequence[Case]) -> None:
        for case in moved:
            log.info("%s: erasure %s is %s", book.row.name, case.erasure_id, case.state)
        if moved:
            self._spool.forget(book.row.name)

    def _expire(self) -> None:
        """Remove old packets; every scheduler does, for they may lie on its host alone."""
        try:
            removed = self._spool.expire()
        except OSError as error:
            log.error("old packets cannot be removed: %s", error.strerror)  # noqa: TRY400
        else:
            if removed:
                log.info("%d old packets were removed", removed)

    def _look(self, book: Book) -> None:
        book.notary.check(book.reader.head())
