# SPDX-License-Identifier: Apache-2.0
"""What an event loop begins in a thread has an end, though its task may be cancelled meanwhile."""

import asyncio
import contextlib
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


async def begun(begin: Callable[[], T], end: Callable[[T, BaseException], None]) -> T:
    """Return what `begin` returns, which runs in a thread.

    Cancelled meanwhile, this waits for it, has `end` end it in a thread, too, and only then raises:
    an attempt that nobody waits for may be on record by then.
    """
    beginning = asyncio.ensure_future(asyncio.to_thread(begin))
    try:
        return await asyncio.shield(beginning)
    except asyncio.CancelledError as problem:
        await asyncio.shield(_ended(beginning, end, problem))
        raise


async def _ended(
    beginning: asyncio.Future[T], end: Callable[[T, BaseException], None], problem: BaseException
) -> None:
    with contextlib.suppress(Exception):  # Whatever it is, nobody is left to be told.
        thing = await beginning
        await asyncio.to_thread(end, thing, problem)
