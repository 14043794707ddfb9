# SPDX-License-Identifier: GPL-3.0-or-later
"""Bring the database to this version: the registry first, then Book by Book, each in a transaction.

Runs as the owner of the schemas, never as the role that the servers log in with. Safe to repeat and
to interrupt: what was applied is written down in the same transaction as its effect.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Final, Literal

from psycopg import sql

from ledger.database import Connection
from ledger.errors import Conflict, NotFound, Refused

#: The role that server processes log in with. It owns nothing and inherits nothing.
APPLICATION_ROLE: Final = "sealtrail_app"

TENANT: Final = re.compile(r"[a-z][a-z0-9-]{0,30}")
ORIGIN: Final = re.compile(r"[a-z0-9][a-z0-9.:-]*(/[a-z0-9][a-z0-9._-]*)*")
Scope = Literal["registry", "book"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Incarnation:
    """A restore, after which a Book went on under another origin; as the registry names it."""

    number: int  #: From 2.
    origin: str
    old_origin: str
    size: int  #: Entries inherited; at this position lies INCARNATION_OPENED.
    root: bytes  #: Of the inherited entries.


@dataclass(frozen=True, slots=True, kw_only=True)
class BookRow:
    """A Book as the registry names it."""

    name: str
    tenant: str
    kind: str
    origin: str
    schema: str
    incarnations: tuple[Incarnation, ...] = ()  #: In order of number.

    @property
    def origins(self) -> tuple[str, ...]:
        """Every origin that this Book's entries were signed under, the oldest first."""
        older = [one.old_origin for one in self.incarnations]
        return tuple(dict.fromkeys([self.first_origin, *older, self.origin]))

    @property
    def first_origin(self) -> str:
        """The origin that the Book was made with."""
        if not self.incarnations:
            return self.origin
        first = self.incarnations[0]
        return first.origin.removesuffix(f"/i{first.number}")


def migrations(scope: Scope) -> list[tuple[str, str]]:
    """Return (file name, text) of every migration of a scope, in order."""
    folder = resources.files("ledger").joinpath("migrations")
    found = [
        (item.name, item.read_text("utf-8"))
        for item in folder.iterdir()
        if re.fullmatch(rf"[0-9]{{4}}_{scope}[a-z0-9_]*\.sql", item.name)
    ]
    return sorted(found)


def migrate(connection: Connection) -> Iterator[str]:
    """Apply what is missing, registry and every Book; yield a line for each migration applied."""
    with connection.transaction():
        _lock(connection)
        _make_application_role(connection)
        yield from _apply_registry(connection)
        # Refused to anybody but the owner, also when there is nothing to do.
        connection.execute("COMMENT ON SCHEMA sealtrail IS 'the registry of all Books'")
    current = _current(connection)
    for book in books(connection):
        if book.schema in current:
            continue
        with connection.transaction():
            _lock(connection)
            yield from _apply_book(connection, book.schema)


def pending(connection: Connection) -> list[str]:
    """Name the migrations that `migrate` would apply; empty when the database is current."""
    done = _applied(connection)
    missing = [name for name, _ in migrations("registry") if ("registry", name) not in done]
    if missing:
        return missing
    return [
        f"{book.schema}: {name}"
        for book in books(connection)
        for name, _ in migrations("book")
        if (book.schema, name) not in done
    ]


def make_book(connection: Connection, *, tenant: str, kind: str, origin: str) -> BookRow:
    """Register a Book and make its schema and roles; the head row is laid by `ledger.head.lay`.

    Returns its row when the Book is there already, whatever incarnation it is in. Raises Conflict
    when it was made with another origin.
    """
    if not TENANT.fullmatch(tenant) or tenant.endswith("-access"):
        raise Refused("a tenant is lower case letters, digits and '-', at most 31, not '…-access'")
    if not ORIGIN.fullmatch(origin) or len(origin) > 200:
        raise Refused("an origin is a schema-less URL in lower case, such as ledger.example/acme")
    name = tenant if kind == "main" else f"{tenant}-access"
    row = BookRow(
        name=name, tenant=tenant, kind=kind, origin=origin, schema=f"book_{name.replace('-', '_')}"
    )
    with connection.transaction():
        _lock(connection)
        known = {book.name: book for book in books(connection)}
        if name in known:
            if known[name].first_origin != origin:
                raise Conflict(f"the Book {name} exists with origin {known[name].origin}")
            return known[name]
        connection.execute(
            "INSERT INTO sealtrail.book (name, tenant, kind, origin, schema_name)"
            " VALUES (%s, %s, %s, %s, %s)",
            (row.name, row.tenant, row.kind, row.origin, row.schema),
        )
        for _ in _apply_book(connection, row.schema):
            pass
    return row


def books(connection: Connection) -> list[BookRow]:
    """Return every Book of the registry, by name."""
    opened: dict[str, list[Incarnation]] = {}
    for book, number, origin, old_origin, size, root in connection.execute(
        "SELECT book, number, origin, old_origin, size, root FROM sealtrail.incarnation"
        " ORDER BY book, number"
    ):
        opened.setdefault(book, []).append(
            Incarnation(
                number=number, origin=origin, old_origin=old_origin, size=size, root=bytes(root)
            )
        )
    rows = connection.execute(
        "SELECT name, tenant, kind, origin, schema_name FROM sealtrail.book ORDER BY name"
    )
    return [
        BookRow(
            name=name,
            tenant=tenant,
            kind=kind,
            origin=origin,
            schema=schema,
            incarnations=tuple(opened.get(name, ())),
        )
        for name, tenant, kind, origin, schema in rows
    ]


