"""The one place where Django code gets its usage reader; built on first use, one per process."""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

from django.conf import settings

from metering.queries import UsageReader, connect

_lock = Lock()
_held: list[UsageReader] = []


def reader() -> UsageReader:
    """Return the reader over `CLICKHOUSE_URL` (or the one that a test has put in)."""
    with _lock:
        if not _held:
            _held.append(connect(settings.ENV.clickhouse_url))
        return _held[-1]


@contextmanager
def override(replacement: UsageReader) -> Iterator[None]:
    """Let `reader()` return another one for a while; for tests."""
    with _lock:
        _held.append(replacement)
    try:
        yield
    finally:
        with _lock:
            _held.remove(replacement)
