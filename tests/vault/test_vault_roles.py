# SPDX-License-Identifier: GPL-3.0-or-later
"""Who may do what to the vault's tables: a writer adds, a reader reads, the night destroys."""

import itertools

import psycopg
import pytest

TABLES = ("vault_state", "subject", "subject_index", "sealed", "blind")
KEPT = {
    "vault_state": "serial",
    "subject": "wrapped_key",
    "subject_index": "ref",
    "sealed": "blob",
    "blind": "field",
}
#: All that somebody has to be able to do; everything else is refused.
MAY = {
    ("retain", "vault_state", "UPDATE"),
    ("retain", "subject", "UPDATE"),
    ("retain", "subject_index", "DELETE"),
    ("retain", "sealed", "UPDATE"),
    ("retain", "sealed", "DELETE"),
    ("retain", "blind", "DELETE"),
}
DO = {
    "UPDATE": "UPDATE {b}.{t} SET {c} = {c} WHERE false",
    "DELETE": "DELETE FROM {b}.{t} WHERE false",
    "TRUNCATE": "TRUNCATE {b}.{t}",
}


@pytest.mark.parametrize("duty", ["append", "read", "retain"])
def test_nobody_changes_more_than_their_duty_asks(one_house, duty):
    """A writer cannot take a value back, nor a reader; the night makes no subject and no value."""
    with psycopg.connect(one_house.app_url, autocommit=True) as connection:
        connection.execute(f"SET ROLE {one_house.schema}_{duty}")
        for table, (verb, statement) in itertools.product(TABLES, DO.items()):
            text = statement.format(b=one_house.schema, t=table, c=KEPT[table])
            if (duty, table, verb) in MAY:
                connection.execute(text)
                continue
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(text)


@pytest.mark.parametrize(
    ("duty", "tables"),
    [
        ("append", ("subject", "subject_index", "sealed", "blind")),
        ("read", ()),
        ("retain", ("subject_index", "blind")),
    ],
)
def test_who_may_add_rows(one_house, duty, tables):
    """The night indexes anew; new persons and values come from writers alone."""
    with psycopg.connect(one_house.app_url, autocommit=True) as connection:
        connection.execute(f"SET ROLE {one_house.schema}_{duty}")
        for table in TABLES:
            expected = psycopg.errors.NotNullViolation
            if table not in tables:
                expected = psycopg.errors.InsufficientPrivilege
            with pytest.raises(expected):
                connection.execute(f"INSERT INTO {one_house.schema}.{table} DEFAULT VALUES")


def test_a_subject_is_never_deleted_not_even_by_the_owner(one_house):
    """Its row says what became of its values, for as long as there are entries."""
    with one_house.owner() as owner:
        for statement in (
            "DELETE FROM {}.subject",
            "TRUNCATE {}.subject",
            "DELETE FROM {}.vault_state",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege, match="append-only"):
                owner.execute(statement.format(one_house.schema))
