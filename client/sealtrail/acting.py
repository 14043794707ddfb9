# SPDX-License-Identifier: Apache-2.0
"""For whom the program acts right now, and inside which call of a model.

Both are context variables: they follow `await` and `asyncio.to_thread`, and one request of a server
never sees another one's person. A thread that is started by hand begins without them.

What a generator enters it may leave elsewhere: in another context, where there is nothing to take
back, or after a later one was entered in the same. Neither keeps a person or a call from ending.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Final, Generic, TypeVar

if TYPE_CHECKING:
    from sealtrail.calls import Call

T = TypeVar("T")


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


@dataclass(slots=True, eq=False)
class Stay(Generic[T]):
    """One value that counts from entering to leaving, and what counted before."""

    value: T
    outer: "Stay[T] | None"


_Stays = ContextVar[Stay[T] | None]

_acting: Final[_Stays[Acting | None]] = ContextVar("sealtrail.acting", default=None)
_call: Final[_Stays["Call"]] = ContextVar("sealtrail.call", default=None)


def acting() -> Acting | None:
    """Return for whom the program acts here."""
    stay = _acting.get()
    return None if stay is None else stay.value


def current_call() -> "Call | None":
    """Return the call of a model inside which this runs."""
    stay = _call.get()
    return None if stay is None else stay.value


def enter_call(call: "Call") -> "Stay[Call]":
    return _enter(_call, call)


def leave_call(stay: "Stay[Call]") -> None:
    _leave(_call, stay)


@contextmanager
def acting_again(who: Acting | None) -> Iterator[None]:
    """Act for whom something was begun, wherever it ends."""
    stay = _enter(_acting, who)
    try:
        yield
    finally:
        _leave(_acting, stay)


def _enter(stays: _Stays[T], value: T) -> Stay[T]:
    stay = Stay(value, stays.get())
    stays.set(stay)
    return stay


def _leave(stays: _Stays[T], stay: Stay[T]) -> None:
    top = stays.get()
    if top is stay:
        stays.set(stay.outer)
        return
    while top is not None and top.outer is not stay:
        top = top.outer
    if top is not None:  # A later one was entered meanwhile; it must not bring this one back.
        top.outer = stay.outer


class ActingFor:
    """`with trail.acting_for(person):` and `async with`; may be nested, the inner one counts."""

    def __init__(self, who: Acting) -> None:
        self._who = who
        self._stays: list[Stay[Acting | None]] = []

    def __enter__(self) -> Acting:
        self._stays.append(_enter(_acting, self._who))
        return self._who

    def __exit__(
        self,
        kind: type[BaseException] | None,
        problem: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        _leave(_acting, self._stays.pop())

    async def __aenter__(self) -> Acting:
        return self.__enter__()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        problem: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.__exit__(kind, problem, trace)
