"""Product time for the gateway: the wall clock plus the snapshot's offset, forward only."""

import time


class ProductClock:
    """`now_us` never steps back, whatever the wall clock or a new offset does."""

    def __init__(self, *, offset_us: int = 0) -> None:
        self._offset_us = offset_us
        self._last_us = 0

    def now_us(self) -> int:
        """Return product time in microseconds since the epoch."""
        now = time.time_ns() // 1000 + self._offset_us
        if now > self._last_us:
            self._last_us = now
        return self._last_us

    def mono_s(self) -> float:
        return time.monotonic()

    def wall_us(self) -> int:
        return time.time_ns() // 1000

    def set_offset(self, offset_us: int) -> None:
        """Move product time; a smaller offset makes it stand still until the wall catches up."""
        self._offset_us = offset_us
