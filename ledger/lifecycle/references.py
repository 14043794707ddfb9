# SPDX-License-Identifier: GPL-3.0-or-later
"""What an event names must be what the ledger holds: a model, a text, a consent, another entry.

    known, and in force             it may follow
    known, and contradicted         refused: another leaf, a consent that was taken back
    unknown, retired, other digest  refused where the house asks for it (`strict`), else recorded
                                    as sent; whoever reads the record later sees it marked

Only what is still to happen is held to this: a call before it is made, a training run before it
starts. What happened is recorded, whatever it names.
"""

from collections.abc import Mapping
from typing import Final, NamedTuple

from ledger.lifecycle.aggregate import Aggregate, Others, OutOfOrder
from ledger.lifecycle.asset import Asset
from ledger.lifecycle.consent import Consent, ConsentUnknown
from ledger.lifecycle.dataset import Dataset
from ledger.lifecycle.register import Register

#: In the place of a stream's kind: the rest is the id of another event.
ENTRY: Final = "Entry/"


class LinkUnknown(OutOfOrder):
    """The event names something that is not in this ledger."""

    problem = "link-unknown"


class LinkRetired(OutOfOrder):
    """The event names something that is not in force any more."""

    problem = "link-retired"


class LinkDiffers(OutOfOrder):
    """What the event says of something is not what the ledger holds of it."""

    problem = "link-differs"


class Reference(NamedTuple):
    """One thing that an event names. A tuple: it goes from process to process."""

    stream: str  #: Its stream, or `Entry/` and the id of another event.
    pointer: str  #: Where the request names it.
    strict: bool  #: Whether it has to be known and in force.
    version: str | None = None
    digest: str | None = None  #: Of its version, or the other entry's leaf; of a set's manifest.
    members: int | None = None  #: Of a set, as a training run says.
    root: str | None = None  #: Of a set's tree, if the run names it.


def check_reference(
    one: Reference, type_: str, states: Others, leaves: Mapping[str, bytes], now: str
) -> None:
    """Return if an event of a type may name this; else raise OutOfOrder.

    states: by stream. leaves: of other entries, by event id. now: when it is recorded, in the
    ledger's spelling.
    """
    if one.stream.startswith(ENTRY):
        _check_entry(one, type_, leaves.get(one.stream.removeprefix(ENTRY)))
        return
    state = states[one.stream]
    if isinstance(state, Consent):
        if one.strict and not state.granted:
            why = "no such consent was given"
            raise state.refuse(type_, why, ConsentUnknown, pointer=one.pointer)
        state.check_covers(type_, one.pointer, now)
    elif not one.strict:
        return
    elif isinstance(state, Register):
        _check_version(one, type_, state, now)
    elif isinstance(state, Asset):
        _check_asset(one, type_, state)
    elif isinstance(state, Dataset):
        _check_set(one, type_, state)
    elif not state.version:
        raise _unknown(one, type_, state)


def _check_entry(one: Reference, type_: str, leaf: bytes | None) -> None:
    if leaf is None:
        if one.strict:
            raise _unknown(one, type_, Aggregate(one.stream))
    elif one.digest != f"sha256:{leaf.hex()}":
        why = "the entry of this id has another leaf"
        raise Aggregate(one.stream).refuse(type_, why, LinkDiffers, pointer=one.pointer)


def _check_version(one: Reference, type_: str, state: Register, now: str) -> None:
    if one.version is None:
        if not state.versions:
            raise _unknown(one, type_, state)
        if all(state.gone(version, now) for version in state.versions):
            raise _retired(one, type_, state)
        return
    if one.version not in state.versions:
        raise _unknown(one, type_, state)
    if state.gone(one.version, now):
        raise _retired(one, type_, state)
    if one.digest is not None and one.digest != state.versions[one.version]:
        why = "the register has another digest for this version, or none"
        raise state.refuse(type_, why, LinkDiffers, pointer=one.pointer)


def _check_asset(one: Reference, type_: str, state: Asset) -> None:
    if not state.present:
        raise _unknown(one, type_, state)
    if state.withdrawn:
        raise _retired(one, type_, state)


def _check_set(one: Reference, type_: str, state: Dataset) -> None:
    if not state.sealed:
        raise _unknown(one, type_, state)
    if one.digest is None:
        return
    said = {"manifest_digest": one.digest, "count": one.members}
    if state.named_by(said if one.root is None else said | {"smt_root": one.root}) is None:
        why = "no sealed version of this set has this manifest, count and root"
        raise state.refuse(type_, why, LinkDiffers, pointer=one.pointer)


def _unknown(one: Reference, type_: str, state: Aggregate) -> OutOfOrder:
    why = "this ledger holds no such thing, or not in this version"
    return state.refuse(type_, why, LinkUnknown, pointer=one.pointer)


def _retired(one: Reference, type_: str, state: Aggregate) -> OutOfOrder:
    why = "this is in force no more"
    return state.refuse(type_, why, LinkRetired, pointer=one.pointer)
