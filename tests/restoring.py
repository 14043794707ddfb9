# SPDX-License-Identifier: GPL-3.0-or-later
"""A house whose database is put back to an earlier state, and an operator who goes on with it."""

import itertools
import json
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from house import AUDITOR, PASSPHRASE

from anchoring.checkpoint import verifier_key
from anchoring.checkpoint_store import FileCheckpointStore
from anchoring.incarnation import Restorer, Terms
from anchoring.receipt import receipt_of
from anchoring.restore_survey import survey
from ledger import clock
from ledger.database import Database, connect
from ledger.escrow import open_with_private_key
from ledger.keys import AuditorKey, chain_key
from ledger.keystore import FileKeystore
from ledger.migrate import find_book
from scripts.assembly import publish_trust, trust_of
from scripts.vaults import Vaults

_TABLES = """
SELECT relname::text FROM pg_class WHERE relnamespace = %s::regnamespace
   AND relkind IN ('r', 'p') AND NOT relispartition
"""

AUDITORS = AuditorKey(
    public_key=X25519PrivateKey.from_private_bytes(AUDITOR).public_key().public_bytes_raw()
)


def post(house, *requests, by=None):
    """Record requests and return their receipts, as clients keep them."""
    outcomes = house.post(*requests, by=by)
    book = (by or house.shelf).book(house.tenant)
    return [
        receipt_of(book, outcome, house.prepare(one).disclosures)
        for outcome, one in zip(outcomes, requests, strict=True)
    ]


_backups = itertools.count(1)


@contextmanager
def backup_of(house):
    """A backup of the main Book and of the registry's word on it; `restore()` brings it back."""
    with house.owner() as connection:
        connection.execute("SET session_replication_role = replica")  # No trigger fires.
        yield Backup(connection, house.schema, house.tenant)


class Backup:
    """Every row of one Book, and its rows in the registry, as they were."""

    def __init__(self, connection, schema, tenant):
        self._connection, self._schema, self._tenant = connection, schema, tenant
        self._aside = f"{schema}_backup_{next(_backups)}"
        connection.execute(f"CREATE SCHEMA {self._aside}")
        self._tables = [name for (name,) in connection.execute(_TABLES, [schema])]
        for table in self._tables:
            connection.execute(f"CREATE TABLE {self._aside}.{table} AS TABLE {schema}.{table}")
        self._registry = [
            connection.execute(query, [tenant]).fetchall()
            for query in (
                "SELECT origin FROM sealtrail.book WHERE name = %s",
                "SELECT * FROM sealtrail.incarnation WHERE book = %s",
            )
        ]

    def restore(self):
        run, name = self._connection.execute, [self._tenant]
        with self._connection.transaction():
            for table in self._tables:
                run(f"DELETE FROM {self._schema}.{table}")
                run(f"INSERT INTO {self._schema}.{table} TABLE {self._aside}.{table}")
            ((origin,),), incarnations = self._registry
            run("DELETE FROM sealtrail.incarnation WHERE book = %s", name)
            run("UPDATE sealtrail.book SET origin = %s WHERE name = %s", [origin, *name])
            for row in incarnations:
                run("INSERT INTO sealtrail.incarnation VALUES (%s, %s, %s, %s, %s, %s, %s)", row)


def tools(house):
    """Keystore and store as another process opens them."""
    keys = FileKeystore(house.directory / "keystore", PASSPHRASE)
    store = FileCheckpointStore(house.directory / "checkpoints", house.store._keys)
    return keys, store


def look(house, name=None, **first_keys):
    """What `sealtrail-server restore` finds."""
    keys, store = tools(house)
    with house.owner() as owner:
        row = find_book(owner, name or house.tenant)
    return survey(row, database=house.database, keys=keys, store=store, **first_keys)


def accept(house, name=None, *, progress=lambda _step: None, sheet=None, **terms):
    """What `sealtrail-server restore --accept` does, as a process of its own would.

    sheet: the directory of a key sheet.
    """
    keys, store = tools(house)

    def escrow(origin):
        house.escrows[origin] = keys.escrow(chain_key(origin, 0), AUDITORS)

    def publish(origins):
        publish_trust(house.directory / "trust.json", trust_of(keys, origins, house.roots))

    house.roots = getattr(house, "roots", [])
    with connect(house.owner_url) as owner:
        restorer = Restorer(
            owner=owner,
            database=house.database,
            keys=keys,
            store=store,
            escrow=escrow,
            publish=publish,
            catch_up=Vaults(keys, sheet).catch_up,
            progress=progress,
            now_ms=house.now_ms,
        )
        return restorer.open(name or house.tenant, Terms(**terms))


def first_keys(house):
    """Every first chain key of the main Book, as the auditor opens them."""
    return {
        origin: open_with_private_key(sealed, origin=origin, private_key=AUDITOR)
        for origin, sealed in house.escrows.items()
    }


def as_file(receipt):
    """A receipt as a client has saved it."""
    return json.dumps(receipt.json()).encode()


def stub_house(directory, owner_url, app_url, tenant, origin):
    """As much of a house as `accept` needs, in a process of its own."""
    house = SimpleNamespace(
        directory=Path(directory),
        owner_url=owner_url,
        database=Database(app_url),
        tenant=tenant,
        origin=origin,
        escrows={},
        now_ms=clock.now_ms,
    )
    keys = FileKeystore(house.directory / "keystore", PASSPHRASE)
    house.store = SimpleNamespace(_keys=lambda of: [verifier_key(keys, of)])
    return house
