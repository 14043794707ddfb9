# SPDX-License-Identifier: GPL-3.0-or-later
"""What a person changed, as a JSON Patch: operations that lead from the old record to the new one.

A patch that touches what is committed would show it, so it is committed itself. One that is clear
says codes, numbers and booleans only.
Source: RFC 6902 (operations), RFC 6901 (pointers).
"""

import re
from functools import cache
from typing import Annotated, Any, Final, Literal, Self

from pydantic import AfterValidator, ConfigDict, Field, WithJsonSchema, model_validator
from pydantic_core import PydanticCustomError

from ledger.events.envelope import SEALED
from ledger.events.values import Body, Part, Rule, may, must, spelled

CHANGED: Final = Rule("changed", "a code, a whole number, true, false, or a list of up to 64 codes")
_CODE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/+ -]{0,63}")
_POINTER: Final = spelled(
    "pointer",
    r"(/([^~/\x00-\x1f\x7f]|~[01]){0,128}){0,16}",
    "a JSON pointer of up to 16 steps",
)
Pointer = Annotated[str, *_POINTER]

_INDEX: Final = re.compile(r"0|[1-9][0-9]*|-")
_SET: Final = frozenset({"add", "replace", "test"})
_MOVED: Final = frozenset({"move", "copy"})


def _any(value: Any) -> Any:
    """Refuse what is no JSON of ours; how large and how deep it may be, `sealed` says."""
    if value is None or isinstance(value, (float, bytes, tuple)):
        raise PydanticCustomError("changed", "this must be JSON without null and floats")
    return value


def _shown(value: Any) -> Any:
    """Refuse what may be somebody's words."""
    items = value if isinstance(value, list) else [value]
    if len(items) > 64 or not all(map(_is_plain, items)):
        raise PydanticCustomError("changed", "this must be " + CHANGED.text)
    return value


def _is_plain(value: Any) -> bool:
    if isinstance(value, str):
        return _CODE.fullmatch(value) is not None
    return isinstance(value, int) and abs(value) <= 2**53 - 1


_PLAIN: Final = {
    "type": ["string", "integer", "boolean"],
    "pattern": f"^(?:{_CODE.pattern})$",
    "minimum": -(2**53 - 1),
    "maximum": 2**53 - 1,
}
_Value = Annotated[Any, AfterValidator(_any)]
_Shown = Annotated[
    Any,
    AfterValidator(_shown),
    WithJsonSchema({"anyOf": [_PLAIN, {"type": "array", "items": _PLAIN, "maxItems": 64}]}),
    CHANGED,
]


def _only_with(member: str, operations: frozenset[str]) -> dict[str, Any]:
    """Say in a JSON Schema that these operations have a member, and no other has it."""
    return {
        "if": {"properties": {"op": {"enum": sorted(operations)}}},
        "then": {"required": [member]},
        "else": {"properties": {member: False}},
    }


class Step(Part):
    """One operation of a patch."""

    model_config = ConfigDict(
        json_schema_extra={"allOf": [_only_with("value", _SET), _only_with("from", _MOVED)]}
    )

    op: Literal["add", "remove", "replace", "move", "copy", "test"] = must("What is done.")
    path: Pointer = must("Where.")
    from_: Pointer = may("From where; with `move` and `copy`.", name="from")
    value: _Value = may("What is there then; with `add`, `replace` and `test`.")

    @model_validator(mode="after")
    def _is_an_operation(self) -> Self:
        if (self.value is not None) != (self.op in _SET):
            raise PydanticCustomError("patch", "add, replace and test have a value, no other has")
        if (self.from_ is not None) != (self.op in _MOVED):
            raise PydanticCustomError("patch", "move and copy have a from, no other has")
        if self.op == "move" and self.path.startswith(f"{self.from_}/"):
            raise PydanticCustomError("patch", "nothing moves into itself")
        return self


class ShownStep(Step):
    """One operation that everybody may see: none of it is anybody's words."""

    value: _Shown = may("What is there then; with `add`, `replace` and `test`.")

    @model_validator(mode="after")
    def _touches_nothing_committed(self) -> Self:
        if touches_committed(self.path) or touches_committed(self.from_):
            raise PydanticCustomError(
                "must-be-sealed", "a diff that touches what is committed is sent in sealed"
            )
        return self


Patch = Annotated[list[Step], Field(min_length=1, max_length=64)]
ShownPatch = Annotated[list[ShownStep], Field(min_length=1, max_length=64)]


def touches_committed(pointer: str | None) -> bool:
    """Say if a pointer into a record names what an event may commit, lies in it, or holds it.

    The record may be meant whole (`/body/…`, `/sealed/…`) or by its body alone.
    """
    if pointer is None:
        return False
    steps = [one.replace("~1", "/").replace("~0", "~") for one in pointer.split("/")[1:]]
    if steps[:1] == ["sealed"] or not steps:
        return True
    path = _pattern(steps[1:] if steps[0] == "body" else steps)
    return not path or any(_overlap(path, name) for name in _committed())


def _pattern(steps: list[str]) -> str:
    text = "".join("[*]" if _INDEX.fullmatch(step) else f".{step}" for step in steps)
    return text.removeprefix(".")


def _overlap(one: str, other: str) -> bool:
    return one == other or any(
        long.startswith(short) and long[len(short)] in ".["
        for long, short in ((one, other), (other, one))
        if len(long) > len(short)
    )


@cache
def _committed() -> frozenset[str]:
    """Return the names that events commit. Called after all of them are defined."""
    bodies: list[type[Body]] = [Body]
    names = {*SEALED, "actor.subject_id", "subjects"}
    while bodies:
        body = bodies.pop()
        bodies += body.__subclasses__()
        names |= body.sealed.keys()
    return frozenset(names)
