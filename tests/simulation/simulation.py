# SPDX-License-Identifier: GPL-3.0-or-later
"""One ledger, several processes, everything that goes wrong, and an auditor who predicts it all.

What is done, in what order and to whom, follows from the seed; only what threads make of one step
does not, and the auditor accepts every order of commits that can be true. After each step every new
row, the head row and the checkpoint store are what it predicted, or `Failed` names seed and step.
"""

import contextlib
import random
from concurrent.futures import ThreadPoolExecutor

from auditor import RECEIVED_MS, UNANSWERED, Auditor, Book, Job, Told, Wrong
from final_audit import audit
from house import Hand, house_in, noon_before
from sender import Sender
from world import World

from anchoring.fsck import Fsck
from anchoring.night import Night
from anchoring.receipt import receipt_of
from ledger.clock import DAY_MS, now_ms
from ledger.errors import LedgerError, Refused, Unavailable
from ledger.outcome import Recorded, Repeated
from ledger.request import prepare

NIGHT = ("COMPLETENESS_REPORT", "ANCHOR")
SECOND, HOUR = 1_000, 3_600_000
#: What is done how often. Each seed leans towards some of them and away from others.
WEIGHTS = {
    "post": 20, "repeat": 10, "lose": 5, "race": 10, "cut": 8, "crash": 4, "terminate": 2,
    "tick": 8, "skew": 4, "midnight": 3, "far": 1, "sweep": 5, "night": 2, "interim": 1,
    "busy_night": 1, "outage": 2, "fsck": 2, "bulk": 1,
}  # fmt: skip


class Failed(AssertionError):  # noqa: N818 - it names the seed, not an error of ours
    """The seed and the step that show it, and what came before."""


