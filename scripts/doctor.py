# SPDX-License-Identifier: GPL-3.0-or-later
"""`doctor`: is this installation what it promises to be? One line a check, and what to do."""

from collections.abc import Callable

import typer

from anchoring.arrears import arrears
from anchoring.checkpoint import verifier_key
from anchoring.timestamp import obtain
from ledger import clock
from ledger.archive.s3 import BucketArchive
from ledger.errors import IntegrityViolation, LedgerError, Refused, Unavailable
from scripts.assembly import Ledger, authorities, check_packages, open_archive, open_ledger
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


def _archive(ledger: Ledger) -> str:
    archive = open_archive(ledger.settings)
    if isinstance(archive, BucketArchive):
        archive.prove()
        return "a bucket that keeps a locked object from its own account"
    return "a directory: keeps this program from deleting too early, and nobody else"


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
    ledger.database.check_ready()
    if standbys is not None and standbys[0]:
        return f"{standbys[0]} asynchronous standbys: a failover to one loses acknowledged entries"
    return "a primary that syncs; the login owns nothing"


def _books(ledger: Ledger) -> str:
    ledger.store.check_ready()
    names = list(ledger.shelf.rows())
    broken: list[tuple[str, IntegrityViolation]] = []
    for name in names:
        try:
            book = ledger.shelf.book(name)
            book.notary.check(book.reader.head())
        except IntegrityViolation as error:
            broken.append((name, error))
    if broken:
        named = "; ".join(f"{name}: {error.problem}" for name, error in broken)
        raise type(broken[0][1])(f"{broken[0][1]} ({named})")
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
    now_ms = ledger.database.now_ms()
    days: set[str] = set()
    failures: dict[str, str] = {}
    for name in ledger.shelf.rows():
        owed = arrears(ledger.shelf.book(name), now_ms)
        days |= set(owed.days)
        failures |= owed.failures
    found = f"{len(days)} days wait for an anchor"
    if failures:
        found += "; " + ", ".join(f"{who} failed: {why}" for who, why in failures.items())
    # Yesterday may wait for its night; a day before that has waited through one.
    if min(days, default="9999") < clock.day_of(now_ms - clock.DAY_MS):
        raise Unavailable(found)
    return found


CHECKS: tuple[tuple[str, _Check], ...] = (
    ("packages", _packages),
    ("database", _server),
    ("books", _books),
    ("archive", _archive),
    ("trust", _trust),
    ("separation", _separation),
    ("authorities", _authorities),
    ("anchors", _anchors),
)
