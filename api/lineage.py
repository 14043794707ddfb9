# SPDX-License-Identifier: GPL-3.0-or-later
"""The calls of a request and the way of an asset, for auditors: each a look, before it is shown."""

from typing import Annotated, Any, Final, NamedTuple

from fastapi import APIRouter, Body, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from api.preference import JSON, TEXT, preferred
from api.state import AppState, AuditorLook, Look, State
from ledger.errors import FieldError, MalformedEvent, NotFound
from ledger.lineage import drawing, shown, walk
from ledger.lineage.edges import is_digest, is_thing
from ledger.lineage.found import Occurrence, Occurrences, occurrences
from ledger.lineage.tree import CALLS, CALLS_MAX, DEPTH, DEPTH_MAX, call_tree
from ledger.readmodel.follower import AsOf, catch_up

router = APIRouter(tags=["lineage"])

DOT: Final = "text/vnd.graphviz"
MERMAID: Final = "text/vnd.mermaid"
_DRAWINGS: Final = {
    TEXT: drawing.lineage_text,
    DOT: drawing.lineage_dot,
    MERMAID: drawing.lineage_mermaid,
}

Depth = Annotated[int, Query(ge=1, le=walk.DEPTH_MAX)]
Things = Annotated[int, Query(ge=1, le=walk.THINGS_MAX)]
Fan = Annotated[int, Query(ge=1, le=walk.FAN_MAX)]


class _Ask(NamedTuple):
    """Who asks, for how much, and by which way."""

    request: Request
    app: State
    looking: Look
    bounds: walk.Bounds
    path: str


class Wanted(BaseModel):
    """A digest to follow, kept out of addresses and the logs of proxies; and how far."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    digest: str = Field(max_length=71)
    depth: int = Field(default=walk.DEPTH, ge=1, le=walk.DEPTH_MAX)
    things: int = Field(default=walk.THINGS, ge=1, le=walk.THINGS_MAX)
    fan: int = Field(default=walk.FAN, ge=1, le=walk.FAN_MAX)


@router.get("/traces/{trace_id}/tree", response_model=None)
def trace_tree(
    request: Request,
    app: AppState,
    looking: AuditorLook,
    trace_id: str,
    *,
    below: Annotated[bool, Query(description="Only the call of this event, and below.")] = False,
    depth: Annotated[int, Query(ge=1, le=DEPTH_MAX)] = DEPTH,
    limit: Annotated[int, Query(ge=1, le=CALLS_MAX)] = CALLS,
) -> dict[str, Any] | Response:
    """Return the tree of calls of a trace id, or the one in which an event stands.

    JSON, or a drawing with `Accept: text/plain`.
    """
    as_of = caught_up(looking)
    path = "/v1/traces/{id}/tree"
    try:
        tree = call_tree(
            looking.book.database, looking.book.row.schema, trace_id, below=below, limit=limit
        )
    except NotFound:
        looking.note(app.shelf, path, count=0, size=as_of.position)
        raise
    ids = shown.event_ids(tree)
    looking.note(app.shelf, path, event_ids=ids, count=len(ids), size=as_of.position)
    if preferred(request.headers.get("accept", ""), JSON, TEXT) == TEXT:
        return Response(shown.tree_text(tree, depth=depth), media_type=TEXT)
    return {**as_of_json(as_of), **shown.tree_json(tree, depth=depth)}


@router.get("/assets/{digest}", response_model=None)
def asset_lineage(
    request: Request,
    app: AppState,
    looking: AuditorLook,
    digest: str,
    *,
    depth: Depth = walk.DEPTH,
    things: Things = walk.THINGS,
    fan: Fan = walk.FAN,
) -> dict[str, Any] | Response:
    """Return the way of an asset by a digest of its bytes or pixels, in both directions.

    JSON, or a drawing: `Accept: text/plain`, `text/vnd.graphviz` or `text/vnd.mermaid`. A personal
    digest is better sent to `POST /v1/assets:lineage`, as addresses end up in logs.
    """
    bounds = walk.Bounds(depth=depth, things=things, fan=fan)
    return _by_digest(_Ask(request, app, looking, bounds, "/v1/assets/{digest}"), digest)


@router.post("/assets:lineage", response_model=None)
def asset_lineage_posted(
    request: Request, app: AppState, looking: AuditorLook, wanted: Annotated[Wanted, Body()]
) -> dict[str, Any] | Response:
    """Like `GET /v1/assets/{digest}`."""
    bounds = walk.Bounds(depth=wanted.depth, things=wanted.things, fan=wanted.fan)
    return _by_digest(_Ask(request, app, looking, bounds, "/v1/assets:lineage"), wanted.digest)


@router.get("/assets", response_model=None)
def thing_lineage(
    request: Request,
    app: AppState,
    looking: AuditorLook,
    id_: Annotated[str, Query(alias="id", max_length=220)],
    *,
    depth: Depth = walk.DEPTH,
    things: Things = walk.THINGS,
    fan: Fan = walk.FAN,
) -> dict[str, Any] | Response:
    """Return the way of an asset by its id, or of another thing, such as `Model/…@3`."""
    name = id_ if is_thing(id_) else f"Asset/{id_}"
    bounds = walk.Bounds(depth=depth, things=things, fan=fan)
    found = Occurrences((Occurrence(name, "id", "", 0, None),), more=False)
    as_of = caught_up(looking)
    return _answer(_Ask(request, app, looking, bounds, "/v1/assets"), found, as_of)


def caught_up(looking: Look) -> AsOf:
    """Have the read model read what was acknowledged; returns up to where it has read."""
    return catch_up(looking.book.database, looking.book.row.schema, ["lineage"])


def as_of_json(as_of: AsOf) -> dict[str, int]:
    """Return up to which position was read, and how many recorded entries that lacks."""
    return {"as_of": as_of.position, "behind": as_of.behind}


def _by_digest(ask: _Ask, digest: str) -> dict[str, Any] | Response:
    if not is_digest(digest):
        detail = "an asset is asked for by `sha256:` and 64 lower-case hexadecimal digits"
        raise MalformedEvent(errors=[FieldError("/digest", "digest", detail)])
    as_of = caught_up(ask.looking)
    book = ask.looking.book
    found = occurrences(book.database, book.row.schema, book.vault, digest)
    return _answer(ask, found, as_of)


def _answer(ask: _Ask, found: Occurrences, as_of: AsOf) -> dict[str, Any] | Response:
    """Walk, enter the look, and answer in the form that is asked for."""
    looking = ask.looking
    roots = list(dict.fromkeys(one.thing for one in found.found))
    way = walk.lineage(looking.book.database, looking.book.row.schema, roots, ask.bounds)
    ids = walk.event_ids(way)
    looking.note(
        ask.app.shelf,
        ask.path,
        event_ids=ids,
        count=len(ids),
        size=as_of.position,
        fields=sorted({one.field for one in found.found if one.field is not None}),
    )
    if not ids:
        raise NotFound(
            "nothing in this Book has this name: neither in clear nor, as far as the vault has an"
            " index of it, sealed"
        )
    form = preferred(ask.request.headers.get("accept", ""), JSON, TEXT, DOT, MERMAID)
    if form != JSON:
        return Response(_DRAWINGS[form](way), media_type=form)
    occurs = [
        {
            "thing": one.thing,
            "what": one.what,
            "event_id": one.event_id,
            "position": one.position,
            **({} if one.field is None else {"sealed": one.field}),
        }
        for one in found.found
        if one.event_id
    ]
    return {
        **as_of_json(as_of),
        "found": occurs,
        "found_more": found.more,
        **drawing.lineage_json(way),
    }
