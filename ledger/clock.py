# SPDX-License-Identifier: GPL-3.0-or-later
"""The only source of time and of chance in the server.

Everything that is dated or random asks here, so that a simulation can hold both in its hand.
Times are milliseconds since 1970-01-01T00:00:00Z (UTC, no leap seconds), printed as RFC 3339 with
exactly three fractional digits.
"""

import os
import time
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final, Protocol
from uuid import UUID

DAY_MS: Final = 86_400_000

#: 9999-12-31T23:59:59.999Z: the last time that RFC 3339 can print.
MAX_MS: Final = 253_402_300_799_999


class Clock(Protocol):
    """Whoever can say what time it is, in milliseconds since 1970."""

    def __call__(self) -> int: ...


def now_ms() -> int:
    """Return this host's clock, in milliseconds since 1970."""
    return time.time_ns() // 1_000_000


def monotonic() -> float:
    """Return seconds on a clock that never goes back; only differences mean anything."""
    return time.monotonic()


def now() -> datetime:
    """Return this host's clock as an aware UTC datetime with millisecond precision."""
    return from_ms(now_ms())


def from_ms(ms: int) -> datetime:
    return datetime.fromtimestamp(ms // 1000, UTC).replace(microsecond=ms % 1000 * 1000)


def rfc3339(ms: int) -> str:
    """Print a time as `2026-01-14T18:23:45.123Z`. 0 <= ms <= MAX_MS."""
    if not 0 <= ms <= MAX_MS:
        raise ValueError("a time must lie between 1970 and 9999")
    return f"{_seconds(ms // 1000)}.{ms % 1000:03d}Z"


@lru_cache(maxsize=64)
def _seconds(seconds: int) -> str:
    """Print a whole second; many entries share one."""
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}"


def parse_time(text: str) -> int:
    """Read what `rfc3339` prints and nothing else; ValueError otherwise."""
    moment = datetime.strptime(text, "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=UTC)
    ms = int(moment.timestamp()) * 1000 + moment.microsecond // 1000
    if rfc3339(ms) != text:
        raise ValueError("a time is written YYYY-MM-DDTHH:MM:SS.mmmZ")
    return ms


def day_of(ms: int) -> str:
    """Return the UTC day of a time, as `2026-01-14`."""
    return f"{datetime.fromtimestamp(ms // 1000, UTC):%Y-%m-%d}"


def day_start(day: str) -> int:
    """Return the first millisecond of a UTC day written `2026-01-14`; ValueError otherwise."""
    return parse_time(f"{day}T00:00:00.000Z")


def random_bytes(count: int) -> bytes:
    return os.urandom(count)


def new_id(at_ms: int | None = None) -> UUID:
    """Make a UUIDv7: 48 bits of time, 74 random bits (RFC 9562 §5.7)."""
    ms = now_ms() if at_ms is None else at_ms
    value = int.from_bytes(ms.to_bytes(6, "big") + random_bytes(10), "big")
    value = value & ~(0xF << 76) | 0x7 << 76  # version
    value = value & ~(0x3 << 62) | 0x2 << 62  # variant
    return UUID(int=value)


def pause(seconds: float) -> None:
    time.sleep(seconds)
