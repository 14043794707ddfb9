# SPDX-License-Identifier: Apache-2.0
"""One call: attempt on record, then the model, then the outcome on record, then its answer.

    whole request ─► read ─► GEN_ATTEMPT ─► hooks ─► provider ─► outcome on record ─► answer
                      └──────────┴────────────┴─ refused: nothing called      └─ or withheld

What a provider has answered and the ledger did not take is thrown away. A caller who then tries
the same again, as SDKs do by themselves, is refused once more: the provider has been paid already.
"""

import asyncio
import re
import secrets
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, BinaryIO, Final

from sealtrail.errors import OutcomeLate, RecorderError, Refused
from sealtrail.providers.exchange import Asked, Provider, Told, Unspeakable
from sealtrail.receipt import Receipt
from sealtrail.request import new_event_id
from sealtrail_gateway.callers import Caller
from sealtrail_gateway.connections import Reply, Upstreams
from sealtrail_gateway.policies import Hook, Verdict
from sealtrail_gateway.record import Ledger
from sealtrail_gateway.settings import Upstream

JSON = dict[str, Any]

_PARENT: Final = re.compile(r"([0-9a-f-]{36});(sha256:[0-9a-f]{64})")
_TRACEPARENT: Final = re.compile(r"00-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}")

#: Calls whose answer was withheld, that are remembered against being tried again.
_WITHHELD_MAX: Final = 4_096

#: From so many bytes on, an answer is read in a thread.
_LARGE: Final = 256 * 1024


#: What is told where a judgement could not be made.
_UNJUDGED: Final = "A rule of this gateway failed; the answer is withheld."


