# SPDX-License-Identifier: GPL-3.0-or-later
"""`trace`, `lineage`, `upgrades`: look at the calls of a request, and at the way of an asset."""

from typing import Annotated, Any

import typer

from api.lineage import as_of_json
from ledger.errors import NotFound
from ledger.lineage import drawing, shown, walk
from ledger.lineage.edges import is_digest, is_thing
from ledger.lineage.found import occurrences
from ledger.lineage.tree import CALLS, CALLS_MAX, DEPTH, DEPTH_MAX, call_tree
from ledger.readmodel.follower import catch_up
from ledger.upgrades import ALARMING, Upgrade, upgrades
from scripts.looking import OneBook, Person, Purpose, access_line, looking_into
from scripts.options import DataDir, Json
from scripts.output import exits, say, show


def trace(
    id_: Annotated[str, typer.Argument(metavar="ID", help="A trace id, or an event of the tree.")],
    book: OneBook,
    person: Person,
    purpose: Purpose,
    *,
    below: Annotated[bool, typer.Option(help="Only the call of this event, and below.")] = False,
    depth: Annotated[int, typer.Option(min=1, max=DEPTH_MAX, help="Calls under calls.")] = DEPTH,
    limit: Annotated[int, typer.Option(min=1, max=CALLS_MAX, help="Calls to show.")] = CALLS,
    data: DataDir = None,
    as_json: Json = False,
) -> None:
    """Draw the tree of calls of a request. Entered in the access Book before it is shown."""
    with exits(as_json=as_json), looking_into(data, book, person, purpose) as looking:
        database, schema = looking.book.database, looking.book.row.schema
        as_of = catch_up(database, schema, ["lineage"])
        path = "sealtrail-server trace"
        try:
            tree = call_tree(database, schema, id_, below=below, limit=limit)
        except NotFound:
            looking.note(path, count=0, size=as_of.position)
            raise
        ids = shown.event_ids(tree)
        access = looking.note(path, event_ids=ids, count=len(ids), size=as_of.position)
        found = {
            **as_of_json(as_of),
            **shown.tree_json(tree, depth=depth),
            "access": access,
        }
        show(found, shown.tree_text(tree, depth=depth), as_json=as_json)
        if not as_json:
            say(access_line(access))


def lineage(
    name: Annotated[
        str, typer.Argument(help="A digest `sha256:…`, an asset's id, or a thing, as `Model/…@3`.")
    ],
    book: OneBook,
    person: Person,
    purpose: Purpose,
    *,
    dot: Annotated[bool, typer.Option("--dot", help="For Graphviz.")] = False,
    mermaid: Annotated[bool, typer.Option("--mermaid", help="For Markdown.")] = False,
    depth: Annotated[int, typer.Option(min=1, max=walk.DEPTH_MAX)] = walk.DEPTH,
    things: Annotated[int, typer.Option(min=1, max=walk.THINGS_MAX)] = walk.THINGS,
    fan: Annotated[int, typer.Option(min=1, max=walk.FAN_MAX)] = walk.FAN,
    data: DataDir = None,
    as_json: Json = False,
) -> None:
    """Draw what an asset was made of, and what became of it; a look at content."""
    with exits(as_json=as_json), looking_into(data, book, person, purpose) as looking:
        database, schema = looking.book.database, looking.book.row.schema
        as_of = catch_up(database, schema, ["lineage"])
        fields: list[str] = []
        if is_digest(name):
            found = occurrences(database, schema, looking.book.vault, name)
            roots = list(dict.fromkeys(one.thing for one in found.found))
            fields = sorted({one.field for one in found.found if one.field is not None})
        else:
            roots = [name if is_thing(name) else f"Asset/{name}"]
        bounds = walk.Bounds(depth=depth, things=things, fan=fan)
        way = walk.lineage(database, schema, roots, bounds)
        ids = walk.event_ids(way)
        access = looking.note(
            "sealtrail-server lineage",
            event_ids=ids,
            count=len(ids),
            size=as_of.position,
            fields=fields,
        )
        if not ids:
            raise NotFound("nothing in this Book has this name, in clear or in the vault's index")
        draw = drawing.lineage_text
        if dot or mermaid:
            draw = drawing.lineage_dot if dot else drawing.lineage_mermaid
        told = {**as_of_json(as_of), **drawing.lineage_json(way), "access": access}
        show(told, draw(way), as_json=as_json)
        if not as_json:
            say(access_line(access))


def list_upgrades(
    book: OneBook,
    person: Person,
    purpose: Purpose,
    *,
    alarming: Annotated[bool, typer.Option(help="Only what somebody has to look at.")] = False,
    data: DataDir = None,
    as_json: Json = False,
) -> None:
    """List which models have answered, and whether they are registered under a change ticket."""
    with exits(as_json=as_json), looking_into(data, book, person, purpose) as looking:
        database, schema = looking.book.database, looking.book.row.schema
        as_of = catch_up(database, schema, ["lineage", "search"])
        found = [
            one for one in upgrades(database, schema) if not alarming or one.standing in ALARMING
        ]
        looking.note("sealtrail-server upgrades", count=len(found), size=as_of.position)
        told: dict[str, Any] = {
            **as_of_json(as_of),
            "answers": [one.json() for one in found],
        }
        lines = [_line(one) for one in found]
        show(told, "\n".join(lines) or "no model has said who it is", as_json=as_json)


def _line(one: Upgrade) -> str:
    answered = one.answered
    asked = f"{answered.provider}/{answered.model} {answered.version}"
    named = " ".join(part for part in (answered.returned, answered.fingerprint) if part)
    facts = one.json()
    ticket = f", ticket {one.ticket}" if one.ticket is not None else ""
    return (
        f"{one.standing:14} {asked} answered as {named}: {answered.answers} times,"
        f" {facts['first']['at']} to {facts['last']['at']}{ticket}"
    )
