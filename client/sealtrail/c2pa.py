# SPDX-License-Identifier: Apache-2.0
"""C2PA: provenance that travels inside files, read into entries, and pointing back to them.

    trail.ingest(path, rights=…, c2pa=True)            what the file says of itself, on record
    trail.export(data, asset_id=…, to=…, c2pa=True)    whether what leaves carries a valid manifest
    call.fact(marking=marking(data))                   how an output of ours is marked

    signed = pointing(data, to=call.receipt, signer=signer(chain, key))
        a file whose manifest names the entry: event, log and leaf

A manifest is what its signer claims; this module records that claim and whether its signature and
hashes hold, not that it is true. Nothing is fetched: a manifest that lies elsewhere counts as none.
Source: C2PA specification 2.2; needs the library `c2pa-python` (`pip install 'sealtrail[c2pa]'`).
"""

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from sealtrail.content import UNKNOWN, content_of, digest_text, named_file
from sealtrail.providers.exchange import plain_code
from sealtrail.receipt import Receipt

JSON = dict[str, Any]

#: Our assertion: {event_id, log_origin, leaf_hash} of an entry.
LABEL: Final = "org.sealtrail.entry"

TRAINED: Final = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"

#: What validation says of a manifest whose hashes and signature hold.
VALID: Final = frozenset({"Valid", "Trusted"})

_OFFLINE: Final = {"verify": {"remote_manifest_fetch": False, "ocsp_fetch": False}}


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """What a file says of itself. state: `Valid`, `Trusted`, `Invalid`, or `Unreadable`.

    digest: of the manifest's bytes, as the library shows them under its own address. entry: the
    members of our assertion, whoever put it there. signed_at: by a time stamp, if there is one.
    """

    state: str
    digest: str | None = None
    source_type: str | None = None
    entry: Mapping[str, str] | None = None
    signed_at: str | None = None

    @property
    def holds(self) -> bool:
        return self.state in VALID


def read(
    thing: Any, *, mime: str | None = None, settings: Mapping[str, Any] | None = None
) -> Provenance | None:
    """Return the provenance inside bytes or a file; None if there is none, or none can be.

    settings: of the library, such as `{"trust": {"trust_anchors": pem}}`. Raises ImportError
    without the library, OSError for a file that cannot be read.
    """
    library, thing = import_module("c2pa"), named_file(thing)
    if isinstance(thing, str):
        raise TypeError("a digest cannot be looked into: give the bytes or the file")
    content = content_of(thing, mime=mime)
    if content.mime == UNKNOWN or content.mime not in _readable():
        return None
    data = content.data if content.data is not None else Path(thing).read_bytes()
    told = dict(settings or {})
    told["verify"] = {**_OFFLINE["verify"], **told.get("verify", {})}
    context = library.Context.from_dict(told)
    try:
        reader = library.Reader.try_create(content.mime, io.BytesIO(data), context=context)
    except library.C2paError:
        return Provenance(state="Unreadable")
    if reader is None:
        return None
    with reader:
        return _provenance(reader, library.C2paError)


def facts(thing: Any, **options: Any) -> JSON:
    """Return the member `c2pa` of an INGEST; `none` says that somebody looked."""
    found = read(thing, **options)
    if found is None:
        return {"validation_state": "none"}
    named = {
        "active_manifest_digest": found.digest,
        "validation_state": found.state,
        "digital_source_type": found.source_type,
    }
    return {name: value for name, value in named.items() if value is not None}


def marking(thing: Any, **options: Any) -> JSON:
    """Return the member `marking` of a GEN; empty for a file without a manifest that holds."""
    found = read(thing, **options)
    if found is None or not found.holds:
        return {}
    named = {
        "c2pa_manifest_digest": found.digest,
        "c2pa_sig_ts": found.signed_at,
        "digital_source_type": found.source_type,
    }
    return {name: value for name, value in named.items() if value is not None}


