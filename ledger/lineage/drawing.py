# SPDX-License-Identifier: GPL-3.0-or-later
"""A lineage as JSON, and as a picture: lines of text, Graphviz's dot, or Mermaid.

dot -Tsvg lineage.dot > lineage.svg        Mermaid: paste it where Markdown is shown
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from ledger import clock
from ledger.lineage.facts import facts_of
from ledger.lineage.told import Told
from ledger.lineage.walk import Lineage, Thing, Way

JSON = dict[str, Any]

_COLOURS: Final[Mapping[str, str]] = {
    "Asset": "#dcecff",
    "Dataset": "#e3f5df",
    "TrainingRun": "#fff1cf",
    "Model": "#f6e0ff",
    "Generation": "#ffe4d6",
    "Export": "#e9e9e9",
}
_ENDED: Final = {
    "ASSET_WITHDRAWN": "withdrawn",
    "DATASET_SUPERSEDED": "superseded",
    "TRAIN_FAILED": "failed",
    "MODEL_RETIRED": "retired",
    "GEN_DENY": "denied",
    "GEN_ERROR": "failed",
    "EXPORT_REVOKED": "revoked",
    "TAKEDOWN": "takedown",
    "CONSENT_REVOKED": "revoked",
}


def lineage_json(found: Lineage) -> JSON:
    """Return a lineage: things, the edges between them, and where there is more than this."""
    return {
        "things": [_thing(one, found) for one in found.things.values()],
        "edges": [_edge(one, found) for one in found.ways],
        "more": [one._asdict() for one in found.fans],
        "cut": found.cut,
        "unfounded": found.unfounded,
    }


def lineage_text(found: Lineage) -> str:
    """Return a lineage as lines: what was asked for, what went in, what became of it."""
    lines = []
    for title, direction in (("", "asked"), ("made of", "before"), ("became", "after")):
        things = [one for one in found.things.values() if one.direction == direction]
        if title and things:
            lines.append(title)
        for one in things:
            lines.append(f"{'  ' * one.distance}{_label(one)}{_because(one, found)}")
            lines += [f"{'  ' * one.distance}  · {_event(event)}" for event in one.events]
    lines += [f"… more {one.rel} {one.direction} {one.thing} than shown" for one in found.fans]
    lines += [f"… cut: {one}" for one in found.cut]
    return "\n".join(lines) + "\n"


def lineage_dot(found: Lineage) -> str:
    """Return a lineage in Graphviz's language."""
    names = {name: f"n{n}" for n, name in enumerate(found.things)}
    lines = [
        "digraph lineage {",
        "  rankdir=LR; node [shape=box style=filled fontname=sans]; edge [fontname=sans];",
    ]
    for name, one in found.things.items():
        colour = _COLOURS.get(one.kind, "#ffffff")
        width = 3 if one.direction == "asked" else 1
        label = _quoted("\\n".join(_escaped(part) for part in _short(one)))
        lines.append(
            f"  {names[name]} [label={label} fillcolor={_quoted(colour)} penwidth={width}];"
        )
    for way in found.ways:
        style = " style=dashed" if way.bound is False else ""
        lines.append(
            f"  {names[way.source]} -> {names[way.target]} [label={_quoted(way.rel)}{style}];"
        )
    return "\n".join([*lines, "}"]) + "\n"


def lineage_mermaid(found: Lineage) -> str:
    """Return a lineage as a Mermaid flow chart."""
    names = {name: f"n{n}" for n, name in enumerate(found.things)}
    lines = ["flowchart LR"]
    for name, one in found.things.items():
        label = "<br/>".join(_entity(part) for part in _short(one))
        lines.append(f'  {names[name]}["{label}"]')
        if one.direction == "asked":
            lines.append(f"  style {names[name]} stroke-width:3px")
    for way in found.ways:
        arrow = "-.->" if way.bound is False else "-->"
        lines.append(f"  {names[way.source]} {arrow}|{way.rel}| {names[way.target]}")
    return "\n".join(lines) + "\n"


def _thing(thing: Thing, found: Lineage) -> JSON:
    """Return a thing; one without entries of its own with the entry that names it."""
    shown: JSON = {
        "thing": thing.name,
        "kind": thing.kind,
        "id": thing.id,
        "direction": thing.direction,
        "distance": thing.distance,
        "events": [one.json() for one in thing.events],
    }
    state = _state(thing)
    if state:
        shown["state"] = state
    if thing.events and thing.events[-1].version > len(thing.events) and "@" not in thing.name:
        shown["events_in_all"] = thing.events[-1].version
    if not thing.events:
        way = next((one for one in found.ways if thing.name in one[:2]), None)
        if way is not None:
            shown["named_by"] = _said(found.sayings[way.position])
    return shown


def _edge(way: Way, found: Lineage) -> JSON:
    shown: JSON = {"from": way.source, "to": way.target, "rel": way.rel}
    if way.bound is not None:
        shown["bound"] = way.bound
    return shown | _said(found.sayings[way.position])


def _said(told: Told) -> JSON:
    return {
        "event_id": told.event_id,
        "type": told.type,
        "position": told.position,
        "leaf": f"sha256:{told.leaf.hex()}",
    }


def _state(thing: Thing) -> str:
    """Return what has ended a thing, as far as the events shown tell; '' if nothing has."""
    return next((_ENDED[one.type] for one in reversed(thing.events) if one.type in _ENDED), "")


def _label(thing: Thing) -> str:
    state = _state(thing)
    return f"{thing.name} ({state})" if state else thing.name


def _because(thing: Thing, found: Lineage) -> str:
    """Say by which relation a thing is here."""
    for way in found.ways:
        here, other = (way.target, way.source)
        if thing.direction == "before":
            here, other = other, here
        near = found.things[other]
        if here == thing.name and near.distance == thing.distance - 1:
            return f"  ← {way.rel} {other}"
    return ""


def _event(told: Told) -> str:
    facts = facts_of(told.type, told.body)
    plain = " ".join(f"{name}={value}" for name, value in _flat(facts) if _is_short(value))
    when = clock.rfc3339(told.recorded_ms)
    return f"{told.type} {when} [{told.position}] {told.event_id} {plain}".rstrip()


def _flat(facts: JSON, before: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in facts.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{before}{name}.")
        elif not isinstance(value, list):
            yield f"{before}{name}", value


def _is_short(value: Any) -> bool:
    return len(str(value)) <= 72


def _short(thing: Thing) -> list[str]:
    """Return the lines of a box: kind, id, state."""
    id_ = thing.id if len(thing.id) <= 48 else f"{thing.id[:24]}…{thing.id[-20:]}"
    return [one for one in (thing.kind, id_, _state(thing)) if one]


def _quoted(text: str) -> str:
    return f'"{text}"'


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')


def _entity(text: str) -> str:
    """Write a label's text so that Mermaid takes none of it for its own language."""
    return "".join(one if one.isalnum() or one in " ._/-…" else f"#{ord(one)};" for one in text)
