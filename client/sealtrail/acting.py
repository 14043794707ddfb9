# SPDX-License-Identifier: Apache-2.0
"""For whom the program acts right now, and inside which call of a model.

Both are context variables: they follow `await` and `asyncio.to_thread`, and one request of a server
never sees another one's person. A thread that is started by hand begins without them.
"""

from contextvars import ContextVar, Token
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from sealtrail.calls import Call


@dataclass(frozen=True, slots=True, kw_only=True)
class Acting:
    """The natural person behind what happens, and what covers it. Personal: never in clear."""

    person: str
    consents: tuple[str, ...] = ()
    session: str | None = None
    account: str | None = None

    def __repr__(self) -> str:
        return "Acting()"

    def sealed(self) -> dict[str, str]:
        """The values that go along with each event, committed."""
        named = {"actor.session_id": self.session, "actor.account_id": self.account}
        return {name: value for name, value in named.items() if value is not None}


_acting: Final[ContextVar[Acting | None]] = ContextVar("sealtrail.acting", default=None)
_call: Final[ContextVar["Call | None"]] = ContextVar("sealtrail.call", default=None)


def acting() -> Acting | None:
    """Return for whom the program acts here."""
    return _acting.get()


def current_call() -> "Call | None":
    """Return the call of a model inside which this runs."""
    return _call.get()


def enter_call(call: "Call") -> Token["Call | None"]:
    return _call.set(call)


def leave_call(token: Token["Call | None"]) -> None:
    _call.reset(token)


class ActingFor:
    """`with trail.acting_for(person):` and `async with`; may be nested, the inner one counts."""

    def __init__(self, who: Acting) -> None:
        self._who = who
        self._tokens: list[Token[Acting | None]] = []

    def __enter__(self) -> Acting:
        self._tokens.append(_acting.set(self._who))
        return self._who

    def __exit__(
        self,
        kind: type[BaseException] | None,
        problem: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        _acting.reset(self._tokens.pop())

    async def __aenter__(self) -> Acting:
        return self.__enter__()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        problem: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.__exit__(kind, problem, trace)
