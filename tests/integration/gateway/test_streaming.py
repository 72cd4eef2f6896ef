"""Bodies in both directions: framing kept, backpressure, aborts, and what the log says of them."""

import asyncio

import pytest

from gateway.contracts.access_log import Charge, Kind
from gateway.edge import EdgeLimits
from tests.factories.snapshots import LIVE_KEY, build_route
from tests.integration.gateway.rig import (
    OK,
    UpstreamPeer,
    answering,
    length_of,
    parse_answer,
    read_chunked,
    running,
)

_HEAD = (
    f"POST /v1/x HTTP/1.1\r\nHost: h\r\nX-API-Key: {LIVE_KEY}\r\nConnection: close\r\n".encode()
)
_GET = _HEAD.replace(b"POST", b"GET") + b"\r\n"


async def test_known_length_stays_known_and_is_streamed_up() -> None:
    body = b"x" * 3_000_000
    async with running() as rig:
        answer = await rig.get(method="POST", body=body)
        assert answer.status == 200
        assert b"Content-Length: 3000000\r\n" in rig.upstream.heads[0]
        assert rig.upstream.bodies == [body]
        assert rig.spool.events[0].request_bytes == len(body)


async def test_chunked_stays_chunked_and_trailers_are_dropped() -> None:
    raw = (
        _HEAD
        + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n4;ext=1\r\ndefg\r\n0\r\nX-T: 1\r\n\r\n"
    )
    async with running() as rig:
        assert parse_answer(await rig.raw(raw)).status == 200
        assert b"Transfer-Encoding: chunked\r\n" in rig.upstream.heads[0]
        assert rig.upstream.bodies == [b"abcdefg"]


async def test_first_part_reaches_the_upstream_before_the_rest_is_sent() -> None:
    seen = asyncio.Event()

    async def script(peer: UpstreamPeer) -> None:
        await peer.read_head()
        assert await peer.reader.readexactly(5) == b"first"
        seen.set()
        assert await peer.reader.readexactly(6) == b"second"
        await peer.answer(OK)

    async with running(script) as rig:
        reader, writer = await rig.open()
        writer.write(_HEAD + b"Content-Length: 11\r\n\r\nfirst")
        async with asyncio.timeout(10):
            await seen.wait()
        writer.write(b"second")
        assert b"200 OK" in await reader.read()
        writer.close()


async def test_upload_that_pauses_is_no_timeout_of_the_upstream() -> None:
    async with running(upstream={"read_timeout_ms": 200}) as rig:
        for framing, first, last in (
            (b"Content-Length: 10", b"first", b" last"),
            (b"Transfer-Encoding: chunked", b"5\r\nfirst\r\n", b"5\r\n last\r\n0\r\n\r\n"),
        ):
            reader, writer = await rig.open()
            writer.write(_HEAD + framing + b"\r\n\r\n" + first)
            await asyncio.sleep(0.6)
            writer.write(last)
            async with asyncio.timeout(2):
                assert (await reader.read()).startswith(b"HTTP/1.1 200 ")
        assert rig.upstream.bodies == [b"first last"] * 2


async def test_upstream_that_is_silent_behind_an_upload_is_a_timeout() -> None:
    async def script(peer: UpstreamPeer) -> None:
        await peer.read_head()
        await peer.reader.read()

    async with running(script, upstream={"read_timeout_ms": 200}) as rig:
        reader, writer = await rig.open()
        writer.write(_HEAD + b"Content-Length: 10\r\n\r\nfirst")
        await asyncio.sleep(0.3)
        writer.write(b" last")
        async with asyncio.timeout(2):
            assert (await reader.read()).startswith(b"HTTP/1.1 504 ")


