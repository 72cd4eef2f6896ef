"""Fixtures with real servers: PostgreSQL, Redis, Kafka, one of each per test session.

A server that cannot be had is a skip that names it, and a failure when `CI=true`. The servers
themselves are `deploy.servers`; tests that kill one start their own with it.
"""

import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn, TypeVar

import pytest

from deploy.servers import (
    Server,
    ServerUnavailableError,
    start_kafka,
    start_postgres,
    start_redis,
)

S = TypeVar("S", bound=Server)


def skip_or_fail(reason: str) -> NoReturn:
    """Skip the test for what this machine lacks; fail when `CI=true`, where nothing may lack."""
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


def start_or_skip(name: str, start: Callable[[Path], S], data_dir: Path) -> S:
    """Start a server; skip the test by name when it cannot be had, fail when `CI=true`."""
    try:
        return start(data_dir)
    except ServerUnavailableError as error:
        skip_or_fail(f"{name} is not available: {error}")


def _running(name: str, start: Callable[[Path], Server]) -> Iterator[str]:
    # Not under pytest's own folder: a socket path is short, and root's PostgreSQL is another user.
    with tempfile.TemporaryDirectory(prefix="tollway-") as folder:
        server = start_or_skip(name, start, Path(folder) / name)
        try:
            yield server.url
        finally:
            server.stop()


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """URL of a real PostgreSQL; make a database of your own in it."""
    yield from _running("postgres", start_postgres)


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    """URL of a real Redis, database 0; use keys of your own."""
    yield from _running("redis", start_redis)


@pytest.fixture(scope="session")
def kafka() -> Iterator[str]:
    """Bootstrap `host:port` of a real Kafka; use topics of your own."""
    yield from _running("kafka", start_kafka)
