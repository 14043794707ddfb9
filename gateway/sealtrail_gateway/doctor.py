# SPDX-License-Identifier: Apache-2.0
"""Proves that nothing goes through while the ledger is away, before anything is served.

A gateway like the real one, but with a ledger under an address where nobody listens and a provider
of its own on this machine, is asked for a picture. It has to refuse, and the provider must not have
heard of it. Then the real ledger is asked whether it would record now.
"""

import asyncio
import json
from dataclasses import replace
from hashlib import sha256
from typing import Any, Final

from sealtrail.doctor_command import Check, silent_port
from sealtrail_gateway.assembly import make_gateway
from sealtrail_gateway.http import EVENT_ID
from sealtrail_gateway.settings import KnownKey, Settings, Upstream

_KEY: Final = "a key of the self-test"
_BODY: Final = json.dumps({"model": "self-test", "prompt": "self-test"}).encode()


async def fails_closed(settings: Settings) -> Check:
    """Ask for a picture while nobody would record it."""
    heard: list[bytes] = []

    async def provider(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await reader.read(65_536))
        writer.close()

    server = await asyncio.start_server(provider, "127.0.0.1", 0)
    address = server.sockets[0].getsockname()
    known = {sha256(_KEY.encode()).hexdigest(): KnownKey(person="self-test")}
    upstream = Upstream(
        name="self-test",
        url=f"http://127.0.0.1:{address[1]}/v1",
        reader="openai",
        credential="none",
    )
    alone = replace(
        settings,
        ledger_url=f"http://127.0.0.1:{silent_port()}",
        journal=None,
        upstreams={"self-test": upstream},
        callers=known,
        refuse=(),
    )
    gateway = make_gateway(alone, attempts=1)
    try:
        status, headers = await _ask(gateway)
    finally:
        await gateway.close()
        server.close()
        await server.wait_closed()
    passed = status == 503 and not heard and headers.get(EVENT_ID) == b"none"
    sentence = (
        "without a ledger the call was refused, and no provider heard of it"
        if passed
        else f"without a ledger the call was answered {status}; {len(heard)} calls went out"
    )
    return Check(name="fail-closed", passed=passed, sentence=sentence)


async def ledger_records(settings: Settings) -> Check:
    """Ask the ledger whether it would record now."""
    from sealtrail_gateway.record import Ledger  # noqa: PLC0415 - made for one question

    ledger = Ledger(replace(settings, journal=None), attempts=1)
    ready = await ledger.ready()
    await ledger.close()
    said = "says that it would record" if ready else "does not say that it would record"
    return Check(name="ledger", passed=ready, sentence=f"the ledger {said}")


async def examine(settings: Settings) -> list[Check]:
    """Run every check."""
    checks = [await fails_closed(settings), await ledger_records(settings)]
    callers = bool(settings.callers or settings.proxy_secret or settings.oidc)
    said = "somebody can be known" if callers else "no caller can be known: every call is refused"
    checks.append(Check(name="callers", passed=callers, sentence=said))
    names = ", ".join(settings.upstreams) or "no upstream"
    checks.append(Check(name="upstreams", passed=bool(settings.upstreams), sentence=names))
    return checks


async def _ask(gateway: Any) -> tuple[int, dict[bytes, bytes]]:
    """Ask for a picture inside this process."""
    sent: list[dict[str, Any]] = []
    asked = False

    async def receive() -> dict[str, Any]:
        nonlocal asked
        if asked:
            await asyncio.Event().wait()
        asked = True
        return {"type": "http.request", "body": _BODY, "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/self-test/v1/images/generations",
        "query_string": b"",
        "headers": [(b"authorization", f"Bearer {_KEY}".encode())],
    }
    await gateway(scope, receive, send)
    return sent[0]["status"], dict(sent[0]["headers"])