async def test_answer_flows_down_as_it_comes_and_ends_with_an_event() -> None:
    release = asyncio.Event()

    async def script(peer: UpstreamPeer) -> None:
        await peer.read_head()
        await peer.answer(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n")
        await release.wait()
        await peer.answer(b"6\r\nsecond\r\n0\r\n\r\n")
        await peer.reader.read()

    async with running(script) as rig:
        reader, writer = await rig.open()
        writer.write(_GET)
        async with asyncio.timeout(10):
            head = await reader.readuntil(b"\r\n\r\n")
            assert await reader.readexactly(10) == b"5\r\nfirst\r\n"
        assert b"Transfer-Encoding: chunked\r\n" in head
        assert [event.kind for event in rig.spool.events] == [Kind.REQUEST]
        release.set()
        assert await reader.read() == b"6\r\nsecond\r\n0\r\n\r\n"
        writer.close()
        first, end = rig.spool.events
        assert end.kind is Kind.RESPONSE_END
        assert (first.charge, end.charge) == (Charge.BILLED, Charge.BILLED)
        assert (end.quantities, end.response_bytes, end.aborted) == ({}, 11, False)
        assert not rig.spool.open


async def test_long_answer_is_cut_into_slices_that_add_up() -> None:
    parts: asyncio.Queue[bytes] = asyncio.Queue()

    async def script(peer: UpstreamPeer) -> None:
        await peer.read_head()
        await peer.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n")
        while part := await parts.get():
            await peer.answer(part)
        await peer.reader.read()

    async with running(script) as rig:
        reader, writer = await rig.open()
        writer.write(_GET)
        await reader.readuntil(b"\r\n\r\n")
        for part in (b"aaa", b"bb", b"cccc"):
            rig.clock.us += 40_000_000
            parts.put_nowait(part)
            assert await reader.readexactly(len(part)) == part
        parts.put_nowait(b"")
        assert await reader.read() == b""
        _, *ends = rig.spool.events
        assert [(end.slice_no, end.response_bytes) for end in ends] == [(0, 5), (1, 4)]
        assert ends[0].admitted_at < ends[1].admitted_at


async def test_slice_that_finds_no_room_is_told_by_the_next_one() -> None:
    parts: asyncio.Queue[bytes] = asyncio.Queue()

    async def script(peer: UpstreamPeer) -> None:
        await peer.read_head()
        await peer.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n")
        while part := await parts.get():
            await peer.answer(part)
        await peer.reader.read()

    async with running(script) as rig:
        reader, writer = await rig.open()
        writer.write(_GET)
        await reader.readuntil(b"\r\n\r\n")
        for part, full in ((b"aaa", True), (b"bb", False), (b"cccc", False)):
            rig.spool.full = full
            rig.clock.us += 70_000_000
            parts.put_nowait(part)
            assert await reader.readexactly(len(part)) == part
        parts.put_nowait(b"")
        assert await reader.read() == b""
        _, *ends = rig.spool.events
        assert sum(end.response_bytes for end in ends) == 9
        assert [end.slice_no for end in ends] == [0, 1, 2]
        assert ends[0].response_bytes == 5


async def test_large_answer_with_a_slow_reader_is_whole_and_held_back() -> None:
    size = 60_000_000
    sent = 0

    async def script(peer: UpstreamPeer) -> None:
        nonlocal sent
        await peer.read_head()
        await peer.answer(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
        while sent < size:
            await peer.answer(b"y" * 100_000)
            sent += 100_000
        await peer.reader.read()

    async with running(script) as rig:
        reader, writer = await rig.open()
        writer.write(_GET)
        await reader.readuntil(b"\r\n\r\n")
        await asyncio.sleep(0.3)
        assert sent < size  # nobody took it, so the upstream had to wait
        assert len(await reader.readexactly(size)) == size
        writer.close()


async def test_answer_that_ends_with_its_connection_becomes_chunked() -> None:
    async def script(peer: UpstreamPeer) -> None:
        await peer.read_head()
        await peer.answer(b"HTTP/1.1 200 OK\r\n\r\nuntil the end")

    async with running(script) as rig:
        answer = await rig.get()
        assert (answer.status, answer.body) == (200, b"until the end")
        old = await rig.raw(_GET.replace(b"HTTP/1.1", b"HTTP/1.0"))
        assert b"Transfer-Encoding" not in old
        assert old.endswith(b"\r\n\r\nuntil the end")


@pytest.mark.parametrize(
    ("method", "answer"),
    [("HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n"),
     ("GET", b"HTTP/1.1 204 No Content\r\n\r\n"),
     ("GET", b"HTTP/1.1 204 No Content\r\ncontent-length: 5\r\n\r\n"),
     ("GET", b"HTTP/1.1 304 Not Modified\r\nETag: 1\r\n\r\n"),
     ("HEAD", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")],
)  # fmt: skip
async def test_answers_without_a_body(method: str, answer: bytes) -> None:
    async with running(answering(answer)) as rig:
        await rig.get(method=method)
        await rig.get(method=method)
        received = await rig.get(method=method)
        assert received.body == b""
        assert received.raw.endswith(b"\r\n\r\n")
        assert ("content-length" in received.headers) == (b"Content-Length" in answer)
        assert rig.upstream.connections == 1  # the connection was good for more


async def test_interim_answers_are_skipped() -> None:
    interim = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"
    async with running(answering(interim + OK)) as rig:
        answer = await rig.get()
        assert (answer.status, answer.body) == (200, b"hello")
        assert "link" not in answer.headers


async def test_continue_is_sent_after_admission_only() -> None:
    async with running() as rig:
        reader, writer = await rig.open()
        writer.write(_HEAD + b"Content-Length: 5\r\nExpect: 100-continue\r\n\r\n")
        async with asyncio.timeout(10):
            assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(b"hello")
        assert b"HTTP/1.1 200 OK" in await reader.read()
        writer.close()
        assert b"Expect" not in rig.upstream.heads[0]
        refused = await rig.raw(
            _HEAD.replace(LIVE_KEY.encode(), b"x")
            + b"Content-Length: 5\r\nExpect: 100-continue\r\n\r\n"
        )
        assert refused.startswith(b"HTTP/1.1 401 ")


async def test_old_client_gets_no_interim_answer() -> None:
    async with running() as rig:
        reader, writer = await rig.open()
        old = _HEAD.replace(b"HTTP/1.1", b"HTTP/1.0")
        writer.write(old + b"Content-Length: 5\r\nExpect: 100-continue\r\n\r\n")
        await asyncio.sleep(0.1)
        writer.write(b"hello")
        assert (await reader.read()).startswith(b"HTTP/1.1 200 OK")
        assert rig.upstream.bodies == [b"hello"]


async def test_answer_that_leaves_the_body_unread_says_that_the_connection_closes() -> None:
    async with running() as rig:
        kept = _HEAD.replace(b"Connection: close\r\n", b"").replace(LIVE_KEY.encode(), b"x")
        answer = parse_answer(await rig.raw(kept + b"Content-Length: 10\r\n\r\nhalf"))
        assert (answer.status, answer.headers["connection"]) == (401, "close")


async def test_client_that_leaves_before_the_answer_is_free_and_ends_the_upstream_call() -> None:
    asked, left = asyncio.Event(), asyncio.Event()

    async def script(peer: UpstreamPeer) -> None:
        await peer.read_head()
        asked.set()
        assert await peer.reader.read() == b""
        left.set()

    async with running(script) as rig:
        _, writer = await rig.open()
        writer.write(_GET)
        async with asyncio.timeout(10):
            await asked.wait()
            writer.transport.abort()
            await left.wait()
            await asyncio.sleep(0.05)
        (event,) = rig.spool.events
        assert (event.status, event.charge, event.charge_reason) == (499, Charge.FREE, "aborted")
        assert event.aborted
        assert sum(rig.quota.used.values()) == 0
        assert not rig.spool.open


async def test_client_that_leaves_later_is_charged_as_its_status() -> None:
    left = asyncio.Event()

    async def script(peer: UpstreamPeer) -> None:
        await peer.read_head()
        await peer.answer(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n")
        try:
            assert await peer.reader.read() == b""
        finally:
            left.set()

    async with running(script) as rig:
        reader, writer = await rig.open()
        writer.write(_GET)
        async with asyncio.timeout(10):
            await reader.readuntil(b"first\r\n")
            writer.transport.abort()
            await left.wait()
            await asyncio.sleep(0.05)
        first, end = rig.spool.events
        assert (first.charge, first.aborted) == (Charge.BILLED, False)
        assert (end.kind, end.aborted) == (Kind.RESPONSE_END, True)


async def test_cut_answer_is_cut_for_the_client_too() -> None:
    async def script(peer: UpstreamPeer) -> None:
        await peer.read_head()
        await peer.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this")

    async with running(script) as rig:
        raw = await rig.raw(_GET)
        assert b"Content-Length: 100\r\n" in raw
        assert raw.endswith(b"\r\n\r\nonly this")


async def test_chunked_body_over_the_cap_is_413() -> None:
    async with running(routes=[build_route(max_body_bytes=1000)]) as rig:
        chunk = b"400\r\n" + b"z" * 1024 + b"\r\n"
        raw = await rig.raw(_HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + chunk + b"0\r\n\r\n")
        assert parse_answer(raw).status == 413
        assert sum(rig.quota.used.values()) == 0


async def test_early_answer_to_an_unfinished_body_comes_through() -> None:
    async def script(peer: UpstreamPeer) -> None:
        head = await peer.read_head()
        assert length_of(head) == 10
        await peer.answer(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno")
        await peer.reader.read()

    async with running(script) as rig:
        reader, writer = await rig.open()
        writer.write(_HEAD + b"Content-Length: 10\r\n\r\nhalf")
        async with asyncio.timeout(10):
            assert await reader.readuntil(b"no") != b""
        writer.close()


async def test_bytes_of_a_body_that_comes_behind_the_answers_head_are_told_too() -> None:
    async def script(peer: UpstreamPeer) -> None:
        await peer.read_head()
        assert await peer.reader.readexactly(5) == b"first"
        await peer.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n")
        assert await peer.reader.readexactly(7) == b" second"
        await peer.answer(b"done")

    async with running(script) as rig:
        reader, writer = await rig.open()
        writer.write(_HEAD + b"Content-Length: 12\r\n\r\nfirst")
        async with asyncio.timeout(10):
            head = await reader.readuntil(b"\r\n\r\n")
            writer.write(b" second")
            assert await reader.read() == b"done"
        writer.close()
        assert b"200 OK" in head
        assert [(e.kind, e.request_bytes, e.response_bytes) for e in rig.spool.events] == [
            (Kind.REQUEST, 5, 0),
            (Kind.RESPONSE_END, 7, 4),
        ]


async def test_silent_and_slow_clients_are_closed() -> None:
    limits = EdgeLimits(head_s=0.2, body_idle_s=0.2, keepalive_s=0.2)
    async with running(limits=limits) as rig:
        async with asyncio.timeout(5):
            reader, writer = await rig.open()
            assert await reader.read() == b""
            writer.close()
            half = await rig.raw(b"GET /v1/x HTTP/1.1\r\nHost:")
            assert half.startswith(b"HTTP/1.1 408 ")
            body = await rig.raw(_HEAD + b"Content-Length: 10\r\n\r\nhalf")
            assert parse_answer(body).status == 408
            kept = await rig.raw(_GET.replace(b"Connection: close\r\n", b""))
            assert kept.startswith(b"HTTP/1.1 200 ")  # then closed as idle


async def test_idle_connections_are_closed_at_once_when_the_worker_stops() -> None:
    async with running() as rig:
        reader, writer = await rig.open()
        writer.write(_GET.replace(b"Connection: close\r\n", b""))
        await reader.readuntil(b"hello")
        silent, _ = await rig.open()
        async with asyncio.timeout(2):
            await rig.server.drain_and_close(grace_s=30)
            assert await reader.read() == await silent.read() == b""


async def test_upload_that_is_under_way_when_the_worker_stops_is_finished() -> None:
    async with running() as rig:
        reader, writer = await rig.open()
        writer.write(
            _HEAD.replace(b"Connection: close\r\n", b"") + b"Content-Length: 10\r\n\r\nfirst"
        )
        async with asyncio.timeout(2):
            while not rig.upstream.heads:  # noqa: ASYNC110 - a test may wait a turn
                await asyncio.sleep(0.01)
            stopping = asyncio.create_task(rig.server.drain_and_close(grace_s=30))
            await asyncio.sleep(0.05)
            writer.write(b" last")
            answer = parse_answer(await reader.read())
            await stopping
        assert (answer.status, answer.headers["connection"]) == (200, "close")
        assert rig.upstream.bodies == [b"first last"]
        assert [event.charge for event in rig.spool.events] == [Charge.BILLED]


async def test_stream_that_a_stop_cuts_ends_with_an_event() -> None:
    async def script(peer: UpstreamPeer) -> None:
        await peer.read_head()
        await peer.answer(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n")
        await peer.reader.read()

    async with running(script) as rig:
        reader, writer = await rig.open()
        writer.write(_GET)
        async with asyncio.timeout(5):
            await reader.readuntil(b"first\r\n")
            await rig.server.drain_and_close(grace_s=0.1)
        first, end = rig.spool.events
        assert (first.charge, end.charge) == (Charge.BILLED, Charge.BILLED)
        assert (end.kind, end.response_bytes, end.aborted) == (Kind.RESPONSE_END, 5, True)
        assert not rig.spool.open


async def test_connections_over_the_cap_are_closed_at_once() -> None:
    async with running(limits=EdgeLimits(max_per_address=2)) as rig:
        held = [await rig.open() for _ in range(2)]
        await asyncio.sleep(0.05)
        assert await rig.raw(_GET) == b""
        for _, writer in held:
            writer.close()
        await asyncio.sleep(0.05)
        assert (await rig.get()).status == 200


async def test_upstream_reads_a_chunked_body_of_many_small_parts() -> None:
    async def script(peer: UpstreamPeer) -> None:
        await peer.read_head()
        peer.upstream.bodies.append(await read_chunked(peer.reader))
        await peer.answer(OK)

    async with running(script) as rig:
        chunks = b"1\r\na\r\n" * 20_000
        raw = await rig.raw(_HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n")
        assert parse_answer(raw).status == 200
        assert rig.upstream.bodies == [b"a" * 20_000]
