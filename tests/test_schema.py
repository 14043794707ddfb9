# SPDX-License-Identifier: GPL-3.0-or-later
"""The schema that people read and the migrations that databases get are one and the same.

`ledger/schema/` says in one place, with a comment for each column, what a database looks like now;
`ledger/migrations/` says how to get there from any earlier version. Two databases are built, one
from each, and everything that PostgreSQL knows about them is compared.
"""

from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from ledger import migrate as migration
from ledger.migrate import books, make_book, migrate, pending

SCHEMA = Path(migration.__file__).parent / "schema"
BOOKS = (("acme", "main", "ledger.test/acme"), ("acme", "access", "ledger.test/acme/access"))

#: What PostgreSQL knows of the product's schemas: one list of rows for each kind of thing. Every
#: row is text, without the database's own numbers.
QUESTIONS = {
    "columns": """
        SELECT table_schema, table_name, ordinal_position, column_name, data_type, is_nullable,
               column_default, collation_name
          FROM information_schema.columns WHERE table_schema = ANY(%s)""",
    "storage": """
        SELECT n.nspname, c.relname, a.attname, a.attstorage, c.reloptions, c.relkind,
               c.relpersistence, c.relrowsecurity, pg_get_partkeydef(c.oid),
               pg_get_expr(c.relpartbound, c.oid), pg_get_userbyid(c.relowner)
          FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
          LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0
         WHERE n.nspname = ANY(%s)""",
    "constraints": """
        SELECT n.nspname, r.relname, c.conname, c.contype, c.convalidated,
               pg_get_constraintdef(c.oid)
          FROM pg_constraint c JOIN pg_class r ON r.oid = c.conrelid
          JOIN pg_namespace n ON n.oid = r.relnamespace WHERE n.nspname = ANY(%s)""",
    "indexes": "SELECT schemaname, tablename, indexname, indexdef FROM pg_indexes"
    " WHERE schemaname = ANY(%s)",
    "triggers": """
        SELECT n.nspname, c.relname, t.tgname, t.tgenabled, pg_get_triggerdef(t.oid)
          FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid
          JOIN pg_namespace n ON n.oid = c.relnamespace
         WHERE NOT t.tgisinternal AND n.nspname = ANY(%s)""",
    "functions": """
        SELECT n.nspname, p.proname, pg_get_functiondef(p.oid), p.proacl
          FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
         WHERE n.nspname = ANY(%s)""",
    "grants on tables": """
        SELECT table_schema, table_name, grantee, privilege_type, is_grantable
          FROM information_schema.table_privileges WHERE table_schema = ANY(%s)""",
    "grants on columns": """
        SELECT table_schema, table_name, column_name, grantee, privilege_type
          FROM information_schema.column_privileges WHERE table_schema = ANY(%s)""",
    "grants on schemas": "SELECT nspname, nspacl FROM pg_namespace WHERE nspname = ANY(%s)",
    "sequences and types": """
        SELECT n.nspname, t.typname, t.typtype FROM pg_type t
          JOIN pg_namespace n ON n.oid = t.typnamespace WHERE n.nspname = ANY(%s)""",
}


@pytest.fixture
def two_databases(postgres):
    """Two empty databases of one cluster; roles belong to the cluster and are the same in both."""
    names = ("from_migrations", "from_schema")
    with psycopg.connect(postgres.url(), autocommit=True) as owner:
        for name in names:
            owner.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        first = psycopg.connect(postgres.url(dbname=names[0]), autocommit=True)
        second = psycopg.connect(postgres.url(dbname=names[1]), autocommit=True)
        with first, second:
            yield first, second
        for name in names:
            owner.execute(sql.SQL("DROP DATABASE {}").format(sql.Identifier(name)))


def build_from_migrations(connection):
    list(migrate(connection))
    for tenant, kind, origin in BOOKS:
        make_book(connection, tenant=tenant, kind=kind, origin=origin)
    list(migrate(connection))


def files_of_a_book():
    """book.sql, then each topic that has a file of its own, in the order of its migration."""
    names = [name[5:] for name, _ in migration.migrations("book")]
    assert names[0] == "book.sql"
    return [SCHEMA / name for name in names if (SCHEMA / name).exists()]


def build_from_schema(connection, rows):
    """Run the two files that people read, with the grants that `migrate` makes for every login."""
    connection.execute((SCHEMA / "registry.sql").read_text("utf-8"))
    for row in rows:
        text = "\n".join(path.read_text("utf-8") for path in files_of_a_book())
        names = {duty: f"{row.schema}_{duty}" for duty in ("append", "read", "retain")}
        names["book"] = row.schema
        connection.execute(
            sql.SQL(text).format(**{key: sql.Identifier(name) for key, name in names.items()})
        )
    connection.execute("GRANT USAGE ON SCHEMA sealtrail TO sealtrail_app")
    connection.execute("GRANT SELECT ON ALL TABLES IN SCHEMA sealtrail TO sealtrail_app")


def description(connection, question, schemas):
    """Everything that PostgreSQL answers, as sorted text."""
    rows = connection.execute(QUESTIONS[question], (schemas,)).fetchall()
    return sorted(repr(tuple(_sorted(value) for value in row)) for row in rows)


def _sorted(value):
    """Grants are listed in the order in which they were made, which means nothing."""
    return sorted(map(str, value)) if isinstance(value, list) else value


def test_the_migrations_add_up_to_the_schema(two_databases):
    """Whoever reads ledger/schema/ reads what every database has, however old it is."""
    migrated, described = two_databases
    build_from_migrations(migrated)
    rows = books(migrated)
    build_from_schema(described, rows)
    schemas = ["sealtrail", *(row.schema for row in rows)]

    for question in QUESTIONS:
        found = description(migrated, question, schemas)

        assert found == description(described, question, schemas), question
    assert description(migrated, "triggers", schemas)
    assert description(migrated, "grants on tables", schemas)


def test_migrating_twice_changes_nothing(two_databases):
    """An operator may repeat it after any interruption."""
    migrated, _ = two_databases
    build_from_migrations(migrated)
    schemas = ["sealtrail", *(row.schema for row in books(migrated))]
    before = {question: description(migrated, question, schemas) for question in QUESTIONS}

    again = list(migrate(migrated))

    assert again == []
    assert pending(migrated) == []
    assert {q: description(migrated, q, schemas) for q in QUESTIONS} == before


def test_what_was_applied_is_known_by_its_name(two_databases):
    """A migration that is missing is named, Book by Book; an applied one is never run again."""
    migrated, _ = two_databases

    before = pending(migrated)
    build_from_migrations(migrated)
    migrated.execute("DELETE FROM sealtrail.migration WHERE scope = 'book_acme'")

    assert before == ["0001_registry.sql", "0003_registry_incarnation.sql"]
    assert pending(migrated) == [f"book_acme: {name}" for name, _ in migration.migrations("book")]


def test_a_migration_that_fails_leaves_nothing_behind(two_databases):
    """Its effects and the note that it was applied are one transaction."""
    migrated, _ = two_databases
    migrated.execute("CREATE SCHEMA book_acme")  # In the way of the Book's own.
    list(migrate(migrated))

    with pytest.raises(psycopg.errors.DuplicateSchema):
        make_book(migrated, tenant="acme", kind="main", origin="ledger.test/acme")

    assert books(migrated) == []
    assert pending(migrated) == []


def test_every_migration_says_what_it_is_for():
    """Numbered without gaps, and named after what it changes."""
    names = sorted(path.name for path in (SCHEMA.parent / "migrations").glob("*.sql"))

    assert [int(name[:4]) for name in names] == list(range(1, len(names) + 1))
