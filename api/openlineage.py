# SPDX-License-Identifier: GPL-3.0-or-later
r"""OpenLineage RunEvents of training runs in: what a client with OPENLINEAGE_URL sends by itself.

    START               TRAIN_STARTED    over exactly these inputs and this code
    COMPLETE            TRAIN            it names again what its start named
    FAIL, ABORT         TRAIN_FAILED
    RUNNING, OTHER      nothing is recorded, and the answer says so

    run.runId                                   aggregate_id; with the type it gives the event_id
    run.facets.sealtrail_train                  the members of `train`; `error` of a failure
    run.facets.parent, job                      links, where their names fit an identifier
    run.facets.errorMessage.message             error.message, sealed
    inputs[].facets.sealtrail_dataset           dataset_id, manifest_digest, count, smt_root; else
        namespace/name, version.datasetVersion  … the first two of these,
        inputFacets.inputStatistics.rowCount    … and the third
    outputs[0]                                  output_model: namespace/name; manifest_digest: its
                                                version.datasetVersion, if that is a digest
    eventTime, producer                         time.producer, and ended_at; producer.id

Lineage goes to other people's servers, too, so neither persons nor keys are in the event: they come
as headers. `Sealtrail-Run-Key` is 32 random bytes that the client makes and keeps for a run:

    record_key = HMAC-SHA256(run key, "sealtrail.openlineage.record.v1\0" ‖ event_id)

Source: OpenLineage 2-0-2 (RunEvent, BaseFacet); its facets version, inputStatistics, parent and
errorMessage.
"""

import asyncio
import hmac
import json
import re
from collections.abc import Mapping
from typing import Any, Final, NamedTuple, NoReturn

from fastapi import APIRouter, Request, Response

from api.cloudevents import decoded
from api.ingest import SINGLE_MAX
from api.state import AppState
from api.translated import (
    Headers,
    Translation,
    answered,
    asked,
    derived_id,
    our_time,
    record,
    sender,
    single_headers,
    whole_body,
    wrong,
)
from ledger.errors import FieldError, LedgerError, MalformedEvent, NotJson
from ledger.printing import json_bytes
from sealtrail.verify.disclosure import RECORD_KEY_BYTES, decode_base64url, encode_base64url
from sealtrail.verify.errors import VerifyError

router = APIRouter(tags=["ingest"])

JSON = dict[str, Any]

_TRAIN: Final = "sealtrail_train"
_DATASET: Final = "sealtrail_dataset"
_FACET: Final = f"/run/facets/{_TRAIN}"
_RUN_KEY: Final = "sealtrail-run-key"
_PERSON: Final = "sealtrail-on-behalf-of"
_TYPES: Final = {
    "START": "TRAIN_STARTED",
    "COMPLETE": "TRAIN",
    "FAIL": "TRAIN_FAILED",
    "ABORT": "TRAIN_FAILED",
}
_PASSING: Final = ("RUNNING", "OTHER", None)
_READ: Final = frozenset({_TRAIN, _DATASET, "parent", "errorMessage", "version", "inputStatistics"})
_UUID: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/-]{0,127}")
_DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}")
#: Where in the event each part of the native request was said; the longest beginning counts.
_SAID: Final = {
    "": "",
    "/type": "/eventType",
    "/event_id": "/run/runId",
    "/aggregate_id": "/run/runId",
    "/producer": "/producer",
    "/producer/id": "/producer",
    "/producer/event_id": "/run/runId",
    "/time": "/eventTime",
    "/time/producer": "/eventTime",
    "/links": "/run/facets/parent",
    "/on_behalf_of": f"/headers/{_PERSON}",
    "/record_key": f"/headers/{_RUN_KEY}",
    "/body/train": _FACET,
    "/body/train/inputs": "/inputs",
    "/body/train/ended_at": "/eventTime",
    "/body/ended_at": "/eventTime",
    "/body/error": f"{_FACET}/error",
    "/sealed/error.message": "/run/facets/errorMessage/message",
}
_INPUT: Final = re.compile(r"(/inputs/[0-9]+)(/.+)")


class Unrecorded(NamedTuple):
    """An event that adds nothing to the record, and why."""

    reason: str


@router.post(
    "/openlineage",
    response_class=Response,
    status_code=201,
    openapi_extra=asked("application/json"),
)
async def openlineage(request: Request, app: AppState) -> Response:
    """Record the start, the completion or the failure of a training run (OpenLineage RunEvent).

    201 with the receipt of the entry, 200 for an event that was recorded before, and 200 with
    `recorded: false` for one that is not recorded at all, such as RUNNING.
    """
    who = await sender(request, app)
    headers = single_headers(request, "sealtrail-")
    data = await whole_body(request, SINGLE_MAX)
    made = await asyncio.to_thread(_read, data, headers)
    if isinstance(made, Unrecorded):
        document = json_bytes({"recorded": False, "reason": made.reason})
        return Response(document, media_type="application/json")
    (answer,) = await record(who, [made])
    return answered(answer)


