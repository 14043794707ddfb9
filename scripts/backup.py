# SPDX-License-Identifier: GPL-3.0-or-later
"""`backup make`, `backup verify`, `backup restore`: with PostgreSQL's own programs, and checked.

A backup holds registry, entries, tiles, anchors and wrapped keys, and never the keystore. Verifying
restores it into a scratch PostgreSQL and derives every root again.
"""

import contextlib
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from anchoring.backup import Manifest, database_of, make_backup, open_backup
from anchoring.backup_check import BackupCheck, BookFound, compare_with_store
from anchoring.fsck import findings_json
from anchoring.key_sheet import make_sheet, newest_sheet
from anchoring.restore_survey import survey
from anchoring.signed_files import check_files
from ledger.database import Connection, Database, connect
from ledger.dump import check_empty, drop, load, programs, server_major, store_as_here
from ledger.embedded import EmbeddedPostgres
from ledger.errors import LedgerError, Refused, Unavailable
from ledger.keys import Keys
from ledger.migrate import APPLICATION_ROLE, BookRow, books, make_roles, migrate
from ledger.settings import Settings
from scripts.assembly import open_keystore, open_ledger, open_store, owner_connection
from scripts.configure import settings_from
from scripts.escrowed import Opener
from scripts.options import DataDir, Json
from scripts.output import INCOMPLETE, REFUTED, exits, progress, say, show
from scripts.restore import GiveUp, KeySheet
from scripts.vaults import Vaults

app = typer.Typer(help="Back up the ledger, prove a backup good, bring one back.")

Out = Annotated[Path, typer.Argument(help="Directory of backups; a new one is made in it.")]
Backup = Annotated[Path, typer.Argument(help="One backup: a directory with manifest.json.")]
Jobs = Annotated[int, typer.Option(min=1, max=64, help="Connections that copy at a time.")]
ChainEscrow = Annotated[
    Path | None, typer.Option(help="Escrow file, or a directory of them: checks old epochs, too.")
]
PassphraseFile = Annotated[Path | None, typer.Option(help="Opens the escrow.")]
PrivateKeyFile = Annotated[Path | None, typer.Option(help="32 bytes in hex; opens the escrow.")]


@app.command("make")
def make(out: Out, *, jobs: Jobs = 1, data: DataDir = None, as_json: Json = False) -> None:
    """Back up every Book while the servers run. Needs the owner, and the keystore to sign it."""
    with exits(as_json=as_json), _settings(data) as settings:
        _check_apart(out.resolve(), settings)
        with open_ledger(settings) as ledger, owner_connection(settings) as owner:
            path, manifest = make_backup(
                ledger.shelf,
                owner,
                str(settings.owner_database_url),
                ledger.keys,
                out.resolve(),
                jobs=jobs,
                progress=say,
            )
        lines = [f"{path}: {manifest.size_bytes} bytes"]
        lines += [f"  {one.name:24} {one.size} entries" for one in manifest.books]
        lines.append("it holds no key of the keystore; without the keystore it opens nothing")
        show({"backup": str(path), **_told(manifest)}, "\n".join(lines), as_json=as_json)


@app.command("keys")
def keys_(out: Out, *, data: DataDir = None, as_json: Json = False) -> None:
    """Write how every data subject's key is wrapped now: older backups need it after an erasure."""
    with exits(as_json=as_json), _settings(data) as settings:
        _check_apart(out.resolve(), settings)
        with open_ledger(settings) as ledger:
            rows = list(ledger.shelf.rows().values())
            sheet = make_sheet(ledger.database, rows, ledger.keys, out.resolve())
        names = [row.name for row in rows]
        text = f"{sheet.directory}: the keys' wrapping of {', '.join(names)}"
        show({"sheet": str(sheet.directory), "books": names}, text, as_json=as_json)


@app.command("verify")
def verify(
    backup: Backup,
    chain_escrow: ChainEscrow = None,
    escrow_passphrase_file: PassphraseFile = None,
    auditor_private_key_file: PrivateKeyFile = None,
    *,
    jobs: Jobs = 1,
    data: DataDir = None,
    as_json: Json = False,
) -> None:
    """Restore a backup into a scratch PostgreSQL and derive every root again.

    Nothing of the ledger is written. The scratch needs the space of the database, below the
    directory for temporary files (TMPDIR), and is deleted afterwards.
    """
    opener = Opener(passphrase_file=escrow_passphrase_file, key_file=auditor_private_key_file)
    with exits(as_json=as_json), _settings(data) as settings:
        keys = open_keystore(settings)
        manifest = _opened(backup, keys, quiet=as_json)
        with _present(settings) as present:
            store = open_store(settings, keys)
            ahead = compare_with_store(manifest, store=store, present=present)
        with (
            tempfile.TemporaryDirectory(prefix="sealtrail-verify-") as directory,
            EmbeddedPostgres(Path(directory) / "postgres") as scratch,
            connect(scratch.url()) as owner,
        ):
            _load(backup, manifest, owner, scratch.url(), jobs=jobs)
            with Database(scratch.url(user=APPLICATION_ROLE)) as database:
                first_keys = _first_keys(opener, chain_escrow, owner)
                check = BackupCheck(
                    manifest, database=database, owner=owner, keys=keys, first_keys=first_keys
                )
                found = _examined(check, quiet=as_json)
            lost = _lost(backup, manifest, owner, keys)
        _tell(manifest, found, ahead, lost, as_json=as_json)


