# SPDX-License-Identifier: GPL-3.0-or-later
"""What a completeness report must say, worked out from the history of each attempt.

Written from docs/formats.md, and after nothing of ours: every report is derived from the whole list
of what happened up to the size at which it says it looked, the tree by halves from its definition.
"""

import hashlib
import json

OUTCOMES = {"GEN": "gen", "GEN_DENY": "deny", "GEN_ERROR": "error"}
STATES = {"gen": 1, "deny": 2, "error": 3}
EMPTY = (bytes(32), (0, 0, 0, 0))


def wrong_report(entry, auditor, attempts, span):
    """Say what is wrong with a report; None if nothing is.

    attempts: (position, id, [(type, position), ...]) of every attempt of the range; span: its ends.
    """
    body = entry["body"]
    before = [one for one in auditor.entries if one["type"] == "COMPLETENESS_REPORT"]
    same_day = [one["body"]["kind"] for one in before if one["body"]["day"] == body["day"]]
    as_of = body["as_of"]
    if not span[1] <= as_of <= len(auditor.entries):
        return "it looked at another log than there was"
    ended = [(at, id_, _end(events, as_of)) for at, id_, events in attempts]
    expected = _common(body, auditor, before, ended, span)
    if body["kind"] == "provisional":
        expected |= _open([(at, id_) for at, id_, (state, _, _) in ended if state is None])
        order = [] if not same_day else ["this day was reported before"]
    else:
        expected |= _tree(ended, auditor.book.origin)
        order = _order_of_finals(body, before, same_day, ended)
    if order:
        return order[0]
    # What the range put out is another construction; docs/formats.md has it, and its own tests.
    body = {name: value for name, value in body.items() if name != "outputs"}
    return None if body == expected else f"the report says {body}, not {expected}"


def _common(body, auditor, before, ended, span):
    counts = {"attempts": len(ended), "gen": 0, "deny": 0, "error": 0, "late": 0}
    for _, _, (state, _, late) in ended:
        if state is not None:
            counts[state] += 1
            counts["late"] += late
    within = auditor.entries[span[0] : span[1]]
    expected = {
        "kind": body["kind"],
        "day": body["day"],
        "number": len(before) + 1,
        "from_size": span[0],
        "to_size": span[1],
        "as_of": body["as_of"],
        "counts": counts,
        "late_recorded": sum(one["type"] == "OUTCOME_LATE" for one in within),
    }
    if before:
        expected["previous"] = before[-1]["event_id"]
    return expected


def _end(events, as_of):
    """(state, position, late) of an attempt at a size of the log."""
    known = [(type_, at) for type_, at in events if at < as_of]
    for type_, at in known:
        if type_ in OUTCOMES:
            return OUTCOMES[type_], at, any(one == "OUTCOME_LATE" for one, _ in known)
    return None, None, False


def _open(still):
    everyone = [{"attempt_id": id_, "index": at} for at, id_ in still]
    told = {"open_count": len(everyone), "open": everyone[:64]}
    if len(everyone) > 64:
        data = json.dumps(everyone, sort_keys=True, separators=(",", ":")).encode()
        told["open_digest"] = f"sha256:{hashlib.sha256(data).hexdigest()}"
    return told


def _order_of_finals(body, before, same_day, ended):
    """What forbids a final report: an open attempt, no first report, or a day before it."""
    final = {one["body"]["day"] for one in before if one["body"]["kind"] == "final"}
    older = {one["body"]["day"] for one in before if one["body"]["day"] < body["day"]}
    return [
        said
        for said, true in (
            ("an attempt of this day is open", any(end[0] is None for _, _, end in ended)),
            ("this day was not reported before", "provisional" not in same_day),
            ("this day was reported for good before", "final" in same_day),
            ("a day before this one is not reported for good", bool(older - final)),
        )
        if true
    ]


def _tree(ended, origin):
    prefix = b"sealtrail.outcome.key.v1\x00" + origin.encode() + b"\x00"
    leaves = []
    for at, id_, (state, end, late) in ended:
        key = hashlib.sha256(prefix + id_.encode()).digest()
        if state is not None:
            value = at.to_bytes(8) + bytes([STATES[state]]) + end.to_bytes(8) + bytes([late])
            counts = tuple(int(one == state) for one in STATES)
            leaves.append(("".join(f"{byte:08b}" for byte in key), key, value, (*counts, late)))
    return {"outcomes": {"origin": origin, "root": f"sha256:{_node(leaves, 0)[0].hex()}"}}


def _node(leaves, depth):
    if not leaves:
        return EMPTY
    if len(leaves) == 1:
        _, key, value, counts = leaves[0]
        return hashlib.sha256(b"\x20" + key + value).digest(), counts
    left, right = (
        _node([one for one in leaves if one[0][depth] == bit], depth + 1) for bit in "01"
    )
    text = b"\x21" + left[0] + _packed(left[1]) + right[0] + _packed(right[1])
    return hashlib.sha256(text).digest(), tuple(
        a + b for a, b in zip(left[1], right[1], strict=True)
    )


def _packed(counts):
    return b"".join(int(count).to_bytes(8) for count in counts)
