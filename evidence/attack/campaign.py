# SPDX-License-Identifier: GPL-3.0-or-later
"""The whole corpus against one scratch copy: each attack on a fresh one, every defence asked.

    sound?  ──► keep receipts ──► attack ──► ask every defence ──► restore ──► the next
                                                  │
              caught: each defence that must notice did · missed: one of them did not

A copy that some defence already complains about proves nothing about attacks: it is refused.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from evidence.attack import forgery, keyholder, rows
from evidence.attack.defences import examine, judge, keep
from evidence.attack.scratch import Scratch
from evidence.attack.target import Attack, NotApplicable, Target
from ledger import clock
from ledger.errors import IntegrityViolation

CORPUS: Final[tuple[Attack, ...]] = (*rows.ATTACKS, *keyholder.ATTACKS, *forgery.ATTACKS)

State = Literal["caught", "missed", "not applicable"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of one attack."""

    attack: Attack
    state: State
    noticed: dict[str, str]  #: What noticed it, and the sentence it said.
    missed: Sequence[str]  #: Defences that had to notice, and did not.
    why: str  #: Why it is not applicable; else empty.
    seconds: float


def check_sound(scratch: Scratch) -> float:
    """Return if no defence complains about the copy as it is; the seconds that this took.

    Raises IntegrityViolation with the first complaint.
    """
    began = clock.monotonic()
    with scratch.target() as target:
        noticed = examine(target, keep(target.running, _positions(target, None)))
    if noticed:
        name, sentence = next(iter(noticed.items()))
        raise IntegrityViolation(f"before any attack, {name} says: {sentence}")
    return clock.monotonic() - began


def campaign(scratch: Scratch, attacks: Sequence[Attack] = CORPUS) -> Iterator[Outcome]:
    """Yield what came of each attack, in order; the copy is restored after each."""
    for attack in attacks:
        began = clock.monotonic()
        noticed: dict[str, str] = {}
        why = ""
        with scratch.target() as target:
            try:
                noticed = attempt_on(target, attack)
            except NotApplicable as reason:
                why = str(reason)
        missed = [] if why else attack.missed_by(list(noticed))
        state: State = "not applicable" if why else "missed" if missed else "caught"
        yield Outcome(
            attack=attack,
            state=state,
            noticed=noticed,
            missed=missed,
            why=why,
            seconds=clock.monotonic() - began,
        )


def attempt_on(target: Target, attack: Attack) -> dict[str, str]:
    """Do it, ask every defence, and return what noticed; raises NotApplicable."""
    if target.admin.size() == 0:
        raise NotApplicable("the log is empty")
    position = attack.strike(target)
    kept = keep(target.running, _positions(target, position))
    packet = attack.perform(target, position)
    return examine(target, kept) if packet is None else judge(target, packet)


def _positions(target: Target, position: int | None) -> list[int]:
    """Return the positions whose receipts clients hold: the victim's first, then the ends'."""
    size = target.admin.size()
    wanted = [position, 0, size - 1] if position is not None else [0, size - 1]
    return [at for at in dict.fromkeys(wanted) if 0 <= at < size]