@app.command("restore")
def restore(
    backup: Backup,
    key_sheet: KeySheet = None,
    *,
    give_up_contents: GiveUp = False,
    jobs: Jobs = 1,
    data: DataDir = None,
    as_json: Json = False,
) -> None:
    """Bring a backup into an empty database, check it there, and say how the ledger goes on.

    The keystore and the checkpoint store stay as they are. The newest key sheet beside the backup
    is taken along. `sealtrail-server restore --accept` then opens a new incarnation over what was
    lost since.
    """
    with exits(as_json=as_json), _settings(data) as settings:
        keys = open_keystore(settings)
        if settings.database_url is None:
            raise Refused("SEALTRAIL_DATABASE_URL is not set")
        with owner_connection(settings) as owner, Database(settings.database_url) as database:
            check_empty(owner)
            manifest = _opened(backup, keys, quiet=as_json)
            if key_sheet is None:
                newest = newest_sheet(backup.resolve().parent, keys, since=manifest.made)
                key_sheet = None if newest is None else newest.directory
            vaults = Vaults(keys, key_sheet, give_up=give_up_contents)
            make_roles(owner, manifest.schemas)
            _check_login(database)
            try:
                _load(backup, manifest, owner, str(settings.owner_database_url), jobs=jobs)
                with owner.transaction(force_rollback=True):  # Refused now, and not at --accept.
                    _catch_up(vaults, owner, books(owner))
            except LedgerError:
                drop(owner, ["sealtrail", *manifest.schemas])  # It was empty before.
                raise
            check = BackupCheck(manifest, database=database, owner=owner, keys=keys)
            found = _examined(check, quiet=as_json)
            store = open_store(settings, keys)
            verdicts = {
                row.name: survey(row, database=database, keys=keys, store=store).verdict
                for row in books(owner)
            }
            # What the log lost it cannot explain: those Books catch up when they are opened anew.
            whole = [row for row in books(owner) if verdicts[row.name] in ("extends", "unsigned")]
            with owner.transaction():
                _catch_up(vaults, owner, whole)
            for row in whole:
                vaults.reindex(database, row)
        _tell_restored(manifest, found, verdicts, key_sheet, as_json=as_json)


@contextlib.contextmanager
def _settings(data: Path | None) -> Iterator[Settings]:
    """Yield the settings; of a ledger of `dev` with its PostgreSQL running."""
    settings = settings_from(data)
    if data is None:
        yield settings
        return
    with EmbeddedPostgres(data.resolve() / "postgres") as postgres:
        yield replace(
            settings,
            database_url=postgres.url(user=APPLICATION_ROLE),
            owner_database_url=postgres.url(),
        )


def _check_apart(out: Path, settings: Settings) -> None:
    """Refuse a place whose own backup would take keys and backups along, or rewind the store."""
    for name, place in (
        ("SEALTRAIL_KEYSTORE", settings.keystore),
        ("SEALTRAIL_CHECKPOINT_STORE", settings.checkpoint_store),
    ):
        if out.is_relative_to(place.resolve()) or place.resolve().is_relative_to(out):
            raise Refused(f"backups must not share a directory with {name}")


@contextlib.contextmanager
def _present(settings: Settings) -> Iterator[Database | None]:
    """Yield the ledger's own database, if it is there: a backup may outlive it."""
    if settings.database_url is None:
        yield None
        return
    with Database(settings.database_url) as database:
        try:
            with database.connection():
                pass
        except Unavailable:
            yield None
            return
        yield database


def _check_login(database: Database) -> None:
    try:
        with database.connection():
            pass
    except Unavailable as error:
        raise Unavailable(
            f"the role {APPLICATION_ROLE} cannot log in yet: give it a password (ALTER ROLE) and"
            f" run this again; nothing was restored ({error})"
        ) from None


def _opened(backup: Path, keys: Keys, *, quiet: bool) -> Manifest:
    manifest = open_backup(backup, keys)
    with progress("digests", quiet=quiet) as update:
        check_files(backup, manifest.signed, update)
    return manifest


