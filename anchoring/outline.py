# SPDX-License-Identifier: GPL-3.0-or-later
"""Outlines: what most entries of a log have in common, so that only the rest needs to be parsed.

Two entries of one producer differ in ids, digests, times and texts; their members, the order of
these and all else between them are the same. From one entry that was checked in full an outline is
made: a pattern in which names and punctuation stand as they are and each value that may differ is
replaced by what may stand there. Bytes that match it are then

    canonical     names and their order are those of canonical bytes, texts need no escape, numbers
                  are spelled the one way and lie within the range, nothing is nested deeper
    an entry      members that the envelope restricts match what it asks, or are the very same

and nobody has to parse them. An outline says yes, or nothing: all other bytes go the long way. A
property test holds it against `check_entry` and `client_part`.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from ledger.events.slots import IDENTIFIER, TIME, UUID7
from ledger.printing import canonical_bytes
from sealtrail.verify.entry import LEDGER_ASSIGNED, client_part

JSON = dict[str, Any]

#: Of these types nothing but what an outline captures decides whether they may follow.
_TYPES: Final = frozenset({
    "GEN_ATTEMPT", "GEN", "GEN_DENY", "GEN_ERROR", "MODERATION", "INGEST", "ASSET_WITHDRAWN",
    "TRAIN_FAILED", "EXPORT", "ACCESS",
})  # fmt: skip
_EACH: Final = 8  #: Outlines of one type; the one that fits most often comes to be tried first.
_PATIENCE: Final = 256  #: Entries without an outline for each that is made: making one is slow.

_HEX: Final = "[0-9a-f]"
_LINE: Final = r'[^"\\\x00-\x1f\x7f]{1,256}+'  # Of what is known to be ASCII.
_TEXT: Final = r'[^"\\\x00-\x1f]*+'
_LEAF: Final = f"sha256:{_HEX}{{64}}"
_DIGEST: Final = "[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]"
_COUNT: Final = "(?:0|[1-9][0-9]{0,14}+)"
_VERSION: Final = "[1-9][0-9]{0,14}+"
_NUMBER: Final = "(?:0|-?[1-9][0-9]{0,14}+)"

#: Members whose content the envelope does not restrict.
_FREE: Final = frozenset({
    "actor", "body", "trace", "net", "clock", "retention", "policy_bundle", "origin_software",
    "producer",
})  # fmt: skip


class Skimmed(NamedTuple):
    """What fsck has to know of an entry, if an outline fits it."""

    outline: "Outline"  #: Holds what is the same in all entries that it fits.
    aggregate_id: str
    version: int
    event_id: str
    recorded: str
    source_id: str | None
    source_n: int | None
    part: str  #: The canonical text of the client's part.
    assets: list[str]  #: That a GEN made, or an EXPORT takes; consents of a GEN_ATTEMPT.


@dataclass(slots=True)
class _Drawing:
    """An outline in the making: pieces of a pattern, and which of its groups are what."""

    type: str
    pieces: list[tuple[str, bool]] = field(default_factory=list)  #: Pattern, and if it is sent.
    captured: list[str] = field(default_factory=list)  #: Names of groups.

    def add(self, pattern: str, *, sent: bool) -> None:
        self.pieces.append((pattern, sent))

    def capture(self, name: str, pattern: str) -> str:
        self.captured.append(name)
        return f"(?P<{name}>{pattern})"


class Outline:
    """The pattern of one shape of entry."""

    def __init__(self, value: JSON) -> None:
        drawing = _Drawing(type=value["type"])
        _draw(drawing, (), value, sent=True)
        pattern = re.compile("".join(_grouped(drawing.pieces)))
        index = pattern.groupindex
        self._match = pattern.fullmatch
        self._sent = [index[name] for name in index if name.startswith("sent")]
        told = ["aggregate_id", "version", "event_id", "recorded"]
        self._sourced = "source" in value
        if self._sourced:
            told += ["source_id", "source_n"]
        self._told = [index[name] for name in told]
        self._assets = [index[name] for name in index if name.startswith("asset")]
        self._digests = index["digests"] if len(value.get("_sd", ())) > 1 else 0
        self.type, self.schema, self.kind = (
            value["type"],
            value["schema"],
            value["aggregate"]["type"],
        )
        self.topic, self.prefix = f"{self.type}/{self.schema}", f"{self.kind}/"
        self.attempts = self.topic == "GEN_ATTEMPT/1" and self.kind == "Generation"
        self.by_ledger = value["actor"]["kind"] == "system"
        self._timeout = {"timeout": True} if value["body"].get("timeout") is True else {}
        outputs = value["body"].get("outputs", ()) if self.type == "GEN" else ()
        #: What became of each output decides what may become of it later; it is printed as it is.
        held = [output.get("disposition") == "quarantined" for output in outputs]
        self._fates = [{"disposition": "quarantined"} if one else {} for one in held]

    def skim(self, text: str) -> Skimmed | None:
        """Return what an entry says, if its bytes are those of this outline."""
        match = self._match(text)
        if match is None:
            return None
        group = match.group
        if self._digests:
            digests = group(self._digests).split('","')
            if sorted(set(digests)) != digests:
                return None
        if self._sourced:
            aggregate_id, version, event_id, recorded, source_id, n = group(*self._told)
            source_n = int(n)
        else:
            aggregate_id, version, event_id, recorded = group(*self._told)
            source_id = source_n = None
        sent = self._sent
        return Skimmed(
            self,
            aggregate_id,
            int(version),
            event_id,
            recorded,
            source_id,
            source_n,
            "".join(group(*sent)) if len(sent) > 1 else group(sent[0]),
            [match[at] for at in self._assets] if self._assets else [],
        )

    def body(self, assets: list[str]) -> JSON:
        """Return no more of the body than decides whether the entry may follow."""
        if self.type == "EXPORT":
            return {"asset_id": assets[0]}
        if self.type == "GEN":
            told = zip(assets, self._fates, strict=True)
            return {"outputs": [{"asset_id": asset, **fate} for asset, fate in told]}
        if self.type == "GEN_ATTEMPT" and assets:
            return {"consent_ids": assets}
        return self._timeout


class Outlines:
    """The outlines of one log, made as its entries pass by."""

    def __init__(self, *, patience: int = _PATIENCE) -> None:
        self._by_end: dict[str, list[Outline]] = {}
        self._patience, self._missed = patience, patience - 1

    def skim(self, data: bytes) -> Skimmed | None:
        """Return what an entry says if an outline fits its bytes; None says nothing of them."""
        try:
            text = data.decode("ascii")
        except UnicodeDecodeError:
            return None
        known = self._by_end.get(text[text.rfind(':"') :])  # Up to the type: `:"GEN","v":1}`.
        if known is None:
            return None
        for at, outline in enumerate(known):
            found = outline.skim(text)
            if found is not None:
                if at:
                    known[at - 1], known[at] = outline, known[at - 1]
                return found
        return None

    def learn(self, data: bytes, value: JSON) -> None:
        """Make an outline of an entry that was checked in full; seldom, for it takes a while."""
        self._missed += 1
        if self._missed < self._patience or not data.isascii() or b"\\" in data:
            return
        if value["type"] not in _TYPES or value.get("_sd") == []:
            return
        text = data.decode("ascii")
        outline = Outline(value)
        found = outline.skim(text)
        if found is None or found.part.encode() != canonical_bytes(client_part(value)):
            return
        self._missed = 0
        known = self._by_end.setdefault(text[text.rfind(':"') :], [])
        del known[_EACH - 1 :]
        known.append(outline)


def _draw(drawing: _Drawing, path: tuple[str | int, ...], value: Any, *, sent: bool) -> None:
    if isinstance(value, dict):
        _draw_object(drawing, path, value, sent=sent)
    elif isinstance(value, list):
        drawing.add(r"\[", sent=sent)
        if path == ("_sd",):
            digests = '","'.join([_DIGEST] * len(value))
            drawing.add(f'"{drawing.capture("digests", digests)}"', sent=sent)
        else:
            for at, item in enumerate(value):
                if at:
                    drawing.add(",", sent=sent)
                _draw(drawing, (*path, at), item, sent=sent)
        drawing.add(r"\]", sent=sent)
    elif isinstance(value, str):
        drawing.add(f'"{_string(drawing, path, value)}"', sent=sent)
    elif type(value) is int:
        drawing.add(_integer(drawing, path, value), sent=sent)
    else:
        drawing.add({None: "null", True: "true", False: "false"}[value], sent=sent)


def _draw_object(
    drawing: _Drawing, path: tuple[str | int, ...], value: JSON, *, sent: bool
) -> None:
    drawing.add(r"\{", sent=sent)
    first = True  # No member was printed; of the client's part, none.
    first_sent = True
    for name, item in value.items():
        here = (*path, name)
        sends = sent and _is_sent(here, item)
        if not first:
            drawing.add(",", sent=sends and not first_sent)
        first, first_sent = False, first_sent and not sends
        drawing.add(f'"{re.escape(name)}":', sent=sends)
        _draw(drawing, here, item, sent=sends)
    drawing.add(r"\}", sent=sent)


def _is_sent(path: tuple[str | int, ...], value: Any) -> bool:
    """Say if a member is in the client's part: not what the ledger assigns, nor a group of it."""
    pointer = "/" + "/".join(map(str, path))
    if pointer in LEDGER_ASSIGNED:
        return False
    groups = {one.split("/")[1] for one in LEDGER_ASSIGNED if one.count("/") == 2}
    if len(path) == 1 and path[0] in groups and isinstance(value, dict):
        return any(f"{pointer}/{name}" not in LEDGER_ASSIGNED for name in value)
    return True


