"""What the proxy sees of one client request, and how it answers it.

An `Exchange` hides the connection and its parser; another lane may offer the same methods over
another one. The framing of answers is decided here.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from http import HTTPStatus
from typing import Any, Final, Protocol

from aiohttp.http_exceptions import LineTooLong
from aiohttp.streams import EMPTY_PAYLOAD
from aiohttp.web_protocol import _ErrInfo

from gateway.core.headers import RawHeaders
from gateway.core.request_head import Hop

_REASONS: Final = {status.value: status.phrase for status in HTTPStatus}
_VERSIONS: Final = ((1, 0), (1, 1))
_LINGER_S: Final = 2.0
_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
MAX_LINE_BYTES: Final = 8190
MAX_FIELD_BYTES: Final = 8192


class Connection(Protocol):
    """What an exchange needs of the connection it came by."""

    hop: Hop
    waits_for_body: bool
    body_timed_out: bool

    @property
    def is_closing_soon(self) -> bool: ...

    def send(self, data: bytes) -> None: ...

    async def drain(self) -> None: ...

    def abort(self) -> None: ...


class BodyError(Exception):
    """The client's body ended badly; `code` is the problem to answer with."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


class Exchange:
    """One request and its answer on a client connection."""

    __slots__ = (
        "_chunk_out", "_connection", "_payload", "_until_close",
        "gone", "http_1_0", "keep_alive", "method", "on_gone", "parse_code", "raw_headers",
        "started", "target", "written",
    )  # fmt: skip

    def __init__(self, connection: Connection, message: Any, payload: Any) -> None:
        self._connection = connection
        self._payload = payload
        self._chunk_out = False
        self._until_close = False
        self.gone = False  # the client left
        self.on_gone: Callable[[], None] | None = None
        self.started = False
        self.written = 0  # body bytes written to the client
        self.parse_code = ""  # set when the parser refused the bytes
        self.method = self.target = ""
        self.raw_headers: RawHeaders = ()
        self.http_1_0 = self.keep_alive = False
        if isinstance(message, _ErrInfo):
            self.parse_code = _parse_code(message)
            return
        if message.version not in _VERSIONS:
            self.parse_code = "request_malformed"
            return
        self.method = message.method
        self.target = message.path
        self.raw_headers = message.raw_headers
        self.http_1_0 = message.version < (1, 1)
        # behind an upgrade that is not taken the parser is in no state to go on
        self.keep_alive = not (message.should_close or message.upgrade)

    @property
    def hop(self) -> Hop:
        return self._connection.hop

    # --- request body

    def whole_body(self) -> bytes | None:
        """Return the body if all of it is here, else None."""
        payload = self._payload
        if payload is EMPTY_PAYLOAD:
            return b""
        if payload.is_eof() and payload.exception() is None:
            return bytes(payload.read_nowait()) if not payload.at_eof() else b""
        return None

    def send_continue(self) -> None:
        """Ask for the body (`Expect: 100-continue`), unless it is on its way already.

        HTTP/1.0 knows no interim answer.
        """
        if not (self.started or self.http_1_0 or self._payload.total_bytes):
            self._connection.send(_CONTINUE)

    async def read_body(self) -> bytes:
        """Return what arrived of the body; empty at its end.

        :raises BodyError: when it breaks off, stalls or is malformed.
        """
        connection = self._connection
        connection.waits_for_body = True
        try:
            return bytes(await self._payload.readany())
        except Exception as error:
            raise BodyError(self._body_code(error)) from error
        finally:
            connection.waits_for_body = False

    def _body_code(self, error: Exception) -> str:
        if self._connection.body_timed_out:
            return "request_timeout"
        return "client_gone" if isinstance(error, OSError) else "request_malformed"

    # --- answer

    def start(
        self, status: int, lines: list[bytes], *, length: int | None, body: bytes = b"",
        no_body: bool = False, ends: bool = False,
    ) -> None:  # fmt: skip
        """Write the head and the first bytes of the body at once.

        length    of the whole body; None = chunked (HTTP/1.0: until close)
        no_body   HEAD, 204, 304: the framing is told, nothing follows
        ends      nothing follows `body`
        """
        self.started = True
        if length is None and not no_body:
            self._chunk_out = not self.http_1_0
            self._until_close = self.http_1_0
        left_unread = ends and self.body_is_unread  # nobody reads it any more
        if self._until_close or left_unread or self._connection.is_closing_soon:
            self.keep_alive = False
        head = [b"HTTP/1.1 %d %b\r\n" % (status, _REASONS.get(status, "").encode()), *lines]
        if length is not None:
            head.append(b"Content-Length: %d\r\n" % length)
        elif self._chunk_out:
            head.append(b"Transfer-Encoding: chunked\r\n")
        if not self.keep_alive:
            head.append(b"Connection: close\r\n")
        elif self.http_1_0:
            head.append(b"Connection: keep-alive\r\n")
        head.append(b"\r\n")
        if body and not no_body:
            head.append(self._framed(body))
        if ends and self._chunk_out:
            head.append(b"0\r\n\r\n")
        self._connection.send(b"".join(head))

    def _framed(self, data: bytes) -> bytes:
        self.written += len(data)
        return b"%x\r\n%b\r\n" % (len(data), data) if self._chunk_out else data

    async def write(self, data: bytes) -> None:
        """Write more of the body, as fast as the client reads."""
        self._connection.send(self._framed(data))
        await self._connection.drain()

    def finish(self) -> None:
        """End a body that was written in pieces."""
        if self._chunk_out:
            self._connection.send(b"0\r\n\r\n")

    def abort(self) -> None:
        """Cut the connection: the only honest end of a body that cannot be completed."""
        self.keep_alive = False
        self._connection.abort()

    def client_left(self, error: BaseException) -> None:
        """Note that the connection is gone; whoever reads the body gets the error."""
        self.gone = True
        self.fail_body(error)
        if self.on_gone is not None:
            self.on_gone()

    def fail_body(self, error: BaseException) -> None:
        if not self._payload.is_eof():
            self._payload.set_exception(error)

    @property
    def body_is_unread(self) -> bool:
        return not self._payload.is_eof()

    async def linger(self) -> None:
        """Read on for a moment before closing, so that the answer is not lost in a reset."""
        with suppress(Exception):
            async with asyncio.timeout(_LINGER_S):
                while not self._payload.is_eof():
                    await self._payload.readany()


def _parse_code(message: _ErrInfo) -> str:
    error = message.exc
    if isinstance(error, LineTooLong):
        return "headers_too_large" if error.args[1] == MAX_FIELD_BYTES else "target_too_long"
    return "headers_too_large" if "Too many" in message.message else "request_malformed"