def _load(backup: Path, manifest: Manifest, owner: Connection, url: str, *, jobs: int) -> None:
    make_roles(owner, manifest.schemas)
    using = programs(max(manifest.programs, server_major(owner)))
    say(f"pg_restore {using.major}: {manifest.size_bytes} bytes")
    load(using, url, database_of(backup), jobs=jobs)
    store_as_here(owner, [state.schema for state in manifest.books])
    for line in migrate(owner):
        say(line)


def _lost(backup: Path, manifest: Manifest, owner: Connection, keys: Keys) -> dict[str, int]:
    """Return for each Book how many contents nobody could open after a restore.

    A data subject counts once, and so does each artifact of the tenant's own.
    """
    sheet = newest_sheet(backup.resolve().parent, keys, since=manifest.made)
    vaults = Vaults(keys, None if sheet is None else sheet.directory, give_up=True)
    with owner.transaction(force_rollback=True):
        return {row.name: vaults.catch_up(owner, row).lost for row in books(owner)}


def _catch_up(vaults: Vaults, owner: Connection, rows: Iterable[BookRow]) -> None:
    for row in rows:
        vaults.catch_up(owner, row)


def _first_keys(opener: Opener, escrow: Path | None, owner: Connection) -> Mapping[str, bytes]:
    origins = [origin for row in books(owner) for origin in row.origins]
    return opener.first_keys(escrow, origins)


def _examined(check: BackupCheck, *, quiet: bool) -> list[BookFound]:
    with contextlib.ExitStack() as stack:
        return list(
            check.run(lambda name: stack.enter_context(progress(f"fsck {name}", quiet=quiet)))
        )


def _told(manifest: Manifest) -> dict[str, Any]:
    return {
        "made": manifest.made,
        "bytes": manifest.size_bytes,
        "books": [
            {"book": one.name, "origin": one.origin, "size": one.size, "root": _root(one.root)}
            for one in manifest.books
        ],
    }


def _row(found: BookFound) -> dict[str, Any]:
    return {
        "book": found.state.name,
        "origin": found.state.origin,
        "size": found.state.size,
        "root": found.root,
        "signed": found.signed,
        "damage": list(findings_json(list(found.damage))),
        "not_checked": list(found.not_checked),
    }


def _lines(found: list[BookFound]) -> list[str]:
    lines = []
    for one in found:
        state = f"{len(one.damage)} damaged" if one.damage else "as it was signed"
        lines.append(f"{one.state.name:24} {one.state.size} entries, {state}, root {one.root}")
        lines += [f"  {finding.sentence}" for finding in one.damage]
        lines += [f"  NOT CHECKED, but under the checkpoints: {what}" for what in one.not_checked]
    return lines


def _tell(
    manifest: Manifest,
    found: list[BookFound],
    ahead: Mapping[str, str],
    lost: Mapping[str, int],
    *,
    as_json: bool,
) -> None:
    rows = [
        {**_row(one), "present": ahead[one.state.name], "lost_contents": lost[one.state.name]}
        for one in found
    ]
    lines = [f"made {manifest.made}", *_lines(found)]
    lines += [f"{name:24} {said}" for name, said in ahead.items()]
    lines += [
        f"{name:24} {count} contents need a newer key sheet (`backup keys`)"
        for name, count in lost.items()
        if count
    ]
    show({**_told(manifest), "books": rows}, "\n".join(lines), as_json=as_json)
    if any(one.damage for one in found):
        raise typer.Exit(REFUTED)
    if any(lost.values()):
        raise typer.Exit(INCOMPLETE)


def _tell_restored(
    manifest: Manifest,
    found: list[BookFound],
    verdicts: Mapping[str, str],
    sheet: Path | None,
    *,
    as_json: bool,
) -> None:
    rows = [{**_row(one), "verdict": verdicts[one.state.name]} for one in found]
    lines = [f"restored what was backed up at {manifest.made}", *_lines(found)]
    lines += [f"{name:24} {verdict}" for name, verdict in verdicts.items()]
    ended = set(verdicts.values()) <= {"extends"}
    if not ended:
        lines.append("`sealtrail-server restore` says what was lost; --accept goes on without it")
        if sheet is not None:
            lines.append(f"  --accept needs --key-sheet {sheet}")
    told = {"made": manifest.made, "key_sheet": None if sheet is None else str(sheet)}
    show({**told, "books": rows}, "\n".join(lines), as_json=as_json)
    if any(one.damage for one in found):
        raise typer.Exit(REFUTED)
    if not ended:
        raise typer.Exit(INCOMPLETE)


def _root(root: bytes) -> str:
    return f"sha256:{root.hex()}"
