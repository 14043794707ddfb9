# SPDX-License-Identifier: Apache-2.0
"""Events to the ledger: the gateway's own numbers, its callers' persons, its receipts."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Final

from sealtrail.async_recorder import AsyncRecorder
from sealtrail.errors import AuditUnavailable, OutcomeLate, Refused
from sealtrail.journal import Journal
from sealtrail.numbers import Numbers
from sealtrail.receipt import Receipt
from sealtrail.request import new_event_id, new_record_key
from sealtrail_gateway.callers import Caller
from sealtrail_gateway.connections import Line
from sealtrail_gateway.settings import Settings

SOFTWARE: Final = {"name": "sealtrail-gateway", "version": "0.1.0"}


class Ledger:
    """Records what passes through, and keeps the receipts."""

    def __init__(self, settings: Settings, *, attempts: int = 3) -> None:
        self._line = Line(
            settings.ledger_url, settings.ledger_token, timeout_s=settings.ledger_timeout_s
        )
        self._recorder = AsyncRecorder(self._line.once, trust=settings.trust, attempts=attempts)
        self._journal = (
            None
            if settings.journal is None
            else Journal(root=settings.journal, context="gateway", durable=False)
        )
        self._numbers = Numbers("gateway")

    async def close(self) -> None:
        await self._line.close()
        if self._journal is not None:
            self._journal.close()

    async def ready(self) -> bool:
        return await self._recorder.ready()

    async def record(
        self,
        type_: str,
        aggregate_id: str,
        body: Mapping[str, Any],
        *,
        caller: Caller,
        sealed: Mapping[str, Any] | None = None,
        links: Sequence[Mapping[str, str]] = (),
        **groups: Any,
    ) -> Receipt:
        """Record one event; its receipt, verified and kept. Raises what `Recorder.post` raises."""
        values = dict(sealed or {})
        if caller.session is not None:
            values["actor.session_id"] = caller.session
        if caller.service is not None:
            values["actor.account_id"] = caller.service
        event_id, record_key = new_event_id(), new_record_key()
        number = self._numbers.take()
        try:
            receipt = await self._recorder.post(
                type_,
                aggregate_id=aggregate_id,
                body=body,
                on_behalf_of=caller.person,
                sealed=values or None,
                links=links or None,
                source={"id": self._numbers.id, "n": number},
                actor={"kind": "human", "auth_method": caller.auth_method},
                origin_software=SOFTWARE,
                event_id=event_id,
                record_key=record_key,
                **groups,
            )
        except Refused:
            self._numbers.give_back(number)  # Nothing was recorded under it.
            raise
        except OutcomeLate as late:
            await self._keep(late.receipt)
            raise
        await self._keep(receipt)
        return receipt

    async def _keep(self, receipt: Receipt) -> None:
        if self._journal is None:
            return
        try:
            await asyncio.to_thread(self._journal.keep, receipt)
        except OSError as problem:
            raise AuditUnavailable(
                "The event is recorded, but its receipt could not be kept.", attempts=1
            ) from problem
