# SPDX-License-Identifier: GPL-3.0-or-later
"""Statements that something was not in a training set, or was not put out; or that it was.

    digests ──► place in the set's tree, or in one map after the other up to the day
                   ├─ nothing there, anywhere: absence/1 with a walk for each tree
                   └─ found: presence/1 with the walk to it, and the entry that brought it

Each statement holds the entries that name the roots, with their proofs and time stamps, and is
checked as a stranger will before it leaves. What it shows and what not: sealtrail.verify.absence.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from anchoring.dataset import Datasets
from anchoring.output_map import tree_name
from anchoring.output_roll import final_of, rolled
from anchoring.shelf import Book
from anchoring.sparse_store import Salt, SparseStore, TreeDamaged
from anchoring.sparse_tree import Walk
from evidence.anchored import anchored_entries
from evidence.packet import read_trust
from ledger import clock
from ledger.errors import Conflict, IntegrityViolation, NotFound
from ledger.reader import Stored
from ledger.retention.tiers import BodyCold, BodyExpired
from sealtrail.verify import base64text
from sealtrail.verify.absence import LIMITS
from sealtrail.verify.errors import VerifyError
from sealtrail.verify.report import Verdict
from sealtrail.verify.statement import check_statement, read_statement
from sealtrail.verify.trust import Trust

JSON = dict[str, Any]


class DatasetUnknown(NotFound):
    """There is no such sealed version of a set in this Book."""

    problem = "dataset-unknown"


class OutputsOpen(Conflict):
    """This day's outputs have no map yet: its final report comes with one of the next nights."""

    problem = "outputs-open"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A statement that passed our own check."""

    document: JSON
    present: bool
    verdict: Verdict  #: `verified`, or `incomplete` while a time stamp or a root is missing.
    event_ids: Sequence[str]  #: Of the entries in it.


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    """A tree, and the entry that names its root."""

    entry: Stored
    tree_id: str
    root: bytes


def about_dataset(
    book: Book, digests: Mapping[str, bytes], id_: str, version: str | None, *, trust_file: Path
) -> Answer:
    """Say whether a file is in a sealed set, the current version if none is named.

    digests: by kind (sealtrail.verify.sparse.TAGS), 32 bytes each. Raises DatasetUnknown.
    """
    sealed = Datasets(book).find(id_, version)
    if sealed is None:
        raise DatasetUnknown
    place = _Place(
        entry=book.reader.at(sealed.position),
        tree_id=f"dataset/{sealed.number}",
        root=_digest(sealed.body["smt_root"]),
    )
    about = {"dataset": id_, "version": sealed.body["version"]}
    return _answer(book, about, digests, [place], trust_file)


def about_outputs(
    book: Book, digests: Mapping[str, bytes], day: str, *, trust_file: Path
) -> Answer:
    """Say whether the log knows of an output with these digests, up to the end of a UTC day.

    Raises OutputsOpen for a day that has no map yet.
    """
    return _answer(book, {"outputs_until": day}, digests, list(_maps(book, day)), trust_file)


def _maps(book: Book, day: str) -> Iterator[_Place]:
    """Yield the maps from the first entry to the end of a day: years, then months, then days."""
    if not book.reader.head().size:
        raise OutputsOpen
    here = date.fromisoformat(clock.day_of(book.reader.locate_at(0).recorded_ms))
    last = date.fromisoformat(day)
    if last < here:
        raise OutputsOpen("the log begins after this day")
    while here <= last:
        stored, here = _longest(book, here, last)
        body = stored.entry.value["body"]
        yield _Place(
            entry=stored,
            tree_id=tree_name(body["from_size"], body["to_size"]),
            root=_digest(body["outputs"]["root"]),
        )


def _longest(book: Book, here: date, last: date) -> tuple[Stored, date]:
    """Return the entry about the longest map that begins here, and the day after it."""
    year = here.replace(month=12, day=31)
    month = (here.replace(day=1) + timedelta(days=31)).replace(day=1) - timedelta(days=1)
    for end, period in ((year, f"{here:%Y}"), (month, f"{here:%Y-%m}")):
        if end <= last and _begins(book, here, period):
            with suppress(BodyCold, BodyExpired):  # The days' own reports never go.
                stored = rolled(book, period)
                if stored is not None:
                    return stored, end + timedelta(days=1)
    report = final_of(book, here.isoformat())
    if report is None:
        raise OutputsOpen(day=here.isoformat())
    return report, here + timedelta(days=1)


def _begins(book: Book, here: date, period: str) -> bool:
    """Whether a period begins with this day, or the log does."""
    first = clock.day_of(book.reader.locate_at(0).recorded_ms)
    start = f"{period}-01-01" if len(period) == 4 else f"{period}-01"
    return here.isoformat() in (start, first)


def _answer(
    book: Book,
    about: JSON,
    digests: Mapping[str, bytes],
    places: Sequence[_Place],
    trust_file: Path,
) -> Answer:
    walks = [_walk(book, place, digests) for place in places]
    document: JSON = {
        "statement": "absence/1",
        "origin": book.origin,
        "made": clock.rfc3339(clock.now_ms()),
        "set": about,
        "digests": {tag: f"sha256:{digest.hex()}" for tag, digest in digests.items()},
        "limits": list(LIMITS),
    }
    found = [
        (walked, tag, walk.found)
        for walked in walks
        for tag, walk in walked.walks.items()
        if walk.found is not None
    ]
    positions = [place.entry.position for place in places]
    if found:
        walked, tag, position = found[0]
        document |= {"statement": "presence/1", "found": {"tag": tag, "position": position}}
        walks, positions = [walked], [walked.place.entry.position, position]
    document["salts"] = {
        f"sha256:{one.salt.commitment.hex()}": base64text.encode(one.salt.secret) for one in walks
    }
    document["proofs"] = [
        {
            "entry": one.place.entry.position,
            "paths": {tag: walk.path.text() for tag, walk in one.walks.items()},
        }
        for one in walks
    ]
    trust = read_trust(trust_file)
    document["anchored"] = anchored_entries(book, positions, trust=trust)
    return Answer(
        document=document,
        present=bool(found),
        verdict=_check(document, trust),
        event_ids=[book.reader.at(position).entry.event_id for position in positions],
    )


@dataclass(frozen=True, slots=True)
class _Walked:
    place: _Place
    salt: Salt
    walks: Mapping[str, Walk]


def _walk(book: Book, place: _Place, digests: Mapping[str, bytes]) -> _Walked:
    store = SparseStore(book)
    tree = store.tree(place.tree_id, root=place.root)
    if tree is None:
        raise TreeDamaged("a tree whose root the log names is gone")
    salt = store.salt(tree.salt_id)
    walks = {tag: store.walk(tree, salt.key(tag, digest)) for tag, digest in digests.items()}
    return _Walked(place, salt, walks)


def _check(document: JSON, trust: Trust) -> Verdict:
    """Return the verdict of our own check; a refuted statement is evidence against this ledger."""
    try:
        data = json.dumps(document).encode()
        report = check_statement(read_statement(data), trust=trust, now=clock.now())
    except VerifyError as error:
        raise IntegrityViolation("the statement that was built cannot be read") from error
    for finding in report.findings:
        if finding.verdict == "refuted":
            raise IntegrityViolation(
                f"our own check refutes the statement: {finding.subject}, {finding.check}:"
                f" {finding.sentence}"
            )
    return report.verdict


def _digest(text: str) -> bytes:
    return bytes.fromhex(text.removeprefix("sha256:"))
