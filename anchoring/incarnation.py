# SPDX-License-Identifier: GPL-3.0-or-later
"""Opens a new incarnation of a log over what survived a restore: the only way to write again.

    verified    every surviving byte was recomputed; the head row is locked from here on
    keys        log key and first chain key of the new origin
    escrowed    the first chain key, sealed for the auditor, is durable
                ◄ point of no return 1: the old log key is destroyed and signs nothing more
    retired     the public half stays
    stored      the checkpoint store holds the inherited log under the new key
    published   the trust file names the new origin beside the old ones
                ◄ point of no return 2: one COMMIT changes registry and head row, and appends
    opened      INCARNATION_OPENED as the first new entry
    signed      the checkpoint over it is in the store, and the old chain keys are destroyed, too

Killed between any two of these and started again it goes on where it was: there is one head row,
under one chain key, so there are never two origins that can be written. docs/decisions/0005.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

from psycopg import sql

from anchoring.checkpoint import (
    CheckpointNotary,
    open_of_lineage,
    sign_checkpoint,
    verifier_key,
)
from anchoring.checkpoint_store import FileCheckpointStore
from anchoring.fsck import Fsck
from anchoring.restore_survey import Survey, origin_of, survey
from anchoring.shelf import Book
from anchoring.tree import Tree
from ledger import clock
from ledger.batch import Builder, Built
from ledger.database import Connection, Database
from ledger.errors import HistoryRewritten, IntegrityViolation, LedgerError, Refused, Unavailable
from ledger.head import Chain, Head, HeadRow
from ledger.keys import KeyMissing, Keys, chain_key, log_key, log_keys, was_made
from ledger.lookup import LOG_ID, LOG_STREAM, Knowledge
from ledger.migrate import BookRow, find_book
from ledger.reader import Reader
from ledger.request import ledger_made
from ledger.store import LedgerRecorder, Row
from ledger.tiles import load_edge
from ledger.vault.statement import Sealings
from sealtrail.verify.errors import VerifyError
from sealtrail.verify.note import Checkpoint

Progress = Callable[[str], None]

_WRITERS: Final = """
SELECT count(*) FROM pg_stat_activity
 WHERE application_name = %s AND datname = current_database()
