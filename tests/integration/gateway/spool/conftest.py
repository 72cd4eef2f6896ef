"""A spool on real files, small enough to rotate and to fill."""

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from gateway.adapters.spool import FileSpool
from gateway.adapters.spool_commit import SpoolSettings
from gateway.errors import SpoolFailedError
from tests.fakes.gateway_ports import FakeClock

OpenSpool = Callable[..., Awaitable[FileSpool]]


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(1_800_000_000_000_000)


@pytest.fixture
async def open_spool(tmp_path: Path, clock: FakeClock) -> AsyncIterator[OpenSpool]:
    """Open spools below `tmp_path`; what a test leaves open is closed."""
    opened: list[FileSpool] = []

    async def opener(stream: str = "n1.b1.0", **settings: Any) -> FileSpool:
        sizes = {"segment_bytes": 64 * 1024, "reserve_bytes": 4096, **settings}
        spool = await FileSpool.open(
            spool_dir=tmp_path,
            stream=stream,
            node="n1",
            clock=clock,
            settings=SpoolSettings(**sizes),
        )
        opened.append(spool)
        return spool

    yield opener
    for spool in opened:
        if not spool.ended and not spool.failed:
            await spool.close()
        elif spool.failed:
            with pytest.raises(SpoolFailedError):
                await spool.close()
