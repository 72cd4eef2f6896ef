"""The proxy on the real spool: every answer has its line on disk, in an unbroken chain."""

import asyncio
from pathlib import Path

from gateway.adapters.spool import FileSpool
from gateway.adapters.spool_commit import SpoolSettings
from gateway.contracts.access_log import Kind
from gateway.core.instants import to_us
from tests.factories.events import events as events_in
from tests.factories.events import synced_lines
from tests.factories.snapshots import NOW
from tests.fakes.gateway_ports import FakeClock
from tests.integration.gateway.rig import running


async def test_answered_requests_are_in_the_stream_without_gaps(tmp_path: Path) -> None:
    clock = FakeClock(to_us(NOW))
    spool = await FileSpool.open(
        spool_dir=tmp_path, stream="node-1.boot.0", node="node-1", clock=clock,
        settings=SpoolSettings(),
    )  # fmt: skip
    async with running(real_spool=spool) as rig:
        answers = await asyncio.gather(*(rig.get() for _ in range(40)))
        assert {answer.status for answer in answers} == {200}
        await spool.seal()
        assert (await rig.get()).status == 200
    await spool.close()
    events = events_in(synced_lines(tmp_path / "node-1.boot.0"))
    assert [event.seq for event in events] == list(range(1, 44))
    requests = [event for event in events if event.kind is Kind.REQUEST]
    assert {event.request_id for event in requests} >= {
        answer.headers["x-request-id"] for answer in answers
    }
    seals = [event for event in events if event.kind is Kind.SEAL]
    assert [seal.last_seq for seal in seals] == [41, 43]
    assert seals[-1].final
