# SPDX-License-Identifier: GPL-3.0-or-later
"""The members of a training set, looked up: each line names an asset that was ingested.

    {"asset_id":"asset-7"}
    {"asset_id":"asset-8","sha256":"sha256:…","pixel_sha256":"sha256:…"}      must agree

Digests come from the entry, or through the vault where they are sealed; never from the line alone.
Whatever is wrong is told with the number of its line, and nothing of the set is kept.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, NamedTuple

from psycopg import sql

from anchoring.shelf import Book
from ledger.database import Connection
from ledger.errors import EntryDamaged, FieldError, MalformedEvent, TooLarge
from ledger.request import parse_body
from ledger.retention.tiers import brought_back
from ledger.store import read_entry
from sealtrail.verify.canonical import NotCanonical
from sealtrail.verify.merkle import leaf_hash

JSON = dict[str, Any]

#: Its manifest has to fit into one artifact.
MEMBERS_MAX: Final = 3_000_000
LINE_MAX: Final = 1_024
_ERRORS: Final = 64

_DIGESTS: Final = {"sha256": "asset.sha256", "pixel_sha256": "asset.pixel_sha256"}

_FOUND: Final = """
SELECT e.position, e.stream, e.topic, e.leaf, e.event_id::text, b.bytes
  FROM {book}.entry e
  LEFT JOIN {book}.entry_body b ON b.position = e.position AND e.topic = 'INGEST/1'
 WHERE e.stream = ANY(%s) AND e.position < %s
   AND e.topic IN ('INGEST/1', 'ASSET_WITHDRAWN/1')
"""
_BORN: Final = "SELECT asset_id FROM {book}.asset_birth WHERE asset_id = ANY(%s)"
_WITHDRAWN: Final = """
SELECT count(*) FROM {book}.dataset_member m JOIN {book}.entry i USING (position)
  JOIN {book}.entry w ON w.stream = i.stream AND w.topic = 'ASSET_WITHDRAWN/1'
 WHERE m.number = %s AND w.position >= %s
