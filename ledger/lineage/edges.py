# SPDX-License-Identifier: GPL-3.0-or-later
"""What an entry says about what went into what, and by which digests its assets are known.

    Asset ─input-asset─► Generation ─output-asset─► Asset ─exports─► Export
      │                     ▲ used-model
      └─member-of─► Dataset ─trained-on─► TrainingRun ─produced─► Model ─base-model─► TrainingRun

Every edge goes from the cause to what was made of it. A thing is named like its stream,
`<aggregate type>/<aggregate id>`; one version of a set adds `@` and the digest of its manifest,
one version of a model `@` and the version: an asset that was in last year's set went into no run on
this year's. All of it is what a client claimed and the ledger recorded.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final, NamedTuple

from ledger.references import model_stream

JSON = dict[str, Any]

_UUID: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}")


class Edge(NamedTuple):
    """`source` went into `target`."""

    source: str
    target: str
    rel: str


class Named(NamedTuple):
    """A link that names a thing, or an event of that thing: which of both, the log says."""

    id: str
    kind: str | None  #: Aggregate type, where the link says it; None: what the relation is for.
    default: str  #: The thing, if no event has this id.
    rel: str
    inward: bool  #: The named thing went into this one; else this one into it.
    leaf: str | None  #: Of the event that is named, as claimed.

    def edge(self, here: str, other: str) -> Edge:
        """Return the edge between the stream that says so and the other one."""
        return Edge(other, here, self.rel) if self.inward else Edge(here, other, self.rel)


class _Link(NamedTuple):
    """What a relation of record-schema 1.5 means for the way of an asset."""

    kind: str | None  #: Aggregate type of the linked thing; None: the same as this one's.
    inward: bool


#: Relations that say what went into what. The others tie an entry to what was done about it.
LINKS: Final[Mapping[str, _Link]] = {
    "ingest-of": _Link("Asset", inward=True),
    "member-of": _Link("Dataset", inward=False),
    "trained-on": _Link("Dataset", inward=True),
    "produced": _Link("Model", inward=False),
    "base-model": _Link("Model", inward=True),
    "used-model": _Link("Model", inward=True),
    "used-template": _Link("PromptTemplate", inward=True),
    "used-policy": _Link("Policy", inward=True),
    "under-consent": _Link("Consent", inward=True),
    "input-asset": _Link("Asset", inward=True),
    "output-asset": _Link("Asset", inward=False),
    "derived-from": _Link("Asset", inward=True),
    "exports": _Link("Asset", inward=True),
    "taken-down-by": _Link("Export", inward=False),
    "supersedes": _Link(None, inward=True),
}

#: All relations, in the order in which those of one thing are walked and shown.
RELS: Final = (*LINKS, "sealed-as", "registered-as")

_KINDS: Final = frozenset(
    {
        "Asset", "Consent", "ConsentText", "Dataset", "Export", "Generation", "Model", "Policy",
        "PromptTemplate", "TrainingRun", "TransparencyTemplate",
    }
)  # fmt: skip


def stream_of(entry: JSON) -> str:
    """Return the stream of an entry: the thing that it tells about."""
    aggregate = entry["aggregate"]
    return f"{aggregate['type']}/{aggregate['id']}"


def edges_of(entry: JSON) -> list[Edge]:
    """Return what the body of an entry says; its links are `named_in`'s."""
    told = _BODIES.get(entry["type"])
    return [] if told is None else list(dict.fromkeys(told(stream_of(entry), entry["body"])))


def named_in(entry: JSON) -> list[Named]:
    """Return the links of an entry that say what went into what."""
    if "links" not in entry:
        return []
    here = entry["aggregate"]["type"]
    found = []
    for link in entry["links"]:
        meaning = LINKS.get(link["rel"])
        if meaning is None:
            continue
        kind = link.get("type")
        inward = meaning.inward
        if link["rel"] == "member-of" and here == "Dataset":
            inward = True  # The set names its member, instead of the member its set.
        default = "Asset" if inward and link["rel"] == "member-of" else meaning.kind or here
        known = kind if kind in _KINDS else None
        name = f"{known or default}/{link['id']}"
        found.append(Named(link["id"], known, name, link["rel"], inward, link.get("leaf")))
    return found


def event_ids(named: Named) -> bool:
    """Say if what is named may be an event."""
    return named.kind is None and _UUID.fullmatch(named.id) is not None


