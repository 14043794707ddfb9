# SPDX-License-Identifier: GPL-3.0-or-later
"""CloudEvents 1.0 in: structured, binary and batched, each the same event as one of ours.

    id, source          producer.event_id and producer.id: the pair is used once
    id                  event_id, if it is a UUIDv7; else one that follows from source and id
    type                org.sealtrail.GEN, or GEN
    subject             aggregate_id
    dataschema          urn:sealtrail:schema:gen:1, or …/schemas/gen/1.json; left out, schema 1
    time                time.producer, in UTC and cut to milliseconds
    traceparent         trace.trace_id and trace.span_id
    data                all other members of a native request: body, sealed, record_key, …

What an attribute says, `data` cannot say again. Other extensions have no place in an entry; the
answer counts them. In binary mode attributes are headers, and a header that is there twice, that
says something else than the body, or that hides a second spelling is refused: whoever routed the
event by its headers must have routed the event that is recorded.

Source: CloudEvents 1.0.2, its JSON format and HTTP binding §3; W3C Trace Context §3.2.
"""

import asyncio
import re
from collections.abc import Callable
from typing import Any, Final
from urllib.parse import unquote_to_bytes

from fastapi import APIRouter, Request, Response

from api import body
from api.checking import BATCH_EVENTS
from api.ingest import BATCH_MAX, SINGLE_MAX
from api.state import AppState
from api.translated import (
    Headers,
    Translation,
    answered,
    asked,
    derived_id,
    our_time,
    record,
    results,
    sender,
    single_headers,
    whole_body,
    wrong,
)
from ledger.errors import FieldError, LedgerError, MalformedEvent, TooLarge
from ledger.request import UUID7

router = APIRouter(tags=["ingest"])

JSON = dict[str, Any]

STRUCTURED: Final = "application/cloudevents+json"
BATCH: Final = "application/cloudevents-batch+json"

_PREFIX: Final = "org.sealtrail."
_REQUIRED: Final = ("specversion", "id", "source", "type", "subject")
_OURS: Final = frozenset(
    {*_REQUIRED, "time", "dataschema", "datacontenttype", "traceparent", "data", "data_base64"}
)
#: Members of a native request that attributes say, and which.
_SAID: Final = {
    "event_id": "id",
    "type": "type",
    "schema": "dataschema",
    "aggregate_id": "subject",
    "producer": "source",
}
_NAME: Final = re.compile(r"[a-z0-9]{1,64}")
_SCHEMA: Final = re.compile(
    r"urn:sealtrail:schema:([a-z_]{1,64}):([1-9][0-9]{0,3})"
    r"|https?://[!-~]{1,256}/schemas/([a-z_]{1,64})/([1-9][0-9]{0,3})\.json"
)
_TRACEPARENT: Final = re.compile(r"00-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}")
_JSON_TYPE: Final = re.compile(r"application/(?:[a-z0-9.+-]+\+)?json")
_PERCENT: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")
#: What no attribute may hold (CloudEvents §3.1): controls, surrogates, noncharacters.
_BARRED: Final = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]")


@router.post(
    "/cloudevents",
    response_class=Response,
    status_code=201,
    openapi_extra=asked(STRUCTURED, BATCH, "application/json"),
)
async def cloudevents(request: Request, app: AppState) -> Response:
    """Record a CloudEvent (structured or binary mode), or a batch of up to 1,000.

    201 with the receipt that `/v1/events` would give; 200 and `Sealtrail-Repeat` for one that was
    recorded before. A batch is answered as by `/v1/events:batch`.
    """
    who = await sender(request, app)
    headers = single_headers(request, "ce-")
    media_type = _media_type(headers)
    data = await whole_body(request, BATCH_MAX if media_type == BATCH else SINGLE_MAX)
    if media_type == BATCH:
        made = await asyncio.to_thread(_batch, data, headers)
        return results(await record(who, made))
    read = _structured if media_type == STRUCTURED else _binary
    (answer,) = await record(who, [await asyncio.to_thread(read, data, headers)])
    return answered(answer)


def translate(event: Any, at: Callable[[str], str], *, prefix: str = "/data") -> Translation:
    """Return the native request that a CloudEvent, as its JSON format has it, stands for.

    at: where an attribute of that name stands in what was sent; prefix: where its data stands.
    Raises MalformedEvent for all that is wrong with the attributes, at once.
    """
    if not isinstance(event, dict):
        raise wrong("", "type", "a CloudEvent is a JSON object")
    attributes = {
        name: value for name, value in event.items() if name != "data" and value is not None
    }
    errors = [*_attribute_faults(attributes, at), *_data_faults(event.get("data"), prefix)]
    if errors:
        raise MalformedEvent(errors=errors)
    data: JSON = event["data"]
    request = {
        **data,
        "event_id": _event_id(attributes),
        "type": attributes["type"].removeprefix(_PREFIX),
        "schema": _schema(attributes),
        "aggregate_id": attributes["subject"],
        "producer": {"id": attributes["source"], "event_id": attributes["id"]},
    }
    said = {f"/{member}": at(name) for member, name in _SAID.items()}
    said["/producer/event_id"] = at("id")
    errors = _time(request, attributes, said, at) + _trace(request, attributes, said, at)
    if errors:
        raise MalformedEvent(errors=errors)
    return Translation(request, _pointers(said, prefix), len(attributes.keys() - _OURS))


