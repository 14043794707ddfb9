# SPDX-License-Identifier: GPL-3.0-or-later
"""Who may come in: credentials, bound to a tenant, a role and a person or a pipeline.

    pipeline   appends, and can read nothing
    auditor    reads, and every look is an entry of the tenant's access Book

A token is 32 random bytes behind a prefix that secret scanners can recognise. The database keeps
its SHA-256 only. Entries name a credential by its random id; who that is stands in the erasable
column `name`.
"""

import base64
import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Literal, LiteralString, cast

from psycopg import sql

from ledger import clock
from ledger.database import Connection, Database
from ledger.errors import Conflict, NotFound, Refused, Unauthenticated, Unavailable
from ledger.request import Identity

Role = Literal["pipeline", "auditor"]
Kind = Literal["person", "pipeline"]

_TOKEN_MAX: Final = 128

#: How long a revoked token may still work in a process that has seen it, in seconds.
CACHE_S: Final = 5.0

#: How long nobody asks a database again that did not answer, in seconds.
DOWN_S: Final = 1.0


class NotRevoked(Conflict):
    """This credential is in use; revoke it before its name is erased."""

    problem = "credential-in-use"


@dataclass(frozen=True, slots=True, kw_only=True)
class Credential:
    """A credential as the registry keeps it: never the token."""

    credential: str
    tenant: str
    role: Role
    kind: Kind
    name: str | None = field(repr=False)
    created_at: datetime
    revoked_at: datetime | None


def issue(connection: Connection, *, tenant: str, role: Role, kind: Kind, name: str) -> str:
    """Make a credential as the registry's owner and return its token, which is never stored."""
    if not 1 <= len(name) <= 256 or not name.isprintable():
        raise Refused("a credential's name is 1 to 256 printable characters")
    token = f"st_{role}_" + base64.urlsafe_b64encode(clock.random_bytes(32)).decode().rstrip("=")
    connection.execute(
        "INSERT INTO sealtrail.credential (credential_id, token_sha256, tenant, role, kind, name)"
        " VALUES (%s, %s, %s, %s, %s, %s)",
        (f"cred_{clock.random_bytes(12).hex()}", _digest(token), tenant, role, kind, name),
    )
    return token


def revoke(connection: Connection, credential: str) -> None:
    """Revoke a credential as the registry's owner; entries that name it stay readable.

    Safe to repeat; raises NotFound for one that never was.
    """
    found = connection.execute(
        "UPDATE sealtrail.credential SET revoked_at = coalesce(revoked_at, now())"
        " WHERE credential_id = %s RETURNING 1",
        (credential,),
    ).fetchone()
    if found is None:
        raise NotFound("there is no such credential")


def forget(connection: Connection, credential: str) -> None:
    """Erase whose a revoked credential was, as the registry's owner; its random id stays.

    Safe to repeat. Old pages go, too; write-ahead log and backups of before end by their own time.
    Raises NotFound, and NotRevoked for one that still opens the door by its name.
    """
    found = connection.execute(
        "UPDATE sealtrail.credential SET name = CASE WHEN revoked_at IS NULL THEN name END"
        " WHERE credential_id = %s AND kind = 'person' RETURNING revoked_at",
        (credential,),
    ).fetchone()
    if found is None:
        raise NotFound("there is no such credential of a person")
    if found[0] is None:
        raise NotRevoked
    connection.execute("VACUUM (FULL) sealtrail.credential")


def credential_of(connection: Connection, token: str) -> str:
    """Return the id of a token's credential; raises NotFound."""
    found = connection.execute(
        "SELECT credential_id FROM sealtrail.credential WHERE token_sha256 = %s", (_digest(token),)
    ).fetchone()
    if found is None:
        raise NotFound("there is no such credential")
    return str(found[0])


