# SPDX-License-Identifier: GPL-3.0-or-later
"""Migrations: once each, safe to repeat and to interrupt, and roles that can do no more."""

import psycopg
import pytest

from ledger import clock, migrate
from ledger.database import connect
from ledger.errors import Conflict, NotFound, Refused
from ledger.migrate import APPLICATION_ROLE, find_book, make_book, migrations, pending


@pytest.fixture
def owner(postgres):
    with connect(postgres.url()) as connection:
        yield connection


def test_a_current_database_has_nothing_pending(young):
    """A second run applies nothing."""
    assert pending(young) == []
    assert list(migrate.migrate(young)) == []


@pytest.fixture
def its_owner(house):
    """Who owns the Books of `house`."""
    with connect(house.owner_url) as connection:
        yield connection


@pytest.fixture
def young(postgres):
    """The owner in a database of its own, with two Books and without their heads."""
    name = f"young_{clock.random_bytes(4).hex()}"
    with connect(postgres.url()) as owner:
        owner.execute(f"CREATE DATABASE {name}")
    with connect(postgres.url(dbname=name)) as owner:
        list(migrate.migrate(owner))
        for tenant in ("a", "b"):
            make_book(owner, tenant=tenant, kind="main", origin=f"ledger.test/{name}/{tenant}")
        yield owner
    with connect(postgres.url()) as owner:
        owner.execute(f"DROP DATABASE {name}")


def test_an_empty_database_becomes_current_from_nothing(postgres):
    """Everything is pending, then applied, then nothing is."""
    name = f"empty_{clock.random_bytes(4).hex()}"
    with connect(postgres.url()) as owner:
        owner.execute(f"CREATE DATABASE {name}")
    with connect(postgres.url(dbname=name)) as owner:
        before, lines, after = pending(owner), list(migrate.migrate(owner)), pending(owner)
    with connect(postgres.url()) as owner:
        owner.execute(f"DROP DATABASE {name}")

    names = ["0001_registry.sql", "0003_registry_incarnation.sql"]
    assert before == names
    assert lines == [f"registry: {one}" for one in names]
    assert after == []


def test_a_missing_migration_is_pending_and_applied_once(young, monkeypatch):
    """Book by Book, interrupted and resumed; what was done is written down with its effect."""
    real = migrate.migrations
    added = ("0005_book_note.sql", "CREATE TABLE {book}.note (id int)")
    monkeypatch.setattr(
        migrate, "migrations", lambda scope: real(scope) + [added] * (scope == "book")
    )
    both = ["book_a: 0005_book_note.sql", "book_b: 0005_book_note.sql"]

    waiting = pending(young)
    half = migrate.migrate(young)
    lines = [next(half), next(half)]
    half.close()  # Interrupted: the second Book is undone, the first stays.
    rest = pending(young)
    resumed = list(migrate.migrate(young))

    assert waiting == lines == both
    assert rest == resumed == both[1:]
    assert pending(young) == []


def test_a_book_is_made_once_and_keeps_its_origin(its_owner, house):
    """Again with the same words is the same Book; another origin is refused."""
    row = find_book(its_owner, house.tenant)

    again = make_book(its_owner, tenant=house.tenant, kind="main", origin=house.origin)

    assert again == row
    with pytest.raises(Conflict):
        make_book(its_owner, tenant=house.tenant, kind="main", origin="ledger.test/other")
    with pytest.raises(NotFound):
        find_book(its_owner, "nobody")


@pytest.mark.parametrize(
    ("tenant", "origin"),
    [
        ("Acme", "ledger.test/a"),
        ("acme-access", "ledger.test/a"),
        ("a" * 32, "ledger.test/a"),
        ("acme; DROP SCHEMA x", "ledger.test/a"),
        ("", "ledger.test/a"),
        ("acme", "https://ledger.test"),
        ("acme", "Ledger.test"),
        ("acme", "ledger.test/a\nledger.test/b"),
        ("acme", "ledger.test/" + "a" * 200),
        ("acme", ""),
    ],
)
def test_a_name_that_would_not_fit_everywhere_is_refused(owner, tenant, origin):
    """A tenant becomes a schema and a path, an origin a line of a checkpoint."""
    with pytest.raises(Refused):
        make_book(owner, tenant=tenant, kind="main", origin=origin)


def test_two_tenants_never_share_a_schema(its_owner, house):
    """`a-b` and `a_b` would: the underscore is no letter of a tenant."""
    with pytest.raises(Refused):
        make_book(
            its_owner, tenant=house.tenant.replace("-", "_"), kind="main", origin="ledger.test/u"
        )


def test_an_application_role_that_is_too_powerful_is_refused(young):
    """An operator made it by hand and meant well."""
    for grant, take in (("SUPERUSER", "NOSUPERUSER"), ("CREATEROLE", "NOCREATEROLE")):
        young.execute(f"ALTER ROLE {APPLICATION_ROLE} {grant}")
        try:
            with pytest.raises(Refused):
                list(migrate.migrate(young))
        finally:
            young.execute(f"ALTER ROLE {APPLICATION_ROLE} {take}")


def test_an_application_role_that_inherits_gains_nothing_by_it(its_owner, house):
    """Since PostgreSQL 16 each grant says so itself; before, such a role is refused."""
    its_owner.execute(f"ALTER ROLE {APPLICATION_ROLE} INHERIT")
    try:
        if its_owner.info.server_version < 160_000:
            with pytest.raises(Refused):
                list(migrate.migrate(its_owner))
            return
        make_book(its_owner, tenant=f"{house.tenant}-i", kind="main", origin=f"{house.origin}-i")
        schema = find_book(its_owner, f"{house.tenant}-i").schema
        with (
            psycopg.connect(house.app_url, autocommit=True) as app,
            pytest.raises(psycopg.errors.InsufficientPrivilege),
        ):
            app.execute(f"SELECT 1 FROM {schema}.head")
    finally:
        its_owner.execute(f"ALTER ROLE {APPLICATION_ROLE} NOINHERIT")


def test_migrations_are_found_in_order_and_by_scope():
    """A file of another name is none."""
    registry, book = dict(migrations("registry")), dict(migrations("book"))
    texts = registry | book
    assert list(registry) == ["0001_registry.sql", "0003_registry_incarnation.sql"]
    assert list(book)[:3] == ["0002_book.sql", "0004_book_storage.sql", "0005_book_vault.sql"]
    assert list(book) == sorted(book)
    assert all(text.startswith("-- SPDX") for text in texts.values())
