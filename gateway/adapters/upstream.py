"""The client side of the proxy: pooled keep-alive connections to upstreams, streaming both ways.

An own client over llhttp (`httptools`), because a general one costs several times the proxy
itself. It follows no redirect and unpacks nothing. What `core.headers` calls doubtful framing, an
unsolicited 101 or a surplus byte behind an answer closes the connection (`gateway.md` §4).

Timeouts are deadlines on the connections, looked at by one sweep; they are exact to `SWEEP_S`.
"""

import asyncio
import math
import ssl
from collections import defaultdict, deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, cast

import httptools

from gateway.core.headers import ResponseHeaders, scan_response
from gateway.core.upstreams import CompiledUpstream, UpstreamTarget
from gateway.errors import UpstreamError

SWEEP_S: Final = 0.05
_IDLE_SWEEP_S: Final = 5.0
IDLE_S: Final = 55.0
MAX_IDLE: Final = 512
_HIGH_BYTES: Final = 256 * 1024
_LOW_BYTES: Final = 64 * 1024
_MAX_HEAD_BYTES: Final = 64 * 1024
_MAX_HEADERS: Final = 200
IDEMPOTENT: Final = frozenset(("GET", "HEAD", "PUT", "DELETE", "OPTIONS", "PROPFIND", "REPORT"))
CLIENT_GONE: Final = "client_gone"


@dataclass(frozen=True, slots=True)
class UpstreamHead:
    status: int
    headers: ResponseHeaders


