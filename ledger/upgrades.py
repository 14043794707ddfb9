# SPDX-License-Identifier: GPL-3.0-or-later
"""Silent upgrades: what has answered, held against what is registered under a change ticket.

A provider may put another model behind the same name. Its answers say so, if at all, by the model
that they name (`provider.model_returned`) and by a fingerprint of the system. A version of a model
in the register names by what it answers (`answers` of MODEL_REGISTERED, MODEL_DEPLOYED and
MODEL_PINNED); besides those, its own name, id and build. Whatever else answers is an upgrade that
nobody has registered.

    registered       the version that was asked for declares this answer, under a ticket
    without-ticket   it declares it, and no entry names a change ticket
    late             it declares it, but only after the first such answer
    retired          it declares it, and was retired before the last such answer
    other-version    another registered version declares it
    unregistered     none does
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, NamedTuple

from psycopg import sql

from ledger import clock
from ledger.database import Database

JSON = dict[str, Any]
Standing = Literal[
    "registered", "without-ticket", "late", "retired", "other-version", "unregistered"
]

#: What somebody has to look at.
ALARMING: Final[frozenset[Standing]] = frozenset({"retired", "other-version", "unregistered"})
ANSWERS_MAX: Final = 2_000

_ANSWERED: Final = """
SELECT encode(key, 'hex'), provider, model, version, returned, fingerprint, answers,
       first_position, first_at, last_position, last_at
  FROM {book}.answered ORDER BY first_position DESC LIMIT %s
"""
_REGISTER: Final = """
SELECT id, version, since, status, event_id::text, ticket, said FROM {book}.register
 WHERE kind = 'model' ORDER BY since
"""


class Answered(NamedTuple):
    """Who answered for whom; '' where nothing was said."""

    key: str  #: Hexadecimal: tells it apart from all others.
    provider: str  #: Of the model that was asked for.
    model: str
    version: str
    returned: str  #: Model that the provider says it used.
    fingerprint: str  #: Of the provider's system.
    answers: int
    first_position: int
    first_ms: int
    last_position: int
    last_ms: int


class Upgrade(NamedTuple):
    """An answer, and how it stands with the register."""

    answered: Answered
    standing: Standing
    declared: int | None  #: Position of the entry that declares it.
    event_id: str | None  #: That entry's id.
    ticket: str | None

    def json(self) -> JSON:
        """Return it as the API and `--json` show it."""
        one = self.answered
        shown: JSON = {
            "asked": {"provider": one.provider, "name": one.model, "version": one.version},
            "standing": self.standing,
            "answers": one.answers,
            "first": {"position": one.first_position, "at": clock.rfc3339(one.first_ms)},
            "last": {"position": one.last_position, "at": clock.rfc3339(one.last_ms)},
        }
        for name, value in (
            ("model_returned", one.returned or None),
            ("system_fingerprint", one.fingerprint or None),
            ("declared", self.declared),
            ("event_id", self.event_id),
            ("change_ticket", self.ticket),
        ):
            if value is not None:
                shown[name] = value
        return shown


@dataclass(slots=True, kw_only=True)
class _Version:
    """A version of a model in the register, and by what it answers since which position."""

    names: dict[str, tuple[int, str]] = field(default_factory=dict)
    fingerprints: dict[str, tuple[int, str]] = field(default_factory=dict)
    provider: str = ""
    name: str = ""
    version: str = ""
    since: tuple[int, str] = (0, "")
    ticket: str | None = None
    retired: int | None = None

    def declares(self, one: Answered) -> tuple[int, str] | None:
        """Return position and event of what declares an answer; None if nothing does."""
        found = [self.since]
        for said, known in ((one.returned, self.names), (one.fingerprint, self.fingerprints)):
            if said:
                if said not in known:
                    return None
                found.append(known[said])
        return max(found)

    def take(self, row: tuple[Any, ...]) -> None:
        """Add what one entry says."""
        id_, _, position, status, event_id, ticket, said = row
        if status == "retired":
            self.retired = position
            return
        self.retired = None
        here, body = (position, event_id), json.loads(said)
        model = body["model"]
        if status == "registered":
            self.provider, self.name = model["provider"], model["name"]
            self.version, self.since = model["version"], here
            joined = [f"{self.name}{between}{self.version}" for between in "-:@/ "]
            for name in (id_, self.name, *joined):
                self.names.setdefault(name, here)
        if "build_id" in model:
            self.names.setdefault(model["build_id"], here)
        declared = body.get("answers", {})
        for name in declared.get("model_returned", ()):
            self.names.setdefault(name, here)
        for one in declared.get("system_fingerprints", ()):
            self.fingerprints.setdefault(one, here)
        self.ticket = ticket or self.ticket


def upgrades(database: Database, schema: str, *, limit: int = ANSWERS_MAX) -> list[Upgrade]:
    """Return who has answered, the latest to appear first, and how that stands."""
    book = sql.Identifier(schema)
    with database.duty(schema, "read") as connection, connection.transaction():
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        answered = connection.execute(sql.SQL(_ANSWERED).format(book=book), (limit,)).fetchall()
        rows = connection.execute(sql.SQL(_REGISTER).format(book=book)).fetchall()
    versions = _versions(rows)
    return [judged(Answered(*one), versions) for one in answered]


def _versions(rows: Iterable[tuple[Any, ...]]) -> list[_Version]:
    known: dict[tuple[str, str], _Version] = {}
    for row in rows:
        id_, version = row[0], row[1]
        if version:
            known.setdefault((id_, version), _Version()).take(row)
            continue
        for (model, _), one in known.items():
            if model == id_:
                one.take(row)
    return list(known.values())


def judged(one: Answered, versions: Sequence[_Version]) -> Upgrade:
    """Say how an answer stands with the versions that there are."""
    mine = [v for v in versions if v.provider == one.provider]
    asked = [v for v in mine if (v.name, v.version) == (one.model, one.version)]
    for version in asked:
        declared = version.declares(one)
        if declared is not None:
            standing = _standing(one, version, declared[0])
            return Upgrade(one, standing, *declared, version.ticket)
    for version in mine:
        declared = version.declares(one) if one.returned else None
        if declared is not None:
            return Upgrade(one, "other-version", *declared, version.ticket)
    return Upgrade(one, "unregistered", None, None, None)


def _standing(one: Answered, version: _Version, declared: int) -> Standing:
    if version.retired is not None and version.retired < one.last_position:
        return "retired"
    if declared > one.first_position:
        return "late"
    return "registered" if version.ticket is not None else "without-ticket"
