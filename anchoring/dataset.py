# SPDX-License-Identifier: GPL-3.0-or-later
"""Sealing a training set: members looked up, their tree built, and then the log names its root.

    lines ──► INGEST of each ──► keys under a fresh salt ──► members, tree, manifest's digest
                                                                 │   one transaction: all or nothing
                                                                 ▼
    DATASET_SEALED (and DATASET_SUPERSEDED of the version before) ──► manifests into the archive

Killed before the transaction ends, nothing is there. Killed after it, the same request goes on:
what the log does not name counts for nothing, is built again and deleted after a day; what it names
is only compared.
One set of a Book is sealed at a time; recording goes on meanwhile. A set takes about 100 bytes of
memory for each member while it is built.
"""

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Final

from psycopg import sql

from anchoring.dataset_build import Order, Progress, build, resolved
from anchoring.dataset_members import Member, Resolver
from anchoring.shelf import Book
from anchoring.sparse_store import TreeDamaged
from ledger.database import Connection
from ledger.errors import LedgerError, Unavailable
from ledger.lifecycle import Dataset, DatasetCurrent, DatasetSealed, OutOfOrder
from ledger.personal import with_person
from ledger.request import ledger_made
from ledger.retention.remains import body_from
from ledger.store import read_entry
from sealtrail.verify import canonical

JSON = dict[str, Any]
_ANSWER_S: Final = 60.0

_STREAM: Final = """
SELECT e.position, e.topic, b.bytes, r.body FROM {book}.entry e
  LEFT JOIN {book}.entry_body b USING (position)
  LEFT JOIN {book}.remains r USING (position)
 WHERE e.stream = %s ORDER BY e.version
"""
_BUILT: Final = "SELECT number, body FROM {book}.dataset WHERE dataset_id = %s AND version = %s"
_OLD: Final = """
SELECT number, body FROM {book}.dataset
 WHERE dataset_id = %s AND made_at < now() - interval '1 day'
"""
_IDS: Final = "SELECT DISTINCT dataset_id FROM {book}.dataset ORDER BY 1"
_EVENT: Final = "SELECT event_id::text FROM {book}.entry WHERE position = %s"
_TAKE: Final = "SELECT pg_try_advisory_lock(hashtext('sealtrail.dataset'), hashtext(%s))"
_GIVE: Final = "SELECT pg_advisory_unlock(hashtext('sealtrail.dataset'), hashtext(%s))"
_SAME: Final = """
SELECT count(*) FROM {book}.dataset_member WHERE number = %s AND position = ANY(%s)
"""
_DROP: Final = (
    "DELETE FROM {book}.dataset_member WHERE number = %s",
    "DELETE FROM {book}.sparse_bucket WHERE tree_id = %s",
    "DELETE FROM {book}.sparse_tree WHERE tree_id = %s",
    "DELETE FROM {book}.dataset WHERE number = %s",
)


class DatasetBusy(Unavailable):
    """Another set of this Book is being sealed; send the same request again."""

    problem = "dataset-busy"


@dataclass(frozen=True, slots=True, kw_only=True)
class By:
    """Who seals: a credential, and the person behind it, who is committed."""

    actor: JSON
    person: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sealed:
    """A version that the log names."""

    number: int  #: Of its rows.
    body: JSON  #: Of its DATASET_SEALED, the member `dataset`.
    position: int
    event_id: str
    repeat: bool  #: It was sealed before, with the same members.