"""
_HELD: Final = "SELECT pg_try_advisory_xact_lock(hashtext('sealtrail.restore'), hashtext(%s))"


class StillWriting(Refused):
    """A server process writes to this Book; stop every `serve` and `scheduler` first."""

    status = 409
    problem = "still-writing"


class NothingWrong(Refused):
    """This Book holds all that was signed; a new incarnation would only burden its readers."""

    status = 409
    problem = "nothing-wrong"


class ChainUnverified(Refused):
    """The key of the surviving head's epoch is gone, so nobody can tell whose head row this is."""

    status = 409
    problem = "chain-unverified"


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What an operator decides about a restore."""

    reason: str | None = None  #: A code that is recorded.
    unverified_chain: bool = False  #: Go on though no key is left to check the head's tag.
    force: bool = False  #: Also when nothing is wrong, or when the checkpoint store was lost.
    first_keys: Mapping[str, bytes] | None = None  #: Escrowed first chain keys, by origin.


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """A new incarnation, open for writing."""

    found: Survey
    row: BookRow
    position: int  #: Of INCARNATION_OPENED.
    checkpoint: bytes  #: The signed note over it.


@dataclass(frozen=True, slots=True, kw_only=True)
class Restorer:
    """Whoever opens incarnations: as the owner of the database, with every key.

    escrow: seals the first chain key of an origin durably. publish: adds an origin to the trust
    file, durably. Both are safe to repeat. catch_up: makes a Book's vault know what was erased
    since, in the transaction that opens the incarnation. progress: is told each step once it is
    done.
    """

    owner: Connection
    database: Database
    keys: Keys
    store: FileCheckpointStore
    escrow: Callable[[str], None]
    publish: Callable[[Sequence[str]], None]
    catch_up: Callable[[Connection, BookRow], object]
    progress: Progress = lambda _step: None
    now_ms: clock.Clock = clock.now_ms

    def open(self, name: str, terms: Terms) -> Opened:
        """Open a new incarnation of the Book `name`, or finish opening one.

        Raises StillWriting, NothingWrong, ChainUnverified, and IntegrityViolation when what
        survives contradicts itself: that is no restore, and nothing is changed.
        """
        with self.owner.transaction():
            row = find_book(self.owner, name)
            self._hold(row)
            found = survey(
                row,
                database=self.database,
                keys=self.keys,
                store=self.store,
                first_keys=terms.first_keys,
            )
            if found.verdict == "extends":
                self._end_chains(found.row)  # Perhaps one who was killed has left some.
            if found.verdict != "unsigned":
                _check_terms(found, terms)
                self._verify(found, terms)
                self.catch_up(self.owner, row)  # What it refuses is refused before keys are made.
                self._prepare(found)
                built = self._append(found, terms)
        if found.verdict == "unsigned":
            return self._finish(found)
        self.progress("opened")
        return self._sign(found, built)

    def _hold(self, row: BookRow) -> None:
        """Keep every writer of this Book out until the transaction ends."""
        with self.database.connection() as connection:  # The servers' role sees their sessions.
            name = f"sealtrail writer {row.schema}"[:63]
            writers = connection.execute(_WRITERS, (name,)).fetchone()
        held = self.owner.execute(_HELD, (row.schema,)).fetchone()
        if writers is None or writers[0] or held is None or not held[0]:
            raise StillWriting
        query = sql.SQL("SELECT 1 FROM {}.head FOR UPDATE SKIP LOCKED")
        if self.owner.execute(query.format(sql.Identifier(row.schema))).fetchone() is None:
            HeadRow(row.schema).read(self.owner)  # Raises if it is gone, and not just held.
            raise StillWriting

    def _verify(self, found: Survey, terms: Terms) -> None:
        """Recompute everything from the surviving bytes; raises IntegrityViolation."""
        row = found.row
        known = found.tag == "ours" and self.keys.has(chain_key(row.origin, found.head.epoch))
        chain = Chain(self.keys, row.origin) if known else _Untold(self.keys, row.origin)
        surviving = _Surviving(
            row=row,
            database=self.database,
            chain=chain,
            reader=Reader(self.database, row.schema),
            notary=_Apart(),
        )
        report = Fsck(cast("Book", surviving), first_key=dict(terms.first_keys or {})).run()
        damage = [one for one in report.damage if one.what != "store"]
        if damage or report.more:
            first = report.first or damage[0]
            raise IntegrityViolation(f"what survives contradicts itself: {first.sentence}")
        if report.root != _text(found.head.root):
            raise IntegrityViolation("the head row's frontier is not what the entries give")
        for sentence in self._contradicted(found):
            raise IntegrityViolation(sentence)
        self.progress("verified")

    def _contradicted(self, found: Survey) -> Iterator[str]:
        """Yield what does not fit between the surviving entries and the anchors beside them."""
        row, tree = found.row, Tree(self.database, found.row.schema)
        query = sql.SQL("SELECT anchor_id, size, root, stamped FROM {}.anchor ORDER BY size")
        anchors = self.owner.execute(query.format(sql.Identifier(row.schema))).fetchall()
        for anchor_id, size, root, stamped in anchors:
            try:
                signed = open_of_lineage(bytes(stamped), row, self.keys)
            except VerifyError:
                yield f"{anchor_id} was not signed by a key of this log"
                continue
            if (signed.size, signed.root) != (size, bytes(root)):
                yield f"{anchor_id} has another root than was signed"
            elif size > found.head.size or tree.root(size) != signed.root:
                yield f"the surviving entries are not those that {anchor_id} was signed over"

    def _prepare(self, found: Survey) -> None:
        """Make the new origin's keys, end the old ones, and tell store and trust file."""
        new = found.next_origin
        for key, kind in ((log_key(new), "ed25519"), (chain_key(new, 0), "hmac")):
            if not was_made(self.keys, key):
                self.keys.make(key, "ed25519" if kind == "ed25519" else "hmac")
        self.progress("keys")
        self.escrow(new)
        self.progress("escrowed")
        for origin in found.older_origins:
            self._retire(origin)
        self.progress("retired")
        inherited = Checkpoint(origin=new, size=found.head.size, root=found.head.root)
        self.store.initialise(new, sign_checkpoint(self.keys, inherited))
        self.progress("stored")
        self.publish([*found.older_origins, new])
        self.progress("published")

    def _retire(self, origin: str) -> None:
        """Destroy the log keys of an origin, oldest first. Point of no return 1.

        Its chain key is needed until the new head is laid, should we have to begin again.
        """
        for name in log_keys(self.keys, origin):
            if self.keys.has(name):
                self.keys.destroy(name)

    def _end_chains(self, row: BookRow) -> None:
        """Destroy the chain keys of all earlier incarnations, now that none of them has a head."""
        last = row.incarnations[-1].number if row.incarnations else 1
        for number in range(1, last):
            origin = origin_of(row.first_origin, number)
            for epoch in sorted(Chain(self.keys, origin).epochs()):
                self.keys.destroy(chain_key(origin, epoch))

    def _append(self, found: Survey, terms: Terms) -> Built:
        """Change registry and head row and append INCARNATION_OPENED, in the open transaction."""
        row, head, new = found.row, found.head, found.next_origin
        chain = Chain(self.keys, new)
        before = chain.head(
            epoch=0, frontier=head.frontier, mac=chain.start(0, None), last_time=head.last_time
        )
        builder = Builder(
            chain=chain,
            head=before,
            edge=load_edge(self.owner, row.schema, head.frontier),
            knowledge=Knowledge(log_version=self._log_version(row)),
            tenant=row.tenant,
            now_ms=self.now_ms(),
            epoch_start=head.size,
        )
        placed = builder.add(ledger_made("INCARNATION_OPENED", LOG_ID, self._body(found, terms)))
        built = builder.finish()
        if not isinstance(placed, Row) or built is None:
            raise placed if isinstance(placed, LedgerError) else IntegrityViolation()
        self._enter(found, before)
        LedgerRecorder(self.database, row.schema).append(self.owner, built.swap, Sealings())
        return built  # Point of no return 2 is the end of the transaction.

    def _enter(self, found: Survey, before: Head) -> None:
        """Write the new origin into the registry and lay its head over the inherited entries."""
        row, head = found.row, found.head
        self.owner.execute(
            "DELETE FROM sealtrail.incarnation WHERE book = %s AND size >= %s",
            (row.name, head.size),
        )  # Of these the opening entry is lost.
        self.owner.execute(
            "INSERT INTO sealtrail.incarnation (book, number, origin, old_origin, size, root)"
            " VALUES (%s, %s, %s, %s, %s, %s)",
            (row.name, found.number, found.next_origin, row.origin, head.size, head.root),
        )
        self.owner.execute(
            "UPDATE sealtrail.book SET origin = %s WHERE name = %s", (found.next_origin, row.name)
        )
        self.owner.execute(
            sql.SQL("UPDATE {}.head SET epoch = 0, mac = %s, tag = %s WHERE id = 1").format(
                sql.Identifier(row.schema)
            ),
            (before.mac, before.tag),
        )

    def _log_version(self, row: BookRow) -> int:
        query = sql.SQL("SELECT coalesce(max(version), 0) FROM {}.entry WHERE stream = %s")
        found = self.owner.execute(
            query.format(sql.Identifier(row.schema)), (LOG_STREAM,)
        ).fetchone()
        return int(found[0]) if found is not None else 0

    def _body(self, found: Survey, terms: Terms) -> dict[str, Any]:
        row, head, known = found.row, found.head, found.known
        highest: dict[str, Any] = {
            "origin": row.origin,
            "size": head.size,
            "root": _text(head.root),
            "from_store": False,
        }
        if known is not None:
            highest = {
                "origin": known.checkpoint.origin,
                "size": known.checkpoint.size,
                "root": _text(known.checkpoint.root),
                "note": known.note.decode(),
                "from_store": known.from_store,
            }
        body = {
            "number": found.number,
            "origin": found.next_origin,
            "old_origin": row.origin,
            "old_key": verifier_key(self.keys, row.origin).vkey(),
            "size": head.size,
            "root": _text(head.root),
            "checkpoint": highest,
            "tag_verified": found.tag == "ours",
        }
        return body if terms.reason is None else {**body, "reason": terms.reason}

    def _sign(self, found: Survey, built: Built) -> Opened:
        """Sign the head that was just written, as a writer does after its COMMIT."""
        swap, row = built.swap, find_book(self.owner, found.row.name)
        leaves = [one.link.leaf for one in swap.rows]
        note = self._notary(row).seal(
            swap.after, base=swap.before.size, extension=swap.before.frontier.consistency(leaves)
        )
        self._end_chains(row)
        self.progress("signed")
        return Opened(found=found, row=row, position=swap.before.size, checkpoint=note)

    def _finish(self, found: Survey) -> Opened:
        """Sign the head of an incarnation that was opened by one who died before that."""
        row = found.row
        note = self._notary(row).seal(found.head, base=found.head.size, extension=())
        self.publish(row.origins)
        self._end_chains(row)
        return Opened(found=found, row=row, position=row.incarnations[-1].size, checkpoint=note)

    def _notary(self, row: BookRow) -> CheckpointNotary:
        return CheckpointNotary(
            origin=row.origin,
            keys=self.keys,
            store=self.store,
            tree=Tree(self.database, row.schema),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Surviving:
    """What fsck reads of a Book that nobody may open."""

    row: BookRow
    database: Database
    chain: Chain
    reader: Reader
    notary: "_Apart"

    @property
    def origin(self) -> str:
        return self.row.origin


class _Apart:
    """Stands for the checkpoint store, which contradicts the database and is judged apart."""

    def refresh(self) -> tuple[bytes, Checkpoint]:
        raise Unavailable


class _Untold(Chain):
    """The chain of an origin whose present key is gone."""

    def check(self, head: Head) -> None:
        raise KeyMissing(f"no key can tell whose head of epoch {head.epoch} this is")


def _check_terms(found: Survey, terms: Terms) -> None:
    """Return if this may be done on these terms; else say what would have to change."""
    if found.verdict == "forged":
        raise IntegrityViolation(
            "the head row does not carry our chain key's tag: that is no restore but forgery, or"
            " another keystore; find out before anything is accepted"
        )
    if found.verdict == "extends" and not terms.force:
        raise NothingWrong
    if found.verdict == "store-lost" and not terms.force:
        raise HistoryRewritten(
            "the checkpoint store has no word of this origin: mount the right one; if it is lost,"
            " say so with --force-new-incarnation"
        )
    if found.tag == "unknown" and found.verdict != "unfinished" and not terms.unverified_chain:
        raise ChainUnverified(
            f"the chain key of epoch {found.head.epoch} of {found.row.origin} was destroyed when"
            " the log moved on, so nobody can tell whether its last entries are the recorded ones:"
            " give the auditor's escrow (--chain-escrow), or accept that with --unverified-chain"
        )


def _text(digest: bytes) -> str:
    return f"sha256:{digest.hex()}"
