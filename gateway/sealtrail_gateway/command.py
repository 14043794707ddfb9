# SPDX-License-Identifier: Apache-2.0
"""`sealtrail-gateway serve | doctor | key`."""

import argparse
import asyncio
import gc
import json
import secrets
import socket
import sys
from collections.abc import Sequence
from hashlib import sha256
from typing import Any, Final, cast

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from sealtrail_gateway.assembly import make_gateway
from sealtrail_gateway.doctor import examine, fails_closed
from sealtrail_gateway.http1 import HEAD_MAX
from sealtrail_gateway.settings import Misconfigured, Settings

#: Exit codes, as of every command of this project.
_USAGE, _REFUTED = 2, 1

_HEAD_TOO_LARGE: Final = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\n"
    b"content-length: 0\r\nconnection: close\r\nx-audit-event-id: none\r\n\r\n"
)


class _Joined:
    """A transport that sends in one piece what is written in one turn of the event loop.

    Header and body of an answer are written one after the other. Sent alone, the header wakes its
    reader for nothing, who takes the processor from whoever would send the body.
    """

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._later = asyncio.get_running_loop().call_soon
        self._held: list[bytes] = []
        self.is_closing = transport.is_closing

    def write(self, data: bytes) -> None:
        if not self._held:
            self._later(self.flush)
        self._held.append(data)

    def flush(self) -> None:
        held, self._held = self._held, []
        if held and not self.is_closing():
            self._transport.writelines(held)

    def close(self) -> None:
        self.flush()
        self._transport.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


class Connection(HttpToolsProtocol):
    """A caller's connection. A request's head has an end, even if nobody knows the caller yet."""

    _head_size: int | None = None  # None: behind the head.

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.transport = cast("asyncio.Transport", _Joined(transport))

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._head_size = 0

    def on_headers_complete(self) -> None:
        self._head_size = None
        super().on_headers_complete()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._head_size is None or self.parser is None:
            return
        self._head_size += len(data)
        if self._head_size > HEAD_MAX and not self.transport.is_closing():
            if self.cycle is None or self.cycle.response_complete:
                self.transport.write(_HEAD_TOO_LARGE)  # Else it would stand in another's answer.
            self.transport.close()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; the result is the process's exit status."""
    parser = argparse.ArgumentParser(
        prog="sealtrail-gateway", description="Between an application and its models."
    )
    commands = parser.add_subparsers(required=True, dest="command", metavar="COMMAND")
    for name, text in (
        ("serve", "serve, once it is proved that nothing goes through without the ledger"),
        ("doctor", "prove it, and say what is configured"),
        ("key", "make a key for an application or a person"),
    ):
        commands.add_parser(name, help=text).add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    if options.command == "key":
        return _key(as_json=options.json)
    try:
        settings = Settings.read()
    except Misconfigured as error:
        print(f"sealtrail-gateway: {error}", file=sys.stderr)  # noqa: T201 - a command
        return _USAGE
    run = _serve if options.command == "serve" else _doctor
    return run(settings, as_json=options.json)


def _serve(settings: Settings, *, as_json: bool) -> int:
    proved = asyncio.run(fails_closed(settings))
    if not proved.passed:
        print(f"sealtrail-gateway: will not serve: {proved.sentence}", file=sys.stderr)  # noqa: T201
        return _REFUTED
    listener = socket.socket(socket.AF_INET6 if ":" in settings.host else socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((settings.host, settings.port))
    listener.listen(2_048)  # From the moment its address is printed, somebody may connect.
    host, port = listener.getsockname()[:2]
    said = {"gateway": f"http://{host}:{port}", "upstreams": list(settings.upstreams)}
    print(json.dumps(said) if as_json else f"gateway on {said['gateway']}", flush=True)  # noqa: T201
    config = uvicorn.Config(
        make_gateway(settings),
        access_log=False,  # Paths and queries may be personal.
        log_level="warning",
        server_header=False,
        date_header=True,
        lifespan="on",
        timeout_graceful_shutdown=30,
        http=Connection,
        ws="none",  # Refused all the same, and never read.
        proxy_headers=False,  # Who a caller is, no address says.
    )
    # What is there now stays: looking through it for cycles would hold up every call under way.
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 10, 10)
    uvicorn.Server(config).run(sockets=[listener])
    return 0


def _doctor(settings: Settings, *, as_json: bool) -> int:
    checks = asyncio.run(examine(settings))
    for check in checks:
        mark = "ok" if check.passed else "FAILED"
        text = json.dumps(check.json()) if as_json else f"{check.name:12} {mark:6} {check.sentence}"
        print(text)  # noqa: T201 - a command
    return 0 if all(check.passed for check in checks) else _REFUTED


def _key(*, as_json: bool) -> int:
    """Print a new key and the digest that the register holds of it."""
    key = f"stg_{secrets.token_urlsafe(32)}"
    digest = sha256(key.encode()).hexdigest()
    print(json.dumps({"key": key, "key_sha256": digest}) if as_json else f"{key}\n{digest}")  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main())