class Stopped(Exception):  # noqa: N818 - an answer, not an accident
    """The call goes no further: status, stable code, and a sentence for the caller."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.code = status, code


@dataclass(frozen=True, slots=True, kw_only=True)
class Incoming:
    """A request, whole."""

    upstream: Upstream
    reader: Provider
    method: str
    path: str  #: Behind the upstream's own part.
    target: str  #: Path and query as they go on.
    headers: Mapping[str, str] = field(repr=False)
    body: BinaryIO = field(repr=False)
    caller: Caller


@dataclass(slots=True, kw_only=True)
class Under:
    """A call that is under way."""

    incoming: Incoming
    asked: Asked
    id: str
    trace: JSON
    key: str
    attempt: Receipt


class Relay:
    """Carries calls to their providers."""

    def __init__(self, ledger: Ledger, upstreams: Upstreams, hooks: Sequence[Hook] = ()) -> None:
        self._ledger, self._upstreams, self._hooks = ledger, upstreams, hooks
        self._withheld: OrderedDict[str, None] = OrderedDict()

    async def begin(self, incoming: Incoming) -> Under:
        """Put the attempt on record. Raises Stopped; then nothing was called."""
        try:
            asked = incoming.reader.asked(incoming.path, incoming.headers, incoming.body)
        except Unspeakable as problem:
            raise Stopped(400, "not-recordable", f"This cannot go on record: {problem}.") from None
        key = _key_of(incoming)
        if key in self._withheld and incoming.headers.get("x-stainless-retry-count", "0") != "0":
            raise Stopped(409, "already-called", "The model was called; its answer was withheld.")
        id_, (trace, links) = new_event_id(), _place(incoming.headers)
        try:
            attempt = await self._ledger.record(
                "GEN_ATTEMPT",
                id_,
                asked.body(incoming.caller.consents),
                caller=incoming.caller,
                sealed=asked.sealed,
                trace=trace,
                links=links,
            )
        except Refused as refusal:
            message = f"The ledger refused the attempt ({refusal.code}); no model was called."
            raise Stopped(403, "audit-refused", message) from refusal
        except RecorderError as problem:
            message = "The audit ledger gave no receipt; no model was called."
            raise Stopped(503, "audit-unavailable", message) from problem
        under = Under(incoming=incoming, asked=asked, id=id_, trace=trace, key=key, attempt=attempt)
        try:
            await self._judge_before(under)
        except Stopped:
            raise
        except Exception as broken:
            await self._record_or_stop(under, failure("hook-failed", retryable=False))
            message = "A rule of this gateway failed; no model was called."
            raise Stopped(500, "hook-failed", message) from broken
        return under

    def reply(self, under: Under) -> Any:
        """Send the request to its provider: an async context with the Reply."""
        return self.pass_through(under.incoming)

    def pass_through(self, incoming: Incoming) -> Any:
        """Send a request as it is: an async context with the Reply. Raises UpstreamFailed."""
        return self._upstreams.send(
            incoming.upstream,
            incoming.method,
            incoming.target,
            headers=incoming.headers,
            body=incoming.body,
        )

    async def read(self, under: Under, reply: Reply, at_most: int) -> tuple[bytes, Told]:
        """Read a whole answer and what came of the call. Raises UpstreamFailed."""
        data = await reply.whole(at_most)
        # A large answer takes long to hash and decode; others must not wait for it.
        reading = (under.asked, reply.status, reply.headers, data)
        if len(data) > _LARGE:
            return data, await asyncio.to_thread(under.incoming.reader.told, *reading)
        return data, under.incoming.reader.told(*reading)

    async def end(self, under: Under, told: Told, *, released: bool = False) -> Receipt:
        """Put the outcome on record. Raises Stopped where the answer has to be withheld.

        released: some of it has gone on already, as of a stream, so it cannot be withheld any more.
        """
        try:
            refused = await self._judge_after(under, told)
        except Stopped:
            self._withhold(under)
            raise
        except Exception:  # noqa: BLE001 - a judgement that was not made is not a yes
            refused = Verdict(refused=True, judgement={}, code="hook-failed", told=_UNJUDGED)
        if refused is not None and not released:
            outputs = [{**one, "disposition": "withheld"} for one in told.body.get("outputs", ())]
            told = Told(
                type=told.type,
                body={**told.body, "outputs": outputs} if outputs else told.body,
                sealed=told.sealed,
            )
        receipt = await self._record_or_stop(under, told)
        if refused is not None:
            raise Stopped(403, refused.code, refused.told)
        return receipt

    async def _record_or_stop(self, under: Under, told: Told) -> Receipt:
        """Put the outcome on record, without a judgement. Raises Stopped."""
        try:
            return await self._record(under, told.type, told.body, told.sealed)
        except OutcomeLate as late:
            self._withhold(under)
            message = "The outcome came after the ledger had closed the attempt; it is withheld."
            raise Stopped(504, "outcome-late", message) from late
        except RecorderError as problem:
            self._withhold(under)
            message = "The outcome could not be put on record; the answer is withheld."
            raise Stopped(503, "audit-unavailable", message) from problem

    def _withhold(self, under: Under) -> None:
        self._withheld[under.key] = None
        while len(self._withheld) > _WITHHELD_MAX:
            self._withheld.popitem(last=False)

    async def _judge_before(self, under: Under) -> None:
        for hook in self._hooks:
            verdict = hook.before(under.asked)
            if verdict is None:
                continue
            await self._moderated(under, verdict)
            if not verdict.refused:
                continue
            body = {"decision": "DENY", "refusal_reason_code": verdict.code}
            body |= {n: verdict.judgement[n] for n in _SHARED if n in verdict.judgement}
            sealed = {"refusal_text": verdict.told}
            await self.end(under, Told(type="GEN_DENY", body=body, sealed=sealed))
            raise Stopped(403, verdict.code, verdict.told)

    async def _judge_after(self, under: Under, told: Told) -> Verdict | None:
        if told.type != "GEN":
            return None
        for hook in self._hooks:
            verdict = hook.after(under.asked, told)
            if verdict is not None:
                await self._moderated(under, verdict)
                if verdict.refused:
                    return verdict
        return None

    async def _moderated(self, under: Under, verdict: Verdict) -> None:
        try:
            await self._record(under, "MODERATION", {"mod": verdict.judgement}, {})
        except Refused:
            raise  # A judgement without form: the hook that made it is broken.
        except RecorderError as problem:
            message = "A judgement could not be put on record; the call goes no further."
            raise Stopped(503, "audit-unavailable", message) from problem

    async def _record(self, under: Under, type_: str, body: JSON, sealed: JSON) -> Receipt:
        return await self._ledger.record(
            type_,
            under.id,
            body,
            caller=under.incoming.caller,
            sealed=sealed,
            trace=under.trace,
            links=[under.attempt.link("attempt")],
        )


def failure(code: str, *, retryable: bool) -> Told:
    """Return the outcome of a call to which no answer came."""
    error = {"class": "gateway", "code": code, "stage": "provider", "retryable": retryable}
    return Told(type="GEN_ERROR", body={"error": error})


#: Members that a MODERATION's judgement and a GEN_DENY have in common.
_SHARED: Final = ("classifier", "rule_ids", "scores", "threshold", "risk_category", "policy")


def _key_of(incoming: Incoming) -> str:
    """Return what makes two requests the same: who, where to, and every byte."""
    running = sha256()
    for part in (incoming.caller.person, incoming.method, incoming.target):
        running.update(part.encode() + b"\0")
    incoming.body.seek(0)
    while piece := incoming.body.read(256 * 1024):
        running.update(piece)
    incoming.body.seek(0)
    return running.hexdigest()


def _place(headers: Mapping[str, str]) -> tuple[JSON, list[dict[str, str]]]:
    """Return the call's place in a tree of calls, as its headers tell it."""
    trace: JSON = {"trace_id": secrets.token_hex(16), "span_id": secrets.token_hex(8)}
    told = _TRACEPARENT.fullmatch(headers.get("traceparent", ""))
    if told is not None:
        trace |= {"trace_id": told[1], "parent_span_id": told[2]}
    parent = _PARENT.fullmatch(headers.get("sealtrail-parent", ""))
    if parent is None:
        return trace, []
    link = {"rel": "parent-call", "id": parent[1], "leaf": parent[2]}
    return trace | {"parent_event": parent[1]}, [link]