def credentials(connection: Connection, tenant: str) -> list[Credential]:
    """Return a tenant's credentials, oldest first, revoked ones included."""
    rows = connection.execute(
        "SELECT credential_id, tenant, role, kind, name, created_at, revoked_at"
        " FROM sealtrail.credential WHERE tenant = %s ORDER BY created_at, credential_id",
        (tenant,),
    )
    return [
        Credential(
            credential=credential,
            tenant=of_tenant,
            role=role,
            kind=kind,
            name=name,
            created_at=created,
            revoked_at=revoked,
        )
        for credential, of_tenant, role, kind, name, created, revoked in rows
    ]


class Credentials:
    """Looks tokens up, and remembers an answer for CACHE_S seconds."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lock = threading.Lock()
        self._known: dict[bytes, tuple[float, Identity | None]] = {}
        self._pipelines: dict[str, tuple[float, frozenset[str]]] = {}
        self._down_until = 0.0

    def remembered(self, token: str) -> Identity | None:
        """Return a known identity without asking the database; None if it must be asked."""
        found = self._known.get(_digest(token))
        if found is None or found[0] < clock.monotonic():
            return None
        return found[1]

    def identify(self, token: str) -> Identity:
        """Return whose token this is; raises Unauthenticated when it is nobody's (any more)."""
        if not 16 <= len(token) <= _TOKEN_MAX or not token.isascii():
            raise Unauthenticated
        digest = _digest(token)
        now = clock.monotonic()
        found = self._known.get(digest)
        if found is None or found[0] < now:
            found = (now + CACHE_S, self._load(digest))
            with self._lock:
                if len(self._known) > 4_096:  # Guesses must not fill the memory.
                    self._known.clear()
                self._known[digest] = found
        if found[1] is None:
            raise Unauthenticated
        return found[1]

    def by_id(self, credential: str) -> Identity | None:
        """Return whose credential has this random id; None if nobody's (any more)."""
        return self._load_one("credential_id = %s", credential)

    def pipelines_known(self, tenant: str) -> frozenset[str] | None:
        """Return `pipelines` if it is remembered; never asks the database."""
        found = self._pipelines.get(tenant)
        return found[1] if found is not None and found[0] >= clock.monotonic() else None

    def pipelines(self, tenant: str) -> frozenset[str]:
        """Return the names registered as pipelines of a tenant, revoked ones included."""
        now = clock.monotonic()
        found = self._pipelines.get(tenant)
        if found is None or found[0] < now:
            with self._asking() as connection:
                rows = connection.execute(
                    "SELECT name FROM sealtrail.credential"
                    " WHERE tenant = %s AND kind = 'pipeline' AND name IS NOT NULL",
                    (tenant,),
                ).fetchall()
            found = (now + CACHE_S, frozenset(name for (name,) in rows))
            with self._lock:
                self._pipelines[tenant] = found
        return found[1]

    def answers(self) -> None:
        """Forget that the database was down: somebody has just had an answer from it."""
        self._down_until = 0.0

    @contextmanager
    def _asking(self) -> Iterator[Connection]:
        """Lend a connection; while the database is down, refuse all but one a second at once.

        Or a hundred callers would queue up, each waiting for the time-out of those before.
        """
        if clock.monotonic() < self._down_until:
            raise Unavailable("PostgreSQL did not answer a moment ago")
        try:
            with self._database.connection() as connection:
                yield connection
        except Unavailable:
            self._down_until = clock.monotonic() + DOWN_S
            raise

    def _load(self, digest: bytes) -> Identity | None:
        return self._load_one("token_sha256 = %s", digest)

    def _load_one(self, where: LiteralString, value: bytes | str) -> Identity | None:
        with self._asking() as connection:
            row = connection.execute(
                sql.SQL(
                    "SELECT credential_id, tenant, role, kind, name FROM sealtrail.credential"
                    " WHERE {} AND revoked_at IS NULL"
                ).format(sql.SQL(where)),
                (value,),
            ).fetchone()
        if row is None:
            return None
        credential, tenant, role, kind, name = row
        return Identity(
            credential=credential,
            tenant=tenant,
            role=cast("Role", role),
            kind=cast("Kind", kind),
            name=name,
        )


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
