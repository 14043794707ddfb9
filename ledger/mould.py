# SPDX-License-Identifier: GPL-3.0-or-later
"""Moulds: what requests of one shape have in common, so that only the rest is looked at.

A producer sends the same members in the same order again and again; ids, digests, times and texts
differ. From one request that was checked in full a mould is made: a pattern in which names and
punctuation stand as they were sent, and each value is replaced by what may stand there
(`ledger.events.slots`). Bytes that match it are then

    strict JSON    names are those of a request without a name twice, texts are valid UTF-8 and
                   spelled as canonical JSON spells them, numbers are whole and within their bounds
    an event       each value is of the form that its member has in the catalogue

and what was captured is poured into the entry's canonical text, which is known but for it. Nobody
has to parse, validate, sort or print. What no pattern can say is asked as for any other request: a
model's own rules, links, references, whether a person is a pipeline.

A mould says yes, or nothing: all other bytes go the long way (`ledger.request.prepare`), which
alone refuses. Property tests hold the two against each other, over bytes made to deceive. What is
kept is names, never values of a request: but `type`, `schema`, true and false.
"""

import json
import re
from binascii import a2b_base64
from collections.abc import Sequence
from functools import lru_cache
from hashlib import sha256
from typing import Any, Final, NamedTuple

from ledger import catalog, clock, lifecycle
from ledger.commitments import commit_printed
from ledger.decoding import fast_decode
from ledger.drawing import Drawing, Text, Tree, Unmouldable, members
from ledger.events import slots
from ledger.events.envelope import Envelope
from ledger.events.kind import EventClass, pattern_of
from ledger.events.slots import Group, Slot, hidden, plan, plan_of, shown
from ledger.frame import Frame
from ledger.lifecycle.references import Reference
from ledger.printing import canonical_bytes
from ledger.references import references_of
from ledger.request import PART_MAX, Identity, Prepared, names_a_pipeline
from ledger.vault.owners import IDENTIFIERS, NAMES, TENANT, THE_TENANT, Owned, Owner, owned_in
from sealtrail.verify.disclosure import PERSON, VALUE_MAX

JSON = dict[str, Any]

_NO_BODY: Final[JSON] = {}
_NOTHING: Final[tuple[JSON, tuple[Reference, ...]]] = (_NO_BODY, ())
_FROM_URL: Final = bytes.maketrans(b"-_", b"+/")

_PATIENCE: Final = 256  #: Requests that go the long way for each mould that is made.
_SIZE_MAX: Final = 16 * 1024  #: Bytes of a request of which a mould is made.
_EACH: Final = 6  #: Moulds with one mark; the one that fits most often comes to be tried first.
_MARKS_MAX: Final = 64
_MARK_MAX: Final = 64

_GROUPS: Final = plan_of(Envelope)
_REQUIRED: Final = {
    "event_id": slots.UUID7,
    "aggregate_id": slots.IDENTIFIER,
    "on_behalf_of": slots.PERSON,
    "record_key": slots.RECORD_KEY,
}
_COMMITTED: Final = frozenset({"on_behalf_of", "sealed", "subjects", "record_key"})
_BEHIND: Final = frozenset({"trace", "type", "v"})
_ELSEWHERE: Final = _COMMITTED | _BEHIND | {"actor", "aggregate_id", "time"}


class _Share(NamedTuple):
    """What the user or the tenant owns of an event."""

    tenants: bool
    names: tuple[str, ...]
    found_by: tuple[tuple[str, int], ...]  #: Field, and which of the committed is its value.

    def owned(self, user: str, values: Sequence[tuple[str, bytes]]) -> Owned:
        owner = THE_TENANT if self.tenants else Owner("person", user)  # ASCII is NFC.
        if not self.found_by:
            return Owned(owner, self.names, ())
        found = [(field, json.loads(values[at][1])) for field, at in self.found_by]
        return Owned(owner, self.names, tuple(found))