def translate(event: Any, headers: Headers) -> Translation | Unrecorded:
    """Return the native request that a RunEvent stands for; raises MalformedEvent."""
    if not isinstance(event, dict):
        raise wrong("", "type", "an event is a JSON object")
    kind = event.get("eventType")
    if "run" not in event:
        return Unrecorded("only events of a run are recorded; this one is of a job or a dataset")
    if kind in _PASSING:
        return Unrecorded("only START, COMPLETE, FAIL and ABORT of a run are recorded")
    if not isinstance(kind, str) or kind not in _TYPES:
        raise wrong("/eventType", "event-type", "OpenLineage has no such type of run event")
    run_id = _run_id(event)
    event_id = derived_id("sealtrail.openlineage.id.v1", run_id, kind)
    moment = our_time(event.get("eventTime"))
    if moment is None:
        raise wrong("/eventTime", "time", "this is a time with its zone (RFC 3339)")
    request: JSON = {
        "event_id": event_id,
        "type": _TYPES[kind],
        "schema": 1,
        "aggregate_id": run_id,
        "producer": {"id": event.get("producer"), "event_id": f"{run_id}/{kind}"},
        "time": {"producer": moment},
        "record_key": _record_key(headers, event_id),
    }
    if _PERSON in headers:
        request["on_behalf_of"] = decoded(headers[_PERSON])
    if links := _links(event):
        request["links"] = links
    if request["type"] == "TRAIN_FAILED":
        request |= _failure(event, kind, moment)
    else:
        request["body"] = {"train": _plan(event, kind, moment)}
    return Translation(request, _pointer, _unread(event))


def _read(data: bytes, headers: Headers) -> Translation | Unrecorded | LedgerError:
    try:
        return translate(_parse(data), headers)
    except LedgerError as error:
        return error


class _Unread:
    """A number that no entry could hold: right in a facet that nobody reads, wrong in ours."""


def _parse(data: bytes) -> Any:
    """Parse JSON as lineage clients print it: strictly, but numbers of any kind pass.

    Facets of others hold floats, which nothing here hashes; one in a facet of ours is refused.
    """

    def number(text: str) -> int | _Unread:
        small = len(text) < 17 and abs(int(text)) <= 2**53 - 1
        return int(text) if small else _Unread()

    try:
        return json.loads(
            data.decode("utf-8"),
            object_pairs_hook=_members,
            parse_float=lambda _: _Unread(),
            parse_int=number,
            parse_constant=_no_number,
        )
    except (ValueError, RecursionError):
        raise NotJson from None


def _members(pairs: list[tuple[str, Any]]) -> JSON:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a name is there twice")
    return members


def _no_number(_: str) -> NoReturn:
    raise ValueError("this is no number")


# What of a run is told


def _run_id(event: JSON) -> str:
    run = event["run"]
    run_id = run.get("runId") if isinstance(run, dict) else None
    if not isinstance(run_id, str) or not _UUID.fullmatch(run_id):
        raise wrong("/run/runId", "uuid", "a run is named by a UUID")
    return run_id.lower()


def _record_key(headers: Headers, event_id: str) -> str:
    """Return the record key of this event, from the key of the run."""
    try:
        key = decode_base64url(headers.get(_RUN_KEY, ""))
    except VerifyError:
        key = b""
    if len(key) != RECORD_KEY_BYTES:
        detail = (
            "send Sealtrail-Run-Key: 32 random bytes that you make for each run and keep, in"
            " base64url without padding; the person behind the run is committed under it"
        )
        raise wrong(f"/headers/{_RUN_KEY}", "record-key", detail)
    message = b"sealtrail.openlineage.record.v1\0" + event_id.encode()
    return encode_base64url(hmac.digest(key, message, "sha256"))


def _plan(event: JSON, kind: str, moment: str) -> JSON:
    """Return the body of a start or a completion; raises MalformedEvent naming the facet."""
    facet = _facets(event["run"]).get(_TRAIN)
    if not isinstance(facet, dict):
        detail = (
            f"a training run says its type and code_digest in the run facet {_TRAIN};"
            f" /schemas/openlineage_{_TRAIN}/1.json has all its members"
        )
        raise wrong(_FACET, "required", detail)
    train = {name: value for name, value in facet.items() if not name.startswith("_")}
    errors = [
        FieldError(f"{_FACET}/{name}", "attribute", f"{place} of the event says this")
        for name, place in (("inputs", "/inputs"), ("ended_at", "/eventTime"), ("error", "FAIL"))
        if name in train
    ]
    if errors:
        raise MalformedEvent(errors=errors)
    train["inputs"] = _inputs(event)
    _add_output(train, event, kind)
    if kind == "COMPLETE":
        train["ended_at"] = moment
    return train


