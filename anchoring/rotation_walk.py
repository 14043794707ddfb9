# SPDX-License-Identifier: GPL-3.0-or-later
"""Holds the KEY_ROTATED entries of one log together: each key is named by the one before it."""

from collections.abc import Iterator
from typing import Any

from sealtrail.verify.errors import VerifyError
from sealtrail.verify.rotation import Rotation


class RotationWalk:
    """Takes the KEY_ROTATED entries of one Book as they come; needs no key but those in them.

    Two entries about one rotation are sound if they name the same keys: two processes may have
    begun it at once.
    """

    def __init__(self) -> None:
        self._named: dict[str, tuple[int, str]] = {}  # By origin: number and text of the last key.
        self._damage: list[tuple[int | None, str, str]] = []

    def take(self, position: int, body: dict[str, Any]) -> None:
        """Check the entry at `position` by itself, and that it goes on from the one before."""
        said = self._complaint(body)
        if said is not None:
            self._damage.append((position, "rotation", f"KEY_ROTATED at {position}: {said}"))

    def finish(self) -> Iterator[tuple[int | None, str, str]]:
        """Yield what was found."""
        yield from self._damage

    def _complaint(self, body: dict[str, Any]) -> str | None:
        try:
            found = Rotation.check(body)
        except VerifyError as error:
            return str(error)
        number, new = body["generation"], found.new.vkey()
        last, named = self._named.get(found.origin, (1, found.old.vkey()))
        if (number, new) == (last, named):
            return None
        if number != last + 1 or found.old.vkey() != named:
            return "it does not go on from the key that the log had"
        self._named[found.origin] = (number, new)
        return None
