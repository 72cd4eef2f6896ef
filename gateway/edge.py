"""The server side of the proxy: aiohttp's parser and connection, our timeouts and caps (§19).

aiohttp's low-level `web.Server` reads and frames requests (C parser); `EdgeConnection` replaces
its request loop, so that no request, response or URL object stands between the raw bytes and the
proxy, and closes what is silent, slow or too much.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from gateway.core.request_head import Hop
from gateway.exchange import MAX_FIELD_BYTES, MAX_LINE_BYTES, Exchange

_SWEEP_S: Final = 0.5
_DRAIN_STEP_S: Final = 0.02
MAX_HEADERS: Final = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class EdgeLimits:
    """Seconds and counts; 0 in `max_per_address` = no cap."""

    head_s: float = 10.0
    body_idle_s: float = 30.0
    write_stall_s: float = 30.0
    keepalive_s: float = 75.0
    lifetime_s: float = 3600.0
    max_connections: int = 20_000
    max_per_address: int = 2_000


Serve = Callable[[Exchange], Awaitable[None]]


class EdgeConnection(RequestHandler):
    """A client connection. `start` is the loop that aiohttp runs for each connection."""

    __slots__ = (
        "_born", "_exchange", "_has_received", "_head_since", "_idle_since", "_is_last", "_limits",
        "_received_at", "_serve", "_stalled_since", "body_timed_out", "hop", "waits_for_body",
    )  # fmt: skip

    def __init__(self, manager: "EdgeServer", *, serve: Serve, limits: EdgeLimits) -> None:
        super().__init__(
            manager,
            loop=manager.loop,
            access_log=None,  # type: ignore[arg-type]  # aiohttp tests it for truth
            auto_decompress=False,
            keepalive_timeout=0,
            max_line_size=MAX_LINE_BYTES,
            max_field_size=MAX_FIELD_BYTES,
            max_headers=MAX_HEADERS,
        )
        self._serve = serve
        self._limits = limits
        self._exchange: Exchange | None = None
        self._born = self._received_at = self._loop.time()
        self._head_since: float | None = self._born
        self._idle_since: float | None = None
        self._stalled_since: float | None = None
        self._has_received = False
        self._is_last = False  # no request is served behind the one under way
        self.waits_for_body = False
        self.body_timed_out = False
        self.hop = Hop("", b"http", 0, trusted=False)

    # --- what an exchange needs

    def send(self, data: bytes) -> None:
        if self.transport is not None:
            self.transport.write(data)

    async def drain(self) -> None:
        if self._paused:
            with suppress(ConnectionError):
                await self._drain_helper()

    def abort(self) -> None:
        if self.transport is not None:
            self.transport.abort()

    @property
    def is_closing_soon(self) -> bool:
        return self._is_last or self._force_close or self._is_old()

    def _is_old(self) -> bool:
        return self._loop.time() - self._born > self._limits.lifetime_s

    # --- the loop

    async def start(self) -> None:
        """Serve requests in order until the connection ends."""
        while not self._force_close:
            if not self._messages:
                if self._is_last:
                    break
                await self._next_message()
            message, payload = self._messages.popleft()
            self._head_since = self._idle_since = None
            if self._parser is not None:
                self._parser.message_consumed()
            if self._buffer_paused and len(self._messages) <= self._msg_queue_resume_size:
                self._resume_reading_if_drained()
            if not await self._one(Exchange(self, message, payload)):
                break
            self._idle_since = self._loop.time()
        self._task_handler = None
        if self.transport is not None:
            self.transport.close()

    async def _next_message(self) -> None:
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    async def _one(self, exchange: Exchange) -> bool:
        """Serve one request; False = close the connection."""
        self._exchange = exchange
        self._request_in_progress = True
        try:
            await self._serve(exchange)
            if exchange.keep_alive and exchange.body_is_unread:
                exchange.keep_alive = False
            if not exchange.keep_alive and not exchange.gone and exchange.body_is_unread:
                await exchange.linger()
        finally:
            self._exchange = None
            self._request_in_progress = False
            if self._handler_waiter is not None and not self._handler_waiter.done():
                self._handler_waiter.set_result(None)
        return exchange.keep_alive and not exchange.gone and not self._is_last

    def close(self) -> None:
        """Close now when nothing is under way, else behind the answer.

        aiohttp's own would throw away what still comes of a request's body.
        """
        self._is_last = True
        if self._exchange is None and not self._messages:
            self.force_close()

    # --- asyncio's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the connection in, or close it at once when there are too many."""
        peer, local = transport.get_extra_info("peername"), transport.get_extra_info("sockname")
        manager = self._manager
        assert isinstance(manager, EdgeServer)  # noqa: S101 - narrows for the checker
        address = peer[0] if isinstance(peer, tuple) else ""
        self.hop = manager.hop(address, local[1] if isinstance(local, tuple) else 0)
        admitted = manager.enter(address)
        super().connection_made(transport)
        if not admitted:
            self.force_close()

    def connection_lost(self, exc: BaseException | None) -> None:
        if isinstance(self._manager, EdgeServer):
            self._manager.leave(self.hop.peer)
        exchange = self._exchange
        super().connection_lost(exc)
        if exchange is not None:
            exchange.client_left(exc or ConnectionResetError("client left"))

    def data_received(self, data: bytes) -> None:
        self._received_at = self._loop.time()
        self._has_received = True
        super().data_received(data)
        if self._waiter is not None and not self._messages and self._head_since is None:
            self._head_since = self._received_at

    def pause_writing(self) -> None:
        super().pause_writing()
        self._stalled_since = self._loop.time()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._stalled_since = None

    # --- deadlines, looked at by the server's sweep

    def sweep(self, now: float) -> None:
        """Close what takes too long."""
        limits = self._limits
        if self._stalled_since is not None and now - self._stalled_since > limits.write_stall_s:
            self.abort()
        elif self.waits_for_body:
            if now - self._received_at > limits.body_idle_s:
                self._time_body_out()
        elif self._exchange is None:
            since = self._head_since
            if since is not None and now - since > limits.head_s:
                self._time_head_out()
            elif self._idle_since is not None and self._head_since is None:
                old = self._is_old() or now - self._idle_since > limits.keepalive_s
                if old:
                    self.force_close()

    def _time_body_out(self) -> None:
        self.body_timed_out = True
        if self._exchange is not None:
            self._exchange.fail_body(TimeoutError("body idle"))

    def _time_head_out(self) -> None:
        if self._has_received:  # a connection that never spoke is owed no answer
            self.send(
                b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            )
        self.force_close()


