# SPDX-License-Identifier: GPL-3.0-or-later
"""A whole ledger for tests: real PostgreSQL, keys and checkpoint store, one tenant each."""

import dataclasses
import functools
import hashlib
import itertools
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import psycopg
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from house_pattern import Pattern

from anchoring.checkpoint_store import FileCheckpointStore
from anchoring.shelf import Book, Shelf
from ledger import access, clock
from ledger.clock import Clock
from ledger.database import Connection, Database, connect
from ledger.embedded import EmbeddedPostgres
from ledger.escrow import open_with_private_key
from ledger.head import Chain, HeadRow
from ledger.keys import AuditorKey
from ledger.keystore import FileKeystore
from ledger.migrate import migrate, pending
from ledger.request import Identity, Prepared, prepare
from ledger.writer import Limits
from scripts.assembly import make_keys, make_tenant, open_store, origins_of, trust_of
from sealtrail.verify.disclosure import encode_base64url

_numbers = itertools.count(1)
PASSPHRASE = b"a passphrase for tests"
#: Made to be slow, a tenth of a second for each guess, and asked the same by every house of a run:
#: what the library said once is said again from memory.
hashlib.scrypt = functools.lru_cache(maxsize=16)(hashlib.scrypt)
#: X25519: to the public half of this key, chain keys are escrowed.
AUDITOR = b"the private key of our auditors."


class Hand:
    """A clock that stands still until a test moves it."""

    def __init__(self, ms: int) -> None:
        self.ms = ms

    def __call__(self) -> int:
        return self.ms

    def move(self, *, days: int = 0, hours: int = 0, seconds: int = 0) -> None:
        self.ms += ((days * 24 + hours) * 3600 + seconds) * 1000


def noon_before(days: int) -> int:
    """Return noon (UTC) of the day that was so many days ago."""
    today = clock.day_start(clock.day_of(clock.now_ms()))
    return today - days * clock.DAY_MS + clock.DAY_MS // 2


@dataclasses.dataclass
class House:
    """A tenant of its own in the test session's database, with all that a server process has."""

    directory: Path
    owner_url: str
    app_url: str
    tenant: str
    origin: str
    keys: FileKeystore
    store: FileCheckpointStore
    shelf: Shelf
    escrows: dict[str, bytes]
    database: Database
    limits: dict[str, Any] = dataclasses.field(default_factory=dict)
    now_ms: Clock = clock.now_ms
    others: list[Shelf] = dataclasses.field(default_factory=list)
    strict: bool = False  #: Whether this tenant refuses what names something unknown.

    @property
    def book(self) -> Book:
        return self.shelf.book(self.tenant)

    @property
    def access_book(self) -> Book:
        return self.shelf.book(f"{self.tenant}-access")

    @property
    def schema(self) -> str:
        """The main Book's schema, also while no Book can be opened."""
        return f"book_{self.tenant.replace('-', '_')}"

    @property
    def identity(self) -> Identity:
        return Identity(
            credential="cred_test",
            tenant=self.tenant,
            role="pipeline",
            kind="pipeline",
            name="test-pipeline",
        )

    def trust(self, tsa_roots: list[bytes] | None = None) -> Any:
        return trust_of(self.keys, origins_of(self.origin), tsa_roots or [])

    def token(self, role: Any = "pipeline", kind: Any = "pipeline", name: str = "renderer") -> str:
        with connect(self.owner_url) as owner:
            return access.issue(owner, tenant=self.tenant, role=role, kind=kind, name=name)

    def first_key(self) -> bytes:
        """Return the main Book's first chain key, as its auditor opens it from escrow."""
        return open_with_private_key(
            self.escrows[self.origin], origin=self.origin, private_key=AUDITOR
        )

    def owner(self) -> Any:
        """A superuser's connection, for tests that play the administrator."""
        return psycopg.connect(self.owner_url, autocommit=True)

    def prepare(self, request: dict[str, Any]) -> Prepared:
        return prepare(
            request,
            self.identity,
            received_ms=clock.now_ms(),
            pipelines=frozenset({"test-pipeline"}),
            strict=self.strict,
        )

    def post(self, *requests: dict[str, Any], by: Shelf | None = None) -> list[Any]:
        """Record requests through a process's Book, ours unless another is named."""
        book = (by or self.shelf).book(self.tenant)
        return book.record([self.prepare(one) for one in requests]).result(timeout=30)

    def second_process(
        self,
        *,
        now_ms: Clock | None = None,
        database: Database | None = None,
        open_max: int = 64,
        **limits: Any,
    ) -> Shelf:
        """Another process's view: its own pool, keystore, store and writers; closed with us."""
        keys = FileKeystore(self.directory / "keystore", PASSPHRASE)
        store = FileCheckpointStore(self.directory / "checkpoints", self.store._keys)
        shelf = Shelf(
            database=database or Database(self.app_url),
            keys=keys,
            store=store,
            limits=Limits(**{**self.limits, **limits}),
            open_max=open_max,
            now_ms=now_ms or self.now_ms,
        )
        self.others.append(shelf)
        return shelf

    def reopen(self) -> None:
        """Close every Book and forget what was known, as a restart does."""
        self.close()
        self.shelf = self.second_process()
        self.database = self.shelf.database

    def close(self) -> None:
        for shelf in (self.shelf, *self.others):
            shelf.close()
            shelf.database.close()
        self.others.clear()


