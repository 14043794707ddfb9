# SPDX-License-Identifier: GPL-3.0-or-later
"""The keeper of the backups: has every backup there is, may write where they lie, and restores them
when he is asked to.

He is not trusted with contents: a backup holds no key. He is not trusted with history: a backup is
signed, and every root is derived from it again. And he cannot bring back one who was erased.
"""

import gzip
import shutil
from contextlib import contextmanager

import pytest
from house import PASSPHRASE, attempt, house_in

from anchoring.backup import database_of, make_backup, open_backup
from anchoring.backup_check import BackupCheck, compare_with_store
from anchoring.key_sheet import make_sheet
from anchoring.signed_files import BackupAltered, check_files, sign_files
from ledger import clock
from ledger.database import Database, connect
from ledger.dump import load, programs
from ledger.embedded import EmbeddedPostgres
from ledger.errors import IntegrityViolation
from ledger.keys import KeyDestroyed
from ledger.keystore import FileKeystore
from ledger.migrate import make_roles
from ledger.vault.construction import index_key, wrapping_key
from ledger.vault.sheet import catch_up

PROMPT = "a portrait of Erika Mustermann, 4711"


@pytest.fixture(scope="module")
def installation(tmp_path_factory):
    """A server and a ledger of their own: a backup is of all Books in a database."""
    directory = tmp_path_factory.mktemp("kept")
    with (
        EmbeddedPostgres(directory / "postgres") as postgres,
        house_in(postgres, directory / "house") as house,
    ):
        house.post(*[attempt(sealed={"prompt.user": PROMPT}) for _ in range(5)])
        house.postgres = postgres
        house.backup = backup_of(house, directory / "backups")
        yield house


@pytest.fixture
def kept(installation, tmp_path):
    """The installation with a copy of its backup, to be spoiled."""
    installation.copy = tmp_path / "copy"
    shutil.copytree(installation.backup, installation.copy)
    return installation


def backup_of(house, directory):
    with connect(house.owner_url) as owner:
        return make_backup(house.shelf, owner, house.owner_url, house.keys, directory)[0]


def believed(house, directory):
    """What `backup verify` and `backup restore` ask first."""
    manifest = open_backup(directory, house.keys)
    check_files(directory, manifest.signed)
    return manifest


@contextmanager
def restored(house, directory):
    """The backup in a database of its own, as an owner sees it."""
    manifest = open_backup(directory, house.keys)
    name = f"restored_{clock.random_bytes(4).hex()}"
    with connect(house.owner_url) as administrator:
        administrator.execute(f"CREATE DATABASE {name}".encode())
    url = house.postgres.url(dbname=name)
    with connect(url) as owner:
        make_roles(owner, manifest.schemas)
        load(programs(manifest.programs), url, database_of(directory))
        with Database(house.postgres.url(user="sealtrail_app", dbname=name)) as database:
            yield BackupCheck(manifest, database=database, owner=owner, keys=house.keys), owner


def examined(house, directory):
    with restored(house, directory) as (check, _):
        return {found.state.name: found for found in check.run(lambda _name: lambda *_: None)}


def a_file_of_rows(directory):
    return max(database_of(directory).glob("*.dat.gz"), key=lambda path: path.stat().st_size)


def test_puts_a_credential_of_his_own_into_a_backup(kept):
    """Who: the keeper, who would like to be an auditor after the next restore.
    Tries: to alter one file of the dump, which is SQL that a restore runs as the owner.
    Caught by: the digest of that file in the signed manifest, before anything of it is run.
    Not caught: nothing is left open, but between the check and the reading of a file that he can
    write to meanwhile; restore from where he cannot.
    """
    file = a_file_of_rows(kept.copy)
    file.write_bytes(file.read_bytes() + b"\0")

    with pytest.raises(BackupAltered, match="is not what it was"):
        believed(kept, kept.copy)


def test_signs_an_altered_backup_with_a_key_of_his_own(kept, tmp_path):
    """Who: the keeper, who knows how manifests are made.
    Tries: to alter the dump, and to write a new manifest with a note by a backup key of his own.
    Caught by: the keystore, which knows each backup key that it ever made, and not this one.
    Not caught: nothing is left open.
    """
    his = FileKeystore(tmp_path / "his", PASSPHRASE)
    a_file_of_rows(kept.copy).write_bytes(b"")
    about = open_backup(kept.copy, kept.keys).signed.about
    for name in ("manifest.json", "manifest.sig"):
        (kept.copy / name).unlink()
    sign_files(kept.copy, his, about)

    with pytest.raises(BackupAltered, match="not signed by any"):
        believed(kept, kept.copy)


def test_takes_the_note_of_one_backup_for_another(kept, tmp_path):
    """Who: the keeper, who would like an older state to pass for today's.
    Tries: to put the older manifest, or its note, beside the newer dump.
    Caught by: the note, which is over one manifest, and the manifest, which is of one dump.
    Not caught: the older backup as a whole is good; its date stands in it, and how many entries it
    is behind is told by `backup verify`.
    """
    kept.post(attempt())
    newer = backup_of(kept, tmp_path / "newer")
    shutil.copy(newer / "manifest.sig", kept.copy / "manifest.sig")

    with pytest.raises(BackupAltered, match="not the one that was signed"):
        believed(kept, kept.copy)
    shutil.copy(newer / "manifest.json", kept.copy / "manifest.json")
    with pytest.raises(BackupAltered, match=r"missing|is not what it was"):
        believed(kept, kept.copy)