class Datasets:
    """The training sets of one Book."""

    def __init__(self, book: Book) -> None:
        self._book, self._schema = book, book.row.schema

    def seal(
        self,
        order: Order,
        members: Iterable[Member],
        by: By,
        progress: Progress = lambda _step, _done: None,
    ) -> Sealed:
        """Seal a version; safe to repeat. Minutes for a million members.

        progress(step, done): about every 1,000 members. Raises MalformedEvent with the numbers of
        the lines that are wrong, DatasetSealed for other members than those that are sealed,
        DatasetCurrent, DatasetEmpty, DatasetMoved, DatasetBusy.
        """
        order.check()
        with self._turn():
            state, positions = self.state(order.id)
            if order.version in state.sealed:
                known = self._repeated(order, state, by, members, progress)
                return self._sealed(*known, positions, repeat=True)
            current = state.current
            if order.supersedes is not None and (
                current is None or order.supersedes != current.version
            ):
                raise DatasetCurrent
            self._drop_unnamed(state)
            older = None if current is None else current.version
            number, body = build(self._book, order, older, members, progress)
            self._record(order.id, body, by)
            _, at = self.state(order.id)
            return self._sealed(number, body, at, repeat=False)

    def state(self, id_: str) -> tuple[Dataset, dict[str, tuple[int, str]]]:
        """Return a set's state, and where each sealed version stands: position and event id."""
        state, at = Dataset(id_), dict[str, tuple[int, str]]()
        with self._reading() as connection:
            rows = connection.execute(self._sql(_STREAM), (f"Dataset/{id_}",)).fetchall()
            for position, topic, data, remains in rows:
                if data is None:
                    body = body_from(topic, None if remains is None else bytes(remains))
                else:
                    body = read_entry(bytes(data)).value["body"]
                type_ = topic.partition("/")[0]
                state = state.after(type_, body)
                if type_ == "DATASET_SEALED":
                    row = connection.execute(self._sql(_EVENT), (position,)).fetchone()
                    if row is not None:
                        at[body["dataset"]["version"]] = (position, row[0])
        return state, at

    def find(self, id_: str, version: str | None = None) -> Sealed | None:
        """Return a sealed version, the current one if none is named; None if there is none.

        Raises TreeDamaged for one that the log names and the tables do not hold any more.
        """
        state, at = self.state(id_)
        one = state.current if version is None else state.sealed.get(version)
        if one is None:
            return None
        number, body = self._built(id_, one.version, one.manifest_digest)
        return self._sealed(number, body, at, repeat=True)

    def all(self) -> list[Sealed]:
        """Return every sealed version of every set, the oldest first."""
        with self._reading() as connection:
            ids = connection.execute(self._sql(_IDS)).fetchall()
        found = [self.find(id_, version) for (id_,) in ids for version in self.state(id_)[0].sealed]
        known = [one for one in found if one is not None]
        return sorted(known, key=lambda one: one.position)

    def _sealed(
        self, number: int, body: JSON, at: dict[str, tuple[int, str]], *, repeat: bool
    ) -> Sealed:
        position, event_id = at[body["version"]]
        return Sealed(number=number, body=body, position=position, event_id=event_id, repeat=repeat)

    def _record(self, id_: str, body: JSON, by: By) -> None:
        """Record DATASET_SEALED, and in the same commit that another version's time is over."""
        batch = [ledger_made("DATASET_SEALED", id_, {"dataset": body}, actor=by.actor)]
        if "supersedes" in body:
            told = {"id": id_, "version": body["supersedes"], "by": body["version"]}
            batch.append(ledger_made("DATASET_SUPERSEDED", id_, {"dataset": told}, actor=by.actor))
        if by.person is not None:
            batch = [with_person(one, by.person) for one in batch]
        try:
            outcomes = self._book.record(batch).result(timeout=_ANSWER_S)
        except TimeoutError:
            raise Unavailable("the writer has not answered in a minute") from None
        for outcome in outcomes:
            if isinstance(outcome, LedgerError):
                raise outcome

    def _repeated(
        self,
        order: Order,
        state: Dataset,
        by: By,
        members: Iterable[Member],
        progress: Progress,
    ) -> tuple[int, JSON]:
        """Compare the members with those that are sealed, and finish what a crash has left."""
        sealed = state.sealed[order.version]
        number, body = self._built(order.id, order.version, sealed.manifest_digest)
        resolver = Resolver(self._book, body["as_of"])
        count = same = 0
        with self._reading() as connection:
            for some in resolved(resolver, members, progress):
                count += len(some)
                positions = [one.position for one in some]
                row = connection.execute(self._sql(_SAME), (number, positions)).fetchone()
                same += int(row[0]) if row is not None else 0
        said = {
            "exclusions_digest": order.exclusions_digest,
            "cyclonedx_digest": order.cyclonedx_digest,
            "supersedes": order.supersedes or body.get("supersedes"),
        }
        if not count == same == body["member_count"] or any(
            value != body.get(name) for name, value in said.items()
        ):
            raise DatasetSealed
        older = body.get("supersedes")
        if older is not None and older not in state.replaced:
            told = {"id": order.id, "version": older, "by": order.version}
            entry = ledger_made("DATASET_SUPERSEDED", order.id, {"dataset": told}, actor=by.actor)
            with suppress(OutOfOrder):  # Another process was faster.
                self._book.record_own(entry)
        return number, body

    def _built(self, id_: str, version: str, manifest_digest: str) -> tuple[int, JSON]:
        """Return number and body of the rows that the log names; raises TreeDamaged."""
        with self._reading() as connection:
            rows = connection.execute(self._sql(_BUILT), (id_, version)).fetchall()
        for number, data in rows:
            body = canonical.decode(bytes(data))
            if isinstance(body, dict) and body.get("manifest_digest") == manifest_digest:
                return number, body
        raise TreeDamaged("the rows of a set that the log names are gone")

    def _drop_unnamed(self, state: Dataset) -> None:
        """Delete what was built of a set a day ago or earlier, and never named by the log.

        Not what is younger: somebody who lost the turn may be about to record it.
        """
        named = {one.manifest_digest for one in state.sealed.values()}
        with self._book.database.duty(self._schema, "retain") as connection:
            for number, data in connection.execute(self._sql(_OLD), (state.id,)).fetchall():
                body = canonical.decode(bytes(data))
                if isinstance(body, dict) and body.get("manifest_digest") in named:
                    continue
                with connection.transaction():
                    for query in _DROP:
                        name = f"dataset/{number}" if "tree_id" in query else number
                        connection.execute(self._sql(query), (name,))

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """Seal alone, also among processes; raises DatasetBusy."""
        with self._reading() as connection:
            row = connection.execute(_TAKE, (self._schema,)).fetchone()
            if row is None or not row[0]:
                raise DatasetBusy
            try:
                yield
            finally:
                connection.execute(_GIVE, (self._schema,))

    def _reading(self) -> AbstractContextManager[Connection]:
        return self._book.database.duty(self._schema, "read")

    def _sql(self, query: str) -> sql.Composed:
        return sql.SQL(query).format(book=sql.Identifier(self._schema))
