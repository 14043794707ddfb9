# SPDX-License-Identifier: Apache-2.0
"""One call that an SDK makes over HTTP: on record before it is sent, and before it is answered.

What the transports of both HTTP libraries have in common, and nothing that waits or sends.
"""

import io
import sys
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final

from sealtrail.acting import Acting, acting, acting_again, current_call
from sealtrail.calls import place
from sealtrail.errors import AlreadyCalled, NotRecordable, RecorderError
from sealtrail.providers.exchange import Asked, Provider, Told, Unspeakable
from sealtrail.receipt import Receipt
from sealtrail.request import new_event_id

if TYPE_CHECKING:
    from sealtrail.trail import Trail

#: Header of an answer that names its attempt.
EVENT_ID: Final = "x-audit-event-id"

_WITHHELD_MAX: Final = 1_024

#: What an SDK raises itself it hands on as it is; all else it takes for a broken connection, tries
#: again and wraps.
_HANDED_ON: Final = {"openai": "OpenAIError", "anthropic": "AnthropicError"}


@dataclass(slots=True, kw_only=True)
class Exchange:
    """A call that is under way. attempt: its receipt, verified."""

    asked: Asked
    id: str
    key: str
    trace: dict[str, Any]
    attempt: Receipt
    who: Acting | None
    ended: bool = field(default=False)


class Watch:
    """Records the calls of one SDK's client."""

    def __init__(self, trail: "Trail", reader: Provider, allow: frozenset[str]) -> None:
        self._trail, self.reader, self._allow = trail, reader, allow
        self._withheld: OrderedDict[str, None] = OrderedDict()

    def is_call(self, method: str, path: str) -> bool:
        """Whether a request has to be recorded. Raises NotRecordable for one that cannot be."""
        with handed_on():
            return self._is_call(method, path)

    def begin(self, path: str, headers: Mapping[str, str], body: bytes) -> Exchange:
        """Put the attempt on record. Raises what `Trail.record` raises; then nothing is sent."""
        with handed_on():
            return self._begin(path, headers, body)

    def end(self, exchange: Exchange, told: Told) -> Receipt:
        """Put the outcome on record. Raises what `Trail.record` raises; then nothing goes on."""
        with handed_on():
            return self._end(exchange, told)

    def answered(
        self, exchange: Exchange, status: int, headers: Mapping[str, str], content: bytes
    ) -> Receipt:
        """Put on record what a whole answer tells. Raises what `end` raises: it is withheld."""
        try:
            told = self.reader.told(exchange.asked, status, headers, content)
        except Exception as problem:
            error = {"class": "client", "code": "reader-failed", "stage": "provider"}
            body = {"error": {**error, "retryable": False}}
            self.end(exchange, Told(type="GEN_ERROR", body=body))
            self._withhold(exchange)
            with handed_on():
                raise NotRecordable("The answer cannot be read, so it is withheld.") from problem
        return self.end(exchange, told)

    def failed(self, exchange: Exchange, problem: BaseException) -> None:
        """Put on record that the provider gave no answer."""
        name = type(problem).__name__
        code = "timeout" if "Timeout" in name else "cancelled" if "Cancel" in name else "connection"
        error = {"class": "client", "code": code, "stage": "provider", "retryable": True}
        self.end(exchange, Told(type="GEN_ERROR", body={"error": error}))

    def _is_call(self, method: str, path: str) -> bool:
        kind = self.reader.kind(method, path)
        allowed = any(path.rstrip("/").endswith(f"/{name.strip('/')}") for name in self._allow)
        if kind == "unknown" and not allowed:
            raise NotRecordable(
                "This call cannot be put on record, so it was not made; `allow` of `watch` names "
                "paths that may go unrecorded."
            )
        return kind == "call"

    def _begin(self, path: str, headers: Mapping[str, str], body: bytes) -> Exchange:
        try:
            asked = self.reader.asked(path, headers, io.BytesIO(body))
        except Unspeakable as problem:
            raise NotRecordable(f"This cannot go on record: {problem}.") from None
        key = sha256(path.encode() + b"\0" + body).hexdigest()
        if key in self._withheld and headers.get("x-stainless-retry-count", "0") != "0":
            raise AlreadyCalled("The model was called before; its answer was withheld.")
        who, id_ = acting(), new_event_id()
        trace, links = place(current_call())
        attempt = self._trail.record(
            "GEN_ATTEMPT",
            id_,
            asked.body(() if who is None else who.consents),
            sealed=asked.sealed,
            trace=trace,
            links=links,
        )
        return Exchange(asked=asked, id=id_, key=key, trace=trace, attempt=attempt, who=who)

    def _end(self, exchange: Exchange, told: Told) -> Receipt:
        exchange.ended = True
        try:
            with acting_again(exchange.who):  # A stream may be read where nobody acts any more.
                return self._trail.record(
                    told.type,
                    exchange.id,
                    told.body,
                    sealed=told.sealed,
                    trace=exchange.trace,
                    links=[exchange.attempt.link("attempt")],
                    usage=told.body.get("usage", {"latency_ms": 0}),
                )
        except RecorderError:
            self._withhold(exchange)
            raise

    def _withhold(self, exchange: Exchange) -> None:
        self._withheld[exchange.key] = None
        while len(self._withheld) > _WITHHELD_MAX:
            self._withheld.popitem(last=False)


@contextmanager
def handed_on() -> Iterator[None]:
    """Have an error of ours pass through whichever SDK is loaded: raised once, and not repeated.

    It stays what it is, `except AuditUnavailable` finds it, and it is one of the SDK's own as well.
    """
    try:
        yield
    except RecorderError as problem:
        loaded = [
            getattr(sys.modules[name], error)
            for name, error in _HANDED_ON.items()
            if hasattr(sys.modules.get(name), error)
        ]
        kind = type(problem)
        theirs = tuple(one for one in loaded if not issubclass(kind, one))
        if theirs:
            problem.__class__ = type(
                kind.__name__, (kind, *theirs), {"__module__": kind.__module__}
            )
        raise
