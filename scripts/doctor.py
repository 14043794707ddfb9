# SPDX-License-Identifier: GPL-3.0-or-later
"""`doctor`: is this installation what it promises to be? One line a check, and what to do."""

from collections.abc import Callable

import typer

from anchoring.checkpoint import verifier_key
from anchoring.night import Night
from anchoring.timestamp import obtain
from ledger import clock
from ledger.errors import IntegrityViolation, LedgerError, Refused
from ledger.migrate import pending
from scripts.assembly import Ledger, authorities, check_packages, open_ledger
from scripts.configure import settings_from
from scripts.options import DataDir, Json
from scripts.output import DONE, INCOMPLETE, REFUTED, exits, show
from scripts.serve import check_server
from sealtrail.verify.errors import VerifyError
from sealtrail.verify.trust import Trust

_Check = Callable[[Ledger], str]


def doctor(*, data: DataDir = None, as_json: Json = False) -> None:
    """Check packages, database, roles, keys, checkpoint store, authorities and anchors."""
    with exits(as_json=as_json), open_ledger(settings_from(data)) as ledger:
        found = [_row(name, check, ledger) for name, check in CHECKS]
        rows = [row for row, _ in found]
        text = "\n".join(
            f"{'ok  ' if row['ok'] else 'FAIL'} {row['check']:16} {row['found']}" for row in rows
        )
        show({"checks": rows}, text, as_json=as_json)
        codes = {code for _, code in found}
        if codes != {DONE}:
            raise typer.Exit(REFUTED if REFUTED in codes else INCOMPLETE)


def _row(name: str, check: _Check, ledger: Ledger) -> tuple[dict[str, object], int]:
    """Return what one check found, and the exit code that it asks for."""
    code = INCOMPLETE
    try:
        return {"check": name, "ok": True, "found": check(ledger)}, DONE
    except IntegrityViolation as error:
        found, code = f"{error.problem}: {error}", REFUTED
    except LedgerError as error:
        found = f"{error.problem}: {error}"
    except VerifyError as error:
        found = str(error)
    except Exception as error:  # noqa: BLE001 - whatever it is, the other checks are wanted, too
        found = f"failed: {type(error).__name__}"
    return {"check": name, "ok": False, "found": found}, code


def _packages(_: Ledger) -> str:
    check_packages()
    return "all ours"


def _server(ledger: Ledger) -> str:
    check_server(ledger)
    with ledger.database.connection() as connection:
        ledger.database.check_server(connection)
        standbys = connection.execute(
            "SELECT count(*) FILTER (WHERE sync_state = 'async') FROM pg_stat_replication"
        ).fetchone()
        missing = pending(connection)
    if missing:
        return f"waits for migrations: {', '.join(missing)}"
    if standbys is not None and standbys[0]:
        return f"{standbys[0]} asynchronous standbys: a failover to one loses acknowledged entries"
    return "a primary that syncs; the login owns nothing"


def _books(ledger: Ledger) -> str:
    names = list(ledger.shelf.rows())
    for name in names:
        book = ledger.shelf.book(name)
        book.notary.check(book.reader.head())
    return f"{len(names)} Books extend their stored checkpoints"


def _trust(ledger: Ledger) -> str:
    path = ledger.settings.trust_file
    try:
        published = Trust.parse(path.read_bytes())
    except OSError:
        raise Refused(f"{path} cannot be read; `keys init` writes it") from None
    for row in ledger.shelf.rows().values():
        if verifier_key(ledger.keys, row.origin) not in published.origins.get(row.origin, ()):
            raise Refused(f"{path} does not name the log key of {row.origin}")
    return f"{path} names every log"


def _separation(ledger: Ledger) -> str:
    settings = ledger.settings
    if settings.environment == "development":
        return "NOT FOR PRODUCTION: keys, database and checkpoint store share one disk"
    store, keys = (path.stat().st_dev for path in (settings.checkpoint_store, settings.keystore))
    if store == keys:
        return "checkpoint store and keystore share a file system"
    return "checkpoint store on another file system than the keys"


def _authorities(ledger: Ledger) -> str:
    now = clock.now()
    for authority in authorities(ledger.settings):
        obtain(authority, b"sealtrail doctor\n", now=now, not_before=clock.from_ms(0))
    names = [authority.name for authority in authorities(ledger.settings)]
    return f"stamped by {', '.join(names)}" if names else "none configured: nothing is time-stamped"


def _anchors(ledger: Ledger) -> str:
    waiting = 0
    for name in ledger.shelf.rows():
        night = Night(ledger.shelf.book(name), [])
        waiting += len(night.missing_days(ledger.database.now_ms()))
    return f"{waiting} days wait for an anchor"


CHECKS: tuple[tuple[str, _Check], ...] = (
    ("packages", _packages),
    ("database", _server),
    ("books", _books),
    ("trust", _trust),
    ("separation", _separation),
    ("authorities", _authorities),
    ("anchors", _anchors),
)
