"""A clock that stands still until a test moves it."""

from dataclasses import dataclass


@dataclass(slots=True)
class ManualClock:
    """The gateway's port `Clock`; `now` is product time in microseconds."""

    now: int = 1_800_000_000_000_000
    offset: int = 0

    def now_us(self) -> int:
        return self.now + self.offset

    def mono_s(self) -> float:
        return self.now / 1_000_000

    def set_offset(self, offset_us: int) -> None:
        self.offset = offset_us

    def step(self, us: int) -> None:
        self.now += us
