"""A running proxy over real sockets: our edge, our client, a tiny upstream that tests script."""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from gateway.adapters.upstream import UpstreamClient
from gateway.contracts.snapshot import Snapshot
from gateway.core.addresses import TrustedProxies, parse_networks
from gateway.core.compile import Options, compile_snapshot
from gateway.core.instants import to_us
from gateway.edge import EdgeLimits, EdgeServer
from gateway.metrics import Stats
from gateway.ports import Spool
from gateway.proxy import Proxy
from tests.factories.snapshots import LIVE_KEY, NOW, build_snapshot
from tests.fakes.gateway_ports import FakeClock, FakeQuota, FakeSpool

Script = Callable[["UpstreamPeer"], Awaitable[None]]


@dataclass
class UpstreamPeer:
    """One connection as the upstream sees it."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    upstream: "TinyUpstream"

    async def read_head(self) -> bytes:
        """Read a request head, and remember it."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        self.upstream.heads.append(head)
        return head

    async def answer(self, raw: bytes) -> None:
        self.writer.write(raw)
        await self.writer.drain()


@dataclass
class TinyUpstream:
    """A TCP server whose connections run one script; records every request head and body."""

    script: Script
    heads: list[bytes] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    connections: int = 0
    closed: int = 0
    url: str = ""
    writers: list[asyncio.StreamWriter] = field(default_factory=list)

    async def close(self) -> None:
        """Close what is open, and wait for the scripts to notice."""
        for writer in self.writers:
            writer.close()
        while self.closed < self.connections:  # noqa: ASYNC110 - a test may wait a turn
            await asyncio.sleep(0.005)

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.writers.append(writer)
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            await self.script(UpstreamPeer(reader, writer, self))
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()
        self.closed += 1


def length_of(head: bytes) -> int:
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return int(line.split(b":")[1])
    return 0


async def read_chunked(reader: asyncio.StreamReader) -> bytes:
    body = b""
    while size := int(await reader.readline(), 16):
        body += await reader.readexactly(size)
        await reader.readexactly(2)
    await reader.readexactly(2)
    return body


def answering(raw: bytes) -> Script:
    """Answer every request on a connection with the same bytes; read bodies of known length."""

    async def script(peer: UpstreamPeer) -> None:
        while True:
            head = await peer.read_head()
            if b"transfer-encoding: chunked" in head.lower():
                peer.upstream.bodies.append(await read_chunked(peer.reader))
            else:
                peer.upstream.bodies.append(await peer.reader.readexactly(length_of(head)))
            await peer.answer(raw)

    return script


OK = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nhello"


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes
    raw: bytes


@dataclass
class Rig:
    """What a test holds."""

    port: int
    proxy: Proxy
    server: EdgeServer
    spool: FakeSpool
    quota: FakeQuota
    clock: FakeClock
    stats: Stats
    upstream: TinyUpstream
    upstreams: UpstreamClient
    fatal: list[str]
    writers: list[asyncio.StreamWriter] = field(default_factory=list)

    def apply(self, snapshot: Snapshot, options: Options | None = None) -> None:
        self.proxy.compiled = compile_snapshot(snapshot, options or Options())

    async def open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Open a connection that the rig closes."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, limit=1 << 16)
        self.writers.append(writer)
        return reader, writer

    async def close_clients(self) -> None:
        for writer in self.writers:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()

    async def raw(self, data: bytes, *, wait_s: float = 10.0) -> bytes:
        """Send bytes, and return all that comes until the connection is closed."""
        reader, writer = await self.open()
        writer.write(data)
        async with asyncio.timeout(wait_s):
            received = await reader.read()
        writer.close()
        return received

    async def get(
        self, target: str = "/v1/x", *, key: str | None = LIVE_KEY, method: str = "GET",
        headers: dict[str, str] | None = None, body: bytes = b"",
    ) -> Answer:  # fmt: skip
        """Send one request on a connection of its own."""
        lines = {"Host": "api.example", "Connection": "close"}
        if key is not None:
            lines["X-API-Key"] = key
        if body:
            lines["Content-Length"] = str(len(body))
        lines |= headers or {}
        head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        raw = await self.raw(f"{method} {target} HTTP/1.1\r\n{head}\r\n".encode() + body)
        return parse_answer(raw)


def parse_answer(raw: bytes) -> Answer:
    head, _, body = raw.partition(b"\r\n\r\n")
    lines = head.decode("latin-1").split("\r\n")
    pairs = [line.partition(": ") for line in lines[1:]]
    headers = {name.lower(): value for name, _, value in pairs}
    if headers.get("transfer-encoding") == "chunked":
        body = dechunk(body)
    return Answer(int(lines[0].split(" ")[1]), headers, body, raw)


def dechunk(data: bytes) -> bytes:
    body = b""
    while True:
        size, _, data = data.partition(b"\r\n")
        if int(size, 16) == 0:
            return body
        body += data[: int(size, 16)]
        data = data[int(size, 16) + 2 :]


@asynccontextmanager
async def running(
    script: Script | None = None, *, limits: EdgeLimits | None = None,
    options: Options | None = None, trusted: tuple[str, ...] = (),
    real_spool: Spool | None = None, **snapshot: Any,
) -> AsyncIterator[Rig]:  # fmt: skip
    """Run a proxy in front of a tiny upstream; everything is closed at the end.

    `real_spool` takes the events instead of the fake, which then stays empty.
    """
    upstream = TinyUpstream(script or answering(OK))
    listener = await asyncio.start_server(upstream.handle, "127.0.0.1", 0)
    upstream.url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    clock, spool, quota, stats = FakeClock(to_us(NOW)), FakeSpool(), FakeQuota(), Stats()
    client = UpstreamClient()
    fatal: list[str] = []
    proxies = TrustedProxies(parse_networks(trusted))
    proxy = Proxy(
        clock=clock, spool=real_spool or spool, quota=quota, upstreams=client, stats=stats,
        trusted=proxies, random_bytes=os.urandom, on_fatal=fatal.append,
    )  # fmt: skip
    server = EdgeServer(
        proxy.serve, limits=limits or EdgeLimits(), is_trusted=proxies.__contains__
    )
    sockets = await asyncio.get_running_loop().create_server(server, "127.0.0.1", 0)
    rig = Rig(
        sockets.sockets[0].getsockname()[1], proxy, server, spool, quota, clock, stats, upstream,
        client, fatal,
    )  # fmt: skip
    rig.apply(build_snapshot(upstream_url=upstream.url, **snapshot), options)
    try:
        yield rig
    finally:
        await rig.close_clients()
        sockets.close()
        await server.drain_and_close(grace_s=1.0)
        await client.close()
        listener.close()
        await upstream.close()
