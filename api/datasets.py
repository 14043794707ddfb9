# SPDX-License-Identifier: GPL-3.0-or-later
"""Training sets over HTTP: a pipeline sends the members and gets the sealed set's receipt.

The body is NDJSON, a line for each member, and is read while the members are looked up; it is never
whole in memory. Query parameters name the set and its version. Who stands behind a pipeline says a
header, for an address ends in logs.
"""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from threading import BoundedSemaphore
from typing import Annotated, Any, Final
from urllib.parse import unquote

from fastapi import APIRouter, Header, Query, Request, Response

from anchoring.dataset import By, Datasets, Sealed
from anchoring.dataset_build import Order
from anchoring.dataset_manifest import store
from anchoring.dataset_members import read_members
from anchoring.receipt import stored_receipt
from anchoring.shelf import Book
from api.identity import identify, own_book
from api.state import AppState, State
from api.uploads import Incoming
from ledger.errors import FieldError, Forbidden, MalformedEvent, NotFound, Overloaded, Refused
from ledger.request import Identity

router = APIRouter(tags=["datasets"])

_NDJSON: Final = "application/x-ndjson"
_HEADER: Final = "/headers/sealtrail-on-behalf-of"
_PERSON_MAX: Final = 256

#: Sealing waits for its body and for the database; it takes nobody else's thread.
_PLACES_MAX: Final = 2
_threads = ThreadPoolExecutor(_PLACES_MAX, thread_name_prefix="dataset")
_places = BoundedSemaphore(_PLACES_MAX)

_BODY: Final[dict[str, Any]] = {
    "requestBody": {
        "required": True,
        "content": {_NDJSON: {"schema": {"type": "string"}}},
    }
}


class MembersType(Refused):
    """The members of a set are sent as application/x-ndjson."""

    status = 415
    problem = "members-type"


@router.post("/datasets", status_code=201, openapi_extra=_BODY)
async def seal_dataset(
    request: Request,
    app: AppState,
    response: Response,
    *,
    dataset: Annotated[str, Query(max_length=128)],
    version: Annotated[str, Query(max_length=64)],
    supersedes: Annotated[str | None, Query(max_length=64)] = None,
    exclusions_digest: Annotated[str | None, Query(max_length=71)] = None,
    cyclonedx_digest: Annotated[str | None, Query(max_length=71)] = None,
    sealtrail_on_behalf_of: Annotated[str | None, Header()] = None,
    authorization: Annotated[str | None, Header(include_in_schema=False)] = None,
) -> dict[str, Any]:
    """Seal a version of a training set over ingested assets; safe to repeat (then 200).

    Each line is `{"asset_id": …}`, and may name `sha256` and `pixel_sha256`, which must agree with
    the asset's INGEST. A wrong line refuses the whole set and is named by its number.
    """
    order = Order(
        id=dataset,
        version=version,
        supersedes=supersedes,
        exclusions_digest=exclusions_digest,
        cyclonedx_digest=cyclonedx_digest,
    )
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != _NDJSON:
        raise MembersType
    loop = asyncio.get_running_loop()
    incoming = Incoming(request, loop)

    def work() -> tuple[Sealed, dict[str, Any]]:
        try:
            identity = identify(app.credentials, authorization)
            book = _main(app, identity, request.path_params.get("book"))
            by = _by(app, identity, sealtrail_on_behalf_of)
            sealed = Datasets(book).seal(order, read_members(incoming.pieces()), by)
            return sealed, _told(app, book, sealed, identity)
        finally:
            _places.release()

    if not _places.acquire(blocking=False):
        raise Overloaded("other sets are being sealed; send the same request again")
    # Shielded: a thread cannot be broken off. It ends with the body, which has limits of its own.
    sealed, told = await asyncio.shield(loop.run_in_executor(_threads, work))
    if sealed.repeat:
        response.status_code = 200
        response.headers["sealtrail-repeat"] = "true"
    return told


def _told(app: State, book: Book, sealed: Sealed, identity: Identity) -> dict[str, Any]:
    receipt = stored_receipt(book, book.reader.at(sealed.position), {})
    told: dict[str, Any] = {"dataset": sealed.body, "receipt": receipt.json(), "artifacts": []}
    if app.storeroom is not None:
        told["artifacts"] = store(
            app.storeroom.of(book),
            book,
            sealed.number,
            sealed.event_id,
            perceptual="perceptual_count" in sealed.body,
            by=identity.credential,
        )
    return told


def _main(app: State, identity: Identity, name: str | None) -> Book:
    if identity.role != "pipeline":
        raise Forbidden("an auditor's credential reads and does not record")
    book = own_book(app.shelf, identity, name)
    if book.row.kind != "main":
        raise NotFound("training sets are in the main Book of a tenant")
    return book


def _by(app: State, identity: Identity, header: str | None) -> By:
    """Return who seals; a pipeline names the natural person for whom it acts."""
    if identity.kind == "person":
        if header is not None:
            raise _wrong("person-from-token", "this token is a person's; leave it out")
        actor = {"kind": "human", "credential": identity.credential}
        return By(actor=actor, person=identity.name)
    if header is None:
        raise _wrong("person-missing", "a pipeline names the natural person for whom it acts")
    name = unquote(header)
    if not 1 <= len(name) <= _PERSON_MAX or not name.isprintable() or not name.strip():
        raise _wrong("person", "a person's id has 1 to 256 printable characters, percent-encoded")
    known = app.credentials.pipelines(identity.tenant)
    if name.strip().casefold() in {one.casefold() for one in known}:
        raise _wrong("person-is-pipeline", "this name is a pipeline's; name the natural person")
    return By(actor={"kind": "service", "credential": identity.credential}, person=name)


def _wrong(rule: str, told: str) -> MalformedEvent:
    return MalformedEvent(errors=[FieldError(_HEADER, rule, told)])