class Simulation:
    """One run in a house of its own."""

    def __init__(self, house, owner, authority, seed):
        self.seed, self._rng = seed, random.Random(seed)
        self.house, self.world, self._authority = house, World(house, owner), authority
        self.sender = Sender(self._rng)
        self.auditor = Auditor(
            Book(
                origin=house.origin,
                tenant=house.tenant,
                key=house.first_key(),
                last_time=house.now_ms(),
                epoch_entries=house.limits["epoch_entries"],
                jump_ms=DAY_MS,
            )
        )
        self.receipts = []
        self.counts = dict.fromkeys(WEIGHTS, 0)
        self.clock_ms = house.now_ms()
        leaning = (0.3, 1, 1, 3)
        self._weights = [weight * self._rng.choice(leaning) for weight in WEIGHTS.values()]
        self._trace, self._until = [], 0

    def run(self, steps):
        """Do so many steps, then audit everything."""
        name = "start"
        try:
            for _ in range(1 + self._rng.randrange(3)):
                self.world.start(self.clock_ms)
            self._do(self._any(), self.sender.batch(8))
            for _ in range(steps):
                name = self.choose()
                self.counts[name] += 1
                self._trace.append(name)
                if len(self._trace) > self._until:
                    self.world.store_returns()
                while len(self.world.processes) < 2 and not self.world.outage:
                    self.world.start(self._skewed())
                if self.world.processes:
                    getattr(self, name)()
                self._look()
            name = "the end"
            self._finish()
        except Exception as error:
            done = ", ".join(self._trace[-12:])
            raise Failed(
                f"seed {self.seed}, step {len(self._trace)} ({name}): "
                f"{type(error).__name__}: {error}\nbefore: {done}\nagain: "
                f"python tests/simulation/run.py --seed {self.seed} --steps {steps}"
            ) from error
        finally:
            self.world.close()

    def choose(self):
        """The name of the next step."""
        return self._rng.choices(list(WEIGHTS), self._weights)[0]

    # The steps

    def post(self):
        self._do(self._any(), self.sender.batch(self._rng.randint(1, 4)))

    def bulk(self):
        self._do(self._any(), self.sender.batch(self._rng.randint(60, 200)))

    def repeat(self):
        self._do(self._any(), [self.sender.again() for _ in range(self._rng.randint(1, 3))])

    def lose(self):
        """The caller is gone when the answer comes, and perhaps comes back."""
        requests = self.sender.batch(2)
        self._do(self._any(), requests, lost=True)
        if self._rng.random() < 0.5:
            self._do(self._any(), requests)

    def race(self):
        """All processes at once, some with the same requests, perhaps while PostgreSQL restarts."""
        shared = self.sender.batch(2)
        work = []
        for process in self.world.processes:
            for _ in range(self._rng.randint(1, 2)):
                mine = self.sender.batch(self._rng.randint(1, 3))
                again = [self.sender.again()] if self._rng.random() < 0.3 else []
                work.append((process, [*mine, *(shared if self._rng.random() < 0.5 else again)]))
        self._all(work, terminate=self._rng.random() < 0.1)

    def cut(self):
        """The line breaks before the statement arrives or after it was answered; or all dies."""
        process, requests = self._any(), self.sender.batch(self._rng.randint(1, 5))
        when, dies = self._rng.choice(["before", "after"]), self._rng.random() < 0.5
        self._do(process, self.sender.batch(1))  # Now it knows the head, if it knows anything.
        job = Job(requests, process.hand.ms)
        told = [one.status for one in self.auditor.expect(job)]
        if 201 in told and not process.shaken and not self.world.outage:
            marked = requests[told.index(201)]["event_id"]
            process.line.cut_at(b'"event_id":"' + marked.encode(), when)
            cut = process.line.cut
            # With a refusal in it, a first statement may have been one that a unique index stopped.
            answered = "all" if set(told) == {201} else "any"
            job.fate = "none" if when == "before" else answered
            process.shaken = True
            self._all([(process, requests)], jobs=[job])
            if process.line.cut != cut + 1:
                raise Wrong("the statement never came by")
            process.shaken = True
        if dies:
            self.world.kill(process)
        if self._rng.random() < 0.6:  # The client asks again, whoever answers now.
            self._do(self._any(), requests)

    def crash(self):
        self.world.kill(self._any())

    def terminate(self):
        self.world.terminate()

    def tick(self):
        self._advance(self._rng.choice([1, 30 * SECOND, 20 * 60 * SECOND, 5 * HOUR]))

    def midnight(self):
        self._advance(DAY_MS - self.clock_ms % DAY_MS + self._rng.choice([-1, 0, 1, HOUR]))
        self.post()

    def skew(self):
        """One process's clock goes wrong, forward or back."""
        self._any().hand.ms = self._skewed()

    def far(self):
        """A clock that is days ahead dates nothing until an operator says that it is right."""
        process, before = self._any(), None
        before = process.hand.ms
        process.hand.ms = self.clock_ms + 3 * DAY_MS
        self._do(process, self.sender.batch(1))
        if self._rng.random() < 0.5 and self._room():
            until_ms = self.clock_ms + 4 * DAY_MS
            self.world.confirm(until_ms)
            self.auditor.book.confirmed_ms = max(self.auditor.book.confirmed_ms, until_ms)
            self._do(process, self.sender.batch(2))
            self._advance(3 * DAY_MS)
        else:
            process.hand.ms = before

    def sweep(self):
        process = self._any()
        at_ms = self.clock_ms + self._rng.choice([0, HOUR, 30 * HOUR])
        self.auditor.lives.overdue_ms = at_ms
        done = self._own(process, lambda: process.sweep.run(at_ms), ("GEN_ERROR",))
        if done is not None and self.auditor.lives.overdue(self.auditor, at_ms):
            raise Wrong("the sweep left an attempt open that is overdue")

    def night(self):
        self._night(self._any())

    def busy_night(self):
        """The night runs while clients write, and perhaps runs twice."""
        first = self._any()
        twice = self._any() if self._rng.random() < 0.5 else None
        work = [(p, self.sender.batch(2)) for p in self.world.processes]
        self._all(work, nights=[p for p in (first, twice) if p is not None])

    def interim(self):
        process = self._any()
        night = Night
        self._own(process, lambda: night(process.book, [self._authority]).interim(), NIGHT)

    def outage(self):
        """The checkpoint store is away for some steps."""
        self.world.store_goes()
        self._until = len(self._trace) + self._rng.randint(1, 8)

    def fsck(self):
        process = self._any()
        with self._excused(process):
            report = Fsck(process.book, first_key=self.house.first_key()).run()
            if report.damage or report.size != self.auditor.size:
                raise Wrong(f"fsck says {report.size} entries and {report.damage}")

    # How they are done

    def _any(self):
        return self._rng.choice(self.world.processes)

    def _skewed(self):
        return self.clock_ms + self._rng.choice([0, 0, -6 * HOUR, -10 * SECOND, 10 * SECOND, HOUR])

    def _room(self):
        return self.clock_ms + 6 * DAY_MS < now_ms()

    def _advance(self, ms):
        if self._room():
            self.clock_ms += ms
            for process in self.world.processes:
                process.hand.ms += ms
        far = max([self.clock_ms, *(process.hand.ms for process in self.world.processes)])
        if self.auditor.jumps(far):  # Nothing was written for a day: an operator confirms.
            self.world.confirm(far)
            self.auditor.book.confirmed_ms = max(self.auditor.book.confirmed_ms, far)

    def _do(self, process, requests, *, lost=False):
        self._all([(process, requests)], lost=lost)

    def _all(self, work, *, jobs=None, lost=False, terminate=False, nights=()):
        """Give each process its batch at once, wait for all answers, and account for them."""
        jobs = jobs or [Job(requests, process.hand.ms) for process, requests in work]
        books, futures = [], []
        for process, requests in work:
            books.append(self._book(process))
            prepared = [self._prepare(one) for one in requests]
            futures.append(books[-1] and (prepared, books[-1].record(prepared)))
        clocks = {process.hand.ms for process, _ in work}
        with ThreadPoolExecutor(2) as pool:
            running = [pool.submit(self._night_of, process) for process in nights]
            if terminate:
                self.world.terminate()
            found = [self._outcomes(*one) for one in zip(work, futures, jobs, strict=True)]
            for night in running:
                night.result()
        self._account(jobs, clocks=clocks, own=NIGHT if nights else ())
        for (process, _), book, future, outcomes in zip(work, books, futures, found, strict=True):
            if outcomes and not lost:
                self._keep(process, book, future[0], outcomes)
            if outcomes:
                process.shaken = terminate

    def _book(self, process):
        with self._excused(process):
            return process.book
        return None

    def _prepare(self, request):
        return prepare(
            request,
            self.house.identity,
            received_ms=RECEIVED_MS,
            pipelines=frozenset({"test-pipeline"}),
        )

    def _outcomes(self, work, future, job):
        """Wait for one batch's outcomes and note in its job what they tell the callers."""
        if future is None:
            return None
        try:
            outcomes = future[1].result(timeout=60)
        except Unavailable as error:
            if error.problem == "clock-jump":
                job.told = [UNANSWERED] * len(job.requests)
            elif not (work[0].shaken or self.world.outage):
                raise
            return None
        job.told = [_told(outcome) for outcome in outcomes]
        return outcomes

    def _keep(self, process, book, prepared, outcomes):
        """Take the receipts, as a caller does."""
        for one, outcome in zip(prepared, outcomes, strict=True):
            if isinstance(outcome, (Recorded, Repeated)):
                with self._excused(process):
                    receipt = receipt_of(book, outcome, one.disclosures).json()
                    self.receipts.append(receipt)

    def _night(self, process):
        until_ms = process.hand.ms
        if self._own(process, lambda: self._night_of(process), NIGHT) is None:
            return
        anchored = {
            entry["body"]["day"]
            for entry in self.auditor.entries
            if entry["type"] == "ANCHOR" and entry["body"]["kind"] == "day"
        }
        if missing := set(self.auditor.days_before(until_ms)) - anchored:
            raise Wrong(f"the night left {sorted(missing)} without an anchor")

    def _night_of(self, process):
        """Run a night; True if it ran to its end."""
        with self._excused(process):
            list(Night(process.book, [self._authority]).catch_up(process.hand.ms))
            return True
        return False

    def _own(self, process, work, own):
        """Have the ledger record something of its own; None if that was excused."""
        done = None
        with self._excused(process):
            done = work()
        self._account([], clocks={process.hand.ms}, own=own)
        return done or (None if done is False else done)

    @contextlib.contextmanager
    def _excused(self, process):
        """Swallow a 503 for which there is a reason that the auditor knows."""
        try:
            yield
        except Unavailable as error:
            jump = error.problem == "clock-jump" and self.auditor.jumps(process.hand.ms)
            if not (jump or process.shaken or self.world.outage):
                raise

    def _account(self, jobs, *, clocks, own=()):
        count = max(1, sum(len(job.requests) for job in jobs))
        rows = self.world.rows(self.auditor.size)
        self.auditor.account(rows, jobs, clocks=clocks, own=own, seals_at=count)

    def _look(self):
        """Hold head row and checkpoint store against the prediction."""
        head, predicted = self.world.head(), self.auditor.head()
        if head != predicted:
            raise Wrong(f"the head row is {head}, not {predicted}")
        size, root = self.world.stored()
        if size > self.auditor.size or root != self.auditor.tree.root(size):
            raise Wrong(f"the store's checkpoint of size {size} is of another log")

    def _finish(self):
        """Restart everything, send everything once more, and audit what is there."""
        self.world.close()
        self.world.start(self.clock_ms)
        self._advance(0)
        (process,) = self.world.processes
        sent = self.sender.sent
        for begin in range(0, len(sent), 100):
            self._do(process, sent[begin : begin + 100])
            self._look()
        if self.world.stored()[0] != self.auditor.size:
            raise Wrong("the last commit is under no signed checkpoint")
        audit(self, process)


def _told(outcome):
    if isinstance(outcome, Recorded):
        return Told(201, outcome.row.link.position)
    if isinstance(outcome, Repeated):
        return Told(200, outcome.position)
    if isinstance(outcome, Refused):
        return Told(outcome.status, None, outcome.problem)
    assert isinstance(outcome, LedgerError)
    raise outcome


@contextlib.contextmanager
def simulation(postgres, authority, directory, seed):
    """A simulation in a house of its own, whose clock stands six weeks ago."""
    epoch = random.Random(seed).choice([20, 60, 300, 65_536])
    clock = Hand(noon_before(45))
    with (
        house_in(postgres, directory, now_ms=clock, epoch_entries=epoch) as house,
        house.owner() as owner,
    ):
        yield Simulation(house, owner, authority.authority(), seed)
