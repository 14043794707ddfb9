# SPDX-License-Identifier: GPL-3.0-or-later
"""A vault that went back in time: what it learns from the newest key sheet, and what nobody can."""

from contextlib import contextmanager

import pytest
from sealing import item, vault_of

from anchoring.key_sheet import make_sheet, newest_sheet, open_sheet
from anchoring.signed_files import BackupAltered
from ledger.holds import Holds
from ledger.keys import KeyMissing
from ledger.keystore import FileKeystore
from ledger.migrate import find_book
from ledger.vault.construction import wrapping_key
from ledger.vault.opening import ValuesErased
from ledger.vault.sheet import SheetMissing, SheetRefused, catch_up
from scripts.vaults import Vaults
from sealtrail.verify.disclosure import PERSON

#: What is asked here does not depend on which PostgreSQL it is.
pytestmark = pytest.mark.once

PROMPT = "a lighthouse for Mrs. Example"
TABLES = ("vault_state", "subject", "subject_index", "sealed", "blind")
OTHER = "a harbour at night"


@pytest.fixture
def rewound(house, sealer, tmp_path):
    """Two persons; a backup; then one is erased, all other keys move on, and the backup returns.

    `house.sheet` was made when the keys had moved on.
    """
    house.alice, house.bob = item("alice", prompt__user=PROMPT), item("bob", prompt__user=OTHER)
    sealer.record(house.alice, house.bob)
    vault = vault_of(house)
    house.ref = vault.subject_of("alice").ref
    with rewinding(house):
        house.early = sheet_of(house, tmp_path)
        vault.begin_erasure(house.ref, "erasure-1")
        vault.finish_erasures(Holds.of(house.book))
        house.sheet = sheet_of(house, tmp_path)
    return house


@contextmanager
def rewinding(house):
    """What happens to the vault's tables in the block is undone, as by a restored backup."""
    with house.owner() as owner:
        owner.execute("SET session_replication_role = replica")  # No trigger fires.
        owner.execute(f"CREATE SCHEMA {house.schema}_aside")
        for table in TABLES:
            owner.execute(
                f"CREATE TABLE {house.schema}_aside.{table} AS TABLE {house.schema}.{table}"
            )
        yield
        for table in TABLES:
            owner.execute(f"DELETE FROM {house.schema}.{table}")
            owner.execute(f"INSERT INTO {house.schema}.{table} TABLE {house.schema}_aside.{table}")


def sheet_of(house, directory):
    with house.owner() as owner:
        row = find_book(owner, house.tenant)
    return make_sheet(house.database, [row], house.keys, directory / "sheets")


def caught_up(house, sheet, **options):
    with house.owner() as owner, owner.transaction():
        return catch_up(
            owner,
            schema=house.schema,
            origin=house.origin,
            keys=house.keys,
            sheet=None if sheet is None else sheet.of(house.tenant),
            **options,
        )


def test_with_the_sheet_the_erased_stay_erased_and_the_others_open(rewound):
    """And a search by person finds the one again, under the index keys of now."""
    found = caught_up(rewound, rewound.sheet)
    Vaults(rewound.keys).reindex(rewound.database, rewound.shelf.rows()[rewound.tenant])

    vault = vault_of(rewound)
    gone = vault.open(rewound.alice.event_id)
    assert (found.erased, found.lost, found.generation) == (1, 0, 2)
    assert (dict(gone.disclosures), gone.erasures) == ({}, ("restored:erasure-1",))
    assert vault.open(rewound.bob.event_id).values["prompt.user"] == OTHER
    assert vault.find(PERSON, "bob") == [rewound.bob.event_id]
    assert vault.find(PERSON, "alice") == []
    with pytest.raises(ValuesErased):
        vault.wrap_for(rewound.ref, b"k" * 32, b"")


