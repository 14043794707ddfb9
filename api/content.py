# SPDX-License-Identifier: GPL-3.0-or-later
"""What only an auditor may read: entries, their proofs by event id, bundles of entries.

Each answer is preceded by an ACCESS entry in the tenant's access Book: also one that finds nothing,
and one that says that nothing has changed.
"""

import base64
import json
from collections.abc import Callable, Sequence
from hashlib import sha256
from typing import Any, TypeVar

from fastapi import APIRouter, Request, Response

from anchoring.receipt import digest_text, prove
from anchoring.shelf import Book
from api.caching import EACH_TIME, tagged
from api.disclosing import Disclose, disclosed, named_fields
from api.preference import JSON, TEXT, preferred
from api.public import hash_tile
from api.state import AppState, AuditorLook, Look, State, book_in_public, look, maybe_identity
from api.tiles import TilePath, bundle
from ledger.errors import FieldError, MalformedEvent, NotFound, Refused
from ledger.reader import Located, Stored
from ledger.request import UUID7
from ledger.retention.tiers import BodyCold, BodyExpired

router = APIRouter(tags=["content"])

_Found = TypeVar("_Found", Stored, Located)


@router.get("/events/{event_id}", response_class=Response)
def event(
    request: Request,
    app: AppState,
    looking: AuditorLook,
    event_id: str,
    disclose: Disclose = None,
) -> Response:
    """Return one entry: its exact bytes, what they say, where it lies, and the named fields."""
    names = named_fields(disclose)
    read = looking.book.reader.find
    stored = find_entry(app, looking, event_id, "/v1/events/{id}", read, fields=names)
    document = {
        "event_id": stored.entry.event_id,
        "origin": looking.book.origin,
        "position": stored.position,
        "leaf": digest_text(stored.leaf),
        "recorded_at": stored.entry.value["time"]["recorded"],
        "entry": base64.b64encode(stored.entry.data).decode(),
        "content": stored.entry.value,
    }
    if names:
        document |= disclosed(looking.book, stored.entry, names)
    data = json.dumps(document).encode()
    return tagged(
        request,
        data,
        tag=sha256(data).hexdigest() if names else stored.leaf.hex(),
        media_type="application/json",
        cache=EACH_TIME,
    )


@router.get("/events/{event_id}/proof", response_model=None)
def event_proof(
    request: Request, app: AppState, looking: AuditorLook, event_id: str
) -> dict[str, Any] | Response:
    """Return the proof of one entry under the newest checkpoint.

    JSON, or the C2SP tlog-proof itself with `Accept: text/plain`.
    """
    read = looking.book.reader.locate  # Leaf and path stay, wherever the bytes are.
    found = find_entry(app, looking, event_id, "/v1/events/{id}/proof", read)
    proof = prove(looking.book, found.position, found.leaf)
    if preferred(request.headers.get("accept", ""), JSON, TEXT) == TEXT:
        return Response(
            proof.tlog_proof(),
            media_type="text/plain; charset=utf-8",
            headers={"content-disposition": f'inline; filename="{found.position}.tlog-proof"'},
        )
    return {
        "event_id": found.event_id,
        "origin": looking.book.origin,
        "body": found.tier,
        **proof.json(),
    }


@router.get("/tile/{path:path}", response_class=Response)
def tile(request: Request, app: AppState, path: str) -> Response:
    """Return a tile (C2SP tlog-tiles). Hash tiles are public, bundles of entries are content."""
    wanted = TilePath.parse(path)
    authorization = request.headers.get("authorization")
    name = request.path_params.get("book")
    if wanted.level is not None:
        book = book_in_public(app, maybe_identity(app, authorization), name)
        return hash_tile(request, book, wanted)
    looking = look(app, name, authorization, request.headers.get("sealtrail-purpose"))
    return _bundle(request, app, looking, wanted)


def _bundle(request: Request, app: State, looking: Look, wanted: TilePath) -> Response:
    _, newest = looking.book.notary.refresh()
    wanted.check(newest.size)
    begin = wanted.index * 256
    found: list[Stored] = []
    refusal: Refused | None = None
    try:
        found = looking.book.reader.between(begin, begin + wanted.width)
    except (BodyCold, BodyExpired) as error:
        refusal = error
    looking.note(
        app.shelf,
        "/tile/entries/{n}",
        event_ids=[stored.entry.event_id for stored in found],
        count=len(found),
        size=newest.size,
        exported=True,
    )
    if refusal is not None:
        raise refusal
    data = bundle([stored.entry.data for stored in found])
    return tagged(
        request,
        data,
        tag=sha256(data).hexdigest(),
        media_type="application/octet-stream",
        cache=EACH_TIME,
    )


def find_entry(
    app: State,
    looking: Look,
    event_id: str,
    path: str,
    read: Callable[[str], _Found],
    *,
    fields: Sequence[str] = (),
) -> _Found:
    """Find an entry, then record the look, found or not, then hand it out."""
    if not UUID7.fullmatch(event_id):
        raise MalformedEvent(
            errors=[FieldError("/path/id", "uuid7", "an event_id is a UUID of version 7")]
        )
    book: Book = looking.book
    size = book.notary.size
    found: _Found | None = None
    refusal: Refused = NotFound("there is no entry with this event_id in this Book")
    try:
        found = read(event_id)
    except NotFound:
        pass
    except (BodyCold, BodyExpired) as error:
        refusal = error
    looking.note(
        app.shelf,
        path,
        event_ids=[event_id],
        count=0 if found is None else 1,
        size=size,
        fields=fields,
    )
    if found is None:
        raise refusal
    return found