@contextmanager
def house_in(
    where: EmbeddedPostgres | Pattern,
    directory: Path,
    *,
    now_ms: Clock = clock.now_ms,
    **limits: Any,
) -> Iterator[House]:
    """Make a fresh tenant with its two Books: among others in a server's database, or alone.

    where: a server (or what has its `url`), or a pattern; its copy ends with the house.
    now_ms: the writers' clock, from the first moment of both logs.
    """
    tenant = f"t{next(_numbers)}-{clock.random_bytes(3).hex()}"
    origin = f"ledger.test/{tenant}"
    with ExitStack() as stack:
        postgres: Any = where
        if isinstance(where, Pattern):
            postgres = stack.enter_context(where.copy())
            postgres.name_logs(origin)
            tenant = postgres.tenant
        house = _furnished(
            postgres, directory, tenant=tenant, origin=origin, now_ms=now_ms, limits=limits
        )
        stack.callback(house.close)
        yield house


def _furnished(
    postgres: Any,
    directory: Path,
    *,
    tenant: str,
    origin: str,
    now_ms: Clock,
    limits: dict[str, Any],
) -> House:
    keys = _keystore_in(directory / "keystore")
    auditor = X25519PrivateKey.from_private_bytes(AUDITOR).public_key()
    escrows = make_keys(keys, origin, AuditorKey(public_key=auditor.public_bytes_raw()))

    class Where:
        checkpoint_store = directory / "checkpoints"

    store = open_store(Where, keys)  # type: ignore[arg-type]
    with connect(postgres.url()) as owner:
        if pending(owner):  # Looking at every Book of the session each time would take long.
            list(migrate(owner))
        rows = make_tenant(owner, keys, store, tenant=tenant, origin=origin)
        for row in rows if now_ms is not clock.now_ms else []:
            # The logs were made by today's clock; let them begin by the test's.
            owner.execute(f"ALTER TABLE {row.schema}.head DISABLE TRIGGER one_row")
            owner.execute(f"DELETE FROM {row.schema}.head")
            owner.execute(f"ALTER TABLE {row.schema}.head ENABLE TRIGGER one_row")
            HeadRow(row.schema).lay(owner, Chain(keys, row.origin), at_ms=now_ms())
    database = Database(postgres.url(user="sealtrail_app"))
    shelf = Shelf(database=database, keys=keys, store=store, limits=Limits(**limits), now_ms=now_ms)
    return House(
        directory=directory,
        owner_url=postgres.url(),
        app_url=postgres.url(user="sealtrail_app"),
        tenant=tenant,
        origin=origin,
        keys=keys,
        store=store,
        shelf=shelf,
        escrows=escrows,
        database=database,
        limits=limits,
        now_ms=now_ms,
    )


