# SPDX-License-Identifier: GPL-3.0-or-later
"""The owner's commands: migrate, make a tenant's Books, issue tokens, confirm a clock."""

import contextlib
from collections.abc import Iterator
from datetime import datetime
from typing import Annotated, Any, Literal

import typer

from ledger import access
from ledger.clock import parse_time, rfc3339
from ledger.database import Connection
from ledger.errors import Refused
from ledger.migrate import find_book, pending
from ledger.migrate import migrate as apply_migrations
from ledger.settings import Settings
from scripts.assembly import (
    confirm_clock,
    make_tenant,
    open_keystore,
    open_store,
    owner_connection,
)
from scripts.configure import settings_from
from scripts.options import DataDir, Json
from scripts.output import exits, say, show

token_app = typer.Typer(help="Issue and revoke credentials.", no_args_is_help=True)


def migrate(*, data: DataDir = None, as_json: Json = False) -> None:
    """Bring registry and Books to this version, one after the other; safe to repeat."""
    with exits(as_json=as_json), owner_connection(settings_from(data)) as owner:
        applied = []
        for line in apply_migrations(owner):
            say(line)
            applied.append(line)
        show({"applied": applied}, f"{len(applied)} migrations applied", as_json=as_json)


def init(
    tenant: Annotated[str, typer.Option(help="Lower case letters, digits and dashes.")],
    origin: Annotated[str, typer.Option(help="As given to `keys init`.")],
    *,
    data: DataDir = None,
    as_json: Json = False,
) -> None:
    """Make a tenant's two Books and sign their empty logs. Needs `keys init` and `migrate`."""
    with exits(as_json=as_json):
        settings = settings_from(data)
        keys = open_keystore(settings)
        with _current(settings) as owner:
            rows = make_tenant(
                owner, keys, open_store(settings, keys), tenant=tenant, origin=origin
            )
        made = [{"name": row.name, "origin": row.origin, "schema": row.schema} for row in rows]
        text = "\n".join(f"{row.name:24} {row.origin}" for row in rows)
        show({"books": made}, text, as_json=as_json)


def clock(
    book: Annotated[str, typer.Option(help="The Book whose writer reports clock-jump.")],
    until: Annotated[str, typer.Option(help="YYYY-MM-DDTHH:MM:SS.mmmZ: entries up to this time.")],
    *,
    data: DataDir = None,
    as_json: Json = False,
) -> None:
    """Confirm that the clock is right, so that a Book's time may move far ahead."""
    with exits(as_json=as_json), _current(settings_from(data)) as owner:
        try:
            until_ms = parse_time(until)
        except ValueError as error:
            raise Refused(f"--until: {error}") from error
        find_book(owner, book)
        confirm_clock(owner, book, until_ms)
        show({"book": book, "until": rfc3339(until_ms)}, "confirmed", as_json=as_json)


@token_app.command("issue")
def issue(
    tenant: Annotated[str, typer.Option()],
    role: Annotated[Literal["pipeline", "auditor"], typer.Option()],
    name: Annotated[str, typer.Option(help="A pipeline's name, or the person's subject id.")],
    *,
    person: Annotated[bool, typer.Option(help="The token is one natural person's.")] = False,
    data: DataDir = None,
    as_json: Json = False,
) -> None:
    """Make a token and print it, once: the database keeps its SHA-256 only."""
    if role == "auditor" and not person:
        raise typer.BadParameter("an auditor is a person: add --person")
    with exits(as_json=as_json), _current(settings_from(data)) as owner:
        find_book(owner, tenant)
        token = access.issue(
            owner, tenant=tenant, role=role, kind="person" if person else "pipeline", name=name
        )
        credential = access.credential_of(owner, token)
        say(f"credential {credential}; the token below is shown this once")
        show({"credential": credential, "token": token}, token, as_json=as_json)


@token_app.command("list")
def list_tokens(
    tenant: Annotated[str, typer.Option()], *, data: DataDir = None, as_json: Json = False
) -> None:
    """List a tenant's credentials by the ids that entries name; no token can be shown again."""
    with exits(as_json=as_json), _current(settings_from(data)) as owner:
        find_book(owner, tenant)
        rows = [_row(one) for one in access.credentials(owner, tenant)]
        lines = [
            f"{row['credential']}  {row['role']:8}  {row['kind']:8}  {row.get('name', '(erased)')}"
            + ("  revoked" if "revoked_at" in row else "")
            for row in rows
        ]
        show({"credentials": rows}, "\n".join(lines) or "no credentials", as_json=as_json)


@token_app.command("revoke")
def revoke(
    credential: Annotated[str, typer.Option(help="The credential's id, as entries name it.")],
    *,
    data: DataDir = None,
    as_json: Json = False,
) -> None:
    """Revoke a credential; servers follow within seconds."""
    with exits(as_json=as_json), _current(settings_from(data)) as owner:
        access.revoke(owner, credential)
        show({"revoked": credential}, "revoked", as_json=as_json)


@token_app.command("forget")
def forget(
    credential: Annotated[str, typer.Option(help="The credential's id, as entries name it.")],
    *,
    data: DataDir = None,
    as_json: Json = False,
) -> None:
    """Erase the person's name from a revoked credential; entries then name nobody."""
    with exits(as_json=as_json), _current(settings_from(data)) as owner:
        access.forget(owner, credential)
        show({"forgotten": credential}, "forgotten", as_json=as_json)


@contextlib.contextmanager
def _current(settings: Settings) -> Iterator[Connection]:
    """Connect as the owner of a database that is migrated to this version."""
    with owner_connection(settings) as owner:
        missing = pending(owner)
        if missing:
            raise Refused(f"run `sealtrail-server migrate` first: {missing[0]}")
        yield owner


def _row(one: access.Credential) -> dict[str, Any]:
    row = {
        "credential": one.credential,
        "tenant": one.tenant,
        "role": one.role,
        "kind": one.kind,
        "name": one.name,
        "created_at": _time(one.created_at),
        "revoked_at": _time(one.revoked_at),
    }
    return {name: value for name, value in row.items() if value is not None}


def _time(moment: datetime | None) -> str | None:
    return None if moment is None else rfc3339(int(moment.timestamp() * 1000))
