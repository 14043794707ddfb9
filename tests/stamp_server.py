# SPDX-License-Identifier: GPL-3.0-or-later
"""A time-stamping authority over real HTTP that answers whatever a test wants it to.

It reads the nonce and digest of each query with rfc3161ng, as an authority would.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import rfc3161ng
from minting import POLICY, Recipe, honest, reply, root

from anchoring.timestamp import Authority

#: Turns the honest recipe for a query into the reply's bytes.
Answer = Callable[[Recipe], bytes]


def recipe_for(query: bytes) -> Recipe:
    """The honest answer, now."""
    request = rfc3161ng.decode_timestamp_request(query)
    return honest(
        imprint=bytes(request["messageImprint"]["hashedMessage"]),
        nonce=int(request["nonce"]),
        gen_time=datetime.now(UTC),
    )


@contextmanager
def http(respond: Callable[[BaseHTTPRequestHandler, bytes], None]) -> Iterator[str]:
    """Serve POSTs with `respond(handler, body)`; yields the address."""

    class Handler(BaseHTTPRequestHandler):
        timeout = 5

        def do_POST(self) -> None:
            respond(self, self.rfile.read(int(self.headers["Content-Length"])))

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def send(
    handler: BaseHTTPRequestHandler,
    body: bytes,
    *,
    status: int = 200,
    kind: str = "application/timestamp-reply",
) -> None:
    handler.send_response(status)
    handler.send_header("Content-Type", kind)
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)


@contextmanager
def authority(answer: Answer = reply, *, roots: tuple[bytes, ...] = ()) -> Iterator[Authority]:
    """An authority with the mint's root pinned, unless others are given."""
    with http(lambda handler, query: send(handler, answer(recipe_for(query)))) as url:
        yield Authority(name="mint", url=url, roots=roots or (root().certificate,), policy=POLICY)