def decoded(value: str) -> str | None:
    """Return what a binary-mode header says (HTTP binding §3.1.3.2); None if it has no meaning.

    Quotes are taken off, then one round of percent-decoding is done, and no second one.
    """
    text = value.strip(" \t")
    if len(text) > 1 and text[0] == text[-1] == '"':
        text = _unquoted(text[1:-1])
    elif '"' in text:
        return None
    if not all(" " <= one <= "~" for one in text) or _PERCENT.search(text):
        return None
    try:
        plain = unquote_to_bytes(text).decode("utf-8")
    except UnicodeDecodeError:
        return None
    return None if _BARRED.search(plain) else plain


def _unquoted(text: str) -> str:
    """Return a quoted string without its escapes; a control character if there is none such."""
    plain, escaped = [], False
    for one in text:
        if one == '"' and not escaped:
            return "\0"  # The string ended before its end.
        if escaped or one != "\\":
            plain.append(one)
        escaped = one == "\\" and not escaped
    return "\0" if escaped else "".join(plain)


# The three modes


def _media_type(headers: Headers) -> str:
    """Return the media type of the body; raises MalformedEvent for one that is not read here."""
    if "content-type" not in headers and "ce-specversion" in headers:
        return "application/json"  # Binary mode, and `datacontenttype` is left out.
    media_type, *parameters = (one.strip() for one in headers.get("content-type", "").split(";"))
    media_type = media_type.lower()
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.lower() != "charset" or value.strip('"').lower() != "utf-8":
            raise _media_fault()
    if media_type.startswith("application/cloudevents"):
        if media_type not in (STRUCTURED, BATCH):
            raise _media_fault()
    elif not _JSON_TYPE.fullmatch(media_type):
        raise _media_fault()
    return media_type


def _media_fault() -> MalformedEvent:
    detail = (
        f"the body is {STRUCTURED}, {BATCH}, or in binary mode the data as application/json, in"
        " UTF-8"
    )
    return wrong("/headers/content-type", "media-type", detail)


def _structured(data: bytes, headers: Headers) -> Translation | LedgerError:
    try:
        event = body.parse(data)
        made = translate(event, lambda name: f"/{name}")
        _check_echo(event, headers)
    except LedgerError as error:
        return error
    return made


def _binary(data: bytes, headers: Headers) -> Translation | LedgerError:
    try:
        event = _attributes(headers)
        event["data"] = body.parse(data)
        return translate(event, _header_of, prefix="")
    except LedgerError as error:
        return error


def _batch(data: bytes, headers: Headers) -> list[Translation | LedgerError]:
    if _attributes(headers):
        raise wrong("/headers", "batch", "a batch says its attributes in its body alone")
    events = body.array(data)
    if len(events) > BATCH_EVENTS:
        raise TooLarge(f"a batch holds at most {BATCH_EVENTS} events")
    made: list[Translation | LedgerError] = []
    for event in events:
        try:
            made.append(translate(event, lambda name: f"/{name}"))
        except LedgerError as error:
            made.append(error)
    return made


def _attributes(headers: Headers) -> JSON:
    """Return the attributes in the headers; raises MalformedEvent."""
    errors, found = [], {}
    for header, value in headers.items():
        name = header.removeprefix("ce-")
        if name == header:
            continue
        text = decoded(value)
        if not _NAME.fullmatch(name):
            detail = "an attribute's name is of a-z and 0-9"
            errors.append(FieldError("/headers/ce-*", "attribute-name", detail))
        elif name in ("data", "datacontenttype"):
            detail = "in binary mode the data is the body, and Content-Type says what it is"
            errors.append(FieldError(f"/headers/{header}", "binary-mode", detail))
        elif text is None:
            detail = "the value is printable ASCII, percent-encoded UTF-8 in it, and no control"
            pointer = f"/headers/{header}" if name in _OURS else "/headers/ce-*"
            errors.append(FieldError(pointer, "header-value", detail))
        else:
            found[name] = text
    if errors:
        raise MalformedEvent(errors=list(dict.fromkeys(errors)))
    return found


