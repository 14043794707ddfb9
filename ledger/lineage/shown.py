# SPDX-License-Identifier: GPL-3.0-or-later
"""The tree of calls as JSON and as a drawing."""

from collections.abc import Iterator
from typing import Any, Final

from ledger.lineage.calls import OUTCOMES
from ledger.lineage.told import Told
from ledger.lineage.tree import DEPTH, Node, Tree

JSON = dict[str, Any]

_REVIEWS: Final = frozenset({"GEN_ESCALATED", "HUMAN_REVIEW", "HUMAN_OVERRIDE"})
_OUTPUTS: Final = frozenset({"OUTPUT_RELEASED", "OUTPUT_DESTROYED"})
_LISTED: Final = OUTCOMES | _REVIEWS | _OUTPUTS | {"GEN_ATTEMPT", "MODERATION"}

_BOUND: Final = {True: "", False: "  NOT BOUND to its parent", None: "  parent is missing"}


def tree_json(tree: Tree, *, depth: int = DEPTH) -> JSON:
    """Return a tree, at most `depth` calls under each other; `below` says how many there are."""
    found: JSON = {"calls": tree.calls, "more": tree.more}
    if tree.trace_id is not None:
        found["trace_id"] = tree.trace_id
    return found | {"roots": [_node(one, depth) for one in tree.roots]}


def tree_text(tree: Tree, *, depth: int = DEPTH) -> str:
    """Return a tree as lines of text."""
    many = "1 call" if tree.calls == 1 else f"{tree.calls} calls"
    lines = [f"trace {tree.trace_id or 'without an id'}: {many}"]
    for n, root in enumerate(tree.roots):
        lines += _drawn(root, depth, "", last=n == len(tree.roots) - 1)
    if tree.more:
        lines.append("… there are more calls; ask with a higher limit, or below one of these")
    return "\n".join(lines) + "\n"


def event_ids(tree: Tree) -> list[str]:
    """Return the ids of all events that a tree shows."""
    found: list[str] = []
    waiting = list(tree.roots)
    while waiting:
        node = waiting.pop()
        found += [one.event_id for one in node.events]
        found += [one.event_id for export in node.exports for one in export]
        waiting += node.calls
    return found


def _node(node: Node, depth: int) -> JSON:
    attempt = next((one for one in node.events if one.type == "GEN_ATTEMPT"), None)
    outcome = _outcome(node)
    found: JSON = {
        "generation": node.call.generation,
        "parents": [one.json() for one in node.edges],
        "moderations": [one.json() for one in node.events if one.type == "MODERATION"],
        "reviews": [one.json() for one in node.events if one.type in _REVIEWS],
        "outputs": [one.json() for one in node.events if one.type in _OUTPUTS],
        "late": [one.json() for one in node.events if one.type == "OUTCOME_LATE"],
        "exports": [[one.json() for one in export] for export in node.exports],
        "open": outcome is None,
        "below": node.below,
        "calls": [],
    }
    if attempt is not None:
        found["attempt"] = attempt.json() | _traced(attempt)
    if outcome is not None:
        found["outcome"] = outcome.json()
        found["usage"] = outcome.body.get("usage", {})
    others = [one.json() for one in node.events if one.type not in _LISTED]
    if others:
        found["others"] = others
    took_ms = _took_ms(attempt, outcome)
    if took_ms is not None:
        found["took_ms"] = took_ms
    if node.events and node.events[-1].version > len(node.events):
        found["events_in_all"] = node.events[-1].version
    if node.calls and depth > 1:
        found["calls"] = [_node(one, depth - 1) for one in node.calls]
    return found


def _traced(attempt: Told) -> JSON:
    """Return where the client says that this call stands."""
    trace = {} if attempt.entry is None else attempt.entry.get("trace", {})
    names = ("span_id", "parent_span_id", "call_index", "depth")
    return {name: trace[name] for name in names if name in trace}


def _outcome(node: Node) -> Told | None:
    late = "OUTCOME_LATE"
    return next((one for one in node.events if one.type in OUTCOMES and one.type != late), None)


def _took_ms(attempt: Told | None, outcome: Told | None) -> int | None:
    """Return how long the call took by the ledger's own clock: recorded to recorded."""
    if attempt is None or outcome is None:
        return None
    return outcome.recorded_ms - attempt.recorded_ms


def _drawn(node: Node, depth: int, indent: str, *, last: bool) -> Iterator[str]:
    yield f"{indent}{'└─ ' if last else '├─ '}{_line(node)}"
    inner = indent + ("   " if last else "│  ")
    more = bool(node.calls)
    for event in _beside(node):
        yield f"{inner}{'│  ' if more else '   '}· {event}"
    if not more:
        return
    if depth <= 1:
        yield f"{inner}└─ … {node.below} more below; ask below {node.call.event_id}"
        return
    for n, one in enumerate(node.calls):
        yield from _drawn(one, depth - 1, inner, last=n == len(node.calls) - 1)


def _line(node: Node) -> str:
    attempt = next((one for one in node.events if one.type == "GEN_ATTEMPT"), None)
    body = {} if attempt is None else attempt.body
    model = body.get("model", {})
    named = f"{model.get('provider', '?')}/{model.get('name', '?')} {model.get('version', '')}"
    outcome = _outcome(node)
    parts = [f"{body.get('operation', 'call')} {named.strip()}"]
    parts.append("open" if outcome is None else outcome.type)
    took_ms = _took_ms(attempt, outcome)
    if took_ms is not None:
        parts.append(f"{took_ms} ms")
    usage = {} if outcome is None else outcome.body.get("usage", {})
    if "cost" in usage:
        parts.append(f"{usage['cost']} {usage.get('currency', '')}".strip())
    bound = _BOUND[node.edges[0].bound] if node.edges else ""
    return f"{' · '.join(parts)}  [{node.call.position}] {node.call.event_id}{bound}"


def _beside(node: Node) -> Iterator[str]:
    """Say in a line each what happened to a call beside its attempt and its outcome."""
    for one in node.events:
        if one.type == "MODERATION":
            judged = one.body.get("mod", {})
            told = f"{judged.get('stage', '?')}: {judged.get('filter_action', '?')}"
            yield f"{told}  [{one.position}]"
        elif one.type not in {"GEN_ATTEMPT", "GEN", "GEN_DENY", "GEN_ERROR"}:
            yield f"{one.type} {one.body.get('outcome', '')}".rstrip() + f"  [{one.position}]"
    for export in node.exports:
        types = ", ".join(one.type for one in export)
        yield f"{export[0].body.get('asset_id', 'an output')}: {types}  [{export[0].position}]"
