"""The one place where Django code gets its usage reader.

A process builds one reader, at the first question, and keeps it. Tests put a fake in its place.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache

from django.conf import settings

from metering.errors import MeteringUnavailableError
from metering.queries import UsageReader, connect

_overridden: list[UsageReader] = []


@lru_cache(maxsize=1)
def _connected(url: str) -> UsageReader:
    return connect(url)


def reader() -> UsageReader:
    """Return the reader over ClickHouse.

    :raises MeteringUnavailableError: when no ClickHouse is set; each question may raise it too.
    """
    if _overridden:
        return _overridden[-1]
    if not settings.ENV.clickhouse_url:
        raise MeteringUnavailableError
    return _connected(settings.ENV.clickhouse_url)


def reader_or_none() -> UsageReader | None:
    """Return the reader, or None where no ClickHouse is set: figures of usage are missing then."""
    try:
        return reader()
    except MeteringUnavailableError:
        return None


@contextmanager
def override(fake: UsageReader) -> Iterator[None]:
    """Answer with `fake` inside the block, in every thread of the process."""
    _overridden.append(fake)
    try:
        yield
    finally:
        _overridden.remove(fake)
