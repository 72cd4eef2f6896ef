"""The client side of the proxy: pooled keep-alive connections to upstreams, streaming both ways.

An own client, because a general one costs several times the proxy itself. It follows no redirect
and unpacks nothing. Timeouts are deadlines on the connections, looked at by one sweep; they are
exact to `SWEEP_S`.
"""

import asyncio
import math
import ssl
from collections import defaultdict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from gateway.adapters.upstream_connection import UpstreamConnection, UpstreamHead
from gateway.core.response_headers import ResponseRoles
from gateway.core.upstreams import CompiledUpstream, UpstreamTarget
from gateway.errors import UpstreamError

SWEEP_S: Final = 0.05
_IDLE_SWEEP_S: Final = 5.0
IDLE_S: Final = 55.0
MAX_IDLE: Final = 512
IDEMPOTENT: Final = frozenset(("GET", "HEAD", "PUT", "DELETE", "OPTIONS", "PROPFIND", "REPORT"))
CLIENT_GONE: Final = "client_gone"


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
        self._roles = ResponseRoles(hidden)
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
                    lambda: UpstreamConnection(self._loop, target, self._roles),
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
