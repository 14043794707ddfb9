# SPDX-License-Identifier: Apache-2.0
"""What a process that was forked must not share with its parent, and makes anew.

A connection would carry both one's requests and give each the other's answers, a journal's file
would hold two lines of one number, and two events would have one number of one source: to the
ledger and to `journal check` all of that looks like forgery. Servers that load the program before
they fork, and `multiprocessing` where it forks, do that to every `Trail`.
"""

import os
from typing import Final, Protocol
from weakref import WeakSet


class Renewed(Protocol):
    """Something that has to begin anew in a process that was forked."""

    def renew(self) -> None:
        """Begin anew. No other thread runs then, and a lock may be held by one that is gone."""


_KNOWN: Final[WeakSet[Renewed]] = WeakSet()


def renewed_when_forked(one: Renewed) -> None:
    """Have `one.renew` called in each process that is forked from this one."""
    _KNOWN.add(one)


def _renew() -> None:
    for one in list(_KNOWN):
        one.renew()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew)
