# SPDX-License-Identifier: GPL-3.0-or-later
"""What is wrong with a request: where, by which rule, in a sentence; never what was sent there.

A value may be somebody's prompt or name, and an error goes to logs and to other people's screens.
A member that we do not know is named only if its name reads like one that a program gave it.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, Final

from pydantic import ValidationError

from ledger.errors import FieldError
from ledger.events.kind import is_sealed
from ledger.events.values import RULES

#: Nobody reads more; a list of 64 wrong items gives no more.
COMPLAINTS_MAX: Final = 32

_NAME: Final = re.compile(r"[a-z_][a-z0-9_]{0,39}")


def complaints(error: ValidationError, prefix: str, sealed: Iterable[str] = ()) -> list[FieldError]:
    """Return what pydantic found, as pointers below `prefix` and rules of our own.

    sealed: name patterns that are never clear, so that their presence is said to be that.
    """
    patterns = tuple(sealed)
    found = error.errors(include_url=False)
    distinct = dict.fromkeys(one for item in found for one in _complaints(item, prefix, patterns))
    return list(islice(distinct, COMPLAINTS_MAX))


def pointer_of(name: str) -> str:
    """Return the JSON pointer below a body of a dotted name such as `inputs[0].sha256`."""
    return "/" + name.replace("[", "/").replace("]", "").replace(".", "/")


def _complaints(item: Any, prefix: str, sealed: tuple[str, ...]) -> Iterator[FieldError]:
    location: Sequence[int | str] = item["loc"]
    if item["type"] == "extra_forbidden":
        dotted = _dotted(location)
        if is_sealed(dotted, sealed):
            detail = f"{dotted} is personal; send it in sealed, never clear"
            yield FieldError(_pointer(prefix, location), "must-be-sealed", detail)
        else:
            detail = "there is no such member here; docs/events.md lists them"
            yield FieldError(_pointer(prefix, location), "unknown-field", detail)
    elif item["input"] is None and item["type"] != "missing":
        detail = "leave an absent member out instead of null"
        yield FieldError(_pointer(prefix, location), "null", detail)
    else:
        yield FieldError(_pointer(prefix, location), *_rule(item))


def _rule(item: Any) -> tuple[str, str]:
    kind, context = item["type"], item.get("ctx", {})
    if kind == "string_pattern_mismatch":
        rule = RULES.get(context["pattern"])
        return (rule.name, f"this must be {rule.text}") if rule else ("pattern", _PATTERN)
    if kind == "literal_error":
        return "choice", f"this must be {context['expected']}"
    if kind in _BOUNDS:
        name, text, bound = _BOUNDS[kind]
        return name, text.format(context[bound])
    if kind in _TYPES:
        return "type", f"this must be {_TYPES[kind]}"
    if kind == "missing":
        return "required", "this must be here"
    # Ours: the message of a PydanticCustomError, which holds no value.
    return kind.replace("_", "-"), item["msg"]


def _pointer(prefix: str, location: Sequence[int | str]) -> str:
    """Return a JSON pointer that ends before the first name that may not be repeated."""
    steps = []
    for step in location:
        if isinstance(step, str) and not _NAME.fullmatch(step):
            break
        steps.append(f"/{step}")
    return prefix + "".join(steps)


def _dotted(location: Sequence[int | str]) -> str:
    text = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in location)
    return text.removeprefix(".")


_PATTERN: Final = "this must be of the form that docs/events.md says"
_BOUNDS: Final = {
    "greater_than_equal": ("range", "this must be at least {}", "ge"),
    "less_than_equal": ("range", "this must be at most {}", "le"),
    "too_long": ("too-many", "at most {} items fit here", "max_length"),
    "too_short": ("too-few", "at least {} must be here", "min_length"),
}
_TYPES: Final = {
    "string_type": "a string",
    "int_type": "a whole number",
    "bool_type": "true or false",
    "list_type": "a list",
    "dict_type": "an object",
    "model_type": "an object",
    "model_attributes_type": "an object",
}
