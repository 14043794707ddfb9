# SPDX-License-Identifier: GPL-3.0-or-later
"""From one request to the pattern of all requests of its shape, for `ledger.mould`.

The request was taken by the strict parser and found right; here it is walked again, token by token,
along the plan of its event class. Names, punctuation and white space stand in the pattern as they
were sent, and a value's slot in the place of each value. Beside the pattern comes the tree of what
was sent, in which each value is the number of its group.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Any, Final

from ledger.events.slots import Fixed, Group, Labelled, Plan, Ruled, Series, Slot
from ledger.printing import canonical_bytes


@dataclass(frozen=True, slots=True)
class Gap:
    """Where a captured value goes."""

    group: int
    quoted: bool


#: What was sent, or a part of it: an object, a list, a gap, or text that stands as it is.
Tree = dict[str, Any] | list[Any] | Gap | bytes

_TOKEN: Final = re.compile(rb'"(?:[^"\\]|\\.)*"|[{}\[\]:,]|[^ \t\n\r{}\[\]:,"]+', re.DOTALL)
_SLOTS_MAX: Final = 256


class Unmouldable(Exception):  # noqa: N818 - news, not an accident
    """Requests of this shape go the long way."""


class Text:
    """Canonical text with gaps for captured values."""

    def __init__(self, *pieces: bytes | Tree) -> None:
        text: list[bytes] = []
        gaps: list[int] = []
        for piece in pieces:
            _print(piece, text, gaps)
        self._text = b"".join(text)
        self._pick: Callable[[tuple[bytes, ...]], object] = (
            itemgetter(*gaps) if gaps else lambda _: ()
        )

    def __call__(self, groups: tuple[bytes, ...]) -> bytes:
        """Return the text with these values."""
        text: bytes = self._text % self._pick(groups)
        return text


def members(tree: dict[str, Any]) -> list[bytes | Tree]:
    """Return the pieces of an object's text without its braces."""
    pieces: list[bytes | Tree] = []
    for at, name in enumerate(sorted(tree)):  # ASCII, all of them.
        pieces += [b"," if at else b"", canonical_bytes(name) + b":", tree[name]]
    return pieces


def _print(tree: Tree, text: list[bytes], gaps: list[int]) -> None:
    if isinstance(tree, bytes):
        text.append(tree.replace(b"%", b"%%"))
    elif isinstance(tree, Gap):
        text.append(b'"%b"' if tree.quoted else b"%b")
        gaps.append(tree.group)
    elif isinstance(tree, list):
        text.append(b"[")
        for at, item in enumerate(tree):
            text.append(b"," if at else b"")
            _print(item, text, gaps)
        text.append(b"]")
    else:
        for piece in (b"{", *members(tree), b"}"):
            _print(piece, text, gaps)


@dataclass(slots=True)
class Drawing:
    """A mould in the making: tokens of a request, and the pattern made of them so far."""

    data: bytes
    pattern: list[bytes] = field(default_factory=list)
    slots: int = 0
    ruled: bool = False  #: Something was met whose model has to be asked.
    _drawn: int = 0  #: So many bytes are in the pattern.
    _next: bytes = b""
    _start: int = 0
    _end: int = 0

    def __post_init__(self) -> None:
        self.skip()

    def skip(self) -> None:
        """Go to the next token."""
        found = _TOKEN.search(self.data, self._end)
        if found is None:
            self._next = b""
        else:
            self._next, self._start, self._end = found[0], found.start(), found.end()

    def take(self, token: bytes) -> bool:
        """Go on if this is the next token."""
        if self._next != token:
            return False
        self.skip()
        return True

    def must(self, token: bytes) -> None:
        if not self.take(token):
            raise Unmouldable

    def literal(self, token: bytes) -> bytes:
        """Take a value that belongs to the shape, and is known."""
        self.must(token)
        return token

    def text(self) -> str:
        """Take a string that is plain ASCII."""
        token = self._next
        if token[:1] != b'"' or b"\\" in token or not token.isascii():
            raise Unmouldable
        self.skip()
        return token[1:-1].decode()

    def fixed(self) -> bytes:
        """Take true or false, which belong to the shape."""
        token = self._next
        if token not in (b"true", b"false"):
            raise Unmouldable
        self.skip()
        return token

    def slot(self, slot: Slot) -> Gap:
        """Take a value that may be another one in the next request; return which group it is."""
        start, end = self._start, self._start + len(self._next)
        if (self._next[:1] == b'"') is not slot.quoted or self.slots >= _SLOTS_MAX:
            raise Unmouldable
        if slot.quoted:
            start, end = start + 1, end - 1
        self.pattern.append(re.escape(self.data[self._drawn : start]))
        self.pattern.append(b"(" + slot.pattern.encode() + b")")
        self._drawn = end
        self.slots += 1
        self.skip()
        return Gap(self.slots - 1, slot.quoted)

    def end(self) -> bytes:
        """Return the pattern, now that nothing is left."""
        if self._next:
            raise Unmouldable
        return b"".join(self.pattern) + re.escape(self.data[self._drawn :])

    def object(self, member: Callable[[str], Any]) -> dict[str, Any]:
        """Take an object; `member` takes the value of each name."""
        found: dict[str, Any] = {}
        self.must(b"{")
        while not self.take(b"}"):
            if found:
                self.must(b",")
            name = self.text()
            self.must(b":")
            if name in found:  # Cannot be: the strict parser took it.
                raise Unmouldable
            found[name] = member(name)
        return found

    def value(self, plan: Plan) -> Tree:
        """Take a value by its plan."""
        if isinstance(plan, Slot):
            return self.slot(plan)
        if isinstance(plan, Fixed):
            return self.fixed()
        if isinstance(plan, Group):
            return self.object(lambda name: self.value(plan.members.get(name)))
        if isinstance(plan, Labelled):
            return self.object(lambda _: self.value(plan.value))
        if isinstance(plan, Series):
            found: list[Tree] = []
            self.must(b"[")
            while not self.take(b"]"):
                if found:
                    self.must(b",")
                found.append(self.value(plan.item))
            return found
        if isinstance(plan, Ruled):
            self.ruled = True
            return self.value(plan.inner)
        raise Unmouldable
