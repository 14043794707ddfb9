# SPDX-License-Identifier: Apache-2.0
"""HTTP to the ledger: the same bytes again until there is an answer, or no more attempts.

Repeated are requests that met no usable answer: no connection, a lost or broken answer, a
time-out, and the statuses that say "not now" (429, 502, 503, 504). Between attempts it waits
what `Retry-After` asks, else twice as long each time, with chance so that a thousand clients do
not return in one moment. Everything has a limit: attempts, waiting, time and bytes per answer.
Redirects are not followed: the token must not go elsewhere.

KNOWN GAP: a ledger that trickles its header fields is waited for as long as each piece comes in
time; of the body the whole has to.

Source: RFC 9110 §10.2.3 (Retry-After, in seconds or as a date).
"""

import math
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from random import SystemRandom
from typing import Final

import httpx2

from sealtrail.errors import AuditUnavailable
from sealtrail.forked import renewed_when_forked

#: Statuses after which the same request may be sent again.
NOT_NOW: Final = frozenset({429, 502, 503, 504})

#: The one of them that says for certain that nothing was recorded.
TOO_MANY: Final = 429

#: The first wait is about this long, and none is longer than the second number of seconds.
FIRST_WAIT_S: Final = 0.1
LONGEST_WAIT_S: Final = 10.0

#: A ledger that asks to wait longer than this gets no further attempt; the caller decides.
LONGEST_RETRY_AFTER_S: Final = 60

_TOKEN: Final = re.compile(r"[\x21-\x7e]{1,4096}")
_SECONDS: Final = re.compile(r"0|[1-9][0-9]*")

#: A number of seconds with more digits than this is only called long.
_DIGITS_MAX: Final = 9
_CHANCE: Final = SystemRandom()


class AnswerTooLarge(Exception):  # noqa: N818 - an answer, not an accident
    """The answer is longer than any true one can be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What came back: status, header fields (names in lower case) and the whole body.

    doubted: an earlier attempt may have been recorded, though its answer was none.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)
    doubted: bool = False


class Wire:
    """One ledger under one URL, spoken to with one token. Safe for use by several threads."""

    def __init__(
        self,
        url: str,
        token: str,
        *,
        timeout_s: float,
        attempts: int,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        """Raises ValueError for a URL that is not http(s) or carries a password, or a bad token."""
        self._url = checked_url(url)
        self._headers = client_headers(token)
        if attempts < 1 or timeout_s <= 0:
            raise ValueError("attempts must be at least 1 and timeout_s above 0")
        self._timeout_s = timeout_s
        self._attempts = attempts
        self._pause = pause
        self.renew()
        renewed_when_forked(self)

    def renew(self) -> None:
        """Make new connections; those of a parent process stay open, and are its own."""
        self._client = httpx2.Client(
            headers=self._headers,
            timeout=self._timeout_s,
            follow_redirects=False,
        )

    def close(self) -> None:
        self._client.close()

    def send(
        self,
        method: str,
        path: str,
        *,
        answer_max: int,
        content: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """The first usable answer, whatever its status below 500 or not in NOT_NOW.

        Raises AuditUnavailable when no attempt is left and AnswerTooLarge for an answer of more
        than answer_max bytes.
        """
        last, doubted = None, False
        for attempt in range(1, self._attempts + 1):
            last = self._once(method, path, content, headers or {}, answer_max)
            if last is not None and last.status not in NOT_NOW:
                return replace(last, doubted=doubted)
            doubted = doubted or last is None or last.status != TOO_MANY
            asked = asked_to_wait(last)
            if asked is not None and asked > LONGEST_RETRY_AFTER_S:
                raise unavailable(attempt, last, asked)
            if attempt < self._attempts:
                self._pause(wait_before(attempt) if asked is None else float(asked))
        raise unavailable(self._attempts, last, None)

    def _once(
        self,
        method: str,
        path: str,
        content: bytes | None,
        headers: Mapping[str, str],
        answer_max: int,
    ) -> Answer | None:
        """The answer to one attempt, or None if there was none that can be used."""
        until = time.monotonic() + self._timeout_s
        body = bytearray()
        try:
            with self._client.stream(
                method, self._url + path, content=content, headers=dict(headers)
            ) as response:
                for part in response.iter_bytes():
                    body += part
                    if len(body) > answer_max:
                        raise AnswerTooLarge
                    # The client's own time-outs are per read; a trickle would never end.
                    if time.monotonic() > until:
                        return None
                return Answer(
                    status=response.status_code, headers=dict(response.headers), body=bytes(body)
                )
        except httpx2.RequestError:
            return None


def checked_url(url: str) -> str:
    """Return a ledger's address without a slash at its end. Raises ValueError."""
    parsed = httpx2.URL(url)
    if parsed.scheme not in {"http", "https"} or not parsed.host:
        raise ValueError("the ledger's URL must begin with https:// or http://")
    if parsed.userinfo or parsed.query or parsed.fragment:
        raise ValueError("the ledger's URL must hold no password, query or fragment")
    return str(parsed).rstrip("/")


def client_headers(token: str) -> dict[str, str]:
    """Return the header fields of every request. Raises ValueError for a token that is none."""
    if not _TOKEN.fullmatch(token):
        raise ValueError("the token must be one line of visible ASCII characters")
    return {
        "authorization": f"Bearer {token}",
        "accept-encoding": "identity",
        "user-agent": "sealtrail",
    }


def asked_to_wait(answer: Answer | None) -> int | None:
    """Return the seconds that an answer asks to wait, if it does.

    A date counts from the answer's own, since two clocks may differ; without one, from ours.
    """
    text = answer.headers.get("retry-after", "") if answer is not None else ""
    if _SECONDS.fullmatch(text):
        return int(text[: _DIGITS_MAX + 1])
    until = _moment(text)
    if answer is None or until is None:
        return None
    since = _moment(answer.headers.get("date", "")) or datetime.now(UTC)
    return max(0, math.ceil((until - since).total_seconds()))


def _moment(text: str) -> datetime | None:
    """Return the moment that an HTTP date names (RFC 9110 §5.6.7), or None for other texts."""
    if not text.endswith(" GMT"):
        return None
    try:
        return parsedate_to_datetime(text).replace(tzinfo=UTC)
    except ValueError:
        return None


def wait_before(attempt: int) -> float:
    """Return how long to wait after an attempt, in seconds: longer each time, with chance."""
    longest = min(LONGEST_WAIT_S, FIRST_WAIT_S * 2 ** (attempt - 1))
    return _CHANCE.uniform(longest / 2, longest)


def unavailable(attempts: int, last: Answer | None, asked: int | None) -> AuditUnavailable:
    """Return the error of a request that got no usable answer."""
    said = "no answer came" if last is None else f"the last answer was {last.status}"
    return AuditUnavailable(
        f"The ledger gave no usable answer to {attempts} attempts ({said}). Nobody knows whether "
        "it recorded the request; sending the same request again is safe.",
        attempts=attempts,
        status=None if last is None else last.status,
        retry_after_s=asked,
    )