def signer(chain: str | Path, key: str | Path, *, alg: str = "es256", tsa: str = "") -> Any:
    """Return a signer of the library from your own certificate.

    chain: file in PEM, your certificate first. key: file in PEM; one in hardware signs by the
    library's own `Signer.from_callback`. tsa: address of a time-stamping authority, if any.
    """
    library = import_module("c2pa")
    info = library.C2paSignerInfo(
        alg=alg.encode(),
        sign_cert=Path(chain).read_bytes(),
        private_key=Path(key).read_bytes(),
        ta_url=tsa.encode() or None,
    )
    return library.Signer.from_info(info)


def pointing(
    thing: Any,
    *,
    to: Receipt,
    signer: Any,
    mime: str | None = None,
    source_type: str = TRAINED,
    title: str | None = None,
    assertions: tuple[Mapping[str, Any], ...] = (),
) -> bytes:
    """Return a copy of a picture or another file with a signed manifest that names an entry.

    to: the receipt of its GEN: its EXPORT cannot be named, because that names these very bytes. A
    file that has a manifest keeps it, as the parent of the new one. Raises ValueError for a kind
    that can hold none, the library's C2paError for a certificate that it does not take.
    """
    library, thing = import_module("c2pa"), named_file(thing)
    content = content_of(thing, mime=mime)
    if content.mime not in _writable():
        raise ValueError("this kind of file holds no manifest")
    data = content.data if content.data is not None else Path(thing).read_bytes()
    has_one = read(data, mime=content.mime) is not None
    created = {"action": "c2pa.created", "digitalSourceType": source_type}
    manifest: JSON = {
        "claim_generator_info": [{"name": "sealtrail"}],
        "assertions": [
            *([] if has_one else [{"label": "c2pa.actions.v2", "data": {"actions": [created]}}]),
            {"label": LABEL, "data": entry_of(to)},
            *(dict(one) for one in assertions),
        ],
    }
    if title is not None:
        manifest["title"] = title
    out = io.BytesIO()
    with library.Builder(manifest, library.Context.from_dict(_OFFLINE)) as builder:
        if has_one:
            builder.set_intent(library.C2paBuilderIntent.EDIT)
        builder.sign(signer, content.mime, io.BytesIO(data), out)
    return out.getvalue()


def entry_of(receipt: Receipt) -> dict[str, str]:
    """Return the members of our assertion."""
    link = receipt.link("attempt")
    return {
        "event_id": receipt.event_id,
        "log_origin": receipt.origin,
        "leaf_hash": link["leaf"],
    }


@cache
def _readable() -> frozenset[str]:
    return frozenset(import_module("c2pa").Reader.get_supported_mime_types())


@cache
def _writable() -> frozenset[str]:
    return frozenset(import_module("c2pa").Builder.get_supported_mime_types())


def _provenance(reader: Any, error: type[Exception]) -> Provenance:
    try:
        active = reader.get_active_manifest() or {}
        bytes_ = io.BytesIO()
        reader.resource_to_stream(active["label"], bytes_)
        state = plain_code(reader.get_validation_state()) or "Unreadable"
    except (error, KeyError, json.JSONDecodeError):
        return Provenance(state="Unreadable")
    said = {one.get("label"): one.get("data") for one in active.get("assertions", ())}
    entry = said.get(LABEL)
    return Provenance(
        state=state,
        digest=digest_text(bytes_.getvalue()),
        source_type=_source_type(said),
        entry=entry if isinstance(entry, dict) else None,
        signed_at=_time((active.get("signature_info") or {}).get("time")),
    )


def _source_type(said: Mapping[Any, Any]) -> str | None:
    """Return the IPTC type of the first action that names one."""
    for label, data in said.items():
        if not str(label).startswith("c2pa.actions") or not isinstance(data, dict):
            continue
        for action in data.get("actions", ()):
            told = action.get("digitalSourceType")
            if isinstance(told, str) and told.startswith(("http://", "https://")):
                return told if told.isascii() and " " not in told else None
    return None


def _time(text: Any) -> str | None:
    """Return a time as entries spell it: UTC with milliseconds."""
    if not isinstance(text, str):
        return None
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return None
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
