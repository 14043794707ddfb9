# SPDX-License-Identifier: GPL-3.0-or-later
"""Load from four processes while servers and PostgreSQL are killed in turn, and the account of it.

Afterwards: positions without a gap, fsck with escrow and the second tree, each event that a client
ever sent recorded exactly once, and each acknowledged receipt verified by a stranger's code under
its own checkpoint, which is proved a prefix of the last one.
"""

import base64
import contextlib
import json
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path

from fleet import TENANTS, Fleet, write_plan
from naive_tree import NaiveTree

from anchoring.fsck import Fsck
from scripts.assembly import open_ledger
from sealtrail.verify.merkle import check_consistency, leaf_hash
from sealtrail.verify.tlog_proof import check_tlog_proof

LOAD = Path(__file__).with_name("load.py")
PROCESSES = 4
#: Acknowledged events between two kills, at least; and for how long that is waited for.
BREATH, PATIENCE_S = 30, 60


@dataclass
class Account:
    """What was done and what came of it."""

    seed: int
    kills: dict[str, int] = field(default_factory=dict)
    acknowledged: int = 0
    repeats: int = 0
    tried_again: int = 0
    entries: dict[str, int] = field(default_factory=dict)
    checkpoints: int = 0
    server_starts: int = 0
    postgres_starts: int = 0
    failed_starts: int = 0  #: Of PostgreSQL, killed while it started, and started again.
    seconds: float = 0.0
    problems: list[str] = field(default_factory=list)

    def json(self):
        return asdict(self)


class Load:
    """The load processes and their journals."""

    def __init__(self, plan, directory, seed):
        self.journals = [directory / f"journal-{number}" for number in range(PROCESSES)]
        self._processes = [
            subprocess.Popen(
                [sys.executable, LOAD, plan, journal, f"{seed}/{number}"], stdin=subprocess.PIPE
            )
            for number, journal in enumerate(self.journals)
        ]

    def acknowledged(self):
        """How many answers the clients have noted so far, by the size of their journals."""
        return sum(
            path.read_bytes().count(b'"status": 20') for path in self.journals if path.exists()
        )

    def stop(self):
        """Let each finish what it has begun; return all journal lines."""
        for process in self._processes:
            process.stdin.close()
        for process in self._processes:
            process.wait(timeout=120)
        lines = [line for path in self.journals for line in path.read_text().splitlines()]
        return [json.loads(line) for line in lines]

    def kill(self):
        for process in self._processes:
            process.kill()
            process.wait()
            process.stdin.close()


def run(kills, seed, *, until=None, progress=lambda _account: None):
    """Kill so many times, or until that moment, under load; return the account."""
    account, rng, began = Account(seed), random.Random(seed), time.monotonic()
    # A short path: the name of a socket may not be long.
    directory = Path(tempfile.mkdtemp(prefix="kills-", dir="/tmp"))
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, directory)
        fleet = Fleet(directory)
        stack.callback(fleet.stop)
        load = Load(write_plan(fleet, directory), directory, seed)
        stack.callback(load.kill)
        counts = Counter()
        _breathe(load, 0, fleet)
        while sum(counts.values()) < kills or (until is not None and time.monotonic() < until):
            time.sleep(rng.uniform(0, 0.2))
            counts[_kill(fleet, sum(counts.values()), rng)] += 1
            account.kills = dict(counts)
            progress(account)
            _breathe(load, load.acknowledged(), fleet)
        facts = load.stop()
        account.server_starts = sum(server.starts for server in fleet.servers)
        account.postgres_starts = fleet.postgres_starts
        account.failed_starts = len(fleet.complaints)
        _audit(fleet, facts, account)
    account.seconds = round(time.monotonic() - began, 1)
    return account