class Mould:
    """What is the same in all requests of one shape, and what is done with the rest."""

    def __init__(self, data: bytes, event: EventClass) -> None:
        """data: the request of a pipeline that was found right. Raises Unmouldable."""
        self._event = event
        self._kind = (event.type, event.schema, event.aggregate)
        self._owners = event.owners
        drawing = Drawing(data)
        self._ruled = False
        sent = drawing.object(lambda name: self._member(drawing, name))
        self._match = re.compile(drawing.end()).fullmatch
        if event.model.needs_when or any(name not in sent for name in _REQUIRED):
            raise Unmouldable
        self._id, self._stream_id = sent["event_id"].group, sent["aggregate_id"].group
        self._key, self._user = sent["record_key"].group, sent["on_behalf_of"].group
        source = sent.get("source")
        self._source = None if source is None else (source["id"].group, source["n"].group)
        self._note_commitments(sent)
        self._note_texts(sent)
        self._read = event.type not in lifecycle.UNREAD
        self._asks = (
            self._read
            or self._ruled
            or "consent_ids" in sent["body"]
            or "links" in sent
            or "subjects" in sent
        )

    def _member(self, drawing: Drawing, name: str) -> Tree:
        """Take one member of the request."""
        if name in ("type", "schema"):
            return drawing.literal(canonical_bytes(getattr(self._event, name)))
        if name in _REQUIRED:
            return drawing.slot(_REQUIRED[name])
        if name == "sealed":
            return drawing.object(lambda sealed: drawing.slot(self._form(sealed)))
        if name == "subjects":
            return drawing.object(lambda _: drawing.slot(slots.PERSON))
        if name == "body":
            tree = drawing.value(plan_of(self._event.model))
            self._ruled, drawing.ruled = drawing.ruled, False
            return tree
        if isinstance(_GROUPS, Group) and name in _GROUPS.members:
            tree = drawing.value(_GROUPS.members[name])
            if not drawing.ruled:  # Only a body's model is asked.
                return tree
        raise Unmouldable  # As for digests of a client that keeps its values.

    def _form(self, name: str) -> Slot:
        """Return what a sealed value may be."""
        form = self._event.forms.get(pattern_of(name))
        if form is None:
            return slots.FREE
        found = plan(form.core_schema)
        if not isinstance(found, Slot):
            raise Unmouldable
        return found

    def _note_commitments(self, sent: JSON) -> None:
        """Note what is committed, and if all of it is the user's and none of it is searched."""
        cast = {NAMES[role]: gap for role, gap in sent.get("subjects", {}).items()}
        committed = {**sent.get("sealed", {}), PERSON: sent["on_behalf_of"], **cast}
        self._committed = [(name, gap.group) for name, gap in committed.items()]
        self._cast = [gap.group for gap in cast.values()]
        self._shares = () if cast else self._shared(committed)

    def _shared(self, committed: JSON) -> tuple[_Share, ...]:
        """Share what is committed out as `owned_in` does where nobody but the user is named."""
        shares: dict[bool, _Share] = {}
        for at, name in enumerate(committed):
            pattern = pattern_of(name)
            tenants = name != PERSON and self._owners.get(pattern) == TENANT
            share = shares.setdefault(tenants, _Share(tenants, (), ()))
            found = ((pattern, at),) if pattern in IDENTIFIERS else ()
            shares[tenants] = _Share(tenants, (*share.names, name), (*share.found_by, *found))
        return tuple(shares.values())

    def _note_texts(self, sent: JSON) -> None:
        """Note the entry's text in the pieces of `ledger.frame`, and what else is to be printed."""
        actor = {"kind": b'"service"'} | sent.get("actor", {})
        ahead = {name: tree for name, tree in actor.items() if name < "credential"}
        after = {name: tree for name, tree in actor.items() if name > "credential"}
        behind = {name: sent[name] for name in _BEHIND if name in sent} | {"v": b"1"}
        middle = {name: tree for name, tree in sent.items() if name not in _ELSEWHERE}
        self._ahead = Text(b"{", *members(ahead), b"," if ahead else b"")
        self._after = Text(
            *members(after),
            b'},"aggregate":{"id":',
            sent["aggregate_id"],
            b',"type":%b' % canonical_bytes(self._event.aggregate),
        )
        self._middle = Text(*members(middle))
        self._time = Text(*members(sent["time"])) if "time" in sent else None
        self._behind = Text(*members(behind), b"}")
        self._body = Text(sent["body"])
        links: Tree = {name: sent[name] for name in ("links", "trace") if name in sent}
        self._links = Text(links) if "links" in sent else None

    def pour(
        self,
        data: bytes,
        identity: Identity,
        pipelines: frozenset[str],
        received_ms: int,
        *,
        strict: bool,
    ) -> Prepared | None:
        """Return what `prepare` would return for a pipeline's request; None if that has to say."""
        escapes = b"\\" in data
        match = self._match(hidden(data) if escapes else data) if _is_utf8(data) else None
        if match is None:
            return None
        groups: tuple[bytes, ...] = match.groups()
        user = groups[self._user].decode()
        if names_a_pipeline(user, pipelines):
            return None
        asked = self._ask(groups, pipelines, strict=strict) if self._asks or strict else _NOTHING
        values = [(name, b'"%b"' % groups[at]) for name, at in self._committed]
        values = [(name, shown(value)) for name, value in values] if escapes else values
        if len(data) > VALUE_MAX and any(len(value) > VALUE_MAX for _, value in values):
            return None
        # The pattern of a record key is that of 32 bytes in their one spelling.
        record_key = a2b_base64(groups[self._key].translate(_FROM_URL) + b"=")
        digests, disclosures = commit_printed(record_key, values)
        framed = self._framed(groups, b'","'.join(digests), identity, received_ms)
        if framed is None or asked is None:
            return None
        if self._shares:
            owned = tuple([share.owned(user, values) for share in self._shares])
        else:  # Two of them may be one person.
            owned = owned_in({name: json.loads(value) for name, value in values}, self._owners)
        return Prepared(
            groups[self._id].decode(),
            *self._kind,
            groups[self._stream_id].decode(),
            *framed,
            asked[0],
            disclosures,
            owned,
            self._sourced(groups),
            False,
            asked[1],
        )

    def _sourced(self, groups: tuple[bytes, ...]) -> tuple[str, int] | None:
        if self._source is None:
            return None
        id_, number = self._source
        return groups[id_].decode(), int(groups[number])  # Digits, as the pattern has it.

    def _ask(
        self, groups: tuple[bytes, ...], pipelines: frozenset[str], *, strict: bool
    ) -> tuple[JSON, tuple[Reference, ...]] | None:
        """Ask what no pattern says; return the writer's part of the body, and what is named."""
        event = self._event
        if any(names_a_pipeline(groups[at].decode(), pipelines) for at in self._cast):
            return None
        body = fast_decode(self._body(groups))
        if body is None or (self._ruled and catalog.faults(event, body, {}, custody=True)):
            return None
        links = None
        if self._links is not None:
            linked = fast_decode(self._links(groups))
            if linked is None or catalog.envelope_faults(event, linked):
                return None
            links = linked["links"]
        references = references_of(event.type, links, body, strict=strict)
        return (body if self._read else _NO_BODY), references

    def _framed(
        self, groups: tuple[bytes, ...], digests: bytes, identity: Identity, received_ms: int
    ) -> tuple[Frame, bytes] | None:
        """Return what `ledger.frame.framed` returns; None for a part that is too large."""
        ahead, after = self._ahead(groups), self._after(groups)
        middle, behind = self._middle(groups), self._behind(groups)
        time = b"" if self._time is None else self._time(groups)
        client = b'{"_sd":["%b"],"_sd_alg":"sha-256","actor":%b%b},%b,%b%b' % (
            digests, ahead, after, middle, b'"time":{%b},' % time if time else b"", behind,
        )  # fmt: skip
        if len(client) > PART_MAX:
            return None
        frame = Frame(
            b'{"_sd":["%b"],"_sd_alg":"sha-256","actor":%b"credential":%b,%b,"version":'
            % (digests, ahead, _quoted(identity.credential), after),
            b'},%b,"tenant":"' % middle,
            b'","time":{%b,"recorded":"' % time if time else b'","time":{"recorded":"',
            b'","request_received":"%b"},%b' % (clock.rfc3339(received_ms).encode(), behind),
        )
        return frame, sha256(client).digest()


