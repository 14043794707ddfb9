# SPDX-License-Identifier: GPL-3.0-or-later
"""The auditor: a second, simpler ledger that predicts the first, byte by byte.

It knows the formats from docs/formats.md and holds the escrowed first chain key. From the requests
that were sent, each process's clock and the order of the commits it says what every entry, leaf,
MAC and head row must be, and what each caller must have been told. It imports nothing of ours.

    account(rows, jobs)   take the new rows: each is the next of a job, or the ledger's own
    expect(job)           what a batch would be answered if it were committed now
"""

import base64
import copy
import hashlib
import hmac
import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from lives import Lives
from naive_tree import NaiveTree

DAY_MS = 86_400_000
AGGREGATES = {
    "INGEST": "Asset", "ASSET_WITHDRAWN": "Asset", "TRAIN_STARTED": "TrainingRun",
    "TRAIN": "TrainingRun", "TRAIN_FAILED": "TrainingRun", "EXPORT": "Export",
    "EPOCH_SEALED": "Log", "COMPLETENESS_REPORT": "AnchorDay", "ANCHOR": "AnchorDay",
    "ANCHOR_FAILED": "AnchorDay",
}  # fmt: skip  # All others are about a Generation.


class Wrong(AssertionError):  # noqa: N818 - the ledger's error, not one of ours
    """The ledger is not what the auditor predicted."""


@dataclass(frozen=True)
class Told:
    """What the caller of one request is told."""

    status: int
    position: int | None = None
    problem: str = ""


UNANSWERED = Told(503)


@dataclass
class Job:
    """One batch that one process was given: its requests, its clock, and what came of it."""

    requests: list[dict[str, Any]]
    clock_ms: int
    told: list[Told] | None = None  #: None: a 503 for all, after which nobody knows.
    fate: str = "any"  #: After a 503: whether "all", "none" or "any" of it must be in the log.
    done: bool = False


@dataclass
class Book:
    """What the auditor holds beside the entries themselves."""

    origin: str
    tenant: str
    key: bytes
    last_time: int
    epoch_entries: int
    jump_ms: int
    epoch: int = 0
    epoch_start: int = 0
    confirmed_ms: int = 0
    mac: bytes = b""


def canonical(value):
    """RFC 8785 for what these requests hold: ASCII names, no floats."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode()


def base64url(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def u64(number):
    return number.to_bytes(8, "big")


def rfc3339(ms):
    return f"{datetime.fromtimestamp(ms // 1000, UTC):%Y-%m-%dT%H:%M:%S}.{ms % 1000:03d}Z"


def commitments(request):
    """The digests over what is sealed and over the person, in order."""
    key = base64.urlsafe_b64decode(request["record_key"] + "=")
    values = {**request.get("sealed", {}), "actor.subject_id": request["on_behalf_of"]}
    digests = []
    for name, value in values.items():
        salt = hmac.digest(key, b"sealtrail.sd.salt.v1\0" + name.encode(), "sha256")[:16]
        shown = base64url(canonical([base64url(salt), name, value]))
        digests.append(base64url(hashlib.sha256(shown.encode()).digest()))
    return sorted(digests)


def part_of(request):
    """The client's part of an entry: what a repeat is compared by."""
    type_ = request["type"]
    return {
        "v": 1,
        **{name: request[name] for name in ("type", "schema", "event_id", "body")},
        **{name: request[name] for name in ("source", "trace", "time") if name in request},
        "aggregate": {"type": AGGREGATES.get(type_, "Generation"), "id": request["aggregate_id"]},
        "actor": {"kind": "service"},
        "_sd": commitments(request),
        "_sd_alg": "sha-256",
    }


