# SPDX-License-Identifier: Apache-2.0
"""Shown not to be in a sealed set, or not to have been put out; or shown to be.

    {"statement": "absence/1",
     "set": {"dataset": "acme/faces", "version": "3"},          or {"outputs_until": "2026-01-14"}
     "digests": {"bytes-sha256": "sha256:9c0d...", "pixel-sha256": "sha256:5f1e..."},
     "salts": {"sha256:<commitment>": "<Base64>"},
     "proofs": [{"entry": 1042, "paths": {"bytes-sha256": "<Base64>", "pixel-sha256": "..."}}],
     "limits": ["..."],
     "anchored": {"files": {...}}}

A proof takes its root from the entry at the position that it names, and from nowhere else: a
DATASET_SEALED, or for outputs one final report or roll-up after the other, from the first position
of the log to the end of the day. `presence/1` has one proof, that leads to a leaf, and names in
`found` its kind of digest, and the position that the leaf holds. A statement that leaves a kind of
digest out is incomplete.
"""

import re
from calendar import monthrange
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from typing import Any, Final

from sealtrail.verify import base64text
from sealtrail.verify.anchored import Claim
from sealtrail.verify.errors import Incomplete, Refuted, Unreadable
from sealtrail.verify.lacking import lacking
from sealtrail.verify.report import Told
from sealtrail.verify.sparse import (
    BYTES,
    PIXELS,
    TAGS,
    SparsePath,
    check_absent,
    check_either,
    check_present,
    check_salt,
    member_key,
    parse_path,
    position_value,
)

#: What no such statement shows; the ledger prints the same.
LIMITS: Final = (
    "copies: this is about exact bytes and pixels; a copy of another size or quality has others",
    "whether the set or map holds all that it should: only someone who has all of it can check",
    "whether anything was used or put out without being recorded",
)

_ALONE: Final = "whether the digests are those of any file: give it with --file"
_PIXELS: Final = (
    "whether the pixel digest is that of the file: it is taken as given, for decoding a picture"
    " needs more than Python's standard library"
)
_LATER: Final = "whether a later version has taken this one's place since"

_MAX_PROOFS: Final = 5_000
_DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}")
_PERIOD: Final = re.compile(r"([1-9][0-9]{3})(?:-(0[1-9]|1[0-2])(?:-([0-9]{2}))?)?")
_NAMES: Final[Mapping[str, str]] = {BYTES: "bytes", PIXELS: "pixels"}


@dataclass(frozen=True, slots=True)
class _Tree:
    """A root as an entry names it."""

    root: bytes
    salt_commit: bytes
    first: int  #: Of a range of positions; 0 for a set.
    end: int
    missing: int


@dataclass(frozen=True, slots=True)
class _Proof:
    position: int  #: Of the entry that names the root.
    paths: Mapping[str, SparsePath]


def judge_absence(claim: Claim) -> None:
    """Enter the findings about a statement `absence/1`."""
    said = _read(claim, {"set", "digests", "salts", "proofs"})
    _judge_whole(claim, said)
    for proof in said.proofs:
        _judge_proof(claim, said, proof)


def judge_presence(claim: Claim) -> None:
    """Enter the findings about a statement `presence/1`."""
    said = _read(claim, {"set", "digests", "salts", "proofs", "found"})
    found = claim.value["found"]
    if not isinstance(found, dict) or found.keys() != {"tag", "position"} or len(said.proofs) != 1:
        raise Unreadable("The statement does not name the one place at which something was found.")
    tag, position = _text(found["tag"]), found["position"]
    if tag not in said.digests or type(position) is not int or not 0 <= position < 2**63:
        raise Unreadable("What was found is no position, or of no digest in the statement.")
    _judge_file(claim, said.digests)
    proof = said.proofs[0]

    def action() -> _Tree:
        tree = _tree_of(claim, said, proof)
        path, value = proof.paths.get(tag), position_value(position)
        key = member_key(_salt(said, tree), tag, said.digests[tag])
        if path is None or path.terminal != (key, sha256(value).digest()):
            raise Refuted("The path does not lead to what was found.")
        check_present(tree.root, key, value, path.siblings)
        return tree

    claim.docket.judge(
        said.name,
        "presence",
        action,
        partial(_tell_present, tag, position),
    )
    for other in said.digests.keys() - {tag}:
        claim.docket.judge(
            said.name,
            f"its {_NAMES[other]}",
            partial(_either, claim, said, proof, other),
            partial(_tell_either, other),
        )
    claim.docket.judge(
        said.name,
        "entry",
        lambda: _brought(claim, position),
        lambda type_: (f"the entry at position {position} is shown: {type_}", {}),
    )
    claim.open_points.extend(LIMITS[1:])


@dataclass(frozen=True, slots=True)
class _Said:
    """A statement of either kind, read."""

    dataset: str | None
    version: str | None
    day: str | None
    digests: Mapping[str, bytes]
    salts: Mapping[bytes, bytes]
    proofs: Sequence[_Proof]

    @property
    def name(self) -> str:
        if self.day is not None:
            return f"outputs until {self.day}"
        return f"dataset {self.dataset} · version {self.version}"


