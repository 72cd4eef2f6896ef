"""Random bytes from the operating system, fetched by the block.

A system call for every request costs more than the identifiers made from it. Each byte is handed
out once. Not for secrets: nothing here is wiped.
"""

import os
from collections.abc import Callable
from typing import Final

_BLOCK_BYTES: Final = 4096


class RandomBytes:
    """Hands out random bytes; belongs to one event loop of one process."""

    def __init__(self, source: Callable[[int], bytes] = os.urandom) -> None:
        self._source = source
        self._block = b""
        self._used = 0

    def __call__(self, count: int) -> bytes:
        """Return `count` fresh bytes, at most a block."""
        end = self._used + count
        if end > len(self._block):
            self._block, self._used, end = self._source(_BLOCK_BYTES), 0, count
        taken = self._block[self._used : end]
        self._used = end
        return taken
