# SPDX-License-Identifier: GPL-3.0-or-later
"""An event class as the catalogue lists it: its names, its aggregate, and what it keeps sealed.

A sealed name is a dotted path such as `prompt.user` or `inputs[0].sha256`; an event class lists
patterns, where `[*]` stands for any index. The same name may also be a member of the body: then
the client chooses, as for the digest of an upload, which is personal for some and not for others.
Everything that can be known before the first request is made once, here.
"""

import re
from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from pydantic import TypeAdapter
from pydantic_core import SchemaValidator

from ledger.events.envelope import SEALED
from ledger.events.shapes import shape_of
from ledger.events.values import Body, Digest

JSON = dict[str, Any]
BodyClass = type[Body]

_INDEX: Final = re.compile(r"\[(?:0|[1-9][0-9]{0,2})\]")
_STEP: Final = re.compile(r"([^.\[]+)(?:\[(\*|[0-9]+)\])?")
_DIGEST: Final[TypeAdapter[Any]] = TypeAdapter(Digest)


@dataclass(frozen=True, slots=True, kw_only=True)
class EventClass:
    """One event type in one version of its schema."""

    type: str
    schema: int
    model: BodyClass
    aggregate: str
    ledger_made: bool = False

    #: Name patterns that may be sent in `sealed`, the envelope's included.
    sealed: frozenset[str] = field(init=False, repr=False, compare=False)
    #: Of these, what a value must be where it is not any JSON.
    forms: Mapping[str, TypeAdapter[Any]] = field(init=False, repr=False, compare=False)
    #: Pattern → role of the data subject whose value it is, where that is not the `user`.
    owners: Mapping[str, str] = field(init=False, repr=False, compare=False)
    #: Whether something has to be there, clear or sealed.
    needy: bool = field(init=False, repr=False, compare=False)
    #: Takes the same bodies as `model`.
    shape: SchemaValidator = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        sealed = () if self.ledger_made else (*self.model.sealed, *SEALED)
        forms = {name: TypeAdapter(form) for name, form in self.model.forms.items()}
        artifacts = self.model.artifacts.intersection(sealed)
        object.__setattr__(self, "sealed", frozenset(sealed))
        object.__setattr__(self, "forms", dict.fromkeys(artifacts, _DIGEST) | forms)
        object.__setattr__(self, "owners", dict(self.model.subjects))
        object.__setattr__(self, "needy", bool(self.model.needs or self.model.needs_when))
        object.__setattr__(self, "shape", shape_of(self.model))

    @property
    def topic(self) -> str:
        """The name under which rows are stored, such as `GEN/1`."""
        return f"{self.type}/{self.schema}"


def pattern_of(name: str) -> str:
    """Return a name with `[*]` for each of its indexes, of which there are at most 1,000.

    A name that already holds a star is a pattern and no name; it has no pattern of its own.
    """
    if "[" not in name:
        return name
    return "" if "*" in name else _INDEX.sub("[*]", name)


def is_sealed(name: str, patterns: Container[str]) -> bool:
    """Whether one of the patterns means `name`."""
    return pattern_of(name) in patterns


def lacking(needs: tuple[str, ...], body: JSON, sealed: Mapping[str, object]) -> Iterator[str]:
    """Yield the names that are needed and neither clear in `body` nor sealed."""
    for pattern in needs:
        for name, value in members(pattern, body):
            if value is None and name not in sealed:
                yield name


def members(pattern: str, body: JSON) -> Iterator[tuple[str, Any]]:
    """Yield (name, value) for all that `pattern` means in `body`; None for an absent value.

    Nothing is yielded below a group that is absent or is of another shape.
    """
    found: list[tuple[str, Any]] = [("", body)]
    for name, index in _STEP.findall(pattern):
        found = [deeper for step in found for deeper in _descend(*step, name, index)]
    yield from found


def _descend(path: str, group: Any, name: str, index: str) -> Iterator[tuple[str, Any]]:
    if not isinstance(group, dict):
        return
    here, value = f"{path}.{name}" if path else name, group.get(name)
    if not index:
        yield here, value
    elif isinstance(value, list):
        yield from (
            (f"{here}[{at}]", item) for at, item in enumerate(value) if index in ("*", str(at))
        )