def _kill(fleet, number, rng):
    """Kill a server or PostgreSQL in turn; every third time PostgreSQL dies in a COMMIT."""
    until = time.monotonic() + PATIENCE_S
    while time.monotonic() < until:
        if number % 2 == 0:
            if fleet.servers[number // 2 % len(fleet.servers)].kill():
                return "server"
        elif number % 6 == 5 and time.monotonic() < until - PATIENCE_S / 2:
            if fleet.kill_during_commit():
                return "PostgreSQL during COMMIT"
        elif fleet.kill_postgres(whole=rng.random() < 0.5):
            return "PostgreSQL"
        time.sleep(0.05)
    raise AssertionError("there is nothing left to kill: no restart in a minute")


def _breathe(load, before, fleet):
    """Wait until clients are served again."""
    until = time.monotonic() + PATIENCE_S
    while load.acknowledged() < before + BREATH:
        assert time.monotonic() < until, f"nobody was served for a minute: {fleet.last_words()}"
        time.sleep(0.05)


def _audit(fleet, facts, account):
    sent = {tenant: [] for tenant in TENANTS}
    answers = {tenant: {} for tenant in TENANTS}
    for fact in facts:
        sent[fact["tenant"]] += fact.get("sent", [])
        if "given_up" in fact:
            account.problems.append(f"never answered: {fact['given_up']}")
        elif "status" in fact:
            answers[fact["tenant"]][fact["event_id"]] = fact
            account.tried_again += fact["tries"] > 1
            account.repeats += fact["status"] == 200
            if fact["status"] not in (200, 201):
                account.problems.append(f"{fact['status']}: {fact['answer']}")
    with open_ledger(fleet.settings) as ledger:
        for tenant in TENANTS:
            _book(fleet, ledger.shelf.book(tenant), sent[tenant], answers[tenant], account)


def _book(fleet, book, sent, answers, account):
    size = book.reader.head().size
    entries = [one.entry for begin in range(0, size, 1000)
               for one in book.reader.between(begin, min(begin + 1000, size))]  # fmt: skip
    account.entries[book.row.name] = len(entries)
    report = Fsck(book, first_key=fleet.first_key(book.origin), full=True).run()
    account.problems += [one.sentence for one in report.damage] + report.not_checked
    if len(entries) != size or report.size != size:
        account.problems.append(f"{len(entries)} entries in a log of {size}")
    recorded = [one.event_id for one in entries if one.value["actor"]["kind"] != "system"]
    if sorted(recorded) != sorted(sent):
        twice, lost = Counter(recorded) - Counter(sent), Counter(sent) - Counter(recorded)
        account.problems.append(f"recorded but not sent once: {twice}; sent but not there: {lost}")
    tree = NaiveTree(leaf_hash(one.data) for one in entries)
    roots, keys = {}, fleet.trust.origins[book.origin]
    for event_id, fact in answers.items():
        if fact["status"] in (200, 201):
            try:
                checkpoint = _receipt(fact["answer"], event_id, entries, book.origin, keys)
                roots.setdefault(checkpoint.size, set()).add(checkpoint.root)
                account.acknowledged += 1
            except Exception as error:  # noqa: BLE001 - each receipt that fails is told
                account.problems.append(f"the receipt of {event_id}: {error}")
    _prefixes(book, tree, roots, account)


def _receipt(receipt, event_id, entries, origin, keys):
    entry = base64.b64decode(receipt["entry"])
    checkpoint, index = check_tlog_proof(
        receipt["proof"].encode(), leaf=leaf_hash(entry), origin=origin, keys=keys
    )
    there = entries[index]
    assert (there.data, there.event_id, receipt["position"]) == (entry, event_id, index), (
        "is for another entry than the one there"
    )
    return checkpoint


def _prefixes(book, tree, roots, account):
    """Prove each checkpoint that a client holds a prefix of the last one in the store."""
    note, last = book.notary.refresh()
    assert note
    account.checkpoints += len(roots)
    if last.size != len(tree) or last.root != tree.root():
        account.problems.append("the store's checkpoint is not that of the whole log")
    for number, size in enumerate(sorted(roots)):
        path = tree.consistency(size, last.size)
        if number % 10 == 0 and book.tree.consistency(size, last.size) != path:
            account.problems.append(f"the ledger proves size {size} otherwise than it is")
        for root in roots[size]:
            check_consistency(
                old_size=size, old_root=root, new_size=last.size, new_root=last.root, path=path
            )
