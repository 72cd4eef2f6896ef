"""Waiting for what another thread or process will bring about, within bounds."""

import asyncio
import time
from collections.abc import Callable


async def eventually(condition: Callable[[], object], *, within_s: float = 5) -> None:
    """Return once the condition holds.

    :raises TimeoutError: when it does not in time.
    """
    async with asyncio.timeout(within_s):
        while True:
            if condition():
                return
            await asyncio.sleep(0.01)


def eventually_sync(condition: Callable[[], object], *, within_s: float = 5) -> None:
    """Do the same without a loop."""
    deadline = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > deadline:
            msg = f"not within {within_s} s"
            raise TimeoutError(msg)
        time.sleep(0.01)
