# SPDX-License-Identifier: GPL-3.0-or-later
"""Was this file in that training set, did our system put it out? For auditors, with the proof.

The answer is a statement (sealtrail.verify.absence), made so that it can be saved and given to a
stranger as it is: `absence/1`, or `presence/1` with the entry that brought the file. What is asked
for is recorded nowhere; which entries were shown is entered in the access Book before they are.
"""

import asyncio
from hashlib import sha256
from threading import BoundedSemaphore
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from api import body
from api.state import AppState, AuditorLook, Look, State
from evidence.absence import Answer, about_dataset, about_outputs
from ledger import clock
from ledger.archive.pixels import pixel_digest
from ledger.errors import FieldError, MalformedEvent, Overloaded
from sealtrail.verify.sparse import BYTES, PIXELS

router = APIRouter(tags=["proofs"])

#: The largest file that is taken, in bytes; of a larger one send the digests.
FILE_MAX: Final = 32 * 2**20
_QUESTION_MAX: Final = 4_096

_DAY: Final = r"^[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])$"
_NAME: Final = r"^[^\x00]*$"  #: What is no name of a set is an unknown one; PostgreSQL has no NUL.
_DIGEST: Final = r"^sha256:[0-9a-f]{64}$"
_PATH: Final = "/v1/proofs/absence"

#: So many at a time in a process: a picture is decoded, maps are walked.
_PLACES: Final = BoundedSemaphore(2)


class Digests(BaseModel):
    """Of the file's bytes, and of its pixels; a statement about one of them is incomplete."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    of_bytes: str | None = Field(default=None, alias=BYTES, pattern=_DIGEST)
    of_pixels: str | None = Field(default=None, alias=PIXELS, pattern=_DIGEST)


class Question(BaseModel):
    """A training set, or a day up to which outputs are looked at; and the digests."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    dataset: str | None = Field(default=None, max_length=128, pattern=_NAME)
    version: str | None = Field(default=None, max_length=64, pattern=_NAME)
    outputs_until: str | None = Field(default=None, pattern=_DAY)
    digests: Digests = Field(default_factory=Digests)

    def check(self) -> None:
        """Return if it asks one thing; raises MalformedEvent."""
        if (self.dataset is None) == (self.outputs_until is None):
            raise _wrong("/dataset", "one-of", "name a dataset, or outputs_until a day")
        if self.version is not None and self.dataset is None:
            raise _wrong("/version", "one-of", "a version is one of a dataset")
        if self.outputs_until is not None:
            try:
                clock.day_start(self.outputs_until)
            except ValueError:
                told = "a day that exists, written YYYY-MM-DD, from 1970 on"
                raise _wrong("/outputs_until", "day", told) from None


def _question_schema() -> dict[str, Any]:
    """Return the schema of a question, whole: nothing of it stands elsewhere in the document."""
    schema = Question.model_json_schema()
    schema["properties"]["digests"] = schema.pop("$defs")["Digests"]
    return schema


@router.post(
    "/proofs/absence",
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {"schema": _question_schema()},
                "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
                "image/*": {"schema": {"type": "string", "format": "binary"}},
            },
        }
    },
)
async def prove_absence(
    request: Request,
    app: AppState,
    looking: AuditorLook,
    *,
    dataset: Annotated[str | None, Query(max_length=128)] = None,
    version: Annotated[str | None, Query(max_length=64)] = None,
    outputs_until: Annotated[str | None, Query(pattern=_DAY)] = None,
) -> dict[str, Any]:
    """Return the statement that a file is not in a set or was not put out; or that it is, or was.

    The body is a JSON object that names digests, or the file itself under its media type, with the
    question as query parameters. Its digests are computed here; of a picture also that of its
    pixels (RGB, 8 bits).
    """
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if not _PLACES.acquire(blocking=False):
        raise Overloaded("other proofs are being made; send the same request again")
    try:
        if media_type == "application/json":
            data = await body.read(request.scope, request.receive, _QUESTION_MAX)
            question, digests = _asked(data)
        else:
            question = Question(dataset=dataset, version=version, outputs_until=outputs_until)
            question.check()
            data = await body.read(request.scope, request.receive, FILE_MAX)
            digests = await asyncio.to_thread(_digests, data, media_type)
        return await asyncio.to_thread(_answer, app, looking, question, digests)
    finally:
        _PLACES.release()


def _answer(
    app: State, looking: Look, question: Question, digests: dict[str, bytes]
) -> dict[str, Any]:
    book, size = looking.book, looking.book.notary.size
    answer: Answer
    if question.dataset is not None:
        answer = about_dataset(
            book, digests, question.dataset, question.version, trust_file=app.trust_file
        )
    else:
        day = question.outputs_until or ""
        answer = about_outputs(book, digests, day, trust_file=app.trust_file)
    looking.note(
        app.shelf,
        _PATH,
        event_ids=sorted(answer.event_ids),
        count=len(answer.event_ids),
        size=size,
        exported=True,
    )
    return answer.document


def _asked(data: bytes) -> tuple[Question, dict[str, bytes]]:
    try:
        question = Question.model_validate(body.parse(data))
    except ValidationError as error:
        pointers = ["/" + "/".join(map(str, one["loc"])) for one in error.errors()]
        told = "this must be as docs/absence.md says"
        raise MalformedEvent(errors=[FieldError(at, "form", told) for at in pointers]) from None
    question.check()
    named = {BYTES: question.digests.of_bytes, PIXELS: question.digests.of_pixels}
    found = {tag: bytes.fromhex(text[7:]) for tag, text in named.items() if text is not None}
    if not found:
        raise _wrong("/digests", "required", "name a digest, or send the file itself")
    return question, found


def _digests(data: bytes, media_type: str) -> dict[str, bytes]:
    if not data:
        raise _wrong("", "required", "the body is a file")
    found = {BYTES: sha256(data).digest()}
    pixels = pixel_digest(data, media_type)
    return found if pixels is None else found | {PIXELS: pixels}


def _wrong(pointer: str, rule: str, told: str) -> MalformedEvent:
    return MalformedEvent(errors=[FieldError(pointer, rule, told)])
