# SPDX-License-Identifier: Apache-2.0
"""One call of a model, fail closed: on record before it runs, and again before its output goes on.

    with trail.gen(model="acme/painter@3.1", prompt="a cat") as call:     GEN_ATTEMPT
        picture = paint("a cat")
        call.output(picture)
    hand_on(picture)                                        GEN, and only behind it: this line

    leaving the block     GEN         outputs were named
                          GEN_DENY    `call.deny(code)` was called
                          GEN_ERROR   an exception, or nothing was named
                          AuditUnavailable, OutcomeLate … instead of the next line: no output

Calls that are made inside a call are its children: same trace, linked by the parent's leaf.
"""

import asyncio
import contextlib
import secrets
import threading
import time
from decimal import Decimal
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

from sealtrail import acting
from sealtrail.begun import begun
from sealtrail.content import Content, content_of
from sealtrail.errors import RecorderError, Refused
from sealtrail.models import decimal_text
from sealtrail.receipt import Receipt
from sealtrail.request import new_event_id, now_text
from sealtrail.verify.errors import VerifyError

if TYPE_CHECKING:
    from sealtrail.trail import Trail

#: Outputs that one call can name. The ledger takes 64, but not more than 15 KiB of them; what was
#: made already must not be refused.
OUTPUTS_MAX: Final = 40


class NothingNamed(Exception):  # noqa: N818 - a mistake of the program, not an accident
    """The call ended without `output` or `deny`: what came of it is recorded as an error."""


class Call:
    """A call of a model that is under way; `trail.gen` makes it, `with` runs it."""

    def __init__(self, trail: "Trail", body: dict[str, Any], sealed: dict[str, Any]) -> None:
        self._trail, self._body, self._sealed = trail, body, sealed
        self._lock = threading.Lock()
        self._children = 0
        self._outputs: list[dict[str, Any]] = []
        self._outcome: dict[str, Any] = {}
        self._refusal: tuple[dict[str, Any], dict[str, Any]] | None = None
        self._stay: acting.Stay[Call] | None = None
        self._who: acting.Acting | None = None
        self._began = 0.0
        self.id = new_event_id()
        self.trace: dict[str, Any] = {}
        self.attempt: Receipt | None = None  #: Once the block has begun.
        self.receipt: Receipt | None = None  #: Of the outcome, once the block has ended.

    # What the block says

    def output(
        self, thing: Any, *, mime: str | None = None, asset_id: str | None = None, **facts: Any
    ) -> str:
        """Name one output: bytes, a text, a path or a Pillow image. Returns its asset's id.

        facts: further members of an output (docs/events.md, GEN), such as `disposition`.
        """
        content = content_of(thing, mime=mime)
        asset_id = asset_id or new_event_id()
        with self._lock:
            if len(self._outputs) >= OUTPUTS_MAX:
                raise ValueError(f"a call names at most {OUTPUTS_MAX} outputs")
            self._outputs.append(_output(asset_id, content) | facts)
        return asset_id

    def usage(self, **used: Any) -> None:
        """Say what was used: input_tokens, output_tokens, images, steps, cost with currency.

        A cost that is a float is taken as it prints.
        """
        if isinstance(used.get("cost"), (float, int, Decimal)):
            used["cost"] = decimal_text(used["cost"])
        self._outcome.setdefault("usage", {}).update(used)

    def answered(self, **provider: Any) -> None:
        """Say what the provider said of itself, such as request_id and model_returned."""
        self._outcome.setdefault("provider", {}).update(provider)

    def fact(self, **members: Any) -> None:
        """Set further members of the outcome, such as `finish_reason` or `marking`."""
        self._outcome.update(members)

    def deny(self, code: str, *, text: str | None = None, **facts: Any) -> None:
        """Say that the request was refused. text: what the person was told; it is sealed."""
        body = {"decision": "DENY", "refusal_reason_code": code, **facts}
        self._refusal = (body, {} if text is None else {"refusal_text": text})

    # The block

    def __enter__(self) -> Self:
        self.start()
        self._stay = acting.enter_call(self)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        problem: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._stay is not None:
            acting.leave_call(self._stay)
        self.finish(problem)

    async def __aenter__(self) -> Self:
        await begun(self.start, lambda _, problem: self.finish(problem))
        self._stay = acting.enter_call(self)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        problem: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._stay is not None:
            acting.leave_call(self._stay)
        # Shielded: a cancelled call has an outcome, too, and the attempt must not stay open.
        await asyncio.shield(asyncio.to_thread(self.finish, problem))

    def start(self) -> None:
        """Put the attempt on record; for hooks that have no block. Raises what `record` raises."""
        if self.attempt is not None:
            raise RuntimeError("a call is made once; ask the trail for another one")
        parent, self._who = acting.current_call(), acting.acting()
        self.trace, links = place(parent)
        self.attempt = self._trail.record(
            "GEN_ATTEMPT",
            self.id,
            self._body,
            sealed=self._sealed,
            trace=self.trace,
            links=links,
        )
        self._began = time.monotonic()
        self._times = {"processing_started": now_text()}

    def finish(self, problem: BaseException | None = None) -> None:
        """Put the outcome on record: of what was named, or of an exception.

        What cannot be recorded as it was said has an outcome, too: a GEN_ERROR, and then the error.
        """
        if self.attempt is None:
            return
        latency_ms = round((time.monotonic() - self._began) * 1000)
        self._outcome.setdefault("usage", {}).setdefault("latency_ms", latency_ms)
        type_, body, sealed = self._said(problem)
        with acting.acting_again(self._who):  # The stream of a server ends where nobody acts.
            try:
                self.receipt = self._ended(self.attempt, type_, body, sealed)
            except (Refused, TypeError, ValueError, VerifyError):
                error = {"class": "caller", "code": "not-recordable", "stage": "model"}
                with contextlib.suppress(RecorderError):
                    body = {"error": {**error, "retryable": False}}
                    self._ended(self.attempt, "GEN_ERROR", body, {})
                raise
        if type_ == "GEN_ERROR" and problem is None:
            raise NothingNamed

    def _ended(
        self, attempt: Receipt, type_: str, body: dict[str, Any], sealed: dict[str, Any]
    ) -> Receipt:
        return self._trail.record(
            type_,
            self.id,
            body,
            sealed=sealed,
            trace=self.trace,
            links=[attempt.link("attempt")],
            time=self._times | {"model_responded": now_text()},
            usage=body.get("usage"),
        )

    def _said(self, problem: BaseException | None) -> tuple[str, dict[str, Any], dict[str, Any]]:
        """Return type, body and sealed values of the outcome."""
        common = {
            name: self._outcome[name] for name in ("usage", "provider") if self._outcome.get(name)
        }
        if problem is not None:
            text = words_of(problem)
            return (
                "GEN_ERROR",
                {"error": _failure(problem), **common},
                ({"error.message": text} if text else {}),
            )
        if self._refusal is not None:
            body, sealed = self._refusal
            return "GEN_DENY", body | common, sealed
        if not self._outputs:
            error = {"class": "caller", "code": "nothing-named", "stage": "model"}
            return "GEN_ERROR", {"error": {**error, "retryable": False}, **common}, {}
        return "GEN", {"outputs": self._outputs, "result": "success"} | self._outcome, {}

    def next_child(self) -> int:
        """Return the number of a call that is made inside this one, from 0."""
        with self._lock:
            self._children += 1
            return self._children - 1