"""


class Member(NamedTuple):
    """A line of the request."""

    line: int  #: From 1.
    asset_id: str
    digests: JSON  #: As the line names them, if it does.


class Ingested(NamedTuple):
    """A member as the log knows it."""

    line: int
    position: int
    bytes_digest: bytes
    pixel_digest: bytes | None
    fingerprints: tuple[tuple[str, str], ...]  #: Clear ones: algorithm and value.


def read_members(pieces: Iterable[bytes]) -> Iterator[Member]:
    """Yield the members in an NDJSON text that comes in pieces; blank lines count and say nothing.

    Raises MalformedEvent with the number of the line, TooLarge for more than MEMBERS_MAX.
    """
    for number, line in enumerate(_lines(pieces), 1):
        if line.strip():
            if number > MEMBERS_MAX:
                raise TooLarge(f"a set has at most {MEMBERS_MAX:,} members")
            yield _member(number, line)


def _lines(pieces: Iterable[bytes]) -> Iterator[bytes]:
    rest = b""
    for piece in pieces:
        *whole, rest = (rest + piece).split(b"\n")
        yield from whole
        if len(rest) > LINE_MAX:
            raise TooLarge(f"a line of the set has at most {LINE_MAX} bytes")
    if rest:
        yield rest


def _member(number: int, line: bytes) -> Member:
    try:
        value = parse_body(line) if len(line) <= LINE_MAX else None
    except NotCanonical:
        value = None
    if not isinstance(value, dict):
        raise _wrong([_fault(number, "not-json", f"is no JSON object of {LINE_MAX} bytes at most")])
    asset_id, digests = value.get("asset_id"), {n: value[n] for n in _DIGESTS if n in value}
    if not isinstance(asset_id, str) or value.keys() != {"asset_id", *digests}:
        told = "has an asset_id, and perhaps sha256 and pixel_sha256, and nothing else"
        raise _wrong([_fault(number, "members", told)])
    return Member(number, asset_id, digests)


class Resolver:
    """Looks up members of one set in one Book, as of a size of its log."""

    def __init__(self, book: Book, as_of: int) -> None:
        self._book, self._as_of = book, as_of
        self._seen = bytearray(as_of // 8 + 1)  # A bit for each position.

    def resolve(self, members: Sequence[Member]) -> list[Ingested]:
        """Return the INGEST of each member, in their order.

        Raises MalformedEvent naming every line that is wrong among these, BodyCold and BodyExpired.
        """
        with self._book.database.duty(self._book.row.schema, "read") as connection:
            ids = [one.asset_id for one in members]
            streams = [f"Asset/{id_}" for id_ in ids]
            born: dict[str, tuple[Any, ...]] = {}
            withdrawn: set[str] = set()
            for row in connection.execute(self._sql(_FOUND), (streams, self._as_of)):
                if row[2] == "INGEST/1":
                    born[row[1]] = row
                else:
                    withdrawn.add(row[1])
            unknown = [one for one in ids if f"Asset/{one}" not in born]
            query = self._sql(_BORN)
            made = {id_ for (id_,) in connection.execute(query, (unknown,))} if unknown else set()
            found, faults = [], []
            for one in members:
                stream = f"Asset/{one.asset_id}"
                fault = self._fault(one, born.get(stream), made, withdrawn)
                ingested = None
                if fault is None:
                    ingested = self._ingested(connection, one, born[stream])
                    fault = ingested if isinstance(ingested, FieldError) else None
                if isinstance(ingested, Ingested):
                    found.append(ingested)
                elif fault is not None:
                    faults.append(fault)
        if faults:
            raise _wrong(faults[:_ERRORS])
        return found

    def withdrawn_since(self, connection: Connection, number: int) -> int:
        """Return how many members were withdrawn while the set was built."""
        row = connection.execute(self._sql(_WITHDRAWN), (number, self._as_of)).fetchone()
        return int(row[0]) if row is not None else 0

    def _fault(
        self,
        one: Member,
        row: tuple[Any, ...] | None,
        made: set[str],
        withdrawn: set[str],
    ) -> FieldError | None:
        if row is None and one.asset_id in made:
            return _fault(
                one.line, "not-ingested", "names an asset that was generated, not ingested"
            )
        if row is None:
            return _fault(one.line, "asset-unknown", "names an asset that is not in this ledger")
        if f"Asset/{one.asset_id}" in withdrawn:
            return _fault(one.line, "asset-withdrawn", "names an asset that was withdrawn")
        at, bit = divmod(int(row[0]), 8)
        if self._seen[at] >> bit & 1:
            return _fault(one.line, "twice", "names an asset that an earlier line names")
        self._seen[at] |= 1 << bit
        return None

    def _ingested(
        self, connection: Connection, one: Member, row: tuple[Any, ...]
    ) -> Ingested | FieldError:
        position, stream, topic, leaf, event_id, data = row
        if data is None:
            data = brought_back(connection, self._book.row.schema, position)
        if leaf_hash(bytes(data)) != bytes(leaf):
            raise EntryDamaged(f"the entry at position {position} is not the one recorded")
        entry = read_entry(bytes(data))
        if (entry.stream, entry.topic) != (stream, topic):
            raise EntryDamaged(f"the entry at position {position} is listed as another one")
        asset = entry.value["body"]["asset"]
        known = {name: asset[name] for name in _DIGESTS if name in asset}
        if len(known) < len(_DIGESTS) and "_sd" in entry.value:
            opened = self._book.vault.open(
                event_id, frozenset(_DIGESTS.values()), sd=entry.value["_sd"]
            )
            known |= {
                name: opened.values[sealed]
                for name, sealed in _DIGESTS.items()
                if sealed in opened.values
            }
            if "sha256" not in known and opened.gone:
                return _fault(one.line, "erased", "names an asset whose digest was erased")
        if "sha256" not in known:
            told = "names an asset whose digest the client keeps to itself"
            return _fault(one.line, "digest-unknown", told)
        if any(known.get(name) != said for name, said in one.digests.items()):
            return _fault(one.line, "digest", "names another digest than the asset's INGEST")
        pixels = known.get("pixel_sha256")
        return Ingested(
            line=one.line,
            position=position,
            bytes_digest=_digest(known["sha256"]),
            pixel_digest=None if pixels is None else _digest(pixels),
            fingerprints=tuple((f["alg"], f["value"]) for f in asset.get("fingerprints", ())),
        )

    def _sql(self, query: str) -> sql.Composed:
        return sql.SQL(query).format(book=sql.Identifier(self._book.row.schema))


def _digest(text: str) -> bytes:
    return bytes.fromhex(text.removeprefix("sha256:"))


def _fault(line: int, rule: str, told: str) -> FieldError:
    return FieldError(f"/{line}", rule, f"line {line} {told}")


def _wrong(faults: list[FieldError]) -> MalformedEvent:
    return MalformedEvent(faults[0].detail, errors=faults)
