# SPDX-License-Identifier: Apache-2.0
"""A Recorder for programs that run in an event loop, such as a gateway: same rules, no threads.

What is sent and how an answer is checked is `sealtrail.request` and `sealtrail.receipt`, as for
the Recorder; only waiting is different. Which HTTP library carries the bytes is the program's own
choice: one that has an event loop has one already.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any

from sealtrail.answers import receipt_of, too_large
from sealtrail.errors import OutcomeLate, RecorderError
from sealtrail.receipt import Receipt
from sealtrail.request import Sent, prepare
from sealtrail.verify.entry import OUTCOME_LATE
from sealtrail.verify.trust import Trust
from sealtrail.wire import (
    LONGEST_RETRY_AFTER_S,
    NOT_NOW,
    TOO_MANY,
    Answer,
    AnswerTooLarge,
    asked_to_wait,
    unavailable,
    wait_before,
)

#: Sends one request (method, path, content, header fields) and returns its answer; None if there
#: was none that can be used. Raises AnswerTooLarge for more than RECEIPT_MAX bytes. The token and a
#: time-out are its own business.
Once = Callable[[str, str, bytes | None, Mapping[str, str]], Awaitable[Answer | None]]


class AsyncRecorder:
    """A connection to one ledger for one event loop. See `sealtrail.Recorder`."""

    def __init__(self, once: Once, *, trust: Trust | None = None, attempts: int = 5) -> None:
        self._once, self._trust, self._attempts = once, trust, attempts

    async def post(
        self,
        type: str,  # noqa: A002 - the word of the wire format
        *,
        schema: int = 1,
        event_id: str | None = None,
        record_key: bytes | None = None,
        **members: Any,
    ) -> Receipt:
        """Record one event; its receipt, checked. Members and errors as for `Recorder.post`."""
        sent = prepare(type, schema, members, event_id=event_id, record_key=record_key)
        try:
            receipt = await self._record(sent)
        except RecorderError as problem:
            problem.event_id, problem.record_key = sent.event_id, sent.record_key
            raise
        if receipt.type == OUTCOME_LATE:
            raise OutcomeLate(receipt, record_key=sent.record_key)
        return receipt

    async def ready(self) -> bool:
        """Whether the ledger says that it would record now."""
        try:
            answer = await self._once("GET", "/readyz", None, {})
        except AnswerTooLarge:
            return False
        return answer is not None and answer.status == 200

    async def _record(self, sent: Sent) -> Receipt:
        headers = {"content-type": "application/json"}
        try:
            answer = await self._send("POST", "/v1/events", sent.content, headers)
        except AnswerTooLarge:
            raise too_large() from None
        return receipt_of(answer, sent, self._trust)

    async def _send(
        self, method: str, path: str, content: bytes | None, headers: Mapping[str, str]
    ) -> Answer:
        """The first usable answer, as `sealtrail.wire.Wire.send` has it."""
        last, doubted = None, False
        for attempt in range(1, self._attempts + 1):
            last = await self._once(method, path, content, headers)
            if last is not None and last.status not in NOT_NOW:
                return replace(last, doubted=doubted)
            doubted = doubted or last is None or last.status != TOO_MANY
            asked = asked_to_wait(last)
            if asked is not None and asked > LONGEST_RETRY_AFTER_S:
                raise unavailable(attempt, last, asked)
            if attempt < self._attempts:
                await asyncio.sleep(wait_before(attempt) if asked is None else asked)
        raise unavailable(self._attempts, last, None)