class EdgeServer(web.Server):
    """Makes connections, counts them per address, sweeps their deadlines."""

    def __init__(
        self, serve: Serve, *, limits: EdgeLimits, is_trusted: Callable[[str], bool]
    ) -> None:
        super().__init__(_never)
        self._serve = serve
        self._limits = limits
        self._is_trusted = is_trusted
        self._addresses: Counter[str] = Counter()
        self._hops: dict[tuple[str, int], Hop] = {}
        self._sweeper = self.loop.call_later(_SWEEP_S, self._sweep)

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        return self._loop

    def __call__(self) -> RequestHandler:
        return EdgeConnection(self, serve=self._serve, limits=self._limits)

    def hop(self, address: str, port: int) -> Hop:
        return Hop(address, b"http", port, trusted=self._is_trusted(address))

    def enter(self, address: str) -> bool:
        """Count a connection in; False = over a cap."""
        self._addresses[address] += 1
        cap = self._limits.max_per_address
        over = len(self._connections) >= self._limits.max_connections
        return not over and not (cap and self._addresses[address] > cap)

    def leave(self, address: str) -> None:
        self._addresses[address] -= 1
        if self._addresses[address] <= 0:
            del self._addresses[address]

    @property
    def open_connections(self) -> int:
        return len(self._connections)

    def _sweep(self) -> None:
        now = self.loop.time()
        for connection in self.connections:
            if isinstance(connection, EdgeConnection):
                connection.sweep(now)
        self._sweeper = self.loop.call_later(_SWEEP_S, self._sweep)

    async def drain_and_close(self, *, grace_s: float) -> None:
        """Let requests in flight finish, close idle connections at once, the rest after grace."""
        self.pre_shutdown()
        end = self.loop.time() + grace_s
        while self._connections and self.loop.time() < end:  # noqa: ASYNC110 - aiohttp keeps the set
            await asyncio.sleep(_DRAIN_STEP_S)
        self._sweeper.cancel()
        await self.shutdown(timeout=0.1)


async def _never(_: web.BaseRequest) -> web.StreamResponse:
    raise NotImplementedError("EdgeConnection serves by itself")