def _read(claim: Claim, members: set[str]) -> _Said:
    value = claim.value
    optional = {"limits", "made", "origin", "statement", "anchored"}
    if not members <= value.keys() <= members | optional:
        raise Unreadable("The statement does not have exactly the members of its kind.")
    about = value["set"]
    dataset = version = day = None
    if isinstance(about, dict) and about.keys() == {"dataset", "version"}:
        dataset, version = _text(about["dataset"]), _text(about["version"])
    elif isinstance(about, dict) and about.keys() == {"outputs_until"}:
        day = _text(about["outputs_until"])
    else:
        raise Unreadable("The statement names neither a set nor a day.")
    salts = value["salts"]
    proofs = value["proofs"]
    if not isinstance(salts, dict) or not isinstance(proofs, list) or len(proofs) > _MAX_PROOFS:
        raise Unreadable("The statement's salts or proofs are not given as they have to be.")
    return _Said(
        dataset=dataset,
        version=version,
        day=day,
        digests=_digests(value["digests"]),
        salts={
            _digest(name): base64text.decode(_text(text), "A salt in the statement")
            for name, text in salts.items()
        },
        proofs=[_proof(one) for one in proofs],
    )


def _digests(value: Any) -> dict[str, bytes]:
    if not isinstance(value, dict) or not value or not value.keys() <= set(TAGS):
        raise Unreadable("The statement names no digest, or a kind of digest that nobody knows.")
    return {tag: _digest(value[tag]) for tag in TAGS if tag in value}


def _proof(value: Any) -> _Proof:
    if not isinstance(value, dict) or value.keys() != {"entry", "paths"}:
        raise Unreadable("A proof in the statement does not name an entry and paths.")
    position, paths = value["entry"], value["paths"]
    if type(position) is not int or position < 0 or not isinstance(paths, dict):
        raise Unreadable("A proof in the statement does not name an entry and paths.")
    return _Proof(position, {tag: parse_path(text) for tag, text in paths.items()})


def _digest(text: Any) -> bytes:
    if not isinstance(text, str) or _DIGEST.fullmatch(text) is None:
        raise Unreadable("A digest in the statement is not sha256: and 64 hexadecimal digits.")
    return bytes.fromhex(text.removeprefix("sha256:"))


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise Unreadable("A member of the statement that has to be text is none.")
    return value


def _judge_whole(claim: Claim, said: _Said) -> None:
    """Enter the findings about what the statement speaks about, and from where to where."""
    _judge_file(claim, said.digests)
    claim.open_points.extend(LIMITS)
    for tag in TAGS:
        if tag not in said.digests:
            sentence = f"The statement says nothing about the file's {_NAMES[tag]}."
            claim.docket.enter(said.name, _NAMES[tag], "incomplete", sentence)
    if said.day is None:
        claim.open_points.append(_LATER)
        for proof in said.proofs:
            claim.open_points.extend(lacking(claim.entries.get(proof.position), said.digests))
        if len(said.proofs) != 1:
            sentence = "The statement does not have exactly one proof about the set."
            claim.docket.enter(said.name, "proofs", "refuted", sentence)
        return
    claim.docket.judge(
        said.name,
        "ranges",
        partial(_ranges, claim, said),
        lambda end: (
            f"{len(said.proofs)} maps, without a gap, from the first entry to position {end}",
            {"maps": len(said.proofs), "end": str(end)},
        ),
    )


def _judge_file(claim: Claim, digests: Mapping[str, bytes]) -> None:
    """Hold the statement's digests against the file that the reader gave, as far as possible."""
    if claim.file is None:
        claim.open_points.append(_ALONE)
        return
    content = claim.file

    def action() -> bytes:
        found = sha256(content).digest()
        if BYTES not in digests:
            raise Incomplete("The statement names no digest of a file's bytes to hold it against.")
        if digests[BYTES] != found:
            raise Refuted("The statement is about another file than the one given.")
        return found

    claim.docket.judge(
        "file",
        "bytes",
        action,
        lambda found: (
            f"it has the digest that the statement names: sha256:{found.hex()}",
            {"sha256": f"sha256:{found.hex()}"},
        ),
    )
    if PIXELS in digests:
        claim.open_points.append(_PIXELS)


def _judge_proof(claim: Claim, said: _Said, proof: _Proof) -> None:
    subject = said.name if said.day is None else f"{said.name} · entry {proof.position}"
    for tag, digest in said.digests.items():
        claim.docket.judge(
            subject,
            f"no {_NAMES[tag]}",
            partial(_absent, claim, said, proof, tag, digest),
            partial(_tell_absent, tag),
        )


