# SPDX-License-Identifier: GPL-3.0-or-later
"""What a database administrator tries: any row is his, and no key of the ledger."""

import json
from collections.abc import Callable
from typing import Any, Final

from evidence.attack.target import Attack, NotApplicable, Target
from ledger import clock

WHO: Final = "database administrator"

_Strike = Callable[[Target], int]
_Perform = Callable[[Target, int], bytes | None]
_Value = dict[str, Any]


# Where


def _first(*topics: str) -> _Strike:
    return lambda target: target.first(*topics)


def _middle(target: Target) -> int:
    return target.middle()


def _in_present(target: Target) -> int:
    """Return a position whose MAC can be recomputed, with one after it."""
    return target.present(least=2)


def _where(what: str, fits: Callable[[_Value], bool]) -> _Strike:
    def strike(target: Target) -> int:
        for position, data in enumerate(target.admin.entries()):
            if fits(json.loads(data)):
                return position
        raise NotApplicable(f"no entry has {what}")

    return strike


# What: one entry


def approve(value: _Value) -> None:
    """Turn a refusal into an approval."""
    asset = {"asset_id": "approved-after-all", "mime": "image/png"}
    value |= {"type": "GEN", "body": {"outputs": [asset]}}


def _person(value: _Value) -> None:
    value["actor"] = {**value["actor"], "credential": "cred_of_somebody_else"}


def _judged(value: _Value) -> _Value:
    """Return the part of a body in which a policy stands, if any does."""
    body: _Value = value["body"]
    return body["mod"] if isinstance(body.get("mod"), dict) else body


def _policy(value: _Value) -> None:
    _judged(value)["policy"]["version"] = "0"


def _seed(value: _Value) -> None:
    value["body"]["params"]["seed"] = "4"


def _digest(value: _Value) -> None:
    value["_sd"] = sorted(["A" * 43, *value["_sd"][1:]])


def _edit(change: Callable[[_Value], None]) -> _Perform:
    return lambda target, position: target.admin.edit(position, change)


def _spell(old: bytes, new: bytes) -> _Perform:
    """Replace bytes of an entry; its leaf hash follows."""

    def perform(target: Target, position: int) -> None:
        data = target.admin.data(position)
        target.admin.put(position, data.replace(old, new))

    return perform


# What: rows


def _do(*statements: str) -> _Perform:
    """Run statements in which %s, if it is there, is the position."""

    def perform(target: Target, position: int) -> None:
        for statement in statements:
            target.admin.do(statement, *[position] * statement.count("%s"))

    return perform


def _set(column: str) -> _Perform:
    return _do("UPDATE {b}.entry SET {c} WHERE position = %s".replace("{c}", column))


def _both(condition: str) -> _Perform:
    """Delete rows and bodies whose position fits a condition."""
    statement = "DELETE FROM {b}.{t} WHERE position {c}".replace("{c}", condition)
    return _do(*(statement.replace("{t}", table) for table in ("entry_body", "entry")))


def _swap_bodies(target: Target, position: int) -> None:
    one, other = target.admin.data(position), target.admin.data(position + 1)
    for at, data in ((position, other), (position + 1, one)):
        target.admin.do("UPDATE {b}.entry_body SET bytes = %s WHERE position = %s", data, at)


def _beyond(target: Target, position: int) -> None:
    target.admin.insert(target.admin.size(), outcome_of_nothing(target))
    del position


# What: the whole log, without keys


def _reorder(target: Target, position: int) -> None:
    order = list(range(target.admin.size()))
    order[position], order[position + 1] = order[position + 1], order[position]
    target.admin.relay(order)


def _move_up(target: Target, position: int) -> None:
    target.admin.relay(range(position + 1, target.admin.size()))


def _forge(target: Target, position: int) -> None:
    target.admin.forge(lambda at, value: _person(value) if at == position else None, chain=None)


def _append(target: Target, position: int) -> None:
    del position
    target.admin.relay(range(target.admin.size()), more=[outcome_of_nothing(target)])


def _rewind(target: Target, position: int) -> None:
    target.admin.rewind(position, target.chain)


