# SPDX-License-Identifier: GPL-3.0-or-later
"""`restore`: what is left after a database was restored, and how the ledger goes on.

Without `--accept` it only looks. With it, each Book that does not hold all that was signed opens a
new incarnation: another origin, other keys, the surviving entries inherited.
"""

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from anchoring.incarnation import Opened, Restorer, Terms
from anchoring.restore_survey import Survey, survey
from anchoring.restored_receipt import Standing, judge_receipt
from ledger import durable
from ledger.database import Connection
from ledger.embedded import EmbeddedPostgres
from ledger.errors import Refused
from ledger.keys import Recipient, chain_key
from ledger.migrate import APPLICATION_ROLE, books, find_book, pending
from ledger.settings import Settings
from scripts.assembly import (
    Ledger,
    open_ledger,
    owner_connection,
    publish_trust,
    trust_of,
    tsa_roots_of,
)
from scripts.configure import settings_from
from scripts.escrowed import Opener
from scripts.keys import recipient_of, try_to_write
from scripts.options import BookName, DataDir, Json
from scripts.output import DONE, INCOMPLETE, REFUTED, exits, say, show
from scripts.vaults import Vaults

_MEANS: Final = {
    "extends": "holds all that was signed; nothing has to be done",
    "unsigned": "holds all that was signed; `--accept` finishes its new incarnation",
    "behind": "lacks signed entries at its end",
    "forked": "holds other entries than those that were signed",
    "closed": "is older than a restore that has closed its origin",
    "unfinished": "is being restored; `--accept` goes on with it",
    "forged": "has a head row that no process of this ledger wrote: no restore, find out",
    "store-lost": "cannot be compared: the checkpoint store has no word of its origin",
}
_SOUND: Final = ("extends", "unsigned")


Receipts = Annotated[
    list[Path] | None, typer.Option("--check-receipt", help="A client's receipt; repeatable.")
]
Reason = Annotated[str | None, typer.Option(help="A code that is recorded.")]
EscrowDir = Annotated[
    Path | None, typer.Option(help="Where the new escrow files go; take them away.")
]
AuditorKey = Annotated[
    str | None, typer.Option(help="The auditor's X25519 public key, 64 hex digits.")
]
PassphraseFile = Annotated[
    Path | None, typer.Option(help="Seals the new escrow files, and opens the old ones.")
]
ChainEscrow = Annotated[
    Path | None, typer.Option(help="Old escrow file, or a directory of them: checks old MACs.")
]
PrivateKeyFile = Annotated[Path | None, typer.Option(help="32 bytes in hex; opens the old escrow.")]
Accept = Annotated[
    bool, typer.Option("--accept", help="Open a new incarnation over what survives.")
]
KeySheet = Annotated[
    Path | None, typer.Option(help="The newest keys-… directory that `backup keys` has made.")
]
GiveUp = Annotated[
    bool, typer.Option("--give-up-contents", help="Though contents are lost without a key sheet.")
]
Unverified = Annotated[
    bool, typer.Option("--unverified-chain", help="Though nobody can check the head's tag.")
]
Force = Annotated[
    bool, typer.Option("--force-new-incarnation", help="Of one --book that needs none.")
]


