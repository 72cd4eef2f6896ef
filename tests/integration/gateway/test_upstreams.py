"""Upstreams that fail: retries, timeouts, broken framing, weights."""

import asyncio

import pytest

from gateway.contracts.access_log import Charge
from gateway.core.upstreams import weighted_cycle
from tests.integration.gateway.rig import OK, UpstreamPeer, answering, running


async def test_dead_idle_connection_is_replaced_unseen() -> None:
    stale = asyncio.Event()

    async def script(peer: UpstreamPeer) -> None:
        await peer.read_head()
        await peer.answer(OK)
        if peer.upstream.connections == 1:
            await peer.reader.readexactly(1)  # takes the second request, and dies on it
            stale.set()
            return
        while True:
            await peer.read_head()
            await peer.answer(OK)

    async with running(script) as rig:
        assert (await rig.get()).status == 200
        assert (await rig.get()).status == 200
        assert stale.is_set()
        assert rig.upstream.connections == 2
        assert [event.charge for event in rig.spool.events] == [Charge.BILLED] * 2


async def test_post_on_a_dead_idle_connection_is_not_repeated() -> None:
    async def script(peer: UpstreamPeer) -> None:
        await peer.read_head()
        await peer.answer(OK)
        await peer.reader.readexactly(1)

    async with running(script) as rig:
        assert (await rig.get()).status == 200
        assert (await rig.get(method="POST", body=b"x")).status == 502
        assert rig.upstream.connections == 1


async def test_no_repeat_after_the_first_byte_of_an_answer() -> None:
    async def script(peer: UpstreamPeer) -> None:
        await peer.read_head()
        await peer.answer(OK)
        await peer.read_head()
        await peer.answer(b"HTTP/1.1 200 OK\r\nContent-")

    async with running(script) as rig:
        assert (await rig.get()).status == 200
        answer = await rig.get()
        assert answer.status == 502
        assert b'"code":"upstream_protocol_error"' in answer.body
        assert rig.upstream.connections == 1


async def test_nobody_listens() -> None:
    async with running(upstream={"targets": {"http://127.0.0.1:1": 1}}) as rig:
        answer = await rig.get()
        assert answer.status == 502
        assert b'"code":"upstream_unreachable"' in answer.body
        assert answer.headers["x-ratelimit-limit"] == "50"
        (event,) = rig.spool.events
        assert (event.charge, event.charge_reason) == (Charge.FREE, "upstream_unreachable")
        assert (event.status, event.upstream_status) == (502, 0)
        assert sum(rig.quota.used.values()) == 0


async def test_next_target_is_tried_when_one_refuses_the_connection() -> None:
    async with running() as rig:
        targets = {"http://127.0.0.1:1": 1, rig.upstream.url: 1}
        async with running(upstream={"targets": targets}) as second:
            assert [(await second.get()).status for _ in range(4)] == [200] * 4


async def test_weight_zero_is_never_used() -> None:
    targets = {"http://127.0.0.1:1": 0}
    async with running(upstream={"targets": targets}) as rig:
        answer = await rig.get()
        assert answer.status == 503
        assert answer.headers["retry-after"] == "1"


async def test_upstream_that_stays_silent_is_504() -> None:
    async def script(peer: UpstreamPeer) -> None:
        await peer.read_head()
        await peer.reader.read()

    async with running(script, upstream={"read_timeout_ms": 200}) as rig:
        async with asyncio.timeout(10):
            answer = await rig.get()
        assert answer.status == 504
        assert rig.spool.events[0].charge_reason == "upstream_timeout"
        assert rig.upstream.connections == 1  # a timeout is never repeated


_BROKEN = [
    b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok",
    b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\nok",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nok",
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nX-A : b\r\nContent-Length: 2\r\n\r\nok",
    b"nonsense\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nX: " + b"a" * 100_000 + b"\r\nContent-Length: 0\r\n\r\n",
    OK + OK,
    b"HTTP/1.1 204 No Content\r\n\r\nsurplus",
]


@pytest.mark.parametrize("raw", _BROKEN)
async def test_doubtful_answer_is_502_and_the_connection_is_not_used_again(raw: bytes) -> None:
    async with running(answering(raw)) as rig:
        answer = await rig.get()
        assert answer.status == 502
        assert b'"code":"upstream_protocol_error"' in answer.body
        assert (await rig.get()).status == 502
        assert rig.upstream.connections == 2
        assert sum(rig.quota.used.values()) == 0


async def test_redirects_and_compressed_bodies_pass_untouched() -> None:
    raw = (
        b"HTTP/1.1 302 Found\r\nLocation: http://elsewhere/\r\nContent-Encoding: gzip\r\n"
        b"Content-Length: 3\r\n\r\n\x1f\x8b\x08"
    )
    async with running(answering(raw)) as rig:
        answer = await rig.get()
        assert (answer.status, answer.headers["location"]) == (302, "http://elsewhere/")
        assert answer.body == b"\x1f\x8b\x08"


async def test_base_path_prefix_and_host_are_as_configured() -> None:
    upstream = {"base_path": "/base", "host_header": "inner.example"}
    async with running(upstream=upstream) as rig:
        await rig.get("/v1/x?y=1")
        assert rig.upstream.heads[0].startswith(
            b"GET /base/v1/x?y=1 HTTP/1.1\r\nHost: inner.example\r\n"
        )


def test_weights_are_exact_per_cycle() -> None:
    cycle = weighted_cycle({"a": 5, "b": 3, "c": 2, "d": 0})
    assert {name: cycle.count(name) for name in "abcd"} == {"a": 5, "b": 3, "c": 2, "d": 0}
