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

import uvicorn

from sealtrail_gateway.assembly import make_gateway
from sealtrail_gateway.caller_line import Connection
from sealtrail_gateway.doctor import examine, fails_closed
from sealtrail_gateway.settings import Misconfigured, Settings

#: Exit codes, as of every command of this project.
_USAGE, _REFUTED = 2, 1


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
