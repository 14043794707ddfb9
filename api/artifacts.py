# SPDX-License-Identifier: GPL-3.0-or-later
"""Content over HTTP: announced and uploaded by pipelines, looked at and escalated by auditors.

    POST  /artifacts                      a pipeline says what will come; answers an upload link
    HEAD  /artifacts/{id}/upload          how much of it is here                   tus 1.0, core
    PATCH /artifacts/{id}/upload          the rest of it, or some of the rest
    GET   /artifacts/{id}                 what is known of it                      ┐
    GET   /artifacts/{id}/preview         the small copy: routine work             │ each is a look
    POST  /artifacts/{id}/escalations     why the full content is needed: a link   │
    GET   /artifacts/{id}/content         the content itself, by that link alone   ┘

A link is signed, is for one artifact and one deed, and expires. It needs no token, so it can be
given to a browser or an uploader; its use is recorded as that of the credential that asked for it,
and ends when that is revoked.
"""

from typing import Annotated, Any, Final
from uuid import UUID

from fastapi import APIRouter, Body, Header, Query, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict, Field

from anchoring.shelf import Book
from api.artifact_links import Link, Presented, granted, link_to, still
from api.identity import identify, own_book
from api.looks import UNSTATED
from api.state import AppState, AuditorLook, Look, State, book_in_public
from api.uploads import receive
from ledger import clock
from ledger.archive.artifacts import CONTENT_MAX, Artifacts
from ledger.archive.picture import MEDIA_TYPES
from ledger.archive.rows import Artifact
from ledger.errors import FieldError, Forbidden, MalformedEvent, NotFound, Unauthenticated
from ledger.request import UUID7, Identity

router = APIRouter(tags=["artifacts"])

_TUS: Final = {"tus-resumable": "1.0.0", "cache-control": "no-store"}
_UPLOAD: Final[dict[str, Any]] = {
    "requestBody": {
        "required": True,
        "content": {"application/offset+octet-stream": {"schema": {"type": "string"}}},
    },
    "parameters": [
        {
            "name": "Upload-Offset",
            "in": "header",
            "required": True,
            "schema": {"type": "integer", "minimum": 0},
        }
    ],
}
_LISTED: Final = 100
_FIRST: Final = UUID(int=0)


class NewArtifact(BaseModel):
    """Content that is to come: where an event names its digest, and how large it is."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    event_id: str = Field(max_length=36)
    name: str = Field(min_length=1, max_length=128)
    size: int = Field(ge=0, le=CONTENT_MAX)
    media_type: str = Field(pattern=r"^[a-z0-9][a-z0-9.+-]{0,62}/[a-z0-9][a-z0-9.+-]{0,62}$")


class Escalation(BaseModel):
    """The full content is wanted; what for says the header Sealtrail-Purpose."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    expires_s: int | None = Field(default=None, ge=1, le=86_400)


Authorization = Annotated[str | None, Header(include_in_schema=False)]


@router.post("/artifacts", status_code=201)
def announce_artifact(
    request: Request,
    app: AppState,
    response: Response,
    new: Annotated[NewArtifact, Body()],
    authorization: Authorization = None,
) -> dict[str, Any]:
    """Announce content, and get a link to upload it to; safe to repeat, also for a fresh link."""
    identity = _pipeline(identify(app.credentials, authorization))
    book = _main(own_book(app.shelf, identity, request.path_params.get("book")))
    if not UUID7.fullmatch(new.event_id):
        raise MalformedEvent(
            errors=[FieldError("/event_id", "uuid7", "an event_id is a UUID of version 7")]
        )
    artifacts = _artifacts(app, book)
    one = artifacts.announce(
        new.event_id,
        new.name,
        size=new.size,
        media_type=new.media_type,
        credential=identity.credential,
    )
    link = link_to(app, book, one, "upload", identity, purpose="upload")
    response.headers["location"] = link["url"]
    return {**_shown(one), "offset": artifacts.offset(one), "upload": link}


