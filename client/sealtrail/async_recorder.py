# SPDX-License-Identifier: Apache-2.0
"""A Recorder for programs that run in an event loop, such as a gateway: same rules, no threads.

What is sent and how an answer is checked is `sealtrail.request` and `sealtrail.receipt`, as for
the Recorder; only waiting is different.
"""

import asyncio
import time
from collections.abc import Mapping
from typing import Any

import httpx2

from sealtrail.errors import AuditUnavailable, OutcomeLate, ReceiptInvalid, RecorderError, Refused
from sealtrail.receipt import RECEIPT_MAX, Receipt, check_receipt
from sealtrail.request import Sent, prepare
from sealtrail.verify import canonical
from sealtrail.verify.entry import OUTCOME_LATE
from sealtrail.verify.errors import VerifyError
from sealtrail.verify.trust import Trust
from sealtrail.wire import (
    LONGEST_RETRY_AFTER_S,
    NOT_NOW,
    Answer,
    AnswerTooLarge,
    asked_to_wait,
    checked_url,
    client_headers,
    unavailable,
    wait_before,
)


class AsyncRecorder:
    """A connection to one ledger for one event loop. See `sealtrail.Recorder`.

    connections: how many requests may be under way at once; further ones wait.
    """

    def __init__(
        self,
        url: str,
        token: str,
        *,
        trust: Trust | None = None,
        timeout_s: float = 10,
        attempts: int = 5,
        connections: int = 256,
    ) -> None:
        self._url = checked_url(url)
        self._trust, self._timeout_s, self._attempts = trust, timeout_s, attempts
        self._client = httpx2.AsyncClient(
            headers=client_headers(token),
            timeout=timeout_s,
            follow_redirects=False,
            limits=httpx2.Limits(
                max_connections=connections, max_keepalive_connections=connections
            ),
        )

    async def close(self) -> None:
        await self._client.aclose()

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
            answer = await self._once("GET", "/readyz", None, {}, RECEIPT_MAX)
        except AnswerTooLarge:
            return False
        return answer is not None and answer.status == 200

    async def _record(self, sent: Sent) -> Receipt:
        headers = {"content-type": "application/json"}
        try:
            answer = await self._send("POST", "/v1/events", sent.content, headers)
        except AnswerTooLarge:
            message = "The answer is longer than any true one can be."
            raise ReceiptInvalid(message, check="size") from None
        repeat = answer.headers.get("sealtrail-repeat") == "true"
        if 400 <= answer.status < 500:
            raise Refused(answer.status, _problem(answer))
        if answer.status >= 500 or not 200 <= answer.status < 300:
            raise AuditUnavailable(
                f"The ledger answered {answer.status}. Nobody knows whether it recorded the "
                "request; sending the same request again is safe.",
                attempts=1,
                status=answer.status,
            )
        if answer.status != (200 if repeat else 201):
            message = f"The ledger answered {answer.status}, which is no answer to an event."
            raise ReceiptInvalid(message, check="status")
        return check_receipt(answer.body, sent, trust=self._trust, repeat=repeat)

    async def _send(
        self, method: str, path: str, content: bytes | None, headers: Mapping[str, str]
    ) -> Answer:
        """The first usable answer, as `sealtrail.wire.Wire.send` has it."""
        last: Answer | None = None
        for attempt in range(1, self._attempts + 1):
            last = await self._once(method, path, content, headers, RECEIPT_MAX)
            if last is not None and last.status not in NOT_NOW:
                return last
            asked = asked_to_wait(last)
            if asked is not None and asked > LONGEST_RETRY_AFTER_S:
                raise unavailable(attempt, last, asked)
            if attempt < self._attempts:
                await asyncio.sleep(wait_before(attempt) if asked is None else asked)
        raise unavailable(self._attempts, last, None)

    async def _once(
        self,
        method: str,
        path: str,
        content: bytes | None,
        headers: Mapping[str, str],
        answer_max: int,
    ) -> Answer | None:
        until = time.monotonic() + self._timeout_s
        body = bytearray()
        try:
            async with self._client.stream(
                method, self._url + path, content=content, headers=dict(headers)
            ) as response:
                async for part in response.aiter_bytes():
                    body += part
                    if len(body) > answer_max:
                        raise AnswerTooLarge
                    if time.monotonic() > until:
                        return None
                return Answer(
                    status=response.status_code, headers=dict(response.headers), body=bytes(body)
                )
        except httpx2.RequestError:
            return None


def _problem(answer: Answer) -> dict[str, Any]:
    try:
        members = canonical.parse(answer.body)
    except VerifyError:
        return {}
    return members if isinstance(members, dict) else {}
