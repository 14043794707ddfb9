# SPDX-License-Identifier: GPL-3.0-or-later
"""From a batch of checked requests to one commit: lifecycles, versions, times, bytes, hashes, MACs.

Pure but for the keystore: the same head, knowledge, clock and requests give the same Swap. An
event that the lifecycle refuses is refused alone; the rest of its batch is not touched.

    requests ──► builder.add(…) each ──► Row, Known (a repeat) or a LedgerError
                 builder.finish()   ──► Swap (or None when no row came of it) and the paths
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from ledger import catalog, clock, lifecycle
from ledger.errors import Conflict, EventConflict, LedgerError, SourceConflict, TooLarge
from ledger.head import Chain, Head, Link
from ledger.lifecycle import Aggregate
from ledger.lifecycle.references import ENTRY, check_reference
from ledger.lookup import LOG_ID, LOG_STREAM, Knowledge, Known
from ledger.printing import canonical_bytes
from ledger.request import Prepared, ledger_made
from ledger.store import Row, Swap, read_entry
from ledger.tiles import Edge
from sealtrail.verify.entry import ENTRY_MAX
from sealtrail.verify.frontier import grow
from sealtrail.verify.merkle import leaf_hash

#: An epoch that is not ended by midnight ends after this many entries.
EPOCH_ENTRIES: Final = 65_536


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """A commit ready to be sent, and what its receipts need once it is durable."""

    swap: Swap
    edge: Edge
    paths: Sequence[Sequence[bytes]]  #: Inclusion path of each row, in the log after the commit.
    extension: Sequence[bytes]  #: Consistency path from the log before it.
    log_version: int


class Builder:
    """Builds one commit on top of `head`."""

    def __init__(
        self,
        *,
        chain: Chain,
        head: Head,
        edge: Edge,
        knowledge: Knowledge,
        tenant: str,
        now_ms: int,
        epoch_start: int,
        epoch_entries: int = EPOCH_ENTRIES,
    ) -> None:
        self._chain, self._head, self._edge, self._knowledge = chain, head, edge, knowledge
        self._tenant = tenant.encode()
        self._recorded_ms = max(now_ms, head.last_time)
        self._recorded_text = clock.rfc3339(self._recorded_ms).encode()
        self._epoch, self._mac, self._position = head.epoch, head.mac, head.size
        self._link = chain.linker(head.epoch)
        self._epoch_start, self._epoch_entries = epoch_start, epoch_entries
        self._rows: list[Row] = []

    def must_seal(self, count: int) -> bool:
        """Say if `count` entries begin a new UTC day, or are more than the epoch has room for.

        The entry that seals an epoch is its last one, so room is kept for it.
        """
        new_day = clock.day_of(self._recorded_ms) != clock.day_of(self._head.last_time)
        held = self._position - self._epoch_start
        return new_day or (held > 0 and held + count >= self._epoch_entries)

    def seal_epoch(self) -> None:
        """Make EPOCH_SEALED the next row, under the old key, and go on under the new one.

        The new key is durable before the statement is sent; the old one stays until a reread head
        shows the new epoch.
        """
        body: dict[str, Any] = {"epoch": self._epoch}
        if self._position:
            body |= {"last_n": self._position - 1, "last_mac": f"hmac-sha256:{self._mac.hex()}"}
        self._chain.evolve(self._epoch)
        self._append(ledger_made("EPOCH_SEALED", LOG_ID, body), self._next_log_version(), ())
        self._epoch += 1
        self._mac = self._chain.start(self._epoch, self._mac)
        self._link = self._chain.linker(self._epoch)
        self._epoch_start = self._position

    def add(self, prepared: Prepared) -> Row | Known | LedgerError:
        """Place one request: a new row, the event it repeats, or why it is refused."""
        known = self._knowledge.events.get(prepared.event_id)
        if known is not None:
            return known if known.request_digest == prepared.digest else EventConflict()
        if prepared.source is not None and prepared.source in self._knowledge.sources:
            return SourceConflict()
        try:
            return self._add_new(prepared)
        except (Conflict, TooLarge) as refusal:
            # Nothing else is this event's own fault: a key that is gone concerns the whole batch.
            return refusal

    def finish(self) -> Built | None:
        """Return the commit, or None if there is nothing to write."""
        if not self._rows:
            return None
        leaves = [row.link.leaf for row in self._rows]
        grown = grow(self._head.frontier, leaves)
        edge, tiles = self._edge.append(leaves)
        after = self._chain.head(
            epoch=self._epoch, frontier=grown.frontier, mac=self._mac, last_time=self._recorded_ms
        )
        return Built(
            swap=Swap(before=self._head, after=after, rows=self._rows, tiles=tiles),
            edge=edge,
            paths=grown.paths,
            extension=grown.consistency,
            log_version=self._knowledge.log_version,
        )

    @property
    def states(self) -> dict[str, Aggregate]:
        """The states of the batch's streams, as they are after it."""
        return self._knowledge.states

    @property
    def epoch_start(self) -> int:
        return self._epoch_start

    def _next_log_version(self) -> int:
        self._knowledge.log_version += 1
        return self._knowledge.log_version

    def _add_new(self, prepared: Prepared) -> Row:
        if prepared.stream == LOG_STREAM:
            row = self._append(prepared, self._knowledge.log_version + 1, ())
            self._knowledge.log_version += 1
            return row
        states = self._knowledge.states
        state = states[prepared.stream]
        decision = lifecycle.decide(
            state,
            prepared.type,
            prepared.schema,
            prepared.body,
            states,
            by_ledger=prepared.by_ledger,
        )
        if prepared.references and decision is None:
            self._check_references(prepared)
        type_, body, event = prepared.type, prepared.body, None
        if decision is not None:
            type_, body = decision.type, decision.body
            event = {"type": type_, "schema": decision.schema, "body": body}
        births = tuple(catalog.born_assets(type_, prepared.aggregate_id, body))
        row = self._append(prepared, state.version + 1, births, event)
        states[prepared.stream] = state.after(type_, body)
        for asset in births:
            if f"Asset/{asset}" != prepared.stream:
                states[f"Asset/{asset}"] = lifecycle.Asset.born(asset)
        return row

    def _check_references(self, prepared: Prepared) -> None:
        """Return if all that an event names is as it says; else raise OutOfOrder."""
        knowledge, now = self._knowledge, self._recorded_text.decode()
        for one in prepared.references:
            self._note_leaf(one.stream.removeprefix(ENTRY))
            check_reference(one, prepared.type, knowledge.states, knowledge.leaves, now)

    def _note_leaf(self, event_id: str) -> None:
        """Note the leaf of an entry of this very commit, should that be what is named."""
        known = self._knowledge.events.get(event_id)
        if known is not None and known.position >= self._head.size:
            leaf = self._rows[known.position - self._head.size].link.leaf
            self._knowledge.leaves[event_id] = leaf

    def _append(
        self,
        prepared: Prepared,
        version: int,
        births: tuple[str, ...],
        event: dict[str, Any] | None = None,
    ) -> Row:
        data = prepared.frame.entry(version, self._tenant, self._recorded_text)
        type_, schema = prepared.type, prepared.schema
        if event is not None:  # It is recorded as another one.
            data = canonical_bytes(read_entry(data).value | event)
            type_, schema = event["type"], event["schema"]
        if len(data) > ENTRY_MAX:
            raise TooLarge("the entry is larger than 16 KiB; what is larger is an artifact")
        leaf, position = leaf_hash(data), self._position
        self._mac = self._link(self._mac, position, leaf)
        event_id, digest, source = prepared.event_id, prepared.digest, prepared.source
        row = Row(  # In the order of its members: names cost as much as the hash.
            data,
            Link(position, leaf, self._mac),
            event_id,
            prepared.stream,
            version,
            f"{type_}/{schema}",
            digest,
            source,
            self._recorded_ms,
            births,
        )
        self._rows.append(row)
        self._position += 1
        self._knowledge.events[event_id] = Known(position, digest)
        if source is not None:
            self._knowledge.sources.add(source)
        return row
