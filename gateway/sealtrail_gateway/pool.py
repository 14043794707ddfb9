# SPDX-License-Identifier: Apache-2.0
"""Connections to one address: made when they are needed, kept for a while, and never too many.

    http://host:port/base     https://… with the certificate verified     unix:/path

An address with several IP addresses is tried at each, a quarter of a second after the one before
(RFC 8305): one that leads nowhere costs no call.
"""

import asyncio
import socket
import ssl
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any, Final, Self
from urllib.parse import quote, urlsplit

from sealtrail_gateway.http1 import Link

#: Seconds for which a connection is kept that nobody uses; others close theirs after about as long.
KEPT_S: Final = 15.0

#: Seconds that making a connection may take.
CONNECT_S: Final = 10.0
_NEXT_S: Final = 0.25


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Where somebody listens. base: what comes before every path, as it is sent."""

    host: str
    port: int
    secure: bool
    base: str
    authority: str  #: What the header field Host says.
    path: str = ""  #: Of a socket on this machine; then host and port are of no account.

    @classmethod
    def parse(cls, url: str) -> Self:
        """Raises ValueError for what is no address."""
        if url.startswith("unix:/"):
            here = {"host": "localhost", "authority": "localhost"}
            return cls(**here, port=80, secure=False, base="", path=url[5:])
        told = urlsplit(url)
        if told.scheme not in {"http", "https"} or not told.hostname:
            raise ValueError("an address begins with http:// or https:// and names a host")
        if told.username is not None or told.query or told.fragment:
            raise ValueError("an address holds no password, query or fragment")
        secure = told.scheme == "https"
        port = told.port or (443 if secure else 80)
        base = quote(told.path.rstrip("/"), safe=_IN_PATH + "%")
        name = told.hostname
        named = f"[{name}]" if ":" in name else name.encode("idna").decode()
        usual = port == (443 if secure else 80)
        authority = named if usual else f"{named}:{port}"
        return cls(host=name, port=port, secure=secure, base=base, authority=authority)


#: What may stand in a path as it is (RFC 3986 §3.3).
_IN_PATH: Final = "/:@!$&'()*+,;=-._~"
#: And in a query, with escapes that are there already.
_IN_QUERY: Final = _IN_PATH + "?%[]"


def quoted_path(path: str) -> str:
    """Return a path of characters as it is sent: read again, it is exactly this path."""
    return quote(path, safe=_IN_PATH)


def quoted_query(query: bytes) -> str:
    """Return a query as it came, but for bytes that no request line may hold."""
    return quote(query, safe=_IN_QUERY)


class Pool:
    """At most so many connections to one address at a time."""

    def __init__(self, address: Address, *, most: int) -> None:
        self.address = address
        self._places = asyncio.Semaphore(most)
        self._idle: list[Link] = []
        self._sweeper: asyncio.TimerHandle | None = None
        self._closed = False
        # Made once: reading the certificates of the authorities takes milliseconds.
        self._tls = _tls() if address.secure else None

    def close(self) -> None:
        """Close what nobody uses now, and the others when they come back."""
        self._closed = True
        if self._sweeper is not None:
            self._sweeper.cancel()
        idle, self._idle = self._idle, []
        for link in idle:
            link.close()

    async def take(self, *, until: float | None = None, fresh: bool = False) -> Link:
        """Return a connection that nobody uses; with `fresh`, a new one. `give` it back.

        until: the event loop's time at which waiting ends. Raises TimeoutError or OSError if there
        is none to be had.
        """
        if self._places.locked():
            async with asyncio.timeout_at(until):
                await self._places.acquire()
        else:
            await self._places.acquire()
        try:
            now = asyncio.get_running_loop().time()
            while self._idle and not fresh:
                link = self._idle.pop()
                if link.is_open and link.idle_since > now - KEPT_S:
                    return link
                link.close()
            latest = now + CONNECT_S
            async with asyncio.timeout_at(latest if until is None else min(until, latest)):
                return await self._connect()
        except BaseException:
            self._places.release()
            raise

    def give(self, link: Link) -> None:
        """Take a connection back; one whose exchange did not end well is closed."""
        self._places.release()
        if not link.end():
            return
        if self._closed:
            link.close()
            return
        self._idle.append(link)
        if self._sweeper is None:
            self._sweep()

    def _gone(self, link: Link) -> None:
        if link in self._idle:
            self._idle.remove(link)

    def _sweep(self) -> None:
        """Close what nobody has used for long; others pay for open connections, too."""
        loop = asyncio.get_running_loop()
        oldest = loop.time() - KEPT_S
        for link in [one for one in self._idle if one.idle_since <= oldest]:
            self._idle.remove(link)
            link.close()
        self._sweeper = loop.call_later(KEPT_S, self._sweep) if self._idle else None

    async def _connect(self) -> Link:
        loop, where = asyncio.get_running_loop(), self.address
        if where.path:
            return (await loop.create_unix_connection(self._link, where.path))[1]
        try:
            found = await loop.getaddrinfo(where.host, where.port, type=socket.SOCK_STREAM)
        except UnicodeError as problem:
            raise OSError("this is no name of a host") from problem
        name = where.host if self._tls else None
        return await _first(
            [
                _second(
                    loop.create_connection(
                        self._link, one[4][0], where.port, ssl=self._tls, server_hostname=name
                    )
                )
                for one in _in_turn(found)
            ]
        )

    def _link(self) -> Link:
        return Link(self._gone)


async def _second(made: Coroutine[Any, Any, tuple[asyncio.Transport, Link]]) -> Link:
    return (await made)[1]


def _in_turn(found: list[Any]) -> list[Any]:
    """Return addresses with the two families in turns (RFC 8305 §4)."""
    first = [one for one in found if one[0] == found[0][0]]
    other = [one for one in found if one[0] != found[0][0]]
    turns = [one for pair in zip(first, other, strict=False) for one in pair]
    return turns + first[len(other) :] + other[len(first) :]


async def _first(ways: list[Coroutine[Any, Any, Link]]) -> Link:
    """Return the first connection that is made; each further way is tried a little later."""
    if len(ways) == 1:
        return await ways[0]
    trying: set[asyncio.Task[Link]] = set()
    problem: BaseException = OSError("the name of the host has no address")
    try:
        while ways or trying:
            if ways:
                trying.add(asyncio.ensure_future(ways.pop(0)))
            done, trying = await asyncio.wait(
                trying,
                timeout=_NEXT_S if ways else None,
                return_when=asyncio.FIRST_COMPLETED,
            )
            made = [one for one in done if one.exception() is None]
            for late in made[1:]:
                late.result().close()
            if made:
                return made[0].result()
            problem = next((one.exception() or problem for one in done), problem)
    finally:
        for way in ways:
            way.close()
        for task in trying:
            task.add_done_callback(_close_late)
            task.cancel()
    raise problem


def _close_late(task: asyncio.Task[Link]) -> None:
    if not task.cancelled() and task.exception() is None:
        task.result().close()


def _tls() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    return context
