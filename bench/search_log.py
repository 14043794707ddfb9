# SPDX-License-Identifier: GPL-3.0-or-later
"""A log of requests to search in: ten entries each, made synthetically, but in the real tables.

    INGEST                                     a picture comes in
    GEN_ATTEMPT                                somebody asks; this call makes two more, hash-linked
      GEN_ATTEMPT · MODERATION · GEN | DENY    one works on the picture that came in
      GEN_ATTEMPT · MODERATION · GEN | ERROR   one makes another
    GEN                                        the answer
    EXPORT | MODERATION                        the first picture leaves, or nothing does

Some values are frequent, some rare, some stand in a single entry. Nothing is sealed: what is sealed
is recorded through the API afterwards. All of it is of today, so that no night has to be made up.
"""

import random
import time
from collections.abc import Iterator
from hashlib import sha256
from typing import Any, NamedTuple
from uuid import UUID

import proofs
import psycopg
from server import Server

from ledger import clock
from ledger.printing import canonical_bytes
from ledger.tiles import Edge
from sealtrail.verify.merkle import leaf_hash

EACH = 10  #: Entries of one request.
MODELS = 40
TEMPLATES = 200
PER_STEP = 2_560  #: Requests that are written at a time.

JSON = dict[str, Any]


class Made(NamedTuple):
    """One entry: its bytes and index columns."""

    data: bytes
    event_id: UUID
    stream: str
    version: int
    topic: str
    recorded_ms: int
    source: tuple[str, int]
    leaf: bytes


def event_id(position: int) -> str:
    return proofs.event_id(position)


def trace_of(request: int) -> str:
    return sha256(b"trace %d" % request).hexdigest()[:32]


def digest(text: str) -> str:
    return f"sha256:{sha256(text.encode()).hexdigest()}"