class Moulds:
    """The moulds of one process, made as requests pass by."""

    def __init__(self, *, patience: int = _PATIENCE) -> None:
        self._known: dict[bytes, list[Mould]] = {}
        self._patience, self._missed = patience, patience - 1

    @property
    def count(self) -> int:
        """How many there are."""
        return sum(map(len, self._known.values()))

    def pour(
        self,
        data: bytes,
        identity: Identity,
        pipelines: frozenset[str],
        received_ms: int,
        *,
        strict: bool,
    ) -> Prepared | None:
        """Return what `prepare` would return for a request, if a mould fits; None says nothing."""
        known = self._known.get(_mark(data))
        if known is None or identity.kind != "pipeline" or identity.role != "pipeline":
            return None
        for at, mould in enumerate(known):
            found = mould.pour(data, identity, pipelines, received_ms, strict=strict)
            if found is not None:
                if at:
                    known[at - 1 : at + 1] = [mould, known[at - 1]]
                return found
        return None

    def learn(
        self,
        data: bytes,
        prepared: Prepared,
        identity: Identity,
        pipelines: frozenset[str],
        received_ms: int,
        *,
        strict: bool,
    ) -> None:
        """Make a mould of a request that was found right; seldom, for it takes a while."""
        self._missed += 1
        if self._missed < self._patience or not 0 < len(data) <= _SIZE_MAX:
            return
        if identity.kind != "pipeline":
            return
        self._missed = 0
        try:
            mould = Mould(data, catalog.lookup(prepared.type, prepared.schema))
        except Unmouldable:
            return
        again = mould.pour(data, identity, pipelines, received_ms, strict=strict)
        if again != prepared:  # A value that is right, and that no pattern here says yes to.
            return
        if len(self._known) >= _MARKS_MAX:
            self._known.clear()
        known = self._known.setdefault(_mark(data), [])
        del known[_EACH - 1 :]
        known.append(mould)


def _mark(data: bytes) -> bytes:
    """Return what is nearly always the type of an event, without looking far; no mould rests on it.

    It decides which moulds are tried: another member of that name may come first.
    """
    begin = data.find(b'"', data.find(b'"type"') + 6) + 1
    return data[begin : data.find(b'"', begin, begin + _MARK_MAX)]


def _is_utf8(data: bytes) -> bool:
    """Whether these bytes are UTF-8, of which surrogates are no part."""
    if data.isascii():
        return True
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


@lru_cache(maxsize=1_024)
def _quoted(text: str) -> bytes:
    return canonical_bytes(text)