class UpstreamConnection(asyncio.Protocol):
    """One connection, one exchange at a time."""

    __slots__ = (
        "_body", "_body_bytes", "_can_write", "_head_bytes", "_hidden", "_loop", "_no_body",
        "_parser", "_paused", "_raw", "_read_s", "_received", "_until_close", "_waiter",
        "complete", "deadline", "error", "head_seen", "idle_since", "reused", "target",
        "transport",
    )  # fmt: skip

    def __init__(
        self, loop: asyncio.AbstractEventLoop, target: UpstreamTarget, hidden: frozenset[bytes]
    ) -> None:
        self._loop = loop
        self._hidden = hidden
        self.target = target
        self.transport: asyncio.Transport | None = None
        self.error: UpstreamError | None = None
        self.deadline = math.inf
        self.idle_since = 0.0
        self.reused = False
        self._parser: httptools.HttpResponseParser | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._can_write: asyncio.Future[None] | None = None
        self._paused = False
        self._reset(no_body=False, read_s=math.inf)

    def _reset(self, *, no_body: bool, read_s: float) -> None:
        self._no_body = no_body
        self._read_s = read_s
        self._raw: list[tuple[bytes, bytes]] = []
        self._head_bytes = 0
        self._body: deque[bytes] = deque()
        self._body_bytes = 0
        self._received = False
        self._until_close = False
        self.head_seen: UpstreamHead | None = None
        self.complete = False

    # --- the proxy's side

    def begin(self, data: bytes, *, no_body: bool, read_s: float) -> None:
        """Start an exchange by writing the head (and what there is of the body)."""
        self._reset(no_body=no_body, read_s=read_s)
        if self._parser is None:
            self._parser = httptools.HttpResponseParser(self)
        self.write(data)

    def write(self, data: bytes) -> None:
        if self.transport is not None and self.error is None:
            self.transport.write(data)
            self.deadline = self._loop.time() + self._read_s

    async def drain(self, *, send_s: float) -> None:
        """Wait until the transport takes more.

        :raises UpstreamError: when the connection is lost or stalls for `send_s`.
        """
        if self._can_write is not None and self.error is None:
            self.deadline = self._loop.time() + send_s
            await self._can_write
            self.deadline = self._loop.time() + self._read_s
        if self.error is not None:
            raise self.error

    async def head(self) -> UpstreamHead:
        """Wait for the answer's head; interim answers are skipped.

        :raises UpstreamError: when there will be none.
        """
        while True:
            if self.error is not None:
                raise self.error
            if self.head_seen is not None:
                return self.head_seen
            await self._wait()

    async def read(self) -> bytes:
        """Return what arrived of the body; empty at its end.

        :raises UpstreamError: when the body was cut.
        """
        while not self._body:
            if self.complete:
                return b""
            if self.error is not None:
                raise self.error
            await self._wait()
        return self.take()

    def take(self) -> bytes:
        """Return what is here of the body, without waiting."""
        body = self._body
        data = body[0] if len(body) == 1 else b"".join(body)
        body.clear()
        self._body_bytes = 0
        if self._paused and self.transport is not None:
            self._paused = False
            self.transport.resume_reading()
            self.deadline = self._loop.time() + self._read_s
        return data

    def fail(self, error: UpstreamError) -> None:
        """Break the exchange off; whoever waits gets the error. Does nothing once complete."""
        if self.error is None and not self.complete:
            self.error = error
        self.deadline = math.inf
        if self.transport is not None:
            self.transport.abort()
        self._wake()

    @property
    def is_reusable(self) -> bool:
        """Say whether another exchange may follow on this connection."""
        head = self.head_seen
        return (
            self.complete
            and self.error is None
            and not self._until_close
            and head is not None
            and not head.headers.close
            and self.transport is not None
            and not self.transport.is_closing()
        )

    @property
    def died_unused(self) -> bool:
        """Say whether an idle connection turned out dead before a byte of the answer came."""
        return self.reused and not self._received

    async def _wait(self) -> None:
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
        if self._can_write is not None and self.error is not None and not self._can_write.done():
            self._can_write.set_result(None)

    # --- asyncio's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's are no subclass

    def connection_lost(self, exc: Exception | None) -> None:
        self.transport = None
        if self._until_close and exc is None and self.error is None:
            self.complete = True
        elif not self.complete and self.error is None:
            code = "upstream_protocol_error" if self._received else "upstream_unreachable"
            self.error = UpstreamError(code, "the connection was closed", sent=True)
        self._wake()
        if self._can_write is not None and not self._can_write.done():
            self._can_write.set_result(None)

    def pause_writing(self) -> None:
        self._can_write = self._loop.create_future()

    def resume_writing(self) -> None:
        if self._can_write is not None and not self._can_write.done():
            self._can_write.set_result(None)
        self._can_write = None

    def data_received(self, data: bytes) -> None:
        if self.head_seen is None and self._parser is not None:
            self._head_bytes += len(data)
        if self.complete or self._parser is None:
            self._surplus()
            return
        self._received = True
        self.deadline = self._loop.time() + self._read_s
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._broken("an upgrade that nobody asked for")
        except httptools.HttpParserError as error:
            self._broken(f"not an answer: {error}")
        if self.head_seen is None and self._head_bytes > _MAX_HEAD_BYTES:
            self._broken("a head without end")
        self._after_data()

    def _after_data(self) -> None:
        if self._body_bytes > _HIGH_BYTES and not self._paused and self.transport is not None:
            self._paused = True
            self.transport.pause_reading()
            self.deadline = math.inf
        if self.complete:
            self.deadline = math.inf
        if self._waiter is not None:
            self._wake()

    def _surplus(self) -> None:
        """Bytes that belong to no answer: a 502 if its head was not taken yet, and never again."""
        self.error = self.error or UpstreamError(
            "upstream_protocol_error", "bytes behind the end of the answer", sent=True
        )
        if self.transport is not None:
            self.transport.abort()

    def _broken(self, detail: str) -> None:
        if self.complete:
            self._surplus()
        else:
            self.fail(UpstreamError("upstream_protocol_error", detail, sent=True))

    # --- the parser's side

    def on_message_begin(self) -> None:
        if self.complete:
            self._surplus()

    def on_header(self, name: bytes, value: bytes) -> None:
        if self.head_seen is None:  # later ones are trailers, which are dropped
            self._raw.append((name, value))

    def on_headers_complete(self) -> None:
        if self._parser is None or self.head_seen is not None:
            return
        status = self._parser.get_status_code()
        if 100 <= status < 200 and status != 101:
            self._raw = []
            return
        headers = scan_response(self._raw, hidden=self._hidden)
        if status == 101 or not 200 <= status <= 999:
            headers.wrong = f"an unsolicited status {status}"
        if len(self._raw) > _MAX_HEADERS:
            headers.wrong = "too many header lines"
        if headers.wrong:
            self._broken(headers.wrong)
            return
        headers.close = headers.close or not self._parser.should_keep_alive()
        self.head_seen = UpstreamHead(status, headers)
        if self._no_body or status in (204, 304):
            self._end_without_body()
        elif headers.length is None and not headers.chunked:
            self._until_close = True

    def _end_without_body(self) -> None:
        """An answer to HEAD looks to the parser like one whose body is still to come."""
        self.complete = True
        self._parser = None

    def on_body(self, data: bytes) -> None:
        if self.complete:
            self._surplus()
        else:
            self._body.append(data)
            self._body_bytes += len(data)

    def on_message_complete(self) -> None:
        if self.head_seen is not None:
            self.complete = True


