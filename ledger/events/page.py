# SPDX-License-Identifier: GPL-3.0-or-later
"""docs/events.md: every event with every field, where its value is kept, its form and its meaning.

Made from the classes that check requests, so it cannot say anything else than they do.
"""

from collections.abc import Iterable, Iterator, Sequence
from types import NoneType
from typing import Annotated, Any, Final, Literal, get_args, get_origin

from annotated_types import Ge, Le, MaxLen, MinLen
from pydantic.fields import FieldInfo

from ledger.events import envelope
from ledger.events.kind import EventClass
from ledger.events.patch import CHANGED
from ledger.events.training import PLAIN
from ledger.events.values import RULES, Body, Part, Rule

_HEAD: Final = """\
# Events

Made from the classes in `ledger/events` by `python -m ledger.catalog`; do not edit.

An event is posted with its `type`, its `schema` (the version below) and a `body` with the members
below. *Kept* says where a value goes:

* **clear**: it is part of the entry's bytes and stays as long as the entry.
* **committed**: it is sent in `sealed` under this name; the entry holds a salted digest of it.
  It is never accepted in the body.
* **clear or committed**: the client chooses; for personal values the second is right.
* **artifact**: what is kept in the entry is the digest of something that lies outside it.

A committed value belongs to one data subject and goes when that one is erased: to the natural
person of the event, or, where the column says so, to the **depicted** person, the **rights_holder**
or the **reviewer** that the request names (`"subjects": {"depicted": "…"}`, a person's id for each
role; committed as `subjects.depicted` and so on). If it names nobody there, the value is the
person's of the event. What is the **tenant**'s own goes with nobody.

No value is a float or null: decimals are strings, an absent member is left out. A committed value
is JSON of at most 64 KiB; where the table gives a form, of that form. One event commits at most 63
of them, and the person. An index in a name, as in `inputs[0].sha256`, is that of an item in the
body. Every list has the maximum given here, and a client's part of an entry, printed canonically
with digests in place of what is committed, has at most 15,360 bytes, so that with what the ledger
adds it fits into 16 KiB; what is larger is an artifact with a digest.

Beside `type`, `schema`, `body` and `sealed` a request has `event_id` (a UUID of version 7),
`aggregate_id` (of the asset, the training run, the call of a model or the delivery; an outcome
belongs to the attempt that has the same one), and `record_key`: 32 random bytes, made anew for each
event, under which everything personal is committed. A client that keeps its values to itself sends
`_sd` (its digests, sorted) and `person_digest` (the one among them that commits the natural person)
instead of `sealed`, `record_key` and `on_behalf_of`; then the ledger cannot check what they stand
for, and a member that must be clear or committed may be absent.
"""
_TABLE: Final = ("| member | kept | needed | form | meaning |", "| --- | --- | --- | --- | --- |")


def describe(events: Iterable[EventClass]) -> str:
    """Return the page."""
    blocks = [_HEAD, *map(_event, events), _envelope(), _forms()]
    return "\n".join(blocks)


def _event(event: EventClass) -> str:
    maker = "Made by the ledger; a client cannot send it." if event.ledger_made else ""
    about = f"Schema {event.schema} · aggregate {event.aggregate}. {maker}".rstrip()
    rows = [*_TABLE, *_rows(event.model, event.model), *_sealed_only(event.model)]
    return _block(f"## {event.type}", _sentence(event.model), about, rows)


def _envelope() -> str:
    rows = [*_TABLE, *_rows(envelope.Envelope, Body)]
    rows += [_row(name, "committed", "no", "JSON", why) for name, why in envelope.SEALED.items()]
    about = (
        "Every event that a client makes may also have these groups beside its body, and seal these"
        " names. The person behind an event is committed as `actor.subject_id`: it is sent as"
        " `on_behalf_of`, or comes from a person's token."
    )
    return _block("## Envelope", "Optional groups of every event.", about, rows)


def _forms() -> str:
    rules = sorted({(rule.name, rule.text) for rule in (*RULES.values(), PLAIN, CHANGED)})
    rows = ["| form | is |", "| --- | --- |", *(f"| {name} | {text} |" for name, text in rules)]
    about = "A pattern means the whole string, from its first character to its last."
    return _block("## Forms", "The spellings that members have.", about, rows)


def _block(title: str, sentence: str, about: str, rows: Sequence[str]) -> str:
    return "\n".join([title, "", sentence, "", about, "", *rows, ""])