def _check_echo(event: JSON, headers: Headers) -> None:
    """Return if headers beside a structured event say what it says (HTTP binding §3.2.3)."""
    for name, text in _attributes(headers).items():
        value = event.get(name)
        if (value if isinstance(value, str) else None) != text:
            pointer = f"/headers/ce-{name}" if name in _OURS else "/headers/ce-*"
            raise wrong(pointer, "contradiction", "a header says another thing than the event")


def _header_of(name: str) -> str:
    return "/headers/content-type" if name == "datacontenttype" else f"/headers/ce-{name}"


# Attributes and data


def _attribute_faults(attributes: JSON, at: Callable[[str], str]) -> list[FieldError]:
    errors = [
        FieldError(at(name), "required", f"the attribute {name} is missing")
        for name in _REQUIRED
        if name not in attributes
    ]
    for name, value in attributes.items():
        if name in _OURS and not isinstance(value, str):
            errors.append(FieldError(at(name), "type", "this attribute is a string"))
        elif name not in _OURS and not _NAME.fullmatch(name):
            detail = "an attribute's name is of a-z and 0-9"
            errors.append(FieldError("", "attribute-name", detail))
    if errors:
        return list(dict.fromkeys(errors))
    if attributes["specversion"] != "1.0":
        detail = "this ledger takes CloudEvents of version 1.0"
        errors.append(FieldError(at("specversion"), "specversion", detail))
    if "data_base64" in attributes:
        detail = "the data is a JSON object and is sent as such, in the member data"
        errors.append(FieldError(at("data_base64"), "base64", detail))
    content = attributes.get("datacontenttype", "application/json")
    if not _JSON_TYPE.fullmatch(content.split(";")[0].strip().lower()):
        detail = "the data is JSON: application/json, or left out"
        errors.append(FieldError(at("datacontenttype"), "media-type", detail))
    if _schema(attributes) is None:
        detail = "this is not the schema of the event's type; /schemas/ lists them"
        errors.append(FieldError(at("dataschema"), "dataschema", detail))
    return errors


def _data_faults(data: Any, prefix: str) -> list[FieldError]:
    if not isinstance(data, dict):
        detail = "the data is an object: the members of a request that no attribute says"
        return [FieldError(prefix, "type", detail)]
    return [
        FieldError(f"{prefix}/{member}", "attribute", f"the attribute {name} says this")
        for member, name in _SAID.items()
        if member in data
    ]


def _event_id(attributes: JSON) -> str:
    if UUID7.fullmatch(attributes["id"]):
        return str(attributes["id"])
    return derived_id("sealtrail.cloudevents.id.v1", attributes["source"], attributes["id"])


def _schema(attributes: JSON) -> int | None:
    """Return the version that `dataschema` names; None if it is of another type or of none."""
    if "dataschema" not in attributes:
        return 1
    found = _SCHEMA.fullmatch(attributes["dataschema"])
    if found is None or (found[1] or found[3]) != attributes["type"].removeprefix(_PREFIX).lower():
        return None
    return int(found[2] or found[4])


def _time(
    request: JSON, attributes: JSON, said: dict[str, str], at: Callable[[str], str]
) -> list[FieldError]:
    """Put the event's time where it belongs."""
    if "time" not in attributes:
        return []
    said["/time/producer"] = at("time")
    moment = our_time(attributes["time"])
    if moment is None:
        return [FieldError(at("time"), "time", "this is a time with its zone (RFC 3339)")]
    return _merge(request, "time", {"producer": moment}, said)


def _trace(
    request: JSON, attributes: JSON, said: dict[str, str], at: Callable[[str], str]
) -> list[FieldError]:
    """Put the W3C trace context where it belongs."""
    if "traceparent" not in attributes:
        return []
    said["/trace/trace_id"] = said["/trace/span_id"] = at("traceparent")
    found = _TRACEPARENT.fullmatch(attributes["traceparent"])
    if found is None or not int(found[1], 16) or not int(found[2], 16):
        detail = "this is 00-<trace id>-<span id>-<flags> in lower case, no id all zeros"
        return [FieldError(at("traceparent"), "traceparent", detail)]
    return _merge(request, "trace", {"trace_id": found[1], "span_id": found[2]}, said)


def _merge(request: JSON, group: str, members: JSON, said: dict[str, str]) -> list[FieldError]:
    """Add what an attribute says to a group of the data, which must not say it, too."""
    there = request.get(group, {})
    if not isinstance(there, dict):
        return []  # It is complained about with all else that is wrong.
    twice = [name for name in members if there.get(name, members[name]) != members[name]]
    request[group] = {**there, **members}
    return [
        FieldError(said[f"/{group}/{name}"], "contradiction", "the data says another thing")
        for name in twice
    ]


def _pointers(said: dict[str, str], prefix: str) -> Callable[[str], str]:
    def pointer(native: str) -> str:
        for begin in sorted(said, key=len, reverse=True):
            if native == begin or native.startswith(f"{begin}/"):
                return said[begin]
        return prefix + native

    return pointer