def outcome_of_nothing(target: Target) -> bytes:
    """Return the entry of an outcome whose attempt never was, dated like the newest entry."""
    return target.invent(
        {
            "type": "GEN",
            "aggregate": {"type": "Generation", "id": str(clock.new_id()), "version": 1},
            "body": {"outputs": [{"asset_id": "never-asked-for", "mime": "image/png"}]},
        }
    )


# What: anchors and tiles


def _anchored(target: Target) -> int:
    """Return the position of an ANCHOR entry whose token is kept."""
    rows = target.admin.do("SELECT 1 FROM {b}.token LIMIT 1")
    if not rows:
        raise NotApplicable("no time stamp is kept")
    return target.first("ANCHOR/1")


def _anchored_twice(target: Target) -> int:
    ((count,),) = target.admin.do("SELECT count(DISTINCT anchor_id) FROM {b}.token")
    if count < 2:
        raise NotApplicable("fewer than two checkpoints are stamped")
    return target.first("ANCHOR/1")


def _paste_tokens(target: Target, position: int) -> None:
    del position
    target.admin.do(
        "UPDATE {b}.token t SET query = o.query, reply = o.reply FROM {b}.token o"
        " WHERE o.anchor_id = (SELECT max(anchor_id) FROM {b}.token)"
        " AND t.anchor_id <> o.anchor_id AND t.authority = o.authority"
    )


def _tiled(target: Target) -> int:
    if not target.admin.do("SELECT 1 FROM {b}.tile LIMIT 1"):
        raise NotApplicable("the log has no full tile of 256 entries yet")
    return 1  # Its path begins with the hash of position 0.


_FLIP_TILE: Final = _do(
    "UPDATE {b}.tile SET hashes = sha256('x') || substring(hashes FROM 33)"
    ' WHERE level = 0 AND "index" = 0'
)
_STRIP_STAMPED: Final = _do(
    "UPDATE {b}.anchor SET stamped ="
    " substring(stamped FOR position('\\x0a0a'::bytea IN stamped) + 1)"
)


def _attack(name: str, tries: str, strike: _Strike, perform: _Perform, *caught_by: str) -> Attack:
    return Attack(
        name=name, adversary=WHO, tries=tries, strike=strike, perform=perform, caught_by=caught_by
    )


_ALL: Final = ("fsck", "receipt", "packet")