def _rows(part: type[Part], body: type[Body], path: str = "", within: str = "") -> Iterator[str]:
    """Yield a row for each member of `part`, and for those below it.

    within: the innermost optional group around it, whose presence makes its members needed.
    """
    for python_name, field in part.model_fields.items():
        name = f"{path}{field.alias or python_name}"
        inner = _inner(field.annotation)
        needed = "no"
        if field.is_required():
            needed = f"with `{within}`" if within else "yes"
        elif name in body.needs:
            needed = f"with `{within}`, or sealed" if within else "yes, or sealed"
        form = _form(field.annotation, field.metadata)
        yield _row(name, _kept(name, body), needed, form, field.description or "")
        if inner is not None:
            deeper = f"{name}[*]" if get_origin(field.annotation) is list else name
            outer = within if field.is_required() else deeper
            yield from _rows(inner, body, f"{deeper}.", outer)


def _sealed_only(body: type[Body]) -> Iterator[str]:
    """Yield a row for each committed name that no clear member has."""
    clear = {row.split("`")[1] for row in _rows(body, body)}
    for name, meaning in body.sealed.items():
        if name not in clear:
            kept = f"committed{_whose(name, body)}"
            kept += ", artifact" if name in body.artifacts else ""
            form = "digest of the artifact" if name in body.artifacts else "JSON"
            if name in body.forms:
                form = _form(body.forms[name], ())
            needed = "yes" if name in body.needs else _needed_when(name, body)
            yield _row(name, kept, needed, form, meaning)


def _needed_when(name: str, body: type[Body]) -> str:
    """Say when a committed name has to be there."""
    for (member, value), names in body.needs_when.items():
        if name in names:
            return f"if `{member}` is `{value}`"
    return "no"


def _kept(name: str, body: type[Body]) -> str:
    kept = f"clear or committed{_whose(name, body)}" if name in body.sealed else "clear"
    return f"{kept}, artifact" if name in body.artifacts else kept


def _whose(name: str, body: type[Body]) -> str:
    role = body.subjects.get(name)
    return f" ({role})" if role else ""


def _row(name: str, kept: str, needed: str, form: str, meaning: str) -> str:
    cells = (text.replace("|", "\\|") for text in (kept, needed, form, meaning))
    return f"| `{name}` | {' | '.join(cells)} |"


def _inner(annotation: Any) -> type[Part] | None:
    """Return the group that a member is, or is a list of."""
    kinds = get_args(annotation) if get_origin(annotation) is list else (annotation,)
    bare = kinds[0]
    return bare if isinstance(bare, type) and issubclass(bare, Part) else None


def _form(annotation: Any, metadata: Sequence[Any]) -> str:
    """Say which values a member takes: a form of the last table, or bounds, or words."""
    if get_origin(annotation) is Annotated:
        annotation, *more = get_args(annotation)
        return _form(annotation, _flat(more))
    rule = next((one for one in metadata if isinstance(one, Rule)), None)
    if rule is not None:
        return f"[{rule.name}](#forms)"
    if get_origin(annotation) is None:
        return _bare(annotation, metadata)
    return _compound(annotation, metadata)


def _bare(annotation: Any, metadata: Sequence[Any]) -> str:
    if annotation is int:
        least, most = _bound(metadata, Ge), _bound(metadata, Le)
        return f"whole number, {least} to {'2^53 - 1' if most == 2**53 - 1 else f'{most:,}'}"
    return "true or false" if annotation is bool else "object"


def _compound(annotation: Any, metadata: Sequence[Any]) -> str:
    origin, kinds = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return " ".join(f"`{word}`" for word in kinds)
    if origin is list:
        return f"list of {_span(metadata)}: {_form(kinds[0], ())}"
    if _bound(metadata, MaxLen) is None:
        return "object"
    return f"object of {_span(metadata)}: {_form(kinds[0], ())} → {_form(kinds[1], ())}"


def _span(metadata: Sequence[Any]) -> str:
    return f"{_bound(metadata, MinLen) or 0} to {_bound(metadata, MaxLen)}"


def _bound(metadata: Sequence[Any], kind: type[Any]) -> Any:
    names = {Ge: "ge", Le: "le", MinLen: "min_length", MaxLen: "max_length"}
    return next((getattr(one, names[kind]) for one in metadata if isinstance(one, kind)), None)


def _flat(metadata: Iterable[Any]) -> list[Any]:
    """Return metadata with what pydantic's Field wraps laid open."""
    return [
        item
        for one in metadata
        for item in (one.metadata if isinstance(one, FieldInfo) else [one])
        if not isinstance(item, NoneType)
    ]


def _sentence(model: type[Part]) -> str:
    return (model.__doc__ or "").strip()