def _string(drawing: _Drawing, path: tuple[str | int, ...], value: str) -> str:
    captured = _CAPTURED.get(path)
    if captured is not None:
        return drawing.capture(*captured)
    if drawing.type == "GEN" and path[:2] == ("body", "outputs") and path[3:] == ("disposition",):
        return re.escape(value)
    if (
        path == _EXPORTED.get(drawing.type)
        or (drawing.type == "GEN" and path[:2] == ("body", "outputs") and path[3:] == ("asset_id",))
        or (drawing.type == "GEN_ATTEMPT" and path[:2] == ("body", "consent_ids"))
    ):
        return drawing.capture(f"asset{len(drawing.captured)}", _TEXT)
    if path[0] == "time":
        return TIME
    if path[0] == "links":
        return _LEAF if path[2:] == ("leaf",) else _LINE
    return _TEXT if path[0] in _FREE and path != ("actor", "kind") else re.escape(value)


_CAPTURED: Final[dict[tuple[str | int, ...], tuple[str, str]]] = {
    ("event_id",): ("event_id", UUID7.pattern),
    ("aggregate", "id"): ("aggregate_id", IDENTIFIER.pattern),
    ("time", "recorded"): ("recorded", TIME),
    ("source", "id"): ("source_id", _LINE),
}
_EXPORTED: Final = {"EXPORT": ("body", "asset_id")}


def _integer(drawing: _Drawing, path: tuple[str | int, ...], value: int) -> str:
    if path == ("aggregate", "version"):
        return drawing.capture("version", _VERSION)
    if path == ("source", "n"):
        return drawing.capture("source_n", _COUNT)
    return _NUMBER if path[0] in _FREE else str(value)


def _grouped(pieces: list[tuple[str, bool]]) -> Iterator[str]:
    """Put each run of pieces that the client sent into a group of its own."""
    was = False
    for at, (pattern, sent) in enumerate(pieces):
        if sent and not was:
            yield f"(?P<sent{at}>"
        elif was and not sent:
            yield ")"
        was = sent
        yield pattern
    if was:
        yield ")"
