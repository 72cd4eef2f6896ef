"""The demo upstream for every test here, and uvloop, because the gateway runs on it."""

import asyncio
from collections.abc import Callable, Mapping

import pytest
import uvloop

from tests.upstream import upstream_url

__all__ = ["upstream_url"]


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"uvloop": uvloop.new_event_loop}