def model_of(number: int) -> JSON:
    """The lower a number, the more often it is chosen."""
    name = ("painter", "sketch", "render", "lumen")[number % 4]
    provider = ("acme", "globex", "initech", "umbra")[number // 4 % 4]
    return {"provider": provider, "name": name, "version": str(number // 16 + 1),
            "id": f"urn:cap:model:{provider}:{name}"}  # fmt: skip


class Request:
    """Makes the entries of one request, in order."""

    def __init__(self, number: int, times: list[int]) -> None:
        self.number, self.begin, self._times = number, number * EACH, times
        self._chance = random.Random(number)
        self.trace = trace_of(number)
        self.made: list[Made] = []

    def entries(self) -> list[Made]:
        chance, first = self._chance, self.begin
        self._add("INGEST", f"Asset/in-{self.number}", 1, {
            "asset": {"type": "image", "sha256": digest(f"in {self.number}"), "mime": "image/png"},
            "rights": {"basis": chance.choice(("OWNED", "LICENSED", "LICENSED"))},
        })  # fmt: skip
        root = self._ask("root", "chat", None)
        picture = self._branch(root, "a", input_=f"in-{self.number}")
        other = self._branch(root, "b", input_=None)
        self._answer("root", 2, [f"text-{self.number}"])
        if picture is None:
            self._judge("root", 3, "export")
        else:
            self._add("EXPORT", f"Export/out-{self.number}", 1, {
                "asset_id": picture, "asset_sha256": digest(picture),
                "destination": {"type": "DELIVERY", "recipient_type": "PUBLIC"},
            })  # fmt: skip
        assert len(self.made) == EACH, (first, other)
        return self.made

    def _branch(self, root: int, name: str, *, input_: str | None) -> str | None:
        """Add a call with its judgement and its outcome; returns the asset that it made."""
        self._ask(name, "edit" if input_ else "generate", root, input_)
        self._judge(name, 2, "post_output")
        what = self._chance.random()
        asset = f"asset-{self.number}-{name}"
        if what < 0.02:
            self._add("GEN_DENY", f"Generation/{self._id(name)}", 3, {
                "decision": "DENY", "refusal_reason_code": "policy", "rule_ids": ["R-17"],
                "risk_category": "NCII_RISK" if what < 0.0002 else "VIOLENCE",
                "policy": {"id": "images", "version": "12"},
            })  # fmt: skip
            return None
        if what < 0.03:
            self._add("GEN_ERROR", f"Generation/{self._id(name)}", 3, {
                "error": {"class": "ledger", "code": "timeout", "stage": "model",
                          "retryable": True}, "timeout": True,
            })  # fmt: skip
            return None
        self._answer(name, 3, [asset])
        return asset

    def _ask(self, name: str, operation: str, root: int | None, input_: str | None = None) -> int:
        number = min(int(self._chance.expovariate(0.25)), MODELS - 1)
        template = min(int(self._chance.expovariate(0.03)), TEMPLATES - 1)
        body: JSON = {
            "operation": operation, "input_type": "text+image" if input_ else "text",
            "model": model_of(number),
            "params": {"seed": str(self._chance.getrandbits(64)), "steps": 30, "cfg_scale": "7.5"},
            "prompt": {"template": {"id": f"template-{template}", "version": str(template % 9)}},
            "policy": {"id": "images", "version": "12"},
        }  # fmt: skip
        if self.number % 50 == 0:
            body["consent_ids"] = [f"consent-{self.number}"]
        if input_ is not None:
            body["inputs"] = [{"ref_asset": input_, "type": "image", "role": "source"}]
        groups: JSON = {}
        if root is not None:
            parent = self.made[root - self.begin]
            groups["links"] = [
                {
                    "rel": "parent-call",
                    "type": "GEN_ATTEMPT",
                    "id": event_id(root),
                    "leaf": f"sha256:{parent.leaf.hex()}",
                }
            ]
            groups["trace"] = {"parent_event": event_id(root)}
        return self._add("GEN_ATTEMPT", f"Generation/{self._id(name)}", 1, body, groups)

    def _judge(self, name: str, version: int, stage: str) -> None:
        triggered = self._chance.random() < 0.05
        mod: JSON = {
            "stage": stage, "classifier": {"id": "nsfw", "version": "4"},
            "scores": {"nudity": "0.02", "violence": "0.01"}, "threshold": "0.8",
            "filter_action": "warn" if triggered else "allow",
        }  # fmt: skip
        if triggered:
            mod["labels"] = [self._chance.choice(("partial nudity", "weapon", "logo"))]
            mod["rule_ids"] = [f"R-{self._chance.randrange(60)}"]
        self._add("MODERATION", f"Generation/{self._id(name)}", version, {"mod": mod})

    def _answer(self, name: str, version: int, assets: list[str]) -> None:
        self._add("GEN", f"Generation/{self._id(name)}", version, {
            "outputs": [{"asset_id": one, "sha256": digest(one), "mime": "image/png", "w": 1024,
                         "h": 1024, "disposition": "delivered"} for one in assets],
            "provider": {"request_id": f"req-{self.number}-{name}"},
            "usage": {"images": 1, "latency_ms": 2400, "cost": "0.04", "currency": "USD"},
        })  # fmt: skip

    def _id(self, name: str) -> str:
        return f"{self.number}-{name}"

    def _add(
        self, type_: str, stream: str, version: int, body: JSON, groups: JSON | None = None
    ) -> int:
        position = self.begin + len(self.made)
        aggregate, _, id_ = stream.partition("/")
        recorded = self._times[len(self.made)]
        source = (f"gateway-{self.number % 12}", position)
        said: JSON = {
            "v": 1, "type": type_, "schema": 1, "event_id": event_id(position), "tenant": "dev",
            "aggregate": {"type": aggregate, "id": id_, "version": version},
            "time": {"recorded": clock.rfc3339(recorded)},
            "actor": {"kind": "service", "credential": "cred_bench"},
            "source": {"id": source[0], "n": source[1]}, "body": body,
            "_sd": sorted(sha256(b"%d %d" % (position, n)).hexdigest() for n in range(2)),
            "_sd_alg": "sha-256",
            **(groups or {}),
        }  # fmt: skip
        said["trace"] = {"trace_id": self.trace, **said.get("trace", {})}
        data = canonical_bytes(said)
        self.made.append(Made(data, UUID(event_id(position)), stream, version, f"{type_}/1",
                              recorded, source, leaf_hash(data)))  # fmt: skip
        return position


def build(server: Server, entries: int) -> None:
    """Fill the main Book of a ledger with `entries` entries; the last is a report of the day."""
    began, edge = time.monotonic(), Edge.empty()
    now_ms = clock.now_ms()
    start_ms = clock.day_start(clock.day_of(now_ms))
    last_ms = start_ms
    with psycopg.connect(server.owner_url, autocommit=True) as owner:
        owner.execute("SET synchronous_commit = off")
        for begin, made in _steps(entries, start_ms, now_ms):
            edge, tiles = edge.append([one.leaf for one in made])
            _write(owner, begin, made)
            rows = [(tile.level, tile.index, tile.root, tile.hashes) for tile in tiles]
            proofs.copy_rows(owner, 'tile (level, "index", root, hashes)',
                             "int2 int8 bytea bytea", rows)  # fmt: skip
            last_ms = made[-1].recorded_ms
            if begin % (PER_STEP * EACH * 8) == 0:
                proofs.say(began, f"{begin + len(made):,} of {entries:,} entries")
        for table in ("entry", "entry_body", "tile"):
            owner.execute(f"VACUUM ANALYZE book_dev.{table}")
        owner.execute("CHECKPOINT")
    proofs.set_head(server, edge, last_ms)
    proofs.say(began, "built")


def _steps(entries: int, start_ms: int, now_ms: int) -> Iterator[tuple[int, list[Made]]]:
    requests = entries // EACH
    for first in range(0, requests, PER_STEP):
        made: list[Made] = []
        for number in range(first, min(first + PER_STEP, requests)):
            times = [
                start_ms + (now_ms - start_ms) * (number * EACH + n) // entries for n in range(EACH)
            ]
            made += Request(number, times).entries()
        if first + PER_STEP >= requests:
            made[-1] = _report(first * EACH + len(made) - 1, now_ms)
        yield first * EACH, made


def _report(position: int, now_ms: int) -> Made:
    """Without it the ledger would look through all attempts for overdue ones."""
    data = proofs.entry(position, now_ms, last=True)
    stream = f"AnchorDay/{clock.day_of(now_ms)}"
    return Made(data, UUID(event_id(position)), stream, 1, "COMPLETENESS_REPORT/1", now_ms,
                ("bench", position), leaf_hash(data))  # fmt: skip


def _write(owner: psycopg.Connection, begin: int, made: list[Made]) -> None:
    proofs.copy_rows(
        owner,
        f"entry ({proofs.COLUMNS}, source_id, source_n)",
        "int8 bytea bytea uuid text int8 text int8 bytea text int8",
        [
            (at, one.leaf, bytes(32), one.event_id, one.stream, one.version, one.topic,
             one.recorded_ms, bytes(32), *one.source)
            for at, one in enumerate(made, begin)
        ],
    )  # fmt: skip
    rows = [(at, one.data) for at, one in enumerate(made, begin)]
    proofs.copy_rows(owner, "entry_body (position, bytes)", "int8 bytea", rows)
