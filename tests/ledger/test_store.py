# SPDX-License-Identifier: GPL-3.0-or-later
"""Append only, by role and by trigger; and eventsourcing's view of the same rows."""

import itertools
import sys

import psycopg
import pytest
from administrator import TABLES, administrator
from eventsourcing.persistence import StoredEvent
from house import attempt, gen, house_in

from ledger.errors import EntryDamaged
from ledger.readmodel.projections import PROJECTIONS
from ledger.store import EntryMapper, HeadMoved, LedgerRecorder, event_store, read_entry

DUTIES = ("append", "read", "retain")
CHANGES = (
    "UPDATE {b}.{t} SET {c} = {c}",
    "DELETE FROM {b}.{t}",
    "TRUNCATE {b}.{t} CASCADE",
)
COLUMN = {
    "head": "size",
    "entry": "leaf",
    "entry_body": "bytes",
    "entry_body_rest": "bytes",
    "tile": "root",
    "asset_birth": "position",
    "anchor": "root",
    "token": "reply",
}

#: What was said about entries that left the database; written by the sweep and never changed.
KEPT = {
    "bundle": "number",
    "moved": "name",
    "remains": "body",
    "manifest": "what",
    "tombstone": "what",
    "expired": "number",
    "redaction_rules": "rules",
}

#: Personal, or derived from entries: made to be changed and destroyed, by duties of their own.
ERASABLE = {
    *("vault_state", "subject", "subject_index", "sealed", "blind"),
    *("artifact", "artifact_promise", "artifact_state", "hold", "retrieval", "thawed"),
    *("redacted", "redaction_state"),
    *("dataset", "dataset_member", "sparse_salt", "sparse_tree", "sparse_bucket"),
}


#: The read model, and the table of alerts: dropped and made again from the entries.
DERIVED = {"readmodel", "alert"}.union(*(one.tables for one in PROJECTIONS))


@pytest.fixture(scope="module")
def written(pattern, tmp_path_factory):
    """A Book with an attempt, an outcome, and nothing more."""
    with house_in(pattern, tmp_path_factory.mktemp("written")) as house:
        start = attempt()
        house.post(start, gen(start["aggregate_id"], "asset"))
        yield house


@pytest.mark.parametrize("duty", DUTIES)
def test_no_duty_may_change_or_remove_a_row(written, duty):
    """UPDATE, DELETE and TRUNCATE are refused by permission; only the head may be swapped."""
    with psycopg.connect(written.app_url, autocommit=True) as connection:
        connection.execute(f"SET ROLE {written.schema}_{duty}")
        for table, change in itertools.product(COLUMN, CHANGES):
            if (duty, table, change) == ("append", "head", CHANGES[0]):
                continue
            statement = change.format(b=written.schema, t=table, c=COLUMN[table])
            with pytest.raises(psycopg.errors.InsufficientPrivilege, match="permission denied"):
                connection.execute(statement)


@pytest.mark.parametrize("duty", ["read", "retain"])
def test_a_reader_appends_nothing(written, duty):
    """Whoever holds an auditor's role adds no entry and moves no head."""
    with psycopg.connect(written.app_url, autocommit=True) as connection:
        connection.execute(f"SET ROLE {written.schema}_{duty}")
        for table in COLUMN:
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(f"INSERT INTO {written.schema}.{table} DEFAULT VALUES")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute(f"UPDATE {written.schema}.head SET size = size")


def test_the_application_role_can_do_nothing_of_its_own(written):
    """Without taking a duty it reads no Book: it owns nothing and inherits nothing."""
    with psycopg.connect(written.app_url, autocommit=True) as connection:
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute(f"SELECT 1 FROM {written.schema}.entry")
        owned = connection.execute(
            "SELECT count(*) FROM pg_class c JOIN pg_roles r ON r.oid = c.relowner"
            " WHERE r.rolname = 'sealtrail_app'"
        ).fetchone()
        role = connection.execute(
            "SELECT rolsuper, rolinherit, rolcreaterole, rolcreatedb, rolbypassrls"
            " FROM pg_roles WHERE rolname = 'sealtrail_app'"
        ).fetchone()
        usable = connection.execute(
            "SELECT count(*) FROM pg_roles WHERE rolname LIKE 'book\\_%%'"
            " AND pg_has_role('sealtrail_app', oid, 'USAGE')"
        ).fetchone()

    assert owned == (0,)
    assert role == (False, False, False, False, False)
    assert usable == (0,)


def test_the_owner_is_refused_by_trigger(written):
    """The second lock: even who owns the tables has to break a trigger first, visibly."""
    with written.owner() as connection:
        columns = COLUMN | KEPT
        for table, change in itertools.product(columns, CHANGES):
            if (table, change) == ("head", CHANGES[0]):
                continue
            statement = change.format(b=written.schema, t=table, c=columns[table])
            with pytest.raises(psycopg.errors.InsufficientPrivilege, match="append-only"):
                connection.execute(statement)