@dataclass
class Auditor:
    """The predicted Book."""

    book: Book
    tree: NaiveTree = field(default_factory=NaiveTree)
    entries: list[dict[str, Any]] = field(default_factory=list)
    stored: list[bytes] = field(default_factory=list)
    macs: list[bytes] = field(default_factory=list)
    events: dict[str, tuple[int, bytes]] = field(default_factory=dict)
    sources: set[tuple[str, int]] = field(default_factory=set)
    lives: Lives = field(default_factory=Lives)

    def __post_init__(self):
        text = f"{self.book.origin}\n".encode()
        self.book.mac = self._hmac(b"sealtrail.chain.v1\0" + text + u64(0))

    @property
    def size(self):
        return len(self.entries)

    def _hmac(self, message):
        return hmac.digest(self.book.key, message, "sha256")

    # What a caller is told

    def jumps(self, clock_ms):
        """Whether this clock is too far ahead to be believed without an operator's word."""
        far = self.book.last_time + self.book.jump_ms + 1_800_000
        return self.size > 0 and clock_ms > far and clock_ms > self.book.confirmed_ms

    def expect(self, job):
        """What each request of a batch is told if the batch is committed next; changes nothing."""
        if self.jumps(job.clock_ms):
            return [UNANSWERED] * len(job.requests)
        trial = Trial(self)
        return [trial.place(request) for request in job.requests]

    # What the log must hold

    def account(self, rows, jobs, *, clocks, own=(), seals_at=1):
        """Take the new rows, each predicted, and close the jobs they came of.

        rows: (bytes, columns) in order. clocks: of the processes that were at work. own: the types
        that the ledger itself may have recorded. seals_at: how many events were under way, for
        which an epoch may have had no room.
        """
        rows = list(rows)
        while rows:
            self._close(jobs)
            entry = json.loads(rows[0][0])
            if entry["actor"]["kind"] == "system":
                self._adopt(entry, rows.pop(0), clocks, own, seals_at)
                continue
            self._commit(self._whose(jobs, rows), rows)
        self._close(jobs)
        for job in jobs:
            if job.told is not None and not job.done:
                raise Wrong(f"told {job.told}, and never due: now {self.expect(job)}")
            if job.told is None and job.fate == "all" and not job.done:
                raise Wrong("a commit that was answered is not in the log")

    def _close(self, jobs):
        """Mark the jobs that write nothing and were told what they are told at this point."""
        for job in jobs:
            if not job.done and job.told is not None and job.told == self.expect(job):
                job.done = all(one.status != 201 for one in job.told)

    def _whose(self, jobs, rows):
        """Return the job whose commit the next rows are: what it was told is true just now."""
        ids = [json.loads(data)["event_id"] for data, _ in rows]
        for job in sorted(jobs, key=lambda one: one.told is None):
            expected = self.expect(job)
            new = [
                request["event_id"]
                for request, told in zip(job.requests, expected, strict=True)
                if told.status == 201
            ]
            fits = job.fate != "none" if job.told is None else job.told == expected
            if not job.done and fits and new and new == ids[: len(new)]:
                return job
        told = [(job.told, job.fate, self.expect(job)) for job in jobs if not job.done]
        raise Wrong(
            f"the event at position {self.size} is of no batch that is under way, or half a batch "
            f"is in the log; the batches (told, fate, expected): {told}"
        )

    def _commit(self, job, rows):
        expected = self.expect(job)
        recorded_ms = max(job.clock_ms, self.book.last_time)
        for request, told in zip(job.requests, expected, strict=True):
            if told.status == 201:
                self._append(self._entry(part_of(request), recorded_ms), rows.pop(0))
        job.done = True

    def _entry(self, part, recorded_ms, *, by_ledger=False):
        """The whole entry that comes of a client's part, or of the ledger's own."""
        stream = (part["aggregate"]["type"], part["aggregate"]["id"])
        entry = copy.deepcopy(part)
        if not by_ledger:
            entry |= self.lives.recorded_as(part)
            entry["actor"]["credential"] = "cred_test"
            entry["time"] = {**part.get("time", {}), "request_received": RECEIVED}
        entry["tenant"] = self.book.tenant
        entry["aggregate"]["version"] = self.lives.version(stream) + 1
        entry["time"] = {**entry.get("time", {}), "recorded": rfc3339(recorded_ms)}
        entry["_digest"] = hashlib.sha256(canonical(part)).digest()
        return entry

    def _append(self, entry, row):
        """Put one entry at the end and compare all that the database says of it."""
        digest, position = entry.pop("_digest"), self.size
        data, recorded_ms = canonical(entry), _ms(entry["time"]["recorded"])
        new_day = recorded_ms // DAY_MS != self.book.last_time // DAY_MS
        if new_day and entry["type"] != "EPOCH_SEALED":
            raise Wrong(f"midnight passed before position {position} and no epoch was sealed")
        if data != row[0]:
            raise Wrong(f"position {position}: predicted\n{data!r}\nstored\n{row[0]!r}")
        leaf = hashlib.sha256(b"\0" + data).digest()
        mac = self._hmac(self.book.mac + u64(position) + leaf)
        source = entry.get("source", {})
        aggregate = entry["aggregate"]
        columns = (
            position, leaf, mac, entry["event_id"], f"{aggregate['type']}/{aggregate['id']}",
            aggregate["version"], f"{entry['type']}/{entry['schema']}", recorded_ms, digest,
            source.get("id"), source.get("n"),
        )  # fmt: skip
        if columns != row[1]:
            raise Wrong(f"position {position}: predicted {columns}, stored {row[1]}")
        self.tree.append(leaf)
        self.entries.append(entry)
        self.stored.append(data)
        self.macs.append(mac)
        self.events[entry["event_id"]] = (position, digest)
        if source:
            self.sources.add((source["id"], source["n"]))
        self.lives.take(entry, position)
        self.book.mac, self.book.last_time = mac, recorded_ms
        if entry["type"] == "EPOCH_SEALED":
            self._next_epoch()

    def _next_epoch(self):
        text = f"{self.book.origin}\n".encode()
        self.book.key = self._hmac(b"sealtrail.chain.evolve.v1\0" + self.book.origin.encode())
        self.book.epoch += 1
        start = b"sealtrail.chain.v1\0" + text + u64(self.book.epoch) + self.book.mac
        self.book.mac, self.book.epoch_start = self._hmac(start), self.size

    def _adopt(self, entry, row, clocks, own, seals_at):
        """Take an entry that the ledger made: its id and body are its own, all else predicted."""
        type_ = entry["type"]
        if type_ not in own and type_ != "EPOCH_SEALED":
            raise Wrong(f"the ledger recorded a {type_} for no reason")
        recorded_ms = _ms(entry["time"]["recorded"])
        if recorded_ms not in {max(one, self.book.last_time) for one in clocks}:
            raise Wrong(f"no clock of ours shows the time of position {self.size}")
        part = {name: entry[name] for name in ("v", "type", "schema", "event_id", "body")}
        kind = AGGREGATES.get(type_, "Generation")
        part |= {
            "aggregate": {"type": kind, "id": entry["aggregate"]["id"]},
            "actor": {"kind": "system"},
        }
        if type_ == "EPOCH_SEALED":
            self._check_seal(entry, recorded_ms, seals_at)
        else:
            complaint = self.lives.own(entry, self)
            if complaint:
                raise Wrong(f"position {self.size}: {complaint}")
        self._append(self._entry(part, recorded_ms, by_ledger=True), row)

    def _check_seal(self, entry, recorded_ms, seals_at):
        body = {"epoch": self.book.epoch}
        if self.size:
            last = self.book.mac
            body |= {"last_n": self.size - 1, "last_mac": f"hmac-sha256:{last.hex()}"}
        if entry["body"] != body or entry["aggregate"]["id"] != "log":
            raise Wrong(f"position {self.size}: EPOCH_SEALED says {entry['body']}, not {body}")
        held = self.size - self.book.epoch_start
        full = held > 0 and held + seals_at >= self.book.epoch_entries
        if recorded_ms // DAY_MS == self.book.last_time // DAY_MS and not full:
            raise Wrong(f"position {self.size}: the epoch had room, and the day was not over")

    def days_before(self, ms):
        """Each UTC day from that of the first entry to the one before `ms`."""
        first = _ms(self.entries[0]["time"]["recorded"]) // DAY_MS if self.entries else ms
        return [rfc3339(day * DAY_MS)[:10] for day in range(first, ms // DAY_MS)]

    def head(self):
        """The head row: epoch, size, frontier, mac, last time, tag."""
        frontier = b"".join(self.tree.frontier())
        message = b"sealtrail.head.v1\0" + self.book.origin.encode() + u64(self.book.epoch)
        message += u64(self.size) + frontier + self.book.mac + u64(self.book.last_time)
        values = (self.book.epoch, self.size, frontier, self.book.mac, self.book.last_time)
        return (*values, self._hmac(message))


#: When every request of a simulation came in; the one time that is not the writer's.
RECEIVED_MS = 1_700_000_000_000
RECEIVED = rfc3339(RECEIVED_MS)


class Trial:
    """A batch that is tried on top of what is recorded, without recording it."""

    def __init__(self, auditor):
        self._auditor, self._events, self._sources = auditor, {}, set()
        self._lives, self._at = auditor.lives.trial(), auditor.size

    def place(self, request):
        part = part_of(request)
        digest, id_ = hashlib.sha256(canonical(part)).digest(), request["event_id"]
        known = self._events.get(id_) or self._auditor.events.get(id_)
        if known is not None:
            return Told(200, known[0]) if known[1] == digest else Told(409, None, "event-conflict")
        source = request.get("source")
        source = (source["id"], source["n"]) if source else None
        if source is not None and (source in self._sources or source in self._auditor.sources):
            return Told(409, None, "source-conflict")
        problem = self._lives.refusal(part)
        if problem:
            return Told(409, None, problem)
        self._lives.take({**part, **self._lives.recorded_as(part)}, self._at)
        self._events[id_] = (self._at, digest)
        if source is not None:
            self._sources.add(source)
        self._at += 1
        return Told(201, self._at - 1)


def _ms(text):
    moment = datetime.strptime(text, "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=UTC)
    return int(moment.timestamp()) * 1000 + moment.microsecond // 1000