def _absent(claim: Claim, said: _Said, proof: _Proof, tag: str, digest: bytes) -> _Tree:
    tree = _tree_of(claim, said, proof)
    if tag not in proof.paths:
        raise Incomplete(f"There is no proof about the file's {_NAMES[tag]}.")
    check_absent(tree.root, member_key(_salt(said, tree), tag, digest), proof.paths[tag])
    if tree.missing:
        raise Incomplete(
            f"The digests of {tree.missing} outputs of this range could not be read when its map"
            " was made; nothing is shown about these."
        )
    return tree


def _either(claim: Claim, said: _Said, proof: _Proof, tag: str) -> bool:
    """Whether a digest beside the one that was found is in the same tree, too."""
    tree = _tree_of(claim, said, proof)
    if tag not in proof.paths:
        raise Incomplete(f"There is no proof about the file's {_NAMES[tag]}.")
    return check_either(
        tree.root, member_key(_salt(said, tree), tag, said.digests[tag]), proof.paths[tag]
    )


def _tell_either(tag: str, there: bool) -> Told:
    where = "in it, too" if there else "not in it: it was found by the other digest alone"
    return f"the digest of the {_NAMES[tag]} is {where}", {"tag": tag, "present": there}


def _tell_absent(tag: str, tree: _Tree) -> Told:
    root = f"sha256:{tree.root.hex()}"
    where = "" if not tree.end else f" put out in positions {tree.first} to {tree.end - 1}"
    return f"the digest of the {_NAMES[tag]} is not among those{where} under root {root}", {
        "tag": tag,
        "root": root,
    }


def _tell_present(tag: str, position: int, tree: _Tree) -> Told:
    root = f"sha256:{tree.root.hex()}"
    sentence = (
        f"the digest of the {_NAMES[tag]} is in it, brought by the entry at position {position};"
        f" root {root}"
    )
    return sentence, {"tag": tag, "position": str(position), "root": root}


def _salt(said: _Said, tree: _Tree) -> bytes:
    salt = said.salts.get(tree.salt_commit)
    if salt is None:
        raise Refuted("The statement does not hold the salt that the entry commits to.")
    check_salt(salt, tree.salt_commit)
    return salt


def _tree_of(claim: Claim, said: _Said, proof: _Proof) -> _Tree:
    """The root that a proof is about, from the entry that names it."""
    entry = claim.entries.get(proof.position)
    if entry is None:
        raise Refuted("No entry in the statement names the root that this proof is about.")
    if said.day is not None:
        return _map_in(entry)
    body = entry["body"].get("dataset")
    if entry["type"] != "DATASET_SEALED" or not isinstance(body, dict):
        raise Refuted("The entry that should name the root seals no set.")
    if (body.get("id"), body.get("version")) != (said.dataset, said.version):
        raise Refuted("The entry seals another set, or another version of it.")
    return _Tree(
        root=_digest(body.get("smt_root")),
        salt_commit=_digest(body.get("smt_salt_commit")),
        first=0,
        end=0,
        missing=0,
    )


def _map_in(entry: Mapping[str, Any]) -> _Tree:
    """The root of an output map and its range, from a final report or a roll-up."""
    body = entry["body"]
    final = entry["type"] == "COMPLETENESS_REPORT" and body.get("kind") == "final"
    outputs = body.get("outputs")
    if not (final or entry["type"] == "OUTPUTS_ROLLED") or not isinstance(outputs, dict):
        raise Refuted("The entry that should name the root is about no outputs.")
    first, end, missing = body.get("from_size"), body.get("to_size"), outputs.get("missing", 0)
    if not all(type(one) is int and one >= 0 for one in (first, end, missing)):
        raise Refuted("The entry does not say from where to where its map reaches.")
    return _Tree(
        root=_digest(outputs.get("root")),
        salt_commit=_digest(outputs.get("salt_commit")),
        first=first,
        end=end,
        missing=missing,
    )


def _ranges(claim: Claim, said: _Said) -> int:
    """The position after the last range, if they follow one another up to the end of the day."""
    end = 0
    last = ""
    for proof in said.proofs:
        tree = _tree_of(claim, said, proof)
        if tree.first != end or tree.end < tree.first:
            raise Refuted("The maps leave out a range of the log, or do not follow one another.")
        end = tree.end
        body = claim.entries[proof.position]["body"]
        last = _last_day(str(body.get("day", body.get("period"))))
    if last != said.day:
        raise Refuted("The last map does not end with the day that the statement names.")
    return end


def _last_day(period: str) -> str:
    """The last day of a year, a month or a day."""
    match = _PERIOD.fullmatch(period)
    if match is None:
        raise Refuted("An entry is about no day, month or year.")
    if match[3] is not None:
        return period
    year, month = int(match[1]), int(match[2] or 12)
    return f"{year}-{month:02}-{monthrange(year, month)[1]}"


def _brought(claim: Claim, position: int) -> str:
    entry = claim.entries.get(position)
    if entry is None:
        raise Incomplete("The entry that brought it is not shown.")
    return str(entry["type"])