def _inputs(event: JSON) -> list[JSON]:
    datasets = event.get("inputs")
    if not isinstance(datasets, list) or not datasets:
        raise wrong("/inputs", "required", "a training run names all that goes into it")
    found, errors = [], []
    for at, dataset in enumerate(datasets):
        facets = _facets(dataset)
        statistics = _part(_facets(dataset, "inputFacets"), "inputStatistics")
        said = {
            "dataset_id": _full_name(dataset),
            "manifest_digest": _part(facets, "version").get("datasetVersion"),
            "count": statistics.get("rowCount"),
        }
        ours = _part(facets, _DATASET)
        told = {name: value for name, value in said.items() if value is not None}
        told |= {name: value for name, value in ours.items() if not name.startswith("_")}
        errors += [
            FieldError(f"/inputs/{at}/facets/{_DATASET}/{name}", "required", f"send it, or {other}")
            for name, other in _ELSEWHERE.items()
            if name not in told
        ]
        found.append(told)
    if errors:
        raise MalformedEvent(errors=errors)
    return found


_ELSEWHERE: Final = {
    "dataset_id": "the dataset's namespace and name, as an identifier of up to 128 characters",
    "manifest_digest": "the dataset facet version with the digest as datasetVersion",
    "count": "the input facet inputStatistics with the number of members as rowCount",
}


def _add_output(train: JSON, event: JSON, kind: str) -> None:
    """Add what the run's one output says of the model, where our facet does not."""
    outputs = event.get("outputs")
    output = outputs[0] if isinstance(outputs, list) and len(outputs) == 1 else None
    if "output_model" not in train:
        name = _full_name(output)
        if name is None:
            detail = f"name the model as the only output, or as output_model in {_TRAIN}"
            raise wrong("/outputs", "required", detail)
        train["output_model"] = name
    version = _part(_facets(output), "version").get("datasetVersion")
    if kind == "COMPLETE" and isinstance(version, str) and _DIGEST.fullmatch(version):
        train.setdefault("manifest_digest", version)


def _failure(event: JSON, kind: str, moment: str) -> JSON:
    """Return body and sealed values of a failure; without our facet it says only that it failed."""
    facets = _facets(event["run"])
    unstated = {"class": "openlineage", "code": kind, "stage": "run", "retryable": False}
    parts: JSON = {
        "body": {"error": _part(facets, _TRAIN).get("error", unstated), "ended_at": moment}
    }
    message = _part(facets, "errorMessage").get("message")
    if message is not None:
        parts["sealed"] = {"error.message": message}
    return parts


def _links(event: JSON) -> list[JSON]:
    """Return ties to the job and to the run that made this one, where their names fit."""
    parent = _part(_part(_facets(event["run"]), "parent"), "run").get("runId")
    named = [("OpenLineageJob", _full_name(event.get("job"))), ("OpenLineageRun", parent)]
    return [
        {"rel": "member-of", "id": name, "type": type_}
        for type_, name in named
        if isinstance(name, str) and _ID.fullmatch(name)
    ]


def _full_name(thing: Any) -> str | None:
    """Return namespace and name of a job or a dataset as one identifier, if they make one."""
    if not isinstance(thing, dict):
        return None
    name = f"{thing.get('namespace')}/{thing.get('name')}"
    return name if _ID.fullmatch(name) else None


def _facets(thing: Any, member: str = "facets") -> JSON:
    return _part(thing, member)


def _part(thing: Any, member: str) -> JSON:
    """Return a member that is an object; an empty one for anything else."""
    found = thing.get(member) if isinstance(thing, Mapping) else None
    return found if isinstance(found, dict) else {}


def _unread(event: JSON) -> int:
    """Count the facets that have no place in an entry."""
    things = [event["run"], event.get("job")]
    for place in ("inputs", "outputs"):
        listed = event.get(place)
        things += listed if isinstance(listed, list) else []
    names = [
        name
        for thing in things
        for member in ("facets", "inputFacets", "outputFacets")
        for name in _facets(thing, member)
    ]
    return sum(name not in _READ for name in names)


def _pointer(native: str) -> str:
    begin = max((one for one in _SAID if native == one or native.startswith(f"{one}/")), key=len)
    pointer = _SAID[begin] + native.removeprefix(begin)
    return _INPUT.sub(rf"\1/facets/{_DATASET}\2", pointer)
