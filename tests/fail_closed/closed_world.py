# SPDX-License-Identifier: GPL-3.0-or-later
"""A provider with its own books, gateways, trails, and a ledger that fails on demand.

One of it serves a whole run of the matrix: each case begins with empty books and chooses what the
ledger does. Nothing here stands in for code of ours; only the ledger is the small one of the
client's tests, because a real one cannot be made to lie.
"""

import json
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

_TESTS = Path(__file__).resolve().parents[1]
for _folder in ("client", "provider"):
    if str(_TESTS / _folder) not in sys.path:
        sys.path.append(str(_TESTS / _folder))

import uvicorn  # noqa: E402
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey  # noqa: E402
from provider_server import Provider, picture, providing  # noqa: E402
from small_ledger import TOKEN, SmallLedger, serving  # noqa: E402

from sealtrail import Trail  # noqa: E402

#: What the ledger does, in the order of the page's columns.
CASES = {
    "well": "The ledger answers as it should.",
    "down-before": "Nobody listens under the ledger's address.",
    "down-after": "The ledger is cut off once the attempt is on record.",
    "slow": "The ledger takes longer than the client waits.",
    "garbage": "The attempt's receipt is signed by a stranger.",
    "garbage-after": "The outcome's receipt is signed by a stranger.",
    "late": "The ledger had closed the attempt before its outcome came (OUTCOME_LATE).",
}
#: In these the model must not be called, in the others its output must not be released.
BEFORE = ("down-before", "slow", "garbage")
AFTER = ("down-after", "garbage-after", "late")

_HASTY_S, _SLOW_S = 0.15, 5
_NOWHERE = "http://127.0.0.1:9"
KEY = "stg_a key of one person"


class FailingLedger(SmallLedger):
    """Does what `case` says, for attempts or for what follows them."""

    def __init__(self) -> None:
        super().__init__()
        self.case = "well"
        self._own, self._stranger = self.key, Ed25519PrivateKey.generate()
        self._turn = threading.Lock()
        self._over = threading.Event()  # Of the case that runs: nobody waits any more.
        self.overtaken: list[bytes] = []

    def begin(self, case: str) -> None:
        with self._turn:
            self.case = case
            self._over.set()
            self._over = threading.Event()
            self.entries.clear()
            self.position_of.clear()
            self.requests.clear()
            self.overtaken = []

    def answer(self, content: bytes) -> tuple[int, dict[str, str], bytes] | None:
        is_attempt = json.loads(content)["type"] == "GEN_ATTEMPT"
        over = self._over
        if self.case == "slow":
            self.overtaken.append(content)
            over.wait(_SLOW_S)
        if self.case == "down-after" and not is_attempt:
            return None
        lies = self.case == "garbage" or (self.case == "garbage-after" and not is_attempt)
        with self._turn:
            if over.is_set():
                return None
            self.key = self._stranger if lies else self._own
            self.late = self.case == "late" and not is_attempt
            try:
                return super().answer(content)
            finally:
                self.key = self._own

    @property
    def attempts(self) -> int:
        """How many attempts were sent, each counted once."""
        asked = [json.loads(one) for one in [*self.requests, *self.overtaken]]
        return len({one["event_id"] for one in asked if one["type"] == "GEN_ATTEMPT"})

    @property
    def types(self) -> list[str]:
        return [json.loads(one)["type"] for one in self.entries]


@dataclass(kw_only=True)
class At:
    """Where a row runs in one case, and what it has to tell."""

    trail: Trail
    provider: str  #: The provider's own address, without a path.
    ledger_url: str
    ledger: FailingLedger = field(repr=False)
    case: str
    world: "World" = field(repr=False)
    got: list[Any] = field(default_factory=list)
    asked: int = 0

    @property
    def gateway(self) -> str:
        """The address of a gateway, without a path; `KEY` is what it knows a person by."""
        return self.world.gateway(self.case)

    def once(self, name: str, make: Callable[[], AbstractContextManager[Any]]) -> Any:
        """Return what `make` yields; made once for the whole run and closed behind it."""
        return self.world.once(name, make)

    def model(self, *_: Any, **__: Any) -> bytes:
        """A model in this process. Counts how often it is asked, and returns a picture."""
        self.asked += 1
        return picture()

    def release(self, thing: Any) -> None:
        """Say that the user's program has got this."""
        self.got.append(thing)


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What one row did in one case. output: `none`, `part` (of a stream) or `all`."""

    calls: int
    output: str
    attempts: int
    error: str  #: What the user sees; empty if nothing.
    types: tuple[str, ...]  #: What is on record.


class World:
    """All that the cases share."""

    def __init__(self, stack: ExitStack) -> None:
        self.provider = Provider()
        self.address = stack.enter_context(providing(self.provider))
        self.ledger = FailingLedger()
        self.ledger_url = stack.enter_context(serving(self.ledger))
        self._stack = stack
        near, hasty = self._trail(self.ledger_url), self._trail(self.ledger_url, _HASTY_S)
        self._trails = {"slow": hasty, "down-before": self._trail(_NOWHERE), "": near}
        self._made: dict[str, Any] = {}

    def at(self, case: str) -> At:
        """Begin a case: empty books, and a ledger that does what the case says."""
        self.provider.calls.clear()
        self.provider.moods.clear()
        self.ledger.begin(case)
        kind = case if case in self._trails else ""
        return At(
            trail=self._trails[kind],
            provider=self.address,
            ledger_url=_NOWHERE if case == "down-before" else self.ledger_url,
            ledger=self.ledger,
            case=case,
            world=self,
        )

    def once(self, name: str, make: Callable[[], AbstractContextManager[Any]]) -> Any:
        if name not in self._made:
            self._made[name] = self._stack.enter_context(make())
        return self._made[name]

    def _trail(self, url: str, timeout_s: float = 10) -> Trail:
        made = Trail(
            url, TOKEN, trust=self.ledger.trust, journal=False, timeout_s=timeout_s, attempts=1
        )
        return self._stack.enter_context(made)

    def gateway(self, case: str) -> str:
        """Return the address of a gateway whose ledger does what the case says."""
        from sealtrail_gateway.assembly import make_gateway
        from sealtrail_gateway.settings import KnownKey, Settings, Upstream

        kind = case if case in self._trails else ""
        upstreams = {
            name: Upstream(name=name, url=f"{self.address}{path}", reader=name, credential="k")
            for name, path in (("openai", "/v1"), ("anthropic", ""), ("google", ""), ("a1111", ""))
        }
        settings = Settings(
            ledger_url=_NOWHERE if kind == "down-before" else self.ledger_url,
            ledger_token=TOKEN,
            trust=self.ledger.trust,
            upstreams=upstreams,
            callers={sha256(KEY.encode()).hexdigest(): KnownKey(person="emp-7")},
            timeout_s=5.0,
            ledger_timeout_s=_HASTY_S if kind == "slow" else 10.0,
        )
        made = lambda: answering(make_gateway(settings, attempts=1))  # noqa: E731
        return self.once(f"gateway {kind}", made)


@contextmanager
def answering(application: Any) -> Iterator[str]:
    """The address of an ASGI application on a port of this machine."""
    config = uvicorn.Config(application, access_log=False, log_level="error", lifespan="on")
    server = uvicorn.Server(config)
    listener = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive()
            thread.join(timeout=0.01)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(timeout=30)
        listener.close()


@contextmanager
def world() -> Iterator[World]:
    with ExitStack() as stack:
        made = World(stack)
        try:
            yield made
        finally:
            made.ledger.begin("well")  # Lets go whoever it still keeps waiting.