ATTACKS: Final = (
    # One entry changed
    _attack("decision-flipped", "a refusal becomes an approval, with leaf hash and columns",
            _first("GEN_DENY/1"), _edit(approve), *_ALL),
    _attack("approver-changed", "somebody else answers for an entry",
            _middle, _edit(_person), *_ALL),
    _attack("policy-changed", "an entry names another version of the policy",
            _where("a policy", lambda value: "policy" in _judged(value)), _edit(_policy), *_ALL),
    _attack("argument-changed", "the model was called with another seed",
            _where("a seed", lambda value: "seed" in value["body"].get("params", {})),
            _edit(_seed), *_ALL),
    _attack("commitment-changed", "another digest in `_sd`: another prompt or person",
            _where("a committed value", lambda value: "_sd" in value), _edit(_digest), *_ALL),
    _attack("key-twice", "a second member of one name, for a lenient reader",
            _middle, _spell(b'"v":1', b'"type":"INGEST","v":1'), "fsck:bytes", *_ALL),
    _attack("spelled-otherwise", "the same JSON with spaces",
            _middle, _spell(b'":', b'": '), "fsck:bytes", *_ALL),
    _attack("bodies-swapped", "the bytes of two neighbours change places",
            _in_present, _swap_bodies, "fsck:body", "receipt", "packet"),
    _attack("body-removed", "the bytes of one entry are gone",
            _middle, _do("DELETE FROM {b}.entry_body WHERE position = %s"), "fsck:body",
            "receipt", "packet"),
    # Index columns
    _attack("leaf-column", "the leaf hash beside the bytes, and not the bytes",
            _middle, _set("leaf = sha256('x')"), "fsck", "receipt", "packet"),
    _attack("event-hidden", "a search by its id no longer finds the entry",
            _middle, _set("event_id = gen_random_uuid()"), "fsck:column", "receipt", "packet"),
    _attack("retry-spoiled", "request_digest, so that an honest retry becomes a conflict",
            _middle, _set("request_digest = sha256('x')"), "fsck:column"),
    _attack("source-changed", "the pipeline's own count has a gap",
            _where("a source", lambda value: "source" in value), _set("source_n = source_n + 1"),
            "fsck:column", "receipt", "packet"),
    _attack("topic-names-a-module", "a module's name, for a reader that imports what rows name",
            _middle, _set("topic = 'antigravity:fly'"), "fsck:column", "receipt", "packet"),
    _attack("dated-back", "the time by which days are cut",
            _middle, _set("recorded_at = recorded_at - 3600000"), "fsck:column", "receipt",
            "packet"),
    _attack("birth-removed", "an output may be ingested again, as an owned picture",
            _first("INGEST/1", "GEN/1"), _do("DELETE FROM {b}.asset_birth WHERE position = %s"),
            "fsck:birth"),
    # Chain, head, tiles
    _attack("mac-changed", "one MAC of the chain",
            _in_present, _set("mac = sha256('x')"), "fsck:mac"),
    _attack("signatures-stripped", "every MAC is blank",
            _in_present, _do("UPDATE {b}.entry SET mac = sha256('')"), "fsck:mac"),
    _attack("frontier-swapped", "one hash of the frontier, to have another root signed",
            _middle,
            _do("UPDATE {b}.head SET frontier = sha256('x') || substring(frontier FROM 33)"),
            "open:head-forged", "fsck:head"),
    _attack("epoch-forward", "a later epoch, so that processes throw their keys away",
            _middle, _do("UPDATE {b}.head SET epoch = epoch + 1"), "open:head-forged",
            "fsck:head"),
    _attack("head-removed", "the head row is gone", _middle, _do("DELETE FROM {b}.head"),
            "open", "fsck:head"),
    _attack("tile-rewritten", "a stored tile, and not the leaves under it",
            _tiled, _FLIP_TILE, "fsck:tile", "receipt", "packet"),
    _attack("all-rewritten", "entries, tiles and frontier together, without the chain key",
            _middle, _forge, "open:head-forged", "look", *_ALL),
    # Entries gone, moved, made up
    _attack("newest-cut", "the newest entries are gone", _in_present, _both(">= %s"),
            "fsck:entry", *_ALL),
    _attack("newest-cut-with-head", "everything is put back as it was at an earlier moment",
            lambda target: target.present(least=2) + 1, _rewind, "open:history-rewritten",
            "look", *_ALL),
    _attack("oldest-cut", "the oldest entries are gone", lambda target: target.middle(least=2) - 1,
            _both("<= %s"), "fsck:entry", *_ALL),
    _attack("oldest-cut-and-moved", "the rest moves up, with tiles and frontier of its own",
            lambda target: target.middle(least=2) - 1, _move_up, "open:head-forged", "look", *_ALL),
    _attack("reordered", "two neighbours change places, with tiles and frontier",
            _in_present, _reorder, "open:head-forged", "look", *_ALL),
    _attack("outcome-of-nothing", "an outcome of an attempt that never was, behind the head",
            _middle, _beyond, "fsck:entry"),
    _attack("outcome-of-nothing-with-head", "the same, counted in by head and frontier",
            _middle, _append, "open:head-forged", "fsck:head"),
    # Time stamps
    _attack("token-removed", "the proof of time is gone", _anchored, _do("DELETE FROM {b}.token"),
            "fsck:anchor"),
    _attack("token-pasted", "the stamp of one checkpoint is shown for another", _anchored_twice,
            _paste_tokens, "fsck:anchor"),
    _attack("token-dated-otherwise", "another time beside a token, for whoever lists the anchors",
            _anchored, _do("UPDATE {b}.token SET gen_time_ms = gen_time_ms - 86400000"),
            "fsck:anchor"),
    _attack("query-spoiled", "another query beside a token, so that packets with it are refuted",
            _anchored, _do("UPDATE {b}.token SET query = 'x'"), "fsck:anchor"),
    _attack("stamped-stripped", "the log's signature is taken from the bytes that were stamped",
            _anchored, _STRIP_STAMPED, "fsck:anchor"),
)  # fmt: skip
