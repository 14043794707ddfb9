# SPDX-License-Identifier: GPL-3.0-or-later
"""One stream of events: where it stands, and what may come next."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Final, Self

from ledger.errors import Conflict, FieldError

JSON = dict[str, Any]


#: Events of one stream that others have to wait for. Its state is folded from all of them; what
#: ends something is taken beyond it.
EVENTS_MAX: Final = 4_096


class OutOfOrder(Conflict):
    """The lifecycle does not allow this event now."""

    problem = "out-of-order"


@dataclass(frozen=True, slots=True)
class Rewritten:
    """The event is recorded, but as another type."""

    type: str
    schema: int
    body: JSON


@dataclass(frozen=True, slots=True)
class Aggregate:
    """One stream: how many events it has, and what its next one may be."""

    kind: ClassVar[str] = ""
    #: Whether the newest entry alone says where the stream stands. So it has to be with streams
    #: that grow for years.
    tail: ClassVar[bool] = False

    id: str
    version: int = 0

    @property
    def phase(self) -> str:
        """Where the stream stands, in one word."""
        return "recorded" if self.version else "absent"

    def check(self, type_: str, body: JSON, others: "Others", *, by_ledger: bool) -> None:
        """Return if the event may come next; else raise OutOfOrder."""
        raise NotImplementedError

    def rewrite(self, type_: str, schema: int, body: JSON, *, by_ledger: bool) -> Rewritten | None:
        """Return what the event is recorded as, if not as itself."""
        del type_, schema, body, by_ledger
        return None

    def after(self, type_: str, body: JSON) -> Self:
        """Return the state once the event is in the ledger."""
        del type_, body
        return self._same()

    def _same(self) -> Self:
        """Return the state with one event more that changed nothing."""
        return replace(self, version=self.version + 1)

    def check_room(self, type_: str) -> None:
        """Return if the stream has room for an event that ends nothing; else raise OutOfOrder."""
        if self.version >= EVENTS_MAX:
            raise self.refuse(type_, f"this stream has {EVENTS_MAX:,} events, and no room for more")

    def refuse(
        self,
        type_: str,
        why: str,
        refusal: type[OutOfOrder] = OutOfOrder,
        *,
        pointer: str = "/type",
    ) -> OutOfOrder:
        """Return the refusal of an event, with the facts that its sender needs."""
        return refusal(
            why,
            errors=[FieldError(pointer, refusal.problem, why)],
            aggregate=self.kind,
            state=self.phase,
            event=type_,
        )


Others = Mapping[str, Aggregate]
