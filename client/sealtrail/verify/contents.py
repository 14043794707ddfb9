# SPDX-License-Identifier: Apache-2.0
"""What lies where in a packet, and which files belong together.

    packet-<id>/
      00-READ-ME-FIRST.txt  bagit.txt  bag-info.txt  manifest-sha256.txt  tagmanifest-sha256.txt
      data/records/<position>-<TYPE>.entry.json      the exact bytes of one entry
      data/records/<position>.disclosures.json       the personal fields shown, as disclosures
      data/records/<position>.withheld.json          the fields not shown, and on what ground
      data/proofs/<position>.tlog-proof              its place under a checkpoint
      data/proofs/consistency-<a>-<b>.txt            the log of size b begins with the log of size a
      data/anchors/<size>/checkpoint                 the exact bytes that were stamped
      data/anchors/<size>/<authority>.tsq, .tsr      the request and the token
      data/anchors/<size>/tsa-chain.pem              further certificates of the authorities
      data/anchors/<size>/anchor.entry.json, anchor.tlog-proof    the log's own entry about it
      data/trust/log.vkey, tsa-roots.pem             copies for convenience: never trusted
      tools/verify.pyz                               a copy for convenience

Positions and sizes are plain decimals. A file under records/ that fits none of these names, or
stands without the one it belongs to, is a stray and refutes the packet, because a person would
take it for evidence; files elsewhere in data/ that this version does not know are named as not
checked.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

_NUMBER: Final = r"(0|[1-9][0-9]{0,18})"
_TYPE: Final = r"([A-Z][A-Z0-9_]{0,63})"
_AUTHORITY: Final = r"([a-z0-9][a-z0-9-]{0,63})"

_ENTRY: Final = re.compile(rf"data/records/{_NUMBER}-{_TYPE}\.entry\.json")
_BESIDE: Final = re.compile(rf"data/records/{_NUMBER}\.(disclosures|withheld)\.json")
_PROOF: Final = re.compile(rf"data/proofs/{_NUMBER}\.tlog-proof")
_CONSISTENCY: Final = re.compile(rf"data/proofs/consistency-{_NUMBER}-{_NUMBER}\.txt")
_TOKEN: Final = re.compile(rf"data/anchors/{_NUMBER}/{_AUTHORITY}\.(tsq|tsr)")
_ANCHOR: Final = re.compile(
    rf"data/anchors/{_NUMBER}/(checkpoint|tsa-chain\.pem|anchor\.entry\.json|anchor\.tlog-proof)"
)

LOG_KEYS: Final = "data/trust/log.vkey"
TSA_ROOTS: Final = "data/trust/tsa-roots.pem"
_RECORDS: Final = "data/records/"


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One entry and what is shown with it. `type` is what the file's name says."""

    position: int
    type: str
    entry: bytes
    proof: bytes | None
    disclosures: bytes | None
    withheld: bytes | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """One authority's time stamp over an anchor's checkpoint, and the request for it."""

    authority: str
    reply: bytes
    request: bytes | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Anchor:
    """A checkpoint that was made public, as the exact bytes that were stamped."""

    size: int
    checkpoint: bytes
    tokens: tuple[Token, ...]
    chain: bytes | None
    entry: bytes | None
    proof: bytes | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Packet:
    """A packet taken apart; nothing in it has been checked yet.

    files: all contents by their names below the top folder. damaged: names whose content does not
    have the archive's checksum. repacked: another program packed the archive. strays: files that
    belong to nothing. unknown: files in data/ that this version does not know.
    """

    id: str
    files: Mapping[str, bytes]
    damaged: tuple[str, ...]
    repacked: bool
    records: tuple[Record, ...]
    anchors: tuple[Anchor, ...]
    consistency: Mapping[tuple[int, int], bytes]
    strays: tuple[str, ...]
    unknown: tuple[str, ...]