def restore(  # noqa: PLR0917 - a command's options; nobody calls it by position
    receipts: Receipts = None,
    reason: Reason = None,
    escrow_dir: EscrowDir = None,
    auditor_key: AuditorKey = None,
    escrow_passphrase_file: PassphraseFile = None,
    chain_escrow: ChainEscrow = None,
    auditor_private_key_file: PrivateKeyFile = None,
    key_sheet: KeySheet = None,
    *,
    accept: Accept = False,
    unverified_chain: Unverified = False,
    force: Force = False,
    give_up_contents: GiveUp = False,
    data: DataDir = None,
    book: BookName = None,
    as_json: Json = False,
) -> None:
    """Show what survived a restore of the database, and open a new incarnation over it."""
    with exits(as_json=as_json), contextlib.ExitStack() as stack:
        settings = settings_from(data)
        if data is not None:
            # Of a ledger of `dev`: its PostgreSQL ends with `dev`, which must not run meanwhile.
            postgres = stack.enter_context(EmbeddedPostgres(data.resolve() / "postgres"))
            settings = replace(
                settings,
                database_url=postgres.url(user=APPLICATION_ROLE),
                owner_database_url=postgres.url(),
            )
            escrow_dir = escrow_dir or data / "escrow"
            if auditor_key is None and escrow_passphrase_file is None:
                escrow_passphrase_file = data / "escrow" / "passphrase"
        opener = Opener(passphrase_file=escrow_passphrase_file, key_file=auditor_private_key_file)
        with open_ledger(settings) as ledger:
            names = _names(ledger, book)
            if receipts:
                _tell_standings(ledger, names, receipts, as_json=as_json)
                return
            found = _look(ledger, names, opener, chain_escrow or settings.chain_escrow)
            if not accept:
                _tell(found, as_json=as_json)
                return
            if force and book is None:
                raise Refused("--force-new-incarnation is for one Book: add --book")
            recipient = recipient_of(auditor_key, escrow_passphrase_file)
            if escrow_dir is None:
                raise Refused("say where the new escrow files go: --escrow-dir")
            wanted = [one for one in found if book is not None or one.survey.verdict != "extends"]
            with owner_connection(settings) as owner:
                vaults = Vaults(ledger.keys, key_sheet, give_up=give_up_contents)
                desk = _Desk(ledger, owner, escrow_dir, recipient, vaults)
                terms = Terms(reason=reason, unverified_chain=unverified_chain, force=force)
                opened = [desk.open(one, terms) for one in wanted]
        _tell_opened(opened, settings, as_json=as_json)


@dataclass(frozen=True, slots=True)
class _Found:
    survey: Survey
    first_keys: dict[str, bytes]


def _names(ledger: Ledger, book: str | None) -> list[str]:
    with ledger.database.connection() as connection:
        missing = pending(connection)
        if missing:
            raise Refused(f"run `sealtrail-server migrate` first: {missing[0]}")
        return [book] if book is not None else [row.name for row in books(connection)]


def _look(
    ledger: Ledger, names: Sequence[str], opener: Opener, escrow: Path | None
) -> list[_Found]:
    found = []
    for name in names:
        with ledger.database.connection() as connection:
            row = find_book(connection, name)
        first_keys = opener.first_keys(escrow, row.origins)
        seen = survey(
            row,
            database=ledger.database,
            keys=ledger.keys,
            store=ledger.store,
            first_keys=first_keys,
        )
        found.append(_Found(seen, first_keys))
    return found


@dataclass(frozen=True, slots=True)
class _Desk:
    """Where incarnations are opened: with owner, keys, and a place for escrow files."""

    ledger: Ledger
    owner: Connection
    escrow_dir: Path
    recipient: Recipient
    vaults: Vaults

    def open(self, found: _Found, terms: Terms) -> Opened:
        self.escrow_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        try_to_write(self.escrow_dir)
        try_to_write(self.ledger.settings.trust_file.parent)
        name = found.survey.row.name
        restorer = Restorer(
            owner=self.owner,
            database=self.ledger.database,
            keys=self.ledger.keys,
            store=self.ledger.store,
            escrow=self._escrow,
            publish=self._publish,
            catch_up=self.vaults.catch_up,
            progress=lambda step: say(f"{name}: {step}"),
        )
        opened = restorer.open(name, replace(terms, first_keys=found.first_keys))
        self.vaults.reindex(self.ledger.database, opened.row)
        return opened

    def _escrow(self, origin: str) -> None:
        sealed = self.ledger.keys.escrow(chain_key(origin, 0), self.recipient)
        path = self.escrow_dir / f"{durable.safe_name(origin)}.json"
        durable.write_durably(path, sealed, mode=0o600)

    def _publish(self, origins: Sequence[str]) -> None:
        settings = self.ledger.settings
        trust = trust_of(self.ledger.keys, origins, tsa_roots_of(settings))
        publish_trust(settings.trust_file, trust)


