# SPDX-License-Identifier: GPL-3.0-or-later
"""Which terms an entry fits: pairs of a key and a value, read from its clear members.

An outcome, a judgement or a review says little of the call that it is about. So each event of a
Generation has what its attempt says of model, template and consent, too (`inherited`).
"""

from collections.abc import Iterator
from typing import Any, Final

from ledger.readmodel.keys import KEYS, Form, Key

JSON = dict[str, Any]
Term = tuple[str, str]  #: Key and value.

_STAGES: Final = {
    "Asset": "INGEST",
    "Dataset": "TRAIN",
    "TrainingRun": "TRAIN",
    "Generation": "GEN",
    "Export": "EXPORT",
    "Model": "REGISTER",
    "Policy": "REGISTER",
    "PromptTemplate": "REGISTER",
    "ConsentText": "REGISTER",
    "TransparencyTemplate": "REGISTER",
    "Consent": "CONSENT",
    "RedTeamSuite": "TEST",
}

#: Aggregates whose own id is a value of a key.
_SELVES: Final = {
    "Model": "model",
    "Policy": "policy",
    "PromptTemplate": "template",
    "ConsentText": "text",
    "TransparencyTemplate": "text",
    "Consent": "consent",
    "Dataset": "dataset",
}

#: What the events of a Generation have from its attempt.
_INHERITED: Final = frozenset(
    {"model", "provider", "template", "policy", "operation", "input", "consent", "trace"}
)

#: A code is an alert's in these types only.
_ALERTS: Final = frozenset({"ALERT_RAISED", "ALERT_ACKNOWLEDGED"})

_OUTCOMES: Final = {"GEN": "generated", "GEN_DENY": "denied", "OUTCOME_LATE": "late"}

_LEAVES: Final = ""


def _grow() -> JSON:
    """Return the keys' paths as a tree: what is looked for at each member of an entry."""
    root: JSON = {}
    for key in KEYS.values():
        for path in key.paths:
            node = root
            for name in path.split("."):
                node = node.setdefault(name, {})
            node.setdefault(_LEAVES, []).append(key)
    return root


_TREE: Final = _grow()


def cold_terms(type_: str, aggregate: str) -> set[Term]:
    """Return what every entry fits, also when its bytes are gone."""
    return {("type", type_), ("stage", _STAGES.get(aggregate, "LEDGER"))}


def terms_of(entry: JSON) -> set[Term]:
    """Return the terms that an entry fits by itself."""
    aggregate = entry["aggregate"]
    found = cold_terms(entry["type"], aggregate["type"])
    found.update(_walk(_TREE, entry))
    if entry["type"] not in _ALERTS:
        found = {term for term in found if term[0] != "alert"}
    self_key = _SELVES.get(aggregate["type"])
    if self_key is not None:
        found.add((self_key, aggregate["id"]))
        version = version_of(entry)
        if version:
            found.add((self_key, f"{aggregate['id']}@{version}"))
    outcome = outcome_of(entry)
    if outcome is not None:
        found.add(("outcome", outcome))
    return found


def inherited(attempt: set[Term]) -> set[Term]:
    """Return what the other events of a Generation have from the terms of its attempt."""
    return {term for term in attempt if term[0] in _INHERITED}


def outcome_of(entry: JSON) -> str | None:
    """Return how a Generation ended, if this entry says so."""
    if entry["type"] == "GEN_ERROR":
        return "timeout" if entry["body"].get("timeout") is True else "failed"
    return _OUTCOMES.get(entry["type"])


def version_of(entry: JSON) -> str:
    """Return which version of its thing an entry of a register is about; '' for all or none."""
    body = entry["body"]
    inner = {"Model": "model", "Dataset": "dataset"}.get(entry["aggregate"]["type"])
    for place in (body.get(inner), body):
        if isinstance(place, dict) and isinstance(place.get("version"), str):
            return str(place["version"])
    return ""


def _walk(node: JSON, value: Any) -> Iterator[Term]:
    """Yield the terms at and below a member."""
    if isinstance(value, list):
        for one in value:
            yield from _walk(node, one)
        return
    for key in node.get(_LEAVES, ()):
        yield from _leaf(key, value)
    if isinstance(value, dict):
        for name, below in node.items():
            if name in value:
                yield from _walk(below, value[name])


def _leaf(key: Key, value: Any) -> Iterator[Term]:
    for spelled in _SPELLINGS[key.form](value):
        if key.fold is not None:
            spelled = spelled.upper() if key.fold == "upper" else spelled.lower()  # noqa: PLW2901
        if "\0" not in spelled:  # PostgreSQL has no such text.
            yield key.name, spelled


def _plain(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value


def _versioned(value: Any) -> Iterator[str]:
    if not isinstance(value, dict):
        return
    id_, version = value.get("id"), value.get("version")
    if isinstance(id_, str):
        yield id_
        if isinstance(version, str):
            yield f"{id_}@{version}"


def _model(value: Any) -> Iterator[str]:
    if not isinstance(value, dict):
        return
    provider, name, version = value.get("provider"), value.get("name"), value.get("version")
    names = [value.get("id"), name]
    if isinstance(provider, str) and isinstance(name, str):
        names.append(f"{provider}/{name}")
    for one in names:
        if isinstance(one, str):
            yield one
            if isinstance(version, str):
                yield f"{one}@{version}"


_SPELLINGS: Final[dict[Form, Any]] = {"plain": _plain, "versioned": _versioned, "model": _model}