def _keystore_in(directory: Path) -> FileKeystore:
    """Make a keystore without keys; its salt is that of all houses of this process."""
    directory.mkdir(mode=0o700, parents=True)
    sheet = directory / "keystore.json"
    sheet.touch(mode=0o600)
    sheet.write_bytes(_keystore_sheet())
    return FileKeystore(directory, PASSPHRASE)


@functools.cache
def _keystore_sheet() -> bytes:
    with tempfile.TemporaryDirectory() as parent:
        FileKeystore(Path(parent, "keystore"), PASSPHRASE)
        return Path(parent, "keystore", "keystore.json").read_bytes()


def event_id() -> str:
    return str(clock.new_id())


def record_key() -> str:
    return encode_base64url(clock.random_bytes(32))


def attempt(aggregate_id: str | None = None, **changes: Any) -> dict[str, Any]:
    """A GEN_ATTEMPT as a pipeline sends it."""
    request = {
        "event_id": event_id(),
        "type": "GEN_ATTEMPT",
        "schema": 1,
        "aggregate_id": aggregate_id or event_id(),
        "on_behalf_of": "employee-7",
        "body": {
            "operation": "generate",
            "input_type": "text",
            "model": {"provider": "acme", "name": "painter", "version": "3"},
            "params": {"seed": "18446744073709551615", "steps": 4, "cfg_scale": "7.5"},
        },
        "sealed": {"prompt.user": "a lighthouse at dusk"},
        "record_key": record_key(),
    }
    return {**request, **changes}


def gen(aggregate_id: str, asset_id: str | None = None, **changes: Any) -> dict[str, Any]:
    """A GEN: the attempt's outcome, with one output."""
    return {
        "event_id": event_id(),
        "type": "GEN",
        "schema": 1,
        "aggregate_id": aggregate_id,
        "on_behalf_of": "employee-7",
        "body": {
            "outputs": [
                {
                    "asset_id": asset_id or event_id(),
                    "sha256": "sha256:" + "ab" * 32,
                    "mime": "image/png",
                }
            ]
        },
        "record_key": record_key(),
        **changes,
    }


def deny(aggregate_id: str, **changes: Any) -> dict[str, Any]:
    """A GEN_DENY: the attempt was refused by a rule."""
    body = {"decision": "DENY", "refusal_reason_code": "policy"}
    return {**gen(aggregate_id), "type": "GEN_DENY", "body": body, **changes}


def error(aggregate_id: str, **changes: Any) -> dict[str, Any]:
    """A GEN_ERROR of the provider's."""
    failure = {"class": "provider", "code": "overloaded", "stage": "model", "retryable": True}
    return {**gen(aggregate_id), "type": "GEN_ERROR", "body": {"error": failure}, **changes}


def ingest(asset_id: str | None = None, **changes: Any) -> dict[str, Any]:
    """An INGEST of an owned image."""
    return {
        "event_id": event_id(),
        "type": "INGEST",
        "schema": 1,
        "aggregate_id": asset_id or event_id(),
        "on_behalf_of": "employee-7",
        "body": {
            "asset": {"type": "image", "sha256": "sha256:" + "cd" * 32},
            "rights": {"basis": "OWNED"},
        },
        "record_key": record_key(),
        **changes,
    }


def export(asset_id: str, **changes: Any) -> dict[str, Any]:
    """An EXPORT of an asset."""
    return {
        "event_id": event_id(),
        "type": "EXPORT",
        "schema": 1,
        "aggregate_id": event_id(),
        "on_behalf_of": "employee-7",
        "body": {
            "asset_id": asset_id,
            "asset_sha256": "sha256:" + "ab" * 32,
            "destination": {"type": "DELIVERY"},
        },
        "record_key": record_key(),
        **changes,
    }


__all__ = [
    "Connection",
    "Hand",
    "House",
    "attempt",
    "deny",
    "error",
    "event_id",
    "export",
    "gen",
    "house_in",
    "ingest",
    "noon_before",
]
