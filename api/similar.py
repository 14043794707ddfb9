# SPDX-License-Identifier: GPL-3.0-or-later
"""Was a picture like this ever here? For auditors, by a picture or by its hash.

A picture is decoded in a process of its own (ledger.archive.picture), hashed and thrown away. What
is looked for is recorded nowhere; which entries were found is entered in the access Book before
any of them is shown.
"""

import asyncio
from importlib.util import find_spec
from threading import BoundedSemaphore
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from anchoring.shelf import Book
from api import body
from api.state import AppState, AuditorLook, Look, State
from ledger import clock
from ledger.archive.picture import MEDIA_TYPES, look_at
from ledger.errors import FieldError, MalformedEvent, Overloaded, Refused, Unavailable
from ledger.reader import Stored
from ledger.readmodel.follower import catch_up
from ledger.retention.tiers import BodyCold, BodyExpired
from ledger.similar.hashes import BITS_MAX, LENGTHS, WITHIN, WITHIN_MAX, Hash, parse
from ledger.similar.index import SimilarProjection, pictures_of
from ledger.similar.search import Near, search

router = APIRouter(tags=["content"])

#: The largest picture that is looked for, in bytes.
PICTURE_MAX: Final = 16 * 2**20
_HASH_MAX: Final = 4_096

#: So many at a time in a process: decoding takes a core, and up to 1 GiB.
_PLACES: Final = BoundedSemaphore(2)

_NEAR: Final = (
    f"found are hashes within `within` of {BITS_MAX} bits, all of them; what was cropped, turned or"
    " mirrored is farther away"
)
_UNSEARCHED: Final = (
    "not searched: users' uploads and everything else whose digest or fingerprint is sealed,"
    " content that was never archived and came without fingerprints, flat areas of one colour"
)
LIMITS: Final = (
    "similar is not the same: a perceptual hash points to likely copies and proves nothing",
    _NEAR,
    _UNSEARCHED,
    "pictures are hashed as ISCC Image-Code and pHash; PDQ is compared only with PDQ that was sent",
)


class PictureType(Refused):
    """Send a picture under its media type, or a hash as application/json."""

    status = 415
    problem = "picture-type"


class HashingMissing(Unavailable):
    """This server cannot hash pictures; send a hash, or install sealtrail-server[images]."""

    problem = "hashing-missing"


class Wanted(BaseModel):
    """A perceptual hash, as in `fingerprints[]`."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    alg: str = Field(max_length=64)
    value: str = Field(max_length=512)


@router.post(
    "/assets:similar",
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {"schema": Wanted.model_json_schema()},
                **{
                    name: {"schema": {"type": "string", "format": "binary"}} for name in MEDIA_TYPES
                },
            },
        }
    },
)
async def similar_assets(
    request: Request,
    app: AppState,
    looking: AuditorLook,
    *,
    within: Annotated[int, Query(ge=0, le=WITHIN_MAX)] = WITHIN,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
) -> dict[str, Any]:
    """Return the assets whose pictures are near a picture or a hash, the nearest first.

    within: bits of 256; a shorter hash is compared in proportion. Nothing nearer is left out.
    """
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type == "application/json":
        data = await body.read(request.scope, request.receive, _HASH_MAX)
        return await asyncio.to_thread(_answer, app, looking, [_hash(data)], within, limit)
    if media_type not in MEDIA_TYPES:
        raise PictureType
    if find_spec("PIL") is None or find_spec("iscc_lib") is None:
        raise HashingMissing
    if not _PLACES.acquire(blocking=False):
        raise Overloaded("other pictures are being looked for; send the same request again")
    try:
        data = await body.read(request.scope, request.receive, PICTURE_MAX)
        wanted = await asyncio.to_thread(_hashes, data, media_type)
    finally:
        _PLACES.release()
    return await asyncio.to_thread(_answer, app, looking, wanted, within, limit)


def _answer(
    app: State, looking: Look, wanted: list[Hash], within: int, limit: int
) -> dict[str, Any]:
    book = looking.book
    schema, size = book.row.schema, book.notary.size
    as_of = catch_up(book.database, schema, [SimilarProjection.name])
    found = search(book.database, schema, wanted, within=within, limit=limit)
    shown = [told for one in found if (told := _told(book, one)) is not None]
    looking.note(
        app.shelf,
        "/v1/assets:similar",
        event_ids=sorted({one["event_id"] for one in shown}),
        count=len(shown),
        size=size,
    )
    return {
        "found": shown,
        "within": within,
        "as_of": as_of.position,
        "behind": as_of.behind,
        "limits": list(LIMITS),
    }


def _hash(data: bytes) -> Hash:
    try:
        sent = Wanted.model_validate(body.parse(data))
    except ValidationError:
        told = "send {alg, value} as they stand in fingerprints[]"
        raise MalformedEvent(errors=[FieldError("", "type", told)]) from None
    found = parse(sent.alg, sent.value)
    if found is None:
        told = f"a hash is one of {', '.join(LENGTHS)}, spelled as docs/similar.md says"
        raise MalformedEvent(errors=[FieldError("/value", "fingerprint", told)])
    if found.flat:
        raise _flat("/value")
    return found


def _hashes(data: bytes, media_type: str) -> list[Hash]:
    """Return the hashes of a picture; raises MalformedEvent for what is none."""
    if not data:
        raise MalformedEvent(errors=[FieldError("", "required", "the body is a picture")])
    picture = look_at([data], media_type)
    if picture is None:
        told = "this cannot be decoded as a picture of its media type within the limits"
        raise MalformedEvent(errors=[FieldError("", "picture", told)])
    found = [Hash("iscc", picture.image_code), Hash("phash", picture.fingerprint)]
    told_apart = [one for one in found if not one.flat]
    if not told_apart:
        raise _flat("")
    return told_apart


def _flat(pointer: str) -> MalformedEvent:
    told = "too little is to be seen in this picture to tell it from others"
    return MalformedEvent(errors=[FieldError(pointer, "flat", told)])


def _told(book: Book, near: Near) -> dict[str, Any] | None:
    """Return what is shown of a hit; None if its entry has expired, or names no such picture."""
    shown: dict[str, Any] = {
        "event_id": near.event_id,
        "position": near.position,
        "field": near.name,
        "alg": near.kind,
        "distance": near.distance,
        "bits": near.bits,
    }
    try:
        stored = book.reader.find(near.event_id)
    except BodyExpired:
        return None
    except BodyCold:
        return {**shown, "cold": True}
    asset_id = _asset(stored, near)
    if asset_id is None:
        return None
    shown["type"] = stored.entry.value["type"]
    shown["recorded_at"] = clock.rfc3339(stored.entry.recorded_ms)
    shown["asset_id"] = asset_id
    return shown


def _asset(stored: Stored, near: Near) -> str | None:
    """Return the asset that a part of an entry describes, as the entry says: the index may lie."""
    value = stored.entry.value
    pictures = dict(pictures_of(value["type"], value["body"]))
    part = pictures.get(near.part)
    if part is None or (".fingerprints" not in near.name and "sha256" not in part):
        return None
    if near.part == "asset":
        return str(value["aggregate"]["id"])
    return str(pictures[near.part.removesuffix(".before_moderation")]["asset_id"])