def place(parent: Call | None) -> tuple[dict[str, Any], list[dict[str, str]]]:
    """Return where a call stands in the tree of calls, and its links."""
    span = secrets.token_hex(8)
    if parent is None or parent.attempt is None:
        return {"trace_id": secrets.token_hex(16), "span_id": span, "depth": 0}, []
    trace = {
        "trace_id": parent.trace["trace_id"],
        "span_id": span,
        "parent_span_id": parent.trace["span_id"],
        "root_event": parent.trace.get("root_event", parent.attempt.event_id),
        "parent_event": parent.attempt.event_id,
        "call_index": parent.next_child(),
        "depth": parent.trace["depth"] + 1,
    }
    return trace, [parent.attempt.link("parent-call")]


def _output(asset_id: str, content: Content) -> dict[str, Any]:
    output: dict[str, Any] = {
        "asset_id": asset_id,
        "sha256": content.sha256,
        "mime": content.mime,
        "disposition": "delivered",
    }
    if content.size:
        output["size"] = str(content.size)
    if content.pixel_sha256 is not None:
        output |= {"pixel_sha256": content.pixel_sha256, "w": content.width, "h": content.height}
    return output


def _failure(problem: BaseException) -> dict[str, Any]:
    """Return an exception as codes; its words may be personal, and are sealed."""
    if isinstance(problem, (KeyboardInterrupt, asyncio.CancelledError, GeneratorExit)):
        kind, code = "caller", "cancelled"
    elif isinstance(problem, TimeoutError):
        kind, code = "timeout", "timeout"
    else:
        kind, code = "exception", code_of(problem)
    return {"class": kind, "code": code, "stage": "model", "retryable": False}


def code_of(problem: BaseException) -> str:
    """Return an exception's name as a code."""
    code = type(problem).__name__[:64].replace("_", "-")
    return code if code.isascii() and code[0].isalnum() else "unnamed"


def words_of(problem: BaseException) -> str:
    """Return what an exception says; personal, so it is sealed. One that cannot say it is mute."""
    try:
        return str(problem)[:2000].encode(errors="replace").decode()
    except Exception:  # noqa: BLE001  somebody else's code, and the call needs its outcome
        return ""