def test_adds_a_file_or_a_link_to_a_backup(kept):
    """Who: the keeper, who hopes that whatever lies in the directory is loaded, or followed.
    Tries: to add a file of rows, then a link that leads to the keystore.
    Caught by: the list of files in the manifest, and the refusal of whatever is no plain file.
    Not caught: nothing is left open.
    """
    added = database_of(kept.copy) / "9999.dat.gz"
    added.write_bytes(b"")
    with pytest.raises(BackupAltered, match="were added"):
        believed(kept, kept.copy)

    added.unlink()
    added.symlink_to(kept.directory / "keystore")
    with pytest.raises(BackupAltered, match="no plain file"):
        believed(kept, kept.copy)


def test_looks_for_keys_and_prompts_in_a_backup(kept):
    """Who: the keeper, or whoever steals a backup from him.
    Tries: to find the passphrase, the files of the keystore or a prompt in the restored tables and
    in the files.
    Caught by: nothing has to: only wrapped keys and sealed values are backed up.
    Not caught: what was never committed to is in clear: types, times, models, parameters, the names
    of credentials.
    """
    keystore = [path.read_bytes() for path in (kept.directory / "keystore").glob("*.key")]
    found = b"".join(
        gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        for path in kept.copy.rglob("*")
        if path.is_file()
    )

    assert len(keystore) >= 4
    assert b"GEN_ATTEMPT" in found
    for secret in (PASSPHRASE, PROMPT.encode(), PROMPT.encode().hex().encode(), *keystore):
        assert secret not in found


def test_has_an_entry_changed_before_it_is_backed_up(kept, tmp_path):
    """Who: the keeper together with the database administrator.
    Tries: to change an entry's bytes in the database; the next backup is then honestly signed.
    Caught by: `backup verify`, which derives the root from the bytes and compares it with the
    checkpoint that was signed before.
    Not caught: nothing is left open, as long as somebody verifies.
    """
    with kept.owner() as owner:
        owner.execute("SET session_replication_role = replica")
        body = f"{kept.schema}.entry_body"
        query = f"SELECT bytes FROM {body} WHERE position = 2"
        before = bytes(owner.execute(query).fetchone()[0])
        change = f"UPDATE {body} SET bytes = %s WHERE position = 2"
        owner.execute(change, [before.replace(b'"painter"', b'"printer"')])
        try:
            made = backup_of(kept, tmp_path / "honest")
        finally:
            owner.execute(change, [before])

    damage = examined(kept, made)[kept.tenant].damage

    assert (damage[0].position, damage[0].what) == (2, "body")
    assert any(one.what == "store" for one in damage)


def test_rewinds_the_checkpoint_store_together_with_the_database(kept, tmp_path):
    """Who: the keeper, who also restores the checkpoint store, from its own old copy.
    Tries: to bring both back to before an entry, so that no process notices.
    Caught by: any backup that was made after that entry: it holds a checkpoint that the store has
    forgotten, and `backup verify` says so.
    Not caught: if he keeps every backup from then on away, receipts, packets and time stamps are
    what is left.
    """
    note = kept.directory / "checkpoints"
    shutil.copytree(note, tmp_path / "old-store")
    kept.post(attempt())
    made = backup_of(kept, tmp_path / "after")
    store = type(kept.store)(tmp_path / "old-store", kept.store._keys)

    with pytest.raises(IntegrityViolation, match="store was rewound"):
        compare_with_store(open_backup(made, kept.keys), store=store, present=None)


def test_brings_back_one_who_was_erased(kept, tmp_path):
    """Who: the keeper, asked to restore a backup from before an erasure; he keeps the old sheet.
    Tries: to have the erased person's key back, with the sheet that was written before the erasure.
    Caught by: the keystore, which has destroyed the generation that wraps that key in backup and
    old sheet alike; the vault then says that it is gone.
    Not caught: while the ERASURE is pending, at most until the night, the generation still exists.
    """
    rows = [row for row in kept.shelf.rows().values() if row.name == kept.tenant]
    old = make_sheet(kept.database, rows, kept.keys, tmp_path / "sheets")
    vault = FileKeystore(tmp_path / "keystore", PASSPHRASE)
    for generation in (1, 2):
        for name, kind in ((wrapping_key, "wrap"), (index_key, "hmac")):
            vault.make(name(kept.origin, generation), kind)
    subject = b"s" * 16
    wrapped = vault.wrap(wrapping_key(kept.origin, 1), b"k" * 32, subject)
    for name in (wrapping_key, index_key):
        vault.destroy(name(kept.origin, 1))

    with restored(kept, kept.copy) as (_, owner), owner.transaction():
        owner.execute(
            f"INSERT INTO {kept.schema}.subject (ref, kind, generation, wrapped_key, identity)"
            " VALUES (gen_random_uuid(), 'person', 1, %s, 'x')",
            [wrapped],
        )
        found = catch_up(
            owner,
            schema=kept.schema,
            origin=kept.origin,
            keys=vault,
            sheet=old.of(kept.tenant),
            give_up=True,
        )
        left = owner.execute(
            f"SELECT count(*) FROM {kept.schema}.subject WHERE wrapped_key IS NOT NULL"
        ).fetchone()

    assert found.lost >= 1
    assert left == (0,)
    with pytest.raises(KeyDestroyed):
        vault.unwrap(wrapping_key(kept.origin, 1), wrapped, subject)