def test_to_catch_up_twice_changes_nothing(rewound):
    """Killed between any two steps of a restore it is simply done again."""
    caught_up(rewound, rewound.sheet)

    again = caught_up(rewound, rewound.sheet)

    assert (again.erased, again.lost) == (0, 0)
    assert vault_of(rewound).open(rewound.bob.event_id).values["prompt.user"] == OTHER


@pytest.mark.parametrize("which", ["none", "early"])
def test_without_a_sheet_of_after_the_erasure_nothing_is_given_up_in_silence(rewound, which):
    """Everybody's keys were wrapped by what no longer exists; the operator has to say so."""
    sheet = rewound.early if which == "early" else None

    with pytest.raises(SheetMissing, match="concerns 2"):
        caught_up(rewound, sheet)
    lost = caught_up(rewound, sheet, give_up=True)

    assert lost.lost == 2
    assert vault_of(rewound).open(rewound.bob.event_id).erasures == ("unrecoverable",)


def test_another_keystore_is_no_reason_to_give_anything_up(rewound, tmp_path):
    """A key that was never there is not a key that was destroyed."""
    other = FileKeystore(tmp_path / "other", b"another passphrase")

    with rewound.owner() as owner, pytest.raises(KeyMissing), owner.transaction():
        catch_up(
            owner,
            schema=rewound.schema,
            origin=rewound.origin,
            keys=other,
            sheet=None,
            give_up=True,
        )


def test_an_older_sheet_undoes_nothing(house, sealer, tmp_path):
    """Neither a key that was wrapped anew since, nor an erasure that was asked for since."""
    sealer.record(item("alice", prompt__user=PROMPT), item("bob", prompt__user=OTHER))
    early = sheet_of(house, tmp_path)
    vault = vault_of(house)
    ref = vault.subject_of("alice").ref
    vault.begin_erasure(ref, "erasure-1")

    same = caught_up(house, early)
    pending = vault.subject(ref).state
    vault.finish_erasures(Holds.of(house.book))

    assert (same.erased, same.lost, pending) == (0, 0, "erasing")
    with pytest.raises(SheetRefused):
        caught_up(house, early)
    assert vault.subject(ref).state == "erased"
    assert vault.subject_of("bob") is not None


def test_an_erasure_that_was_asked_for_after_the_backup_has_to_be_asked_for_again(
    house, sealer, tmp_path
):
    """The sheet was written while it was pending; the log that was restored knows nothing of it."""
    sealer.record(item("alice", prompt__user=PROMPT))
    vault = vault_of(house)
    ref = vault.subject_of("alice").ref
    with rewinding(house):
        vault.begin_erasure(ref, "erasure-1")
        pending = sheet_of(house, tmp_path)

    caught_up(house, pending)

    found = vault_of(house).subject_of("alice")
    assert (found.ref, found.state, found.erasure_id) == (ref, "live", None)


def test_a_vault_that_lost_nothing_stays_as_it_is(house, sealer):
    """No serial moves, so no writer has to read its keys again."""
    sealer.record(item("alice", prompt__user=PROMPT))
    with house.owner() as owner:
        query = f"SELECT * FROM {house.schema}.vault_state"
        before = owner.execute(query).fetchone()

        found = caught_up(house, None)

        assert (found.erased, found.lost) == (0, 0)
        assert owner.execute(query).fetchone() == before


def test_a_sheet_is_signed_and_only_a_younger_one_counts(rewound):
    """Beside a backup the newest is taken; an altered one by nobody."""
    beside = rewound.sheet.directory.parent
    newest = newest_sheet(beside, rewound.keys, since=rewound.early.made)
    none = newest_sheet(beside, rewound.keys, since=rewound.sheet.made)
    file = rewound.sheet.of(rewound.tenant)
    file.write_bytes(file.read_bytes().replace(b'"erased"', b'"live"'))

    assert newest == rewound.sheet
    assert none is None
    with pytest.raises(BackupAltered):
        open_sheet(rewound.sheet.directory, rewound.keys)
    assert not rewound.keys.has(wrapping_key(rewound.origin, 1))
