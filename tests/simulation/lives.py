# SPDX-License-Identifier: GPL-3.0-or-later
"""What may happen to an image, a training run, a generation: told from the history of each.

Written from docs/events.md, and after nothing of ours: no state is kept but the list of what
happened to each thing, and every question is answered by looking through it.
"""

from collections import defaultdict
from datetime import UTC, datetime

from naive_tree import NaiveTree
from reports import wrong_report

OUTCOMES = {"GEN": "gen", "GEN_DENY": "deny", "GEN_ERROR": "error"}
DAY_MS = 86_400_000
#: What a training run promises when it starts, of what these simulations send.
PROMISED = ("type", "inputs", "output_model", "code_digest", "seed")
TIMEOUT = {
    "error": {
        "class": "timeout",
        "code": "no-outcome-before-deadline",
        "stage": "model",
        "retryable": False,
    },
    "timeout": True,
}


class Lives:
    """Each thing's history: (type, body, position) of every event about it, in order."""

    def __init__(self, below=None):
        self._below = below
        self._histories = defaultdict(list)
        self._assets = {}
        #: For the sweep under way: the time by which attempts are overdue.
        self.overdue_ms = 0

    def trial(self):
        """The same, to be taken further and thrown away."""
        return Lives(below=self)

    def history(self, stream):
        before = self._below.history(stream) if self._below is not None else []
        return before + self._histories.get(stream, [])

    def streams(self):
        return list(self._histories)

    def version(self, stream):
        return len(self.history(stream))

    def asset(self, id_):
        """None, "present" or "withdrawn"."""
        return self._assets.get(id_) or (self._below.asset(id_) if self._below else None)

    def recorded_as(self, part):
        """Type, schema and body under which a client's event is recorded."""
        stream = (part["aggregate"]["type"], part["aggregate"]["id"])
        asked = {name: part[name] for name in ("type", "schema", "body")}
        types = [type_ for type_, _, _ in self.history(stream)]
        timed_out = any(
            type_ == "GEN_ERROR" and body.get("timeout") for type_, body, _ in self.history(stream)
        )
        if part["type"] in OUTCOMES and timed_out and "OUTCOME_LATE" not in types:
            return {"type": "OUTCOME_LATE", "schema": 1, "body": {"claimed": asked}}
        return asked

    def refusal(self, part):
        """The name of the problem with an event, or None if it may happen."""
        type_, body, id_ = part["type"], part["body"], part["aggregate"]["id"]
        history = self.history((part["aggregate"]["type"], id_))
        if type_ == "INGEST":
            return "asset-exists" if self.asset(id_) else None
        if type_ in ("GEN_ATTEMPT", "TRAIN_STARTED", "EXPORT") and history:
            return "out-of-order"
        if type_ in ("ASSET_WITHDRAWN", "EXPORT"):
            state = self.asset(id_ if type_ == "ASSET_WITHDRAWN" else body["asset_id"])
            return {None: "asset-unknown", "withdrawn": "asset-withdrawn"}.get(state)
        if type_ in ("TRAIN", "TRAIN_FAILED"):
            return self._training(type_, body, history)
        if type_ in ("GEN_ATTEMPT", "TRAIN_STARTED"):
            return None
        return self._outcome(part, [one for one, _, _ in history])

    def _training(self, type_, body, history):
        if len(history) != 1:
            return "out-of-order"
        plan = history[0][1]["train"]
        if type_ == "TRAIN" and any(plan.get(n) != body["train"].get(n) for n in PROMISED):
            return "training-differs"
        return None

    def _outcome(self, part, types):
        if not types:
            return "out-of-order"
        if part["type"] == "MODERATION" or self.recorded_as(part)["type"] == "OUTCOME_LATE":
            return None
        if not OUTCOMES.keys().isdisjoint(types):
            return "out-of-order"
        if part["type"] == "GEN" and any(
            self.asset(output["asset_id"]) for output in part["body"]["outputs"]
        ):
            return "asset-exists"
        return None

    def take(self, entry, position):
        """Note that this happened."""
        type_, body = entry["type"], entry["body"]
        aggregate = entry["aggregate"]
        stream = (aggregate["type"], aggregate["id"])
        self._histories[stream].append((type_, body, position))
        if type_ == "INGEST":
            self._assets[aggregate["id"]] = "present"
        elif type_ == "ASSET_WITHDRAWN":
            self._assets[aggregate["id"]] = "withdrawn"
        elif type_ == "GEN":
            self._assets |= {output["asset_id"]: "present" for output in body["outputs"]}

    def births(self):
        """Each asset with the position of the entry that brought it."""
        found = {}
        for (kind, id_), history in self._histories.items():
            for type_, body, position in history:
                if type_ == "INGEST":
                    found[id_] = position
                if kind == "Generation" and type_ == "GEN":
                    found |= {output["asset_id"]: position for output in body["outputs"]}
        return found

    def attempts(self, begin=0, end=2**62):
        """(position, id, outcomes) of every attempt in a range, oldest first."""
        return sorted(
            (history[0][2], id_, [type_ for type_, _, _ in history[1:] if type_ != "MODERATION"])
            for (kind, id_), history in self._histories.items()
            if kind == "Generation" and begin <= history[0][2] < end
        )

    # What the ledger itself records

    def own(self, entry, auditor):
        """Say what is wrong with an entry that the ledger made; None if it is as it must be."""
        check = {
            "GEN_ERROR": self._timeout,
            "COMPLETENESS_REPORT": self._report,
            "ANCHOR": self._anchor,
        }.get(entry["type"])
        return check(entry, auditor) if check else f"no {entry['type']} was due"

    def overdue(self, auditor, at_ms):
        """The attempts whose deadline is before `at_ms` and that nothing has ended."""
        found = []
        for position, id_, outcomes in self.attempts():
            attempt = auditor.entries[position]
            due = _ms(attempt["time"]["recorded"]) + attempt["body"].get("deadline_s", 900) * 1000
            if not outcomes and due < at_ms:
                found.append(id_)
        return found

    def _timeout(self, entry, auditor):
        if entry["body"] != TIMEOUT:
            return "the timeout says something else"
        if entry["aggregate"]["id"] not in self.overdue(auditor, self.overdue_ms):
            return "this attempt was not overdue"
        return None

    def _report(self, entry, auditor):
        span = _range(auditor, entry["aggregate"]["id"])
        attempts = sorted(
            (history[0][2], id_, [(type_, position) for type_, _, position in history[1:]])
            for (kind, id_), history in self._histories.items()
            if kind == "Generation" and span[0] <= history[0][2] < span[1]
        )
        return wrong_report(entry, auditor, attempts, span)

    def _anchor(self, entry, auditor):
        body, tree = entry["body"], auditor.tree
        begin, end, size = body["from_size"], body["to_size"], body["checkpoint"]["size"]
        previous = body.get("previous", {"size": 0, "root": _text(tree.root(0))})
        path = tree.consistency(previous["size"], size) if previous["size"] else []
        same = [
            one["body"]
            for one in auditor.entries
            if one["type"] == "ANCHOR" and one["body"]["kind"] == body["kind"]
        ]
        day = body["kind"] == "day"
        truths = {
            "its sizes are in order": begin <= end <= size <= len(tree),
            "it closes the day": not day or (begin, end) == _range(auditor, body["day"]),
            "it names the day's size": not day or body["size_d"] == end,
            "it goes up to its checkpoint": day or end == size,
            "its day root": body["day_root"] == _text(NaiveTree(tree.leaves[begin:end]).root()),
            "its root": body["checkpoint"]["root"] == _text(tree.root(size)),
            "the root before": previous["root"] == _text(tree.root(previous["size"])),
            "its path": body.get("consistency", []) == [_text(node) for node in path],
            "it is new": not any((e["day"], e["to_size"]) == (body["day"], end) for e in same),
            "it has a token": body["tokens"] != [],
        }
        wrong = [name for name, true in truths.items() if not true]
        return f"of an anchor this is not true: {wrong}" if wrong else None


def _range(auditor, day):
    """The positions of a UTC day, by each entry's own time."""
    start = int(datetime.fromisoformat(f"{day}T00:00:00+00:00").timestamp()) * 1000
    times = [_ms(entry["time"]["recorded"]) for entry in auditor.entries]
    before = sum(one < start for one in times)
    return before, before + sum(start <= one < start + DAY_MS for one in times)


def _ms(text):
    moment = datetime.strptime(text, "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=UTC)
    return int(moment.timestamp()) * 1000 + moment.microsecond // 1000


def _text(digest):
    return f"sha256:{digest.hex()}"
