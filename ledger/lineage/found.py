# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a digest occurs: in clear in the read model, sealed in the vault's blind index.

Sealed digests can be found only by whoever has the digest, and only while their person is not
erased. Values that the client keeps itself (producer custody) have no index here at all.
"""

from collections.abc import Iterator
from typing import Final, NamedTuple

from psycopg import sql

from ledger.database import Database
from ledger.lineage.told import Told, of_events
from ledger.vault.vault import Vault

#: Occurrences of one digest that are followed.
FOUND_MAX: Final = 32

#: Sealed names whose value is the digest of an asset, and what of it that is.
SEALED: Final = {
    "asset.sha256": "bytes",
    "asset.pixel_sha256": "pixels",
    "inputs[*].sha256": "bytes",
    "outputs[*].sha256": "bytes",
    "outputs[*].pixel_sha256": "pixels",
    "asset_sha256": "delivered",
}

_CLEAR: Final = """
SELECT d.asset, d.what, d.position, e.event_id::text
  FROM {book}.asset_digest d JOIN {book}.entry e USING (position)
 WHERE d.digest = %s ORDER BY d.position LIMIT %s
"""


class Occurrence(NamedTuple):
    """One place where a digest occurs."""

    thing: str  #: `Asset/…`; `Generation/…` for an input that the ledger knows by no other name.
    what: str  #: `bytes`, `pixels`, `bytes-before`, `pixels-before` (moderation), `delivered`.
    event_id: str
    position: int
    field: str | None  #: The sealed name, if it was sealed.


class Occurrences(NamedTuple):
    """All that were found; `more` than FOUND_MAX are not followed."""

    found: tuple[Occurrence, ...]
    more: bool


def occurrences(database: Database, schema: str, vault: Vault, digest: str) -> Occurrences:
    """Return where a digest, `sha256:…`, occurs: the earliest first. Raises IntegrityViolation."""
    query = sql.SQL(_CLEAR).format(book=sql.Identifier(schema))
    value = bytes.fromhex(digest.removeprefix("sha256:"))
    with database.duty(schema, "read") as connection:
        rows = connection.execute(query, (value, FOUND_MAX + 1)).fetchall()
    found = [Occurrence(f"Asset/{asset}", what, id_, at, None) for asset, what, at, id_ in rows]
    sealed = vault.find_each(SEALED, digest, limit=FOUND_MAX + 1)
    if sealed:
        with database.duty(schema, "read") as connection:
            events = of_events(connection, schema, [id_ for _, id_ in sealed])
        for name, id_ in sealed:
            event = events[id_]
            found += [
                Occurrence(thing, SEALED[name], id_, event.position, name)
                for thing in _things(vault, event, name, digest)
            ]
    found = sorted(set(found), key=lambda one: (one.position, one.thing, one.what))
    return Occurrences(tuple(found[:FOUND_MAX]), len(found) > FOUND_MAX)


def _things(vault: Vault, event: Told, name: str, digest: str) -> Iterator[str]:
    """Yield the things of an event whose sealed digest this is."""
    if event.type == "INGEST":
        yield event.stream
    elif event.type == "EXPORT" and "asset_id" in event.body:
        yield f"Asset/{event.body['asset_id']}"
    elif "[*]" in name and event.entry is not None:
        items = event.body.get(name.partition("[")[0], ())
        for n in _indexes(vault, event, name, digest, len(items)):
            asset = items[n].get("asset_id", items[n].get("ref_asset"))
            yield event.stream if asset is None else f"Asset/{asset}"


def _indexes(vault: Vault, event: Told, name: str, digest: str, count: int) -> list[int]:
    """Return which items of a list have this sealed digest."""
    names = [name.replace("[*]", f"[{n}]") for n in range(count)]
    entry = event.entry or {}
    values = vault.open(event.event_id, names, sd=entry.get("_sd", ())).values
    return [n for n, one in enumerate(names) if values.get(one) == digest]
