# SPDX-License-Identifier: GPL-3.0-or-later
"""`keys`: make a tenant's keys, escrow its first chain keys, publish the trust file, attest."""

from pathlib import Path
from typing import Annotated

import typer

from ledger import durable
from ledger.errors import Refused
from ledger.keys import AuditorKey, EscrowPassphrase, Recipient
from ledger.keystore import read_passphrase
from scripts import keys_rotate
from scripts.assembly import (
    make_keys,
    open_keystore,
    origins_of,
    publish_trust,
    trust_of,
    tsa_roots_of,
)
from scripts.configure import settings_from
from scripts.options import DataDir, Json
from scripts.output import exits, show

app = typer.Typer(help="Make, list, escrow and rotate keys.", no_args_is_help=True)
app.add_typer(keys_rotate.app, name="rotate")


@app.command()
def init(
    origin: Annotated[str, typer.Option(help="Origin of the main Book; never changed later.")],
    escrow_dir: Annotated[Path, typer.Option(help="Where the escrow files go; take them away.")],
    auditor_key: Annotated[
        str | None, typer.Option(help="The auditor's X25519 public key, 64 hex digits.")
    ] = None,
    escrow_passphrase_file: Annotated[
        Path | None, typer.Option(help="A passphrase (file, mode 0600) that leaves this machine.")
    ] = None,
    *,
    data: DataDir = None,
    as_json: Json = False,
) -> None:
    """Make log and chain keys for a tenant's two Books, their escrow files, and trust.json."""
    with exits(as_json=as_json):
        settings = settings_from(data)
        recipient = recipient_of(auditor_key, escrow_passphrase_file)
        roots = tsa_roots_of(settings)
        # First what can fail: a chain key is escrowed once, when it is made.
        escrow_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        try_to_write(escrow_dir)
        try_to_write(settings.trust_file.parent)
        keystore = open_keystore(settings)
        sealed = make_keys(keystore, origin, recipient)
        files = []
        for each, content in sealed.items():
            path = escrow_dir / f"{durable.safe_name(each)}.json"
            durable.write_durably(path, content, mode=0o600)
            files.append(str(path))
        trust = trust_of(keystore, origins_of(origin), roots)
        merged = publish_trust(settings.trust_file, trust)
        show(
            {"origins": list(merged.origins), "escrow": files, "trust": str(settings.trust_file)},
            f"keys for {', '.join(origins_of(origin))}\n"
            f"escrow {', '.join(files) or 'was made before'}: move it off this machine\n"
            f"trust  {settings.trust_file}: publish it where strangers look for it",
            as_json=as_json,
        )


@app.command("list")
def list_keys(*, data: DataDir = None, as_json: Json = False) -> None:
    """List the keys and what their keeper can promise about each."""
    with exits(as_json=as_json):
        keystore = open_keystore(settings_from(data))
        found = [keystore.attest(name) for name in keystore.names()]
        rows = [
            {
                "name": one.name,
                "kind": one.kind,
                "driver": one.driver,
                "exportable": one.exportable,
                "created": one.created,
                "note": one.note,
            }
            for one in found
        ]
        text = "\n".join(f"{one.kind:8} {one.created}  {one.name}" for one in found)
        show({"keys": rows}, text or "no keys", as_json=as_json)


def recipient_of(auditor_key: str | None, passphrase_file: Path | None) -> Recipient:
    """Return to whom a first chain key is sealed; raises Refused unless just one is named."""
    if (auditor_key is None) == (passphrase_file is None):
        raise Refused("give one of --auditor-key and --escrow-passphrase-file")
    if passphrase_file is not None:
        return EscrowPassphrase(passphrase=read_passphrase(passphrase_file))
    try:
        public_key = bytes.fromhex(auditor_key or "")
    except ValueError:
        public_key = b""
    if len(public_key) != 32:
        raise Refused("--auditor-key is an X25519 public key, 64 hex digits")
    return AuditorKey(public_key=public_key)


def try_to_write(directory: Path) -> None:
    """Return if a file can be made durable in this directory; raises OSError."""
    trial = directory / ".sealtrail-trial"
    durable.write_durably(trial, b"", mode=0o600)
    trial.unlink()