def digests_of(entry: JSON) -> Iterator[tuple[str, str, str]]:
    """Return (digest, asset id, what it is the digest of) of all that an entry says in clear."""
    type_, body = entry["type"], entry["body"]
    if type_ == "INGEST":
        yield from _pair(body["asset"], entry["aggregate"]["id"], "")
    elif type_ == "GEN":
        for output in body["outputs"]:
            yield from _pair(output, output["asset_id"], "")
            yield from _pair(output.get("before_moderation", {}), output["asset_id"], "-before")
    elif type_ == "EXPORT" and "asset_sha256" in body:
        yield body["asset_sha256"], body["asset_id"], "delivered"


def is_digest(text: str) -> bool:
    """Say if a text is a digest as entries spell it."""
    return _DIGEST.fullmatch(text) is not None


def is_thing(text: str) -> bool:
    """Say if a text names a thing of a kind that lineages know, such as `Model/…`."""
    return text.partition("/")[0] in _KINDS and "/" in text


def stream_named(thing: str) -> tuple[str, str | None]:
    """Return the stream of a thing's name, and which version of it is named, if one is."""
    if thing.startswith(("Dataset/", "Model/")):
        stream, at, version = thing.partition("@")
        return stream, version if at else None
    return thing, None


def about(version: str, bodies: Iterable[JSON]) -> list[bool]:
    """Say of each event of a set or a model if it is about one version, or about all of them.

    version: as a thing's name has it. bodies: of the stream's events, in order.
    """
    names, found = {version}, []
    for body in bodies:
        told = body.get("dataset", body.get("model"))
        told = told if isinstance(told, dict) else {}
        said = {told[name] for name in ("manifest_digest", "version") if name in told}
        found.append(not said or not names.isdisjoint(said))
        if said and found[-1]:
            names |= said  # From its sealing on, a set's version is known by its name, too.
    return found


def _pair(named: Mapping[str, Any], asset: str, suffix: str) -> Iterator[tuple[str, str, str]]:
    for member, what in (("sha256", "bytes"), ("pixel_sha256", "pixels")):
        if member in named:
            yield named[member], asset, what + suffix


def _of_attempt(here: str, body: JSON) -> Iterator[Edge]:
    for one in body.get("inputs", ()):
        if "ref_asset" in one:
            yield Edge(f"Asset/{one['ref_asset']}", here, "input-asset")
    model = model_stream(body["model"])
    if model != "Model/":  # Its name makes no id.
        yield Edge(f"{model}@{body['model']['version']}", here, "used-model")


def _of_gen(here: str, body: JSON) -> Iterator[Edge]:
    for one in body.get("reference_assets", ()):
        yield Edge(f"Asset/{one}", here, "input-asset")
    for one in body["outputs"]:
        yield Edge(here, f"Asset/{one['asset_id']}", "output-asset")


def _of_export(here: str, body: JSON) -> Iterator[Edge]:
    yield Edge(f"Asset/{body['asset_id']}", here, "exports")


def _of_plan(here: str, body: JSON) -> Iterator[Edge]:
    train = body["train"]
    for one in train["inputs"]:
        yield Edge(f"Dataset/{one['dataset_id']}@{one['manifest_digest']}", here, "trained-on")
    for one in train.get("input_asset_ids", ()):
        yield Edge(f"Asset/{one}", here, "trained-on")
    if "base_model" in train:
        yield Edge(f"Model/{train['base_model']}", here, "base-model")


def _of_train(here: str, body: JSON) -> Iterator[Edge]:
    yield from _of_plan(here, body)
    yield Edge(here, f"Model/{body['train']['output_model']}", "produced")


def _of_model(here: str, body: JSON) -> Iterator[Edge]:
    version = f"{here}@{body['model']['version']}"
    if "training_run" in body:
        yield Edge(f"TrainingRun/{body['training_run']}", version, "produced")
    else:
        yield Edge(here, version, "registered-as")


def _of_set(here: str, body: JSON) -> Iterator[Edge]:
    yield Edge(here, f"{here}@{body['dataset']['manifest_digest']}", "sealed-as")


_BODIES: Final[Mapping[str, Callable[[str, JSON], Iterator[Edge]]]] = {
    "GEN_ATTEMPT": _of_attempt,
    "GEN": _of_gen,
    "EXPORT": _of_export,
    "TRAIN_STARTED": _of_plan,
    "TRAIN": _of_train,
    "MODEL_REGISTERED": _of_model,
    "DATASET_SEALED": _of_set,
}
