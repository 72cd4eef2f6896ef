"""Microsecond integers and the text they become in events."""

from datetime import UTC, datetime, timedelta
from typing import Final

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
DAY_US: Final = 86_400_000_000
HOUR_US: Final = 3_600_000_000


def to_us(instant: datetime) -> int:
    """Return an aware instant as microseconds since the epoch.

    >>> to_us(datetime(1970, 1, 1, 0, 0, 1, 5, tzinfo=UTC))
    1000005
    """
    return (instant - _EPOCH) // _MICROSECOND


def to_instant(instant_us: int) -> datetime:
    return _EPOCH + timedelta(microseconds=instant_us)


class InstantText:
    """Writes instants as `access_log.format_time` does; remembers the second it wrote last."""

    __slots__ = ("_head", "_second")

    def __init__(self) -> None:
        self._second = -1
        self._head = ""

    def __call__(self, instant_us: int) -> str:
        """Return ISO-8601 in UTC with six digits and `Z`.

        >>> InstantText()(1767323045000006)
        '2026-01-02T03:04:05.000006Z'
        """
        second, micros = divmod(instant_us, 1_000_000)
        if second != self._second:
            self._head = to_instant(second * 1_000_000).strftime("%Y-%m-%dT%H:%M:%S.")
            self._second = second
        return f"{self._head}{micros:06d}Z"
