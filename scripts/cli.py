# SPDX-License-Identifier: GPL-3.0-or-later
"""`sealtrail-server`: every command of whoever runs a ledger.

Settings come from SEALTRAIL_* variables (docs/settings.md), or with `--data DIR` from a ledger that
`dev` made. Exit codes: 0 verified or done, 1 refuted, 2 usage or refused, 3 incomplete or
unavailable, 4 unreadable; 70 is a mistake of ours and no verdict.
"""

import sys
import traceback
from pathlib import Path
from typing import Annotated

import typer

from ledger.settings import default_data_dir
from scripts import (
    alerts,
    anchor,
    archive,
    attack,
    backup,
    cap_pack,
    completeness,
    dataset,
    desk,
    doctor,
    erase,
    fsck,
    hold,
    keys,
    lineage,
    packets,
    redaction,
    restore,
    retention,
    search,
    tenants,
    usage,
)
from scripts.assembly import authorities, open_ledger
from scripts.configure import log_to_stderr, settings_from
from scripts.dev import WARNING, Running, run
from scripts.options import DataDir, Json
from scripts.output import FAULT, exits, show
from scripts.scheduler import Scheduler, hold_signals, wait
from scripts.serve import bind, check_server, refuse_root, where
from scripts.serve import serve as serve_api

app = typer.Typer(
    name="sealtrail-server",
    help=__doc__,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.add_typer(keys.app, name="keys")
app.add_typer(hold.app, name="hold")
app.add_typer(redaction.app, name="redaction")
app.add_typer(search.app, name="search")
app.add_typer(usage.app, name="usage")
app.add_typer(erase.app, name="erase")
app.add_typer(anchor.app, name="anchor")
app.add_typer(alerts.app, name="alerts")
app.add_typer(dataset.app, name="dataset")
app.add_typer(archive.app, name="archive")
app.add_typer(backup.app, name="backup")
app.add_typer(packets.app, name="packet")
app.add_typer(retention.app, name="retention")
app.add_typer(tenants.token_app, name="token")
app.command("migrate")(tenants.migrate)
app.command("init")(tenants.init)
app.command("clock")(tenants.clock)
app.command("fsck")(fsck.fsck)
app.command("trace")(lineage.trace)
app.command("lineage")(lineage.lineage)
app.command("upgrades")(lineage.list_upgrades)
app.command("cap-pack")(cap_pack.cap_pack)
app.command("completeness")(completeness.day_completeness)
app.command("restore")(restore.restore)
app.command("doctor")(doctor.doctor)
app.command("reviews")(desk.reviews)
app.command("takedowns")(desk.takedowns)
app.command("attack")(attack.attack)


@app.command()
def dev(
    data: Annotated[Path | None, typer.Option(help="Directory of everything.")] = None,
    host: str = "127.0.0.1",
    port: Annotated[int, typer.Option(help="0 takes a free one.")] = 8400,
    *,
    as_json: Json = False,
) -> None:
    """Run a whole ledger here: database, authority, API, scheduler. NOT FOR PRODUCTION."""

    def announce(running: Running) -> None:
        text = (
            f"sealtrail {WARNING}\n"
            f"  api     {running.api}\n"
            f"  tokens  {running.data / 'tokens.json'}\n"
            f"  trust   {running.data / 'trust.json'}\n"
            "stop with Ctrl-C"
        )
        show(running.json(), text, as_json=as_json)

    with exits(as_json=as_json):
        run(data or default_data_dir(), host=host, port=port, announce=announce)


@app.command()
def serve(*, data: DataDir = None, as_json: Json = False) -> None:
    """Serve the API. Never as root."""
    with exits(as_json=as_json):
        refuse_root()
        settings = settings_from(data)
        log_to_stderr(settings)
        with open_ledger(settings) as ledger:
            check_server(ledger)
            listener = bind(settings.host, settings.port)
            address = where(settings.host, listener)
            serve_api(
                ledger,
                listener,
                ready=lambda: show({"api": address}, f"api {address}", as_json=as_json),
            )


@app.command()
def scheduler(*, data: DataDir = None, as_json: Json = False) -> None:
    """Run the night, the overdue sweep and the daily fsck of every Book, when they are due."""
    with exits(as_json=as_json):
        settings = settings_from(data)
        if settings.environment == "production":
            refuse_root()
        log_to_stderr(settings)
        hold_signals()
        with open_ledger(settings) as ledger:
            check_server(ledger)
            jobs = Scheduler(
                ledger.shelf, settings, authorities(settings), settings.database_url or ""
            )
            jobs.start()
            show({"scheduler": "started"}, "scheduler started", as_json=as_json)
            try:
                wait()
            finally:
                jobs.stop()


def main() -> None:
    """Run one command; a mistake of ours ends like no verdict."""
    try:
        app()
    except Exception:  # noqa: BLE001 - Python would end with 1, which here means `refuted`
        traceback.print_exc()
        sys.exit(FAULT)


if __name__ == "__main__":
    main()
