# SPDX-License-Identifier: GPL-3.0-or-later
"""A backup from before an erasure is restored, and its person stays erased."""

from contextlib import contextmanager

import pytest
from custody_desk import Desk
from restoring import accept, backup_of

from anchoring.fsck import Fsck
from anchoring.key_sheet import make_sheet
from ledger.vault.sheet import RESTORED, SheetMissing

VAULT = ("vault_state", "subject", "subject_index", "sealed", "blind")


@pytest.fixture
def restored(desk, tmp_path):
    """The ledger after the whole way of an erasure, with the database of before."""
    house = desk.house
    with backup_of(house) as backup, rewinding(house):
        case = desk.ask()
        desk.approve(case)
        desk.erasures.complete(backup_keep_d=30)
        rows = [house.shelf.rows()[house.tenant]]
        desk.sheet = make_sheet(house.database, rows, house.keys, tmp_path / "sheets").directory
        desk.case = case
        house.shelf.close()
        backup.restore()
    return desk


@contextmanager
def rewinding(house):
    """What happens to the vault's tables in the block is undone."""
    with house.owner() as owner:
        owner.execute("SET session_replication_role = replica")  # No trigger fires.
        owner.execute(f"CREATE SCHEMA {house.schema}_vault_aside")
        for table in VAULT:
            aside = f"{house.schema}_vault_aside.{table}"
            owner.execute(f"CREATE TABLE {aside} AS TABLE {house.schema}.{table}")
        yield
        for table in VAULT:
            owner.execute(f"DELETE FROM {house.schema}.{table}")
            owner.execute(
                f"INSERT INTO {house.schema}.{table} TABLE {house.schema}_vault_aside.{table}"
            )


def test_who_was_erased_since_the_backup_stays_erased(restored):
    """The restore is refused without the sheet; with it the person is gone by the erasure's id, the
    others are read as ever, and fsck has nothing to say, though the ERASURE itself was lost.
    """
    house = restored.house
    with pytest.raises(SheetMissing):
        accept(house)

    accept(house, sheet=restored.sheet)
    house.reopen()

    vault = house.book.vault
    gone = vault.open(restored.ids[0])
    assert (dict(gone.values), gone.erasures) == ({}, (RESTORED + restored.case.erasure_id,))
    assert vault.open(restored.ids[2]).values["prompt.user"] == "a fish"
    assert vault.subject_of("alice") is None
    assert Fsck(house.book, full=True).run().damage == []
    assert Desk(house).erasures.complete(backup_keep_d=30)[1] == []
