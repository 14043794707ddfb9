# SPDX-License-Identifier: GPL-3.0-or-later
"""What the operator tries, who holds every key: database, chain, log key, checkpoint store."""

from typing import Any, Final

from anchoring.checkpoint import sign_checkpoint
from evidence.attack.rows import approve, outcome_of_nothing
from evidence.attack.target import Attack, NotApplicable, Target
from ledger import clock
from sealtrail.verify.note import Checkpoint, Note

WHO: Final = "operator with the signing key"


def _forge(target: Target, position: int) -> None:
    """Another history, with genuine MACs of the present epoch and a genuine tag."""

    def change(at: int, value: dict[str, Any]) -> None:
        if at == position:
            value["actor"] = {**value["actor"], "credential": "cred_of_somebody_else"}

    target.admin.forge(change, chain=target.chain)


def _forge_and_sign(target: Target, position: int) -> None:
    _forge(target, position)
    target.note_file.write_bytes(target.sign_stored())


def _flip(target: Target, position: int) -> None:
    target.admin.forge(
        lambda at, value: approve(value) if at == position else None, chain=target.chain
    )


def _rewind_all(target: Target, position: int) -> None:
    target.admin.rewind(position, target.chain)
    target.note_file.write_bytes(target.sign_stored())


def _rewind_store(target: Target, position: int) -> None:
    target.note_file.write_bytes(target.sign_stored(position))


def _append(target: Target, entry: bytes) -> None:
    """Record what no door of ours would let in, with every key that it takes."""
    admin = target.admin
    admin.relay(range(admin.size()), more=[entry], chain=target.chain)


def _append_outcome(target: Target, position: int) -> None:
    del position
    _append(target, outcome_of_nothing(target))


def _append_dated_back(target: Target, position: int) -> None:
    del position
    early = {
        "type": "GEN_ATTEMPT",
        "aggregate": {"type": "Generation", "id": str(clock.new_id()), "version": 1},
        "time": {"recorded": "2001-01-01T00:00:00.000Z"},
        "body": {
            "operation": "generate",
            "input_type": "text",
            "model": {"provider": "acme", "name": "painter", "version": "3"},
        },
    }
    _append(target, target.invent(early))


def _insert_unlogged(target: Target, position: int) -> None:
    """Sign a checkpoint over one entry more than the database has."""
    leaves = [*target.admin.leaves(), bytes(32)]
    target.note_file.write_bytes(target.sign(leaves))
    del position


def _remove_store(target: Target, position: int) -> None:
    target.note_file.unlink()
    del position


def _strip_store(target: Target, position: int) -> None:
    note = Note.parse(target.running.notary.refresh()[0])
    target.note_file.write_bytes(note.text.encode() + b"\n")
    del position


def _others_checkpoint(target: Target, position: int) -> None:
    del position
    head = target.running.reader.head()
    note = sign_checkpoint(
        target.keys, Checkpoint(origin=target.other, size=head.size, root=head.root)
    )
    target.note_file.write_bytes(note)


def _in_present(target: Target) -> int:
    return target.present(least=2)


def _later_in_present(target: Target) -> int:
    """Return a position in the present epoch that is not its first."""
    return target.present(least=2) + 1


def _under_anchor(target: Target) -> int:
    """Return a position of the present epoch under a stamped checkpoint."""
    first = target.present()
    ((size,),) = target.admin.do("SELECT max(size) FROM {b}.anchor")
    if size is None or size <= first:
        raise NotApplicable("nothing of the present epoch is anchored yet")
    return first


def _denied(target: Target) -> int:
    return target.first("GEN_DENY/1", after=target.present())


def _attack(name: str, tries: str, strike: Any, perform: Any, *caught_by: str) -> Attack:
    return Attack(
        name=name, adversary=WHO, tries=tries, strike=strike, perform=perform, caught_by=caught_by
    )


ATTACKS: Final = (
    _attack("history-rewritten", "head, frontier, tiles and chain together, all of them genuine",
            _in_present, _forge, "open:history-rewritten", "look", "fsck:store", "receipt",
            "packet"),
    _attack("decision-rewritten", "the same, to turn a refusal into an approval",
            _denied, _flip, "open:history-rewritten", "look", "fsck:store", "receipt", "packet"),
    _attack("history-and-store-rewritten", "the same, and the checkpoint store with it",
            _in_present, _forge_and_sign, "look", "receipt"),
    _attack("anchored-history-rewritten", "the same, under a checkpoint that was stamped",
            _under_anchor, _forge_and_sign, "look", "fsck:store", "receipt", "packet"),
    _attack("database-and-store-rewound", "both go back to one earlier moment",
            _later_in_present, _rewind_all, "look", "receipt"),
    _attack("store-rewound", "an older checkpoint of the same log is put back",
            _later_in_present, _rewind_store, "look"),
    _attack("store-ahead", "a signed checkpoint over an entry that the database never had",
            _in_present, _insert_unlogged, "open:history-rewritten", "look", "fsck:store"),
    _attack("store-emptied", "the checkpoint is removed",
            _in_present, _remove_store, "open:checkpoint-missing", "look"),
    _attack("store-unsigned", "the checkpoint's signature is stripped",
            _in_present, _strip_store, "open:checkpoint-damaged", "look"),
    _attack("store-of-another-book", "the checkpoint of another Book is put in its place",
            _in_present, _others_checkpoint, "open:checkpoint-damaged", "look"),
    _attack("outcome-of-nothing-recorded", "an outcome without an attempt, past every door",
            _in_present, _append_outcome, "fsck:lifecycle"),
    _attack("dated-back-recorded", "an entry dated long before the one in front of it",
            _in_present, _append_dated_back, "fsck:time"),
)  # fmt: skip