@router.get("/artifacts/{artifact_id}/upload", status_code=204, response_class=Response)
def upload_offset(
    request: Request,
    app: AppState,
    artifact_id: str,
    link: Link,
    authorization: Authorization = None,
) -> Response:
    """Say how much of an upload is here (tus: HEAD)."""
    book = _uploader(request, app, artifact_id, link, authorization)
    artifacts = _artifacts(app, book)
    return _progress(artifacts, artifacts.rows.find(_id(artifact_id)))


@router.patch(
    "/artifacts/{artifact_id}/upload",
    status_code=204,
    response_class=Response,
    openapi_extra=_UPLOAD,
)
async def upload(
    request: Request,
    app: AppState,
    artifact_id: str,
    link: Link,
    authorization: Authorization = None,
) -> Response:
    """Take content from an offset on (tus: PATCH); the last byte archives it before the answer.

    What arrived before a connection broke is kept. 422 `artifact-digest`: these are not the bytes
    that the event names, and the upload begins again.
    """

    def arrange() -> tuple[Artifacts, Artifact]:
        artifacts = _artifacts(app, _uploader(request, app, artifact_id, link, authorization))
        return artifacts, artifacts.rows.find(_id(artifact_id))

    artifacts, one = await receive(request, arrange)
    return _progress(artifacts, one)


@router.get("/artifacts")
def artifacts_in_state(
    app: AppState,
    looking: AuditorLook,
    state: Annotated[str, Query(pattern="^(announced|missed|stored|erased|expired)$")],
    after: Annotated[str | None, Query(max_length=36)] = None,
) -> dict[str, Any]:
    """List artifacts in a state, a hundred at a time, oldest first; `missed` is what is lacking."""
    rows = _artifacts(app, _main(looking.book)).rows
    if after is not None and not UUID7.fullmatch(after):
        told = "the artifact_id after which the list goes on"
        raise MalformedEvent(errors=[FieldError("/query/after", "uuid7", told)])
    first = _FIRST if after is None else UUID(after)
    found = rows.in_state(state, after=first, limit=_LISTED)  # type: ignore[arg-type]  # pattern
    _note(app, looking, "/v1/artifacts", found)
    return {"artifacts": [_shown(one) for one in found]}


@router.get("/artifacts/{artifact_id}")
def artifact(app: AppState, looking: AuditorLook, artifact_id: str) -> dict[str, Any]:
    """Return what is known of an artifact."""
    one = _artifacts(app, _main(looking.book)).rows.find(_id(artifact_id))
    _note(app, looking, "/v1/artifacts/{id}", [one])
    return _shown(one)


@router.get("/artifacts/{artifact_id}/preview", response_class=Response)
def preview(app: AppState, looking: AuditorLook, artifact_id: str) -> Response:
    """Return the small copy of a picture: JPEG, at most 256 x 256; its pHash is in a header."""
    artifacts = _artifacts(app, _main(looking.book))
    one = artifacts.rows.find(_id(artifact_id))
    data, phash, said = artifacts.preview(one)
    _note(app, looking, "/v1/artifacts/{id}/preview", [one], fields=[f"{one.name}#preview"])
    headers = {
        "cache-control": "no-store",
        "sealtrail-phash": phash.hex(),
        "sealtrail-dimensions": f"{said['width']}x{said['height']}",
    }
    return Response(data, media_type="image/jpeg", headers=headers)


@router.post("/artifacts/{artifact_id}/escalations", status_code=201)
def escalate(
    app: AppState, looking: AuditorLook, artifact_id: str, wanted: Annotated[Escalation, Body()]
) -> dict[str, Any]:
    """Ask for the full content, for a purpose that is stated, and get a link to it."""
    if looking.purpose == UNSTATED:
        told = "the full content is shown for a purpose only: send Sealtrail-Purpose"
        raise MalformedEvent(errors=[FieldError("/headers/sealtrail-purpose", "required", told)])
    if looking.identity.kind != "person":
        raise Forbidden("the full content is asked for by a person, with a token of theirs")
    book = _main(looking.book)
    artifacts = _artifacts(app, book)
    one = artifacts.rows.find(_id(artifact_id))
    artifacts.content(one)  # Whether it can be opened at all is told before it is recorded.
    path = "/v1/artifacts/{id}/escalations"
    _note(app, looking, path, [one], fields=[one.name], exported=True)
    identity = looking.identity
    ttl_s = min(wanted.expires_s or app.link_ttl_s, app.link_ttl_s)
    return link_to(app, book, one, "download", identity, purpose=looking.purpose, ttl_s=ttl_s)