@dataclass(slots=True, kw_only=True)
class Call:
    """One request to an upstream.

    head      builds the request head for the target that was chosen
    body      the whole body, or None when `send_body` streams it
    send_body streams the body into the connection; it runs beside the wait for the answer
    """

    upstream: CompiledUpstream
    method: str
    head: Callable[[UpstreamTarget], bytes]
    body: bytes | None
    read_s: float
    send_body: Callable[[UpstreamConnection], Awaitable[None]] | None = None
    connection: UpstreamConnection | None = None
    sender: "asyncio.Task[None] | None" = None
    gone: bool = False

    def client_gone(self) -> None:
        """Break off, because nobody waits for the answer any more."""
        self.gone = True
        if self.connection is not None:
            self.connection.fail(UpstreamError(CLIENT_GONE, "the client left", sent=True))

    @property
    def may_repeat(self) -> bool:
        return self.body is not None and self.method in IDEMPOTENT


class UpstreamClient:
    """The pool: newest idle connection first, per target; one sweep for all deadlines.

    `hidden` are lower-case names of response headers that policy removes.
    """

    def __init__(self, *, hidden: frozenset[bytes] = frozenset()) -> None:
        self._hidden = hidden
        self._loop = asyncio.get_running_loop()
        self._idle: dict[UpstreamTarget, list[UpstreamConnection]] = defaultdict(list)
        self._active: set[UpstreamConnection] = set()
        self._turns: dict[str, int] = {}
        self._tls = ssl.create_default_context()
        self._sweeper: asyncio.TimerHandle | None = None
        self._closed = False

    async def open(self, call: Call) -> UpstreamHead:
        """Send a call and wait for the answer's head; `call.connection` then has the body.

        :raises UpstreamError: after the retries that are allowed.
        """
        if not call.upstream.cycle:
            raise UpstreamError("no_healthy_upstream", "no target has a weight", sent=False)
        fresh = False
        while True:
            connection = await self._connection(call, fresh=fresh)
            call.connection = connection
            self._active.add(connection)
            self._sweep_later()
            try:
                if call.gone:
                    call.client_gone()
                return await self._exchange(call, connection)
            except UpstreamError as error:
                self.discard(call)
                repeat = connection.died_unused and call.may_repeat and error.code != CLIENT_GONE
                if not repeat or error.code == "upstream_timeout":
                    raise
                fresh = True
            except BaseException:
                self.discard(call)
                raise

    async def _exchange(self, call: Call, connection: UpstreamConnection) -> UpstreamHead:
        data = call.head(connection.target) + (call.body or b"")
        connection.begin(data, no_body=call.method == "HEAD", read_s=call.read_s)
        if call.send_body is not None:
            call.sender = asyncio.ensure_future(call.send_body(connection))
        return await connection.head()

    async def _connection(self, call: Call, *, fresh: bool) -> UpstreamConnection:
        upstream = call.upstream
        failure: UpstreamError | None = None
        for _ in range(1 + upstream.upstream.retries):
            target = self._next_target(upstream)
            if not fresh and (idle := self._idle_connection(target)) is not None:
                return idle
            try:
                return await self._connect(target, upstream.upstream.connect_timeout_ms / 1000)
            except UpstreamError as error:
                failure = error
        assert failure is not None  # noqa: S101 - the loop ran at least once
        raise failure

    def _next_target(self, upstream: CompiledUpstream) -> UpstreamTarget:
        cycle = upstream.cycle
        if len(cycle) == 1:
            return cycle[0]
        turn = self._turns.get(upstream.upstream.id, 0)
        self._turns[upstream.upstream.id] = turn + 1
        return cycle[turn % len(cycle)]

    def _idle_connection(self, target: UpstreamTarget) -> UpstreamConnection | None:
        idle = self._idle.get(target)
        while idle:
            connection = idle.pop()
            if connection.transport is not None and not connection.transport.is_closing():
                connection.reused = True
                return connection
        return None

    async def _connect(self, target: UpstreamTarget, timeout_s: float) -> UpstreamConnection:
        try:
            async with asyncio.timeout(timeout_s):
                _, connection = await self._loop.create_connection(
                    lambda: UpstreamConnection(self._loop, target, self._hidden),
                    target.host,
                    target.port,
                    ssl=self._tls if target.tls else None,
                )
        except (OSError, TimeoutError) as error:
            detail = f"{target.authority}: {str(error) or 'no connection in time'}"
            raise UpstreamError("upstream_unreachable", detail, sent=False) from error
        return connection

    def release(self, call: Call) -> None:
        """End a call: the connection goes back to the pool if it may, else it is closed."""
        connection, sender = call.connection, call.sender
        unfinished = sender is not None and not sender.done()
        if connection is None or unfinished or not connection.is_reusable or self._closed:
            self.discard(call)
            return
        call.connection = None
        self._active.discard(connection)
        idle = self._idle[connection.target]
        if len(idle) >= MAX_IDLE and connection.transport is not None:
            connection.transport.close()
            return
        connection.deadline = math.inf
        connection.idle_since = self._loop.time()
        idle.append(connection)

    def discard(self, call: Call) -> None:
        """End a call and close its connection."""
        if call.sender is not None:
            call.sender.cancel()
        connection, call.connection = call.connection, None
        if connection is not None:
            self._active.discard(connection)
            connection.deadline = math.inf
            if connection.transport is not None:
                connection.transport.abort()

    def _sweep_later(self, delay_s: float = SWEEP_S) -> None:
        if self._closed:
            return
        if self._sweeper is not None:
            if self._sweeper.when() <= self._loop.time() + delay_s:
                return
            self._sweeper.cancel()
        self._sweeper = self._loop.call_later(delay_s, self._sweep)

    def _sweep(self) -> None:
        self._sweeper = None
        now = self._loop.time()
        for connection in [c for c in self._active if c.deadline <= now]:
            connection.fail(UpstreamError("upstream_timeout", "no progress in time", sent=True))
        self._drop_stale(now)
        if self._active:
            self._sweep_later()
        elif any(self._idle.values()):
            self._sweep_later(_IDLE_SWEEP_S)

    def _drop_stale(self, now: float) -> None:
        for idle in self._idle.values():
            while idle and now - idle[0].idle_since > IDLE_S:
                stale = idle.pop(0)
                if stale.transport is not None:
                    stale.transport.close()

    async def close(self) -> None:
        """Close every connection."""
        self._closed = True
        if self._sweeper is not None:
            self._sweeper.cancel()
        idle = [connection for pool in self._idle.values() for connection in pool]
        for connection in [*idle, *self._active]:
            if connection.transport is not None:
                connection.transport.abort()
        await asyncio.sleep(0)
