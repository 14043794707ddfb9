# SPDX-License-Identifier: GPL-3.0-or-later
"""What a request names that the ledger may hold, found where the request is checked.

The writer sees names only, and of most events none: the body of an attempt goes no further. What is
looked up in any case is a consent and an entry that is linked by its leaf; the rest only where the
house refuses what it does not know.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from ledger.lifecycle.references import ENTRY, Reference

JSON = dict[str, Any]

_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/-]{0,127}")
_EVENT_ID: Final = re.compile(
    r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"
)


def references_of(
    type_: str, links: Sequence[JSON] | None, body: JSON, *, strict: bool
) -> tuple[Reference, ...]:
    """Return what an event names, in the order of its members.

    strict: the house refuses what it does not know.
    """
    naming = (_STRICT if strict else _ALWAYS).get(type_)
    if links is None:
        return () if naming is None else tuple(naming(body))
    named = () if naming is None else naming(body)
    return (*_entries(links, strict=strict), *_linked_consents(type_, links, strict=strict), *named)


def consents_of(type_: str, body: Mapping[str, Any]) -> tuple[Reference, ...]:
    """Return the consents on which a generation rests, as whoever checks a log again needs them."""
    return tuple(_consents(body, strict=False)) if type_ == "GEN_ATTEMPT" else ()


def model_stream(model: Mapping[str, Any]) -> str:
    """Return the stream of a model that an event names; one without an id has a CAP name.

    A name that makes no id is no stream's: then the model has to be named by its id.
    """
    id_ = model.get("id") or f"urn:cap:model:{model['provider']}:{model['name']}".lower()
    return f"Model/{id_}" if _ID.fullmatch(id_) else "Model/"


def is_event_id(text: str) -> bool:
    """Say if an id can be that of another event."""
    return _EVENT_ID.fullmatch(text) is not None


def _entries(links: Sequence[JSON], *, strict: bool) -> Iterator[Reference]:
    for at, link in enumerate(links):
        if "leaf" in link:
            yield Reference(
                f"{ENTRY}{link['id']}",
                f"/links/{at}/leaf",
                strict and link["rel"] == "parent-call",
                digest=link["leaf"],
            )


def linked_consents(type_: str, links: Sequence[JSON]) -> Iterator[tuple[int, str, bool]]:
    """Yield the consents that a call names by a link: which link, its id, if it must be a consent.

    An id that may be an event's may be that of the event that gave the consent.
    """
    if type_ == "GEN_ATTEMPT":
        for at, link in enumerate(links):
            if link["rel"] == "under-consent":
                yield at, link["id"], not is_event_id(link["id"])


def _linked_consents(type_: str, links: Sequence[JSON], *, strict: bool) -> Iterator[Reference]:
    # A log that was recorded before this was asked has calls that fail it, so whoever checks a log
    # again (`consents_of`) does not ask.
    for at, id_, certain in linked_consents(type_, links):
        yield Reference(f"Consent/{id_}", f"/links/{at}/id", strict and certain)


def _consents(body: Mapping[str, Any], *, strict: bool) -> list[Reference]:
    return [
        Reference(f"Consent/{id_}", f"/body/consent_ids/{at}", strict)
        for at, id_ in enumerate(body.get("consent_ids", ()))
    ]


def _call(body: JSON) -> Iterator[Reference]:
    yield from _consents(body, strict=True)
    model = body["model"]
    yield Reference(
        model_stream(model), "/body/model", True, model["version"], model.get("manifest")
    )
    template = body.get("prompt", {}).get("template")
    if template is not None:
        yield _versioned("PromptTemplate", template, "/body/prompt/template")
    if "policy" in body:
        yield _versioned("Policy", body["policy"], "/body/policy")
    for at, one in enumerate(body.get("inputs", ())):
        if "ref_asset" in one:
            yield Reference(f"Asset/{one['ref_asset']}", f"/body/inputs/{at}/ref_asset", True)


def _grant(body: JSON) -> Iterator[Reference]:
    said = body["consent"]
    pointer, stream = "/body/consent/text_id", f"ConsentText/{said['text_id']}"
    yield Reference(stream, pointer, True, said["text_version"], said["text_digest"])


def _training(body: JSON) -> Iterator[Reference]:
    train = body["train"]
    if "base_model" in train:
        yield Reference(f"Model/{train['base_model']}", "/body/train/base_model", True)
    for at, one in enumerate(train["inputs"]):
        pointer = f"/body/train/inputs/{at}/dataset_id"
        stream = f"Dataset/{one['dataset_id']}"
        digest, count, root = one["manifest_digest"], one["count"], one.get("smt_root")
        yield Reference(stream, pointer, True, digest=digest, members=count, root=root)
    for at, asset in enumerate(train.get("input_asset_ids", ())):
        yield Reference(f"Asset/{asset}", f"/body/train/input_asset_ids/{at}", True)


def _origins(body: JSON) -> Iterator[Reference]:
    if "training_run" in body:
        yield Reference(f"TrainingRun/{body['training_run']}", "/body/training_run", True)
    if "training_data_snapshot" in body:
        pointer = "/body/training_data_snapshot"
        yield Reference(f"Dataset/{body['training_data_snapshot']}", pointer, True)


def _rights(body: JSON) -> Iterator[Reference]:
    consent = body["rights"].get("consent_ref")
    if consent is not None:
        yield Reference(f"Consent/{consent}", "/body/rights/consent_ref", True)


def _versioned(kind: str, said: JSON, pointer: str) -> Reference:
    return Reference(f"{kind}/{said['id']}", pointer, True, said["version"], said.get("digest"))


def _covers(body: JSON) -> Sequence[Reference]:
    return _consents(body, strict=False) if "consent_ids" in body else ()


_Naming = Callable[[JSON], Iterable[Reference]]
_ALWAYS: Final[Mapping[str, _Naming]] = {"GEN_ATTEMPT": _covers}
_STRICT: Final[Mapping[str, _Naming]] = {
    "GEN_ATTEMPT": _call,
    "CONSENT_GRANTED": _grant,
    "TRAIN_STARTED": _training,
    "MODEL_REGISTERED": _origins,
    "INGEST": _rights,
    "ASSET_RIGHTS_CHANGED": _rights,
}