@router.get("/artifacts/{artifact_id}/content", response_class=Response)
def content(request: Request, app: AppState, artifact_id: str, link: Link) -> Response:
    """Return the full content, by the link of an escalation; each use is recorded as a look."""
    if link is None:
        raise Unauthenticated("the content is behind a link: POST …/escalations")
    book = _main(book_in_public(app, None, request.path_params.get("book")))
    grant = granted(app, book, "download", artifact_id, link)
    identity = still(app, book, grant)
    artifacts = _artifacts(app, book)
    one = artifacts.rows.find(_id(artifact_id))
    pieces = artifacts.content(one)
    first = next(pieces, b"")  # What cannot be opened at all is answered as a problem.
    looking = Look(identity=identity, book=book, purpose=grant.purpose)
    path = "/v1/artifacts/{id}/content"
    _note(app, looking, path, [one], fields=[one.name], exported=True)

    def whole() -> Any:
        yield first
        yield from pieces

    # A pipeline chose the type: in a browser nothing of it may run as a page of ours.
    shown = one.media_type if one.media_type in MEDIA_TYPES else "application/octet-stream"
    headers = {
        "cache-control": "no-store",
        "content-length": str(one.size),
        "content-disposition": f'attachment; filename="{one.artifact_id}"',
        "content-security-policy": "sandbox; default-src 'none'",
        "referrer-policy": "no-referrer",
    }
    return StreamingResponse(whole(), media_type=shown, headers=headers)


# What the endpoints have in common


def _artifacts(app: State, book: Book) -> Artifacts:
    if app.storeroom is None:
        raise NotFound("this ledger has no archive")
    return app.storeroom.of(book)


def _main(book: Book) -> Book:
    if book.row.kind != "main":
        raise NotFound("looks have no content of their own")
    return book


def _pipeline(identity: Identity) -> Identity:
    if identity.role != "pipeline":
        raise Forbidden("an auditor's credential reads and does not record")
    return identity


def _uploader(
    request: Request,
    app: State,
    artifact_id: str,
    link: Presented | None,
    authorization: str | None,
) -> Book:
    """Return the Book into which this request may upload: by its link, or by its token."""
    name = request.path_params.get("book")
    if link is None:
        identity = _pipeline(identify(app.credentials, authorization))
        return _main(own_book(app.shelf, identity, name))
    book = _main(book_in_public(app, None, name))
    still(app, book, granted(app, book, "upload", artifact_id, link))
    return book


def _progress(artifacts: Artifacts, one: Artifact) -> Response:
    headers = {
        **_TUS,
        "upload-offset": str(artifacts.offset(one)),
        "upload-length": str(one.size),
        "sealtrail-state": one.state,
    }
    return Response(status_code=204, headers=headers)


def _id(text: str) -> UUID:
    if not UUID7.fullmatch(text):
        raise NotFound("there is no such artifact in this Book")
    return UUID(text)


def _shown(one: Artifact) -> dict[str, Any]:
    """Return an artifact without anything that is its subject's."""
    shown = {
        "artifact_id": str(one.artifact_id),
        "event_id": one.event_id,
        "name": one.name,
        "state": one.state,
        "size": one.size,
        "media_type": one.media_type,
        "digest": None if one.digest is None else f"sha256:{one.digest.hex()}",
        "object": one.object,
        "announced_by": one.announced_by,
    }
    for name, ms in (
        ("announced_at", one.announced_at),
        ("deadline", one.deadline),
        ("missed_at", one.missed_at),
        ("stored_at", one.stored_at),
    ):
        shown[name] = None if ms is None else clock.rfc3339(ms)
    return {name: value for name, value in shown.items() if value is not None}


def _note(
    app: State,
    looking: Look,
    path: str,
    found: list[Artifact],
    *,
    fields: list[str] | None = None,
    exported: bool = False,
) -> None:
    looking.note(
        app.shelf,
        path,
        event_ids=sorted({one.event_id for one in found}),
        count=len(found),
        fields=fields or [],
        exported=exported,
    )
