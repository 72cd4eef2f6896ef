"""One connection to an upstream: llhttp (`httptools`) on an asyncio protocol.

What `core.headers` calls doubtful framing, an unsolicited 101 or a surplus byte behind an answer
closes the connection (`gateway.md` §4). Deadlines are set here and looked at by the pool's sweep.
"""

import asyncio
import math
from collections import deque
from typing import Final, NamedTuple, cast

import httptools

from gateway.core.response_headers import ResponseHeaders, ResponseRoles, scan_response
from gateway.core.upstreams import UpstreamTarget
from gateway.errors import UpstreamError

_HIGH_BYTES: Final = 256 * 1024
_MAX_HEAD_BYTES: Final = 64 * 1024
_MAX_HEADERS: Final = 200


class UpstreamHead(NamedTuple):
    status: int
    headers: ResponseHeaders


class UpstreamConnection(asyncio.Protocol):
    """One connection, one exchange at a time."""

    __slots__ = (
        "_body", "_body_bytes", "_can_write", "_head_bytes", "_loop", "_no_body",
        "_parser", "_paused", "_raw", "_read_s", "_received", "_roles", "_until_close", "_waiter",
        "complete", "deadline", "error", "head_seen", "idle_since", "reused", "target",
        "transport",
    )  # fmt: skip

    def __init__(
        self, loop: asyncio.AbstractEventLoop, target: UpstreamTarget, roles: ResponseRoles
    ) -> None:
        self._loop = loop
        self._roles = roles
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

    def await_client(self) -> None:
        """Set no deadline while more of the body has to come: the edge has one for the client."""
        self.deadline = math.inf

    def await_answer(self) -> None:
        """Set the deadline for the answer, unless it is here."""
        if not (self.complete or self._paused or self.error):
            self.deadline = self._loop.time() + self._read_s

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
        self.transport = cast(asyncio.Transport, transport)  # uvloop's is no subclass of it

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
        headers = scan_response(self._raw, self._roles)
        if status == 101 or not 200 <= status <= 999:
            headers.wrong = f"an unsolicited status {status}"
        if len(self._raw) > _MAX_HEADERS or self._is_head_too_large():
            headers.wrong = "a head that is too large"
        if headers.wrong:
            self._broken(headers.wrong)
            return
        headers.close = headers.close or not self._parser.should_keep_alive()
        self.head_seen = UpstreamHead(status, headers)
        if self._no_body or status in (204, 304):
            self._end_without_body()
        elif headers.length is None and not headers.chunked:
            self._until_close = True

    def _is_head_too_large(self) -> bool:
        """Weigh the lines, but only where so much was received: a body may be among it."""
        if self._head_bytes <= _MAX_HEAD_BYTES:
            return False
        return sum(len(name) + len(value) for name, value in self._raw) > _MAX_HEAD_BYTES

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
