# SPDX-License-Identifier: Apache-2.0
"""The gateway put together from its settings."""

from collections.abc import Sequence

from sealtrail_gateway.connections import Upstreams
from sealtrail_gateway.http import Gateway
from sealtrail_gateway.policies import Hook, Rules
from sealtrail_gateway.record import Ledger
from sealtrail_gateway.relay import Relay
from sealtrail_gateway.settings import Settings


def make_gateway(settings: Settings, *, hooks: Sequence[Hook] = (), attempts: int = 3) -> Gateway:
    """Return the ASGI application.

    hooks: judge calls beside the rules of the settings, in this order. attempts: how often one
    event is sent to a ledger that gives no answer.
    """
    ledger = Ledger(settings, attempts=attempts)
    upstreams = Upstreams(timeout_s=settings.timeout_s)
    own = [Rules(settings.refuse, version=settings.policy_version)] if settings.refuse else []

    async def close() -> None:
        await upstreams.close()
        await ledger.close()

    return Gateway(settings, Relay(ledger, upstreams, [*own, *hooks]), ledger.ready, close)
