"""Tests that are coroutines, or that run one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from functools import wraps
from typing import Any

#: How long a test waits for an event, s. Every event arrives much sooner, unless the test fails.
PATIENCE_S = 30


def asynchronous(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Return a test that runs this coroutine on an event loop."""

    @wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        asyncio.run(test(*args, **kwargs))

    return run


@asynccontextmanager
async def running(coroutine: Coroutine[Any, Any, None]) -> AsyncIterator[asyncio.Task[None]]:
    """Run a coroutine beside the test; cancel it afterwards, and wait for its end."""
    task = asyncio.create_task(coroutine)
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.wait([task])


async def until(predicate: Callable[[], object], changed: asyncio.Event) -> None:
    """Wait until ``predicate`` is true. ``changed`` is set when that may have become so."""
    async with asyncio.timeout(PATIENCE_S):
        while not predicate():
            await changed.wait()
            changed.clear()