def test_every_table_of_a_book_is_in_these_tests(written):
    """A table that a migration adds must be shown to be append-only here."""
    with written.owner() as connection:
        rows = connection.execute(
            "SELECT relname FROM pg_class WHERE relnamespace = %s::regnamespace"
            " AND relkind IN ('r', 'p')",
            (written.schema,),
        ).fetchall()

    assert set(COLUMN) == {*TABLES, "entry_body_rest"}
    assert {name for (name,) in rows} == {*COLUMN, *KEPT, *ERASABLE, *DERIVED}


def test_a_statement_built_on_an_old_head_inserts_nothing(written):
    """The swap is the first thing in the statement: no head, no rows."""
    book = written.book
    seen = []

    class Late(LedgerRecorder):
        def append(self, connection, swap, sealings):
            seen.append(swap)
            return super().append(connection, swap, sealings)

    book.writer._recorder = Late(written.database, written.schema)
    written.post(attempt())
    (swap,) = seen
    stored = [EntryMapper().to_stored_event(row.entry) for row in swap.rows]
    size = book.reader.head().size

    with (
        written.database.duty(written.schema, "append") as connection,
        pytest.raises(HeadMoved),
    ):
        book.writer._recorder.insert_events(stored, connection=connection, swap=swap)

    assert book.reader.head().size == size
    assert book.reader.between(size, size + 5) == []


def test_eventsourcing_reads_the_same_streams_and_the_same_log(written):
    """Streams by version from 1, notifications by position from 0, states as recorded."""
    recorder = LedgerRecorder(written.database, written.schema)
    first, second = (stored.entry for stored in written.book.reader.between(0, 2))

    stream = list(event_store(written.database, written.schema).get(first.stream))
    notifications = recorder.select_notifications(None, 10)

    assert [entry.data for entry in stream] == [first.data, second.data]
    assert [one.id for one in notifications[:2]] == [0, 1]
    assert [one.topic for one in notifications[:2]] == ["GEN_ATTEMPT/1", "GEN/1"]
    assert recorder.max_notification_id() == notifications[-1].id
    assert [one.originator_version for one in recorder.select_events(first.stream, gt=1)] == [2]
    newest = recorder.select_events(first.stream, desc=True, limit=1)
    assert [one.originator_version for one in newest] == [2]
    only = recorder.select_notifications(0, 10, topics=["GEN/1"], inclusive_of_start=False)
    assert [one.id for one in only] == [1]
    with recorder.subscribe(gt=None) as following:
        assert next(following).state == first.data


def test_an_empty_book_has_no_last_notification(house):
    """Size 0 means no position at all."""
    assert LedgerRecorder(house.database, house.schema).max_notification_id() is None


def test_the_mapper_translates_nothing_and_believes_no_column(written):
    """State is the canonical entry; a column that says otherwise is damage, not another event."""
    mapper = EntryMapper()
    entry = written.book.reader.at(0).entry
    stored = mapper.to_stored_event(entry)

    assert stored.state == entry.data
    assert mapper.to_domain_event(stored) == entry
    for wrong in (
        StoredEvent("Generation/another", 1, stored.topic, stored.state),
        StoredEvent(stored.originator_id, 2, stored.topic, stored.state),
        StoredEvent(stored.originator_id, 1, "GEN/1", stored.state),
        StoredEvent(stored.originator_id, 1, "os:system", stored.state),
        StoredEvent(stored.originator_id, 1, stored.topic, b"{}"),
        StoredEvent(stored.originator_id, 1, stored.topic, b" " + stored.state),
    ):
        with pytest.raises(EntryDamaged):
            mapper.to_domain_event(wrong)


def test_a_module_name_in_a_stored_topic_imports_nothing(written):
    """The stock event store would import what the column names; ours compares it and stops."""
    with administrator(written) as admin:
        admin.do("UPDATE {b}.entry SET topic = 'antigravity:fly' WHERE position = 0")
        ((stream,),) = admin.do("SELECT stream FROM {b}.entry WHERE position = 0")

        with pytest.raises(EntryDamaged):
            list(event_store(written.database, written.schema).get(stream))

        admin.do("UPDATE {b}.entry SET topic = 'GEN_ATTEMPT/1' WHERE position = 0")

    assert "antigravity" not in sys.modules


@pytest.mark.parametrize("data", [b"", b"[]", b"{}", b"null", b"\xff", b'{"v":1}'])
def test_bytes_that_are_no_entry_are_damage(data):
    """Whatever lies where an entry should be is named, and never half understood."""
    with pytest.raises(EntryDamaged):
        read_entry(data)