@dataclass(slots=True)
class _Sorted:
    """The names of one packet's files by what they are, while they are being sorted."""

    entries: dict[int, list[tuple[str, str]]] = field(default_factory=dict)
    beside: dict[tuple[int, str], str] = field(default_factory=dict)
    proofs: dict[int, str] = field(default_factory=dict)
    consistency: dict[tuple[int, int], str] = field(default_factory=dict)
    anchors: dict[int, dict[str, str]] = field(default_factory=dict)
    tokens: dict[int, dict[str, dict[str, str]]] = field(default_factory=dict)
    strays: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)

    def put(self, name: str) -> None:
        if match := _ENTRY.fullmatch(name):
            self.entries.setdefault(int(match[1]), []).append((match[2], name))
        elif match := _BESIDE.fullmatch(name):
            self.beside[int(match[1]), match[2]] = name
        elif match := _PROOF.fullmatch(name):
            self.proofs[int(match[1])] = name
        elif match := _CONSISTENCY.fullmatch(name):
            self.consistency[int(match[1]), int(match[2])] = name
        elif match := _ANCHOR.fullmatch(name):
            self.anchors.setdefault(int(match[1]), {})[match[2]] = name
        elif match := _TOKEN.fullmatch(name):
            parts = self.tokens.setdefault(int(match[1]), {}).setdefault(match[2], {})
            parts[match[3]] = name
        elif name.startswith(_RECORDS):
            self.strays.append(name)
        elif name.startswith("data/") and name not in {LOG_KEYS, TSA_ROOTS}:
            self.unknown.append(name)


def sort_out(
    identifier: str,
    files: Mapping[str, bytes],
    damaged: tuple[str, ...],
    *,
    repacked: bool = False,
) -> Packet:
    """The packet that these files make up; any set of files makes up some packet."""
    names = _Sorted()
    for name in files:
        names.put(name)
    records = tuple(
        _record(position, entries[0][0], files[entries[0][1]], names, files)
        for position, entries in sorted(names.entries.items())
    )
    anchors = tuple(
        anchor
        for size in sorted(names.anchors.keys() | names.tokens.keys())
        if (anchor := _anchor(size, names, files)) is not None
    )
    # What no record took belongs to none; of two entries at one position neither is believed.
    names.strays += [name for entries in names.entries.values() for _, name in entries[1:]]
    names.strays += [*names.beside.values(), *names.proofs.values()]
    return Packet(
        id=identifier,
        files=files,
        damaged=damaged,
        repacked=repacked,
        records=records,
        anchors=anchors,
        consistency={sizes: files[name] for sizes, name in names.consistency.items()},
        strays=tuple(sorted(names.strays)),
        unknown=tuple(sorted(names.unknown)),
    )


def _record(
    position: int, kind: str, entry: bytes, names: _Sorted, files: Mapping[str, bytes]
) -> Record:
    def take(name: str | None) -> bytes | None:
        return None if name is None else files[name]

    return Record(
        position=position,
        type=kind,
        entry=entry,
        proof=take(names.proofs.pop(position, None)),
        disclosures=take(names.beside.pop((position, "disclosures"), None)),
        withheld=take(names.beside.pop((position, "withheld"), None)),
    )


def _anchor(size: int, names: _Sorted, files: Mapping[str, bytes]) -> Anchor | None:
    """The anchor of this size; None, and its files strays, if it has no checkpoint."""
    parts = names.anchors.get(size, {})
    tokens = names.tokens.get(size, {})
    if "checkpoint" not in parts:
        names.strays += parts.values()
        names.strays += [name for token in tokens.values() for name in token.values()]
        return None
    # A request without its reply shows only that somebody asked.
    names.unknown += [token["tsq"] for token in tokens.values() if "tsr" not in token]
    content = {part: files[name] for part, name in parts.items()}
    return Anchor(
        size=size,
        checkpoint=content["checkpoint"],
        tokens=tuple(
            Token(
                authority=authority,
                reply=files[token["tsr"]],
                request=files[token["tsq"]] if "tsq" in token else None,
            )
            for authority, token in sorted(tokens.items())
            if "tsr" in token
        ),
        chain=content.get("tsa-chain.pem"),
        entry=content.get("anchor.entry.json"),
        proof=content.get("anchor.tlog-proof"),
    )