def _tell(found: list[_Found], *, as_json: bool) -> None:
    rows = [_row(one.survey) for one in found]
    lines = []
    for one in found:
        seen = one.survey
        lines.append(f"{seen.row.name:24} {seen.head.size} entries: {_MEANS[seen.verdict]}")
        lines.append(f"  origin      {seen.row.origin}")
        lines.append(f"  head's tag  {seen.tag}")
        if seen.known is not None:
            signed = seen.known.checkpoint
            lines.append(f"  last signed {signed.size} entries, by {signed.origin}")
        if seen.orphaned is not None:
            begin, end = seen.orphaned
            some = "some of " if seen.verdict == "forked" else ""
            lines.append(f"  orphaned    receipts of {some}positions {begin} to {end - 1}")
        if seen.verdict not in (*_SOUND, "forged", "store-lost"):
            lines.append(f"  --accept    opens {seen.next_origin}")
    show({"books": rows}, "\n".join(lines), as_json=as_json)
    verdicts = {one.survey.verdict for one in found}
    if "forged" in verdicts:
        raise typer.Exit(REFUTED)
    if not verdicts <= {"extends"}:
        raise typer.Exit(INCOMPLETE)


def _row(seen: Survey) -> dict[str, Any]:
    known = None
    if seen.known is not None:
        known = {
            "origin": seen.known.checkpoint.origin,
            "size": seen.known.checkpoint.size,
            "root": f"sha256:{seen.known.checkpoint.root.hex()}",
            "note": seen.known.note.decode(),
            "from_store": seen.known.from_store,
        }
    return {
        "book": seen.row.name,
        "origin": seen.row.origin,
        "size": seen.head.size,
        "root": f"sha256:{seen.head.root.hex()}",
        "tag": seen.tag,
        "checkpoint": known,
        "verdict": seen.verdict,
        "agreed": seen.agreed,
        "orphaned": None if seen.orphaned is None else list(seen.orphaned),
        "next_origin": seen.next_origin,
    }


def _tell_opened(opened: list[Opened], settings: Settings, *, as_json: bool) -> None:
    rows = [
        {
            **_row(one.found),
            "origin": one.row.origin,
            "old_origin": one.row.incarnations[-1].old_origin,
            "position": one.position,
            "checkpoint_now": one.checkpoint.decode(),
        }
        for one in opened
    ]
    lines = [
        f"{one.row.name:24} goes on as {one.row.origin} with {one.position} inherited entries"
        for one in opened
    ]
    lines.append(f"trust  {settings.trust_file}: publish it where strangers look for it")
    lines.append("take the new escrow files off this machine; start the servers")
    text = "\n".join(lines) if opened else "every Book holds all that was signed"
    show({"opened": rows, "trust": str(settings.trust_file)}, text, as_json=as_json)


def _tell_standings(
    ledger: Ledger, names: Sequence[str], receipts: Sequence[Path], *, as_json: bool
) -> None:
    """Say of each receipt if its entry is still in the log."""
    shelf = [ledger.shelf.book(name) for name in names]
    found = [judge_receipt(path.read_bytes(), shelf) for path in receipts]
    rows = [{"file": str(path), **one.json()} for path, one in zip(receipts, found, strict=True)]
    lines = []
    for path, one in zip(receipts, found, strict=True):
        lines.append(f"{path}: {one.verdict}: {one.sentence}")
        lines += [f"  {line}" for line in one.checkpoints()]
    show({"receipts": rows}, "\n".join(lines), as_json=as_json)
    code = max((_EXITS[one.verdict] for one in found), key=_BADNESS.index, default=DONE)
    if code != DONE:
        raise typer.Exit(code)


_EXITS: Final[dict[Standing, int]] = {
    "in the log": DONE,
    "orphaned by restore": INCOMPLETE,
    "refuted": REFUTED,
}
_BADNESS: Final = (DONE, INCOMPLETE, REFUTED)
