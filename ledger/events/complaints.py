# SPDX-License-Identifier: GPL-3.0-or-later
"""What is wrong with a request: where, by which rule, in a sentence; never what was sent there.

A value may be somebody's prompt or name, and so may the name of a member that we do not know or
the label of a score; an error goes to logs and to other people's screens. So a pointer ends before
the first step that is no word of ours. Where pydantic names the branch of a union, it ends, too.
"""

from collections.abc import Container, Iterator, Sequence
from functools import cache
from itertools import islice
from typing import Any, Final

from pydantic import ValidationError

from ledger.errors import FieldError
from ledger.events.kind import is_sealed
from ledger.events.values import RULES, Part

#: Nobody reads more; a list of 64 wrong items gives no more.
COMPLAINTS_MAX: Final = 32


def complaints(
    error: ValidationError, prefix: str, sealed: Container[str] = ()
) -> list[FieldError]:
    """Return what pydantic found, as pointers below `prefix` and rules of our own.

    sealed: name patterns that are never clear, so that their presence is said to be that.
    """
    found = error.errors(include_url=False)
    distinct = dict.fromkeys(_complaint(item, prefix, sealed) for item in found)
    return list(islice(distinct, COMPLAINTS_MAX))


def pointer_of(name: str) -> str:
    """Return the JSON pointer below a body of a dotted name such as `inputs[0].sha256`."""
    return "/" + name.replace("[", "/").replace("]", "").replace(".", "/")


def _complaint(item: Any, prefix: str, sealed: Container[str]) -> FieldError:
    location: Sequence[int | str] = item["loc"]
    dotted = _dotted(location)
    if item["type"] == "extra_forbidden" and is_sealed(dotted, sealed):
        detail = f"{dotted} is personal; send it in sealed, never clear"
        return FieldError(f"{prefix}{pointer_of(dotted)}", "must-be-sealed", detail)
    pointer = prefix + "".join(f"/{step}" for step in _ours(location))
    return FieldError(pointer, *_rule(item))


def _rule(item: Any) -> tuple[str, str]:
    kind, context = item["type"], item.get("ctx", {})
    if item["input"] is None:
        return "null", "leave an absent member out instead of null"
    if kind in _SIMPLE:
        return _SIMPLE[kind]
    if kind == "string_pattern_mismatch":
        rule = RULES.get(context["pattern"])
        return (rule.name, f"this must be {rule.text}") if rule else ("pattern", _PATTERN)
    if kind == "literal_error":
        return "choice", f"this must be {context['expected']}"
    if kind in _BOUNDS:
        name, text, bound = _BOUNDS[kind]
        return name, text.format(context[bound])
    return (kind, item["msg"]) if kind in _OURS else ("pattern", _PATTERN)


def _ours(location: Sequence[int | str]) -> Iterator[int | str]:
    """Yield the steps before the first one that may be a client's word."""
    for step in location:
        if isinstance(step, str) and step not in _words():
            return
        yield step


@cache
def _words() -> frozenset[str]:
    """Return the names of all members of all events. Called after all of them are defined."""
    parts: list[type[Part]] = [Part]
    words: set[str] = set()
    while parts:
        part = parts.pop()
        parts += part.__subclasses__()
        words |= {field.alias or name for name, field in part.model_fields.items()}
    return frozenset(words)


def _dotted(location: Sequence[int | str]) -> str:
    text = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in location)
    return text.removeprefix(".")


_PATTERN: Final = "this must be of the form that docs/events.md says"
#: Errors that ledger/events raises itself; their messages hold no value.
_OURS: Final = frozenset({
    "changed", "distinct", "hosted", "kind", "must-be-sealed", "patch", "plain", "range",
    "required", "state", "time", "uint64",
})  # fmt: skip
_BOUNDS: Final = {
    "greater_than_equal": ("range", "this must be at least {}", "ge"),
    "less_than_equal": ("range", "this must be at most {}", "le"),
    "too_long": ("too-many", "at most {} items fit here", "max_length"),
    "too_short": ("too-few", "at least {} must be here", "min_length"),
}
_SIMPLE: Final = {
    "missing": ("required", "this must be here"),
    "extra_forbidden": ("unknown-field", "a member is none of those that docs/events.md lists"),
    "string_type": ("type", "this must be a string"),
    "int_type": ("type", "this must be a whole number"),
    "bool_type": ("type", "this must be true or false"),
    "list_type": ("type", "this must be a list"),
    "dict_type": ("type", "this must be an object"),
    "model_type": ("type", "this must be an object"),
}