def make_roles(connection: Connection, schemas: Sequence[str]) -> None:
    """Make what roles a dump of these Books' schemas grants to; they belong to the cluster."""
    with connection.transaction():
        _lock(connection)
        _make_application_role(connection)
        for schema in schemas:
            for duty in ("append", "read", "retain"):
                _make_duty_role(connection, f"{schema}_{duty}")


def find_book(connection: Connection, name: str) -> BookRow:
    for book in books(connection):
        if book.name == name:
            return book
    raise NotFound(f"there is no Book named {name[:64]!r}")


def _lock(connection: Connection) -> None:
    connection.execute("SELECT pg_advisory_xact_lock(hashtext('sealtrail.migrate'))")


def _applied(connection: Connection) -> set[tuple[str, str]]:
    there = connection.execute("SELECT to_regclass('sealtrail.migration')").fetchone()
    if there is None or there[0] is None:
        return set()
    return {(s, n) for s, n in connection.execute("SELECT scope, name FROM sealtrail.migration")}


def _current(connection: Connection) -> set[str]:
    """Name the schemas to which there is nothing to do: one look for all, there may be thousands.

    Roles belong to the cluster, so a database that was moved may lack them.
    """
    done = _applied(connection)
    rows = connection.execute(
        sql.SQL(
            "SELECT r.rolname FROM pg_auth_members m JOIN pg_roles r ON r.oid = m.roleid"
            " JOIN pg_roles a ON a.oid = m.member WHERE a.rolname = %s"
            " GROUP BY r.rolname HAVING NOT bool_or({})"
        ).format(sql.SQL("m.inherit_option" if _grants_inherit(connection) else "false")),
        (APPLICATION_ROLE,),
    )
    granted = {name for (name,) in rows}
    names = [name for name, _ in migrations("book")]
    return {
        schema
        for schema in {scope for scope, _ in done}
        if all((schema, name) in done for name in names)
        and granted.issuperset(f"{schema}_{duty}" for duty in ("append", "read", "retain"))
    }


def _apply_registry(connection: Connection) -> Iterator[str]:
    done = _applied(connection)
    for name, text in migrations("registry"):
        if ("registry", name) in done:
            continue
        connection.execute(text.encode())
        _record(connection, "registry", name)
        yield f"registry: {name}"
    for statement in (
        "GRANT USAGE ON SCHEMA sealtrail TO {app}",
        "GRANT SELECT ON ALL TABLES IN SCHEMA sealtrail TO {app}",
    ):
        connection.execute(sql.SQL(statement).format(app=sql.Identifier(APPLICATION_ROLE)))


def _apply_book(connection: Connection, schema: str) -> Iterator[str]:
    names = {
        "book": sql.Identifier(schema),
        **{duty: sql.Identifier(f"{schema}_{duty}") for duty in ("append", "read", "retain")},
    }
    for duty in ("append", "read", "retain"):
        _make_duty_role(connection, f"{schema}_{duty}")
    query = "SELECT name FROM sealtrail.migration WHERE scope = %s"
    done = {name for (name,) in connection.execute(query, (schema,))}
    for name, text in migrations("book"):
        if name in done:
            continue
        connection.execute(sql.SQL(text).format(**names))
        _record(connection, schema, name)
        yield f"{schema}: {name}"


def _record(connection: Connection, scope: str, name: str) -> None:
    connection.execute(
        "INSERT INTO sealtrail.migration (scope, name) VALUES (%s, %s)", (scope, name)
    )


def _make_application_role(connection: Connection) -> None:
    """Make the servers' role, or refuse one that can do more than take a Book's duties in turn."""
    if not _role_exists(connection, APPLICATION_ROLE):
        connection.execute(
            sql.SQL("CREATE ROLE {} LOGIN NOINHERIT").format(sql.Identifier(APPLICATION_ROLE))
        )
    found = connection.execute(
        "SELECT rolsuper OR rolbypassrls OR rolcreaterole, rolinherit FROM pg_roles"
        " WHERE rolname = %s",
        (APPLICATION_ROLE,),
    ).fetchone()
    powerful, inherits = found if found is not None else (False, False)
    if powerful:
        raise Refused(f"the role {APPLICATION_ROLE} must not be a superuser or make roles")
    if inherits and not _grants_inherit(connection):
        raise Refused(f"the role {APPLICATION_ROLE} inherits: ALTER ROLE it to NOINHERIT")


def _make_duty_role(connection: Connection, name: str) -> None:
    if not _role_exists(connection, name):
        connection.execute(sql.SQL("CREATE ROLE {} NOLOGIN").format(sql.Identifier(name)))
    grant = "GRANT {} TO {}"
    if _grants_inherit(connection):
        grant += " WITH INHERIT FALSE"  # Whatever the application role's own setting is.
    connection.execute(
        sql.SQL(grant).format(sql.Identifier(name), sql.Identifier(APPLICATION_ROLE))
    )


def _grants_inherit(connection: Connection) -> bool:
    """Say if inheritance is a property of each grant (since 16) and not of the role alone."""
    return connection.info.server_version >= 160_000


def _role_exists(connection: Connection, name: str) -> bool:
    found = connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", (name,)).fetchone()
    return found is not None
