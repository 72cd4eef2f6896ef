"""The gateways' door: `GET /internal/v1/snapshot?after=N` answers when there is another version.

An ASGI application of its own, mounted before Django's (`portal.asgi`): Django's synchronous
middlewares would hold a thread for as long as a poll waits. Here a poll is a coroutine; one ticker
asks for the newest version while anyone waits, and publishes what is due, so that a change is out
within a second even where no worker runs. Database work happens in two threads of its own.
"""

import asyncio
import hmac
import json
import logging
from collections.abc import Awaitable, Callable, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final, TypeVar
from urllib.parse import parse_qs

from django.db import Error as DatabaseError
from django.db import close_old_connections
from django.db.models import TextField
from django.db.models.functions import Cast

from gateway.contracts.snapshot import BOOT_HEADER, MAX_POLL_S, NODE_HEADER, WORKER_HEADER
from portal import clock
from portal.models import SnapshotVersion
from portal.services.nodes import node_poll_record
from portal.snapshots import snapshot_due, snapshot_publish, snapshot_state

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Result = TypeVar("Result")

_log = logging.getLogger(__name__)
_TICK_S: Final = 0.1
_MAX_NAME_CHARS: Final = 80
_WORKER_DIGITS: Final = 6  # its column is a plain integer
POLL_PROBLEMS: Final = {
    400: ("invalid_poll", "Send node, boot and worker as headers and `after` as a number."),
    401: ("token_invalid", "Send the gateway token as a bearer token."),
    405: ("method_not_allowed", "Only GET is answered here."),
    503: ("token_not_set", "Set TOLLWAY_GATEWAY_TOKEN for the portal and its gateways."),
}


class PollInvalidError(ValueError):
    """The poll lacks a header or a number; answered with 400."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Poll:
    """A gateway worker's question."""

    node: str
    boot: str
    worker: int
    after: int
    refused: int | None
    reason: str


def parse_poll(headers: dict[str, str], query: str) -> Poll:
    """Read a poll from its headers (lower-case names) and query string.

    :raises PollInvalidError: when something required is absent or not a number.
    """
    values = {name: found[0] for name, found in parse_qs(query).items()}
    node, boot = headers.get(NODE_HEADER.lower(), ""), headers.get(BOOT_HEADER.lower(), "")
    if not (0 < len(node) <= _MAX_NAME_CHARS and 0 < len(boot) <= _MAX_NAME_CHARS):
        raise PollInvalidError
    return Poll(
        node=node,
        boot=boot,
        worker=_number(headers.get(WORKER_HEADER.lower(), "0"), digits=_WORKER_DIGITS),
        after=_number(values.get("after", "0")),
        refused=_number(values["refused"]) if "refused" in values else None,
        reason=values.get("reason", "").replace("\0", ""),  # as the database holds no NUL
    )


def _number(text: str, *, digits: int = 18) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= digits):
        raise PollInvalidError
    return int(text)


class Ticker:
    """Asks for the newest version every 100 ms while anyone waits, once for all of them."""

    def __init__(self, tick: Callable[[], Awaitable[int]], *, interval_s: float = _TICK_S) -> None:
        self._tick = tick
        self._interval_s = interval_s
        self._waiting = 0
        self._turn: asyncio.Future[int] | None = None
        self._task: asyncio.Task[None] | None = None

    async def other_than(self, known: frozenset[int], *, timeout_s: float) -> int | None:
        """Return the newest version once it is none of `known`; None after `timeout_s`."""
        self._waiting += 1
        try:
            async with asyncio.timeout(timeout_s):
                while True:
                    version = await asyncio.shield(self._next_turn())
                    if version and version not in known:
                        return version
        except TimeoutError:
            return None
        finally:
            self._waiting -= 1

    def _next_turn(self) -> "asyncio.Future[int]":
        if self._turn is None:
            self._turn = asyncio.get_running_loop().create_future()
        if self._task is None:
            self._task = asyncio.create_task(self._run())
        return self._turn

    async def _run(self) -> None:
        try:
            while self._waiting:
                version = await self._tick()
                turn, self._turn = self._turn, None
                if turn is not None:
                    turn.set_result(version)
                await asyncio.sleep(self._interval_s)
        finally:
            self._task = None


class SnapshotDoor:
    """The ASGI application that gateways poll."""

    def __init__(self, *, token: str, max_wait_s: float = MAX_POLL_S) -> None:
        self._token = token
        self._max_wait_s = max_wait_s
        self._threads = ThreadPoolExecutor(max_workers=2, thread_name_prefix="snapshot")
        self._ticker = Ticker(self._newest)
        self._body: tuple[int, bytes] = (0, b"")
        self._last_version = 0

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        headers = {
            name.decode("latin-1").lower(): v.decode("latin-1") for name, v in scope["headers"]
        }
        refusal = self._refusal(scope["method"], headers.get("authorization", ""))
        if refusal:
            await _send_problem(send, refusal)
            return
        try:
            poll = parse_poll(headers, scope.get("query_string", b"").decode("latin-1"))
        except PollInvalidError:
            await _send_problem(send, 400)
            return
        await self._in_thread(lambda: _record(poll))
        version = await self._wait(poll, receive)
        if version is None:
            await _send_answer(send, 204, b"")
        else:
            await _send_answer(send, 200, await self._document(version))

    def _refusal(self, method: str, authorization: str) -> int:
        if not self._token:
            return 503
        expected = f"Bearer {self._token}".encode()
        if not hmac.compare_digest(authorization.encode("latin-1"), expected):
            return 401
        return 0 if method == "GET" else 405

    async def _wait(self, poll: Poll, receive: Receive) -> int | None:
        """Wait for a version, or for the gateway to hang up."""
        known = frozenset(v for v in (poll.after, poll.refused) if v)
        waiting = asyncio.ensure_future(self._ticker.other_than(known, timeout_s=self._max_wait_s))
        gone = asyncio.ensure_future(_hung_up(receive))
        try:
            await asyncio.wait({waiting, gone}, return_when=asyncio.FIRST_COMPLETED)
            return waiting.result() if waiting.done() else None
        finally:
            waiting.cancel()
            gone.cancel()

    async def _newest(self) -> int:
        """Publish what is due and return the newest version; the last one while the database is
        away, so that waiting gateways keep what they hold."""
        try:
            self._last_version = await self._in_thread(_publish_due)
        except DatabaseError:
            _log.exception("the newest snapshot version cannot be read")
        return self._last_version

    async def _document(self, version: int) -> bytes:
        if self._body[0] != version:
            self._body = (version, await self._in_thread(lambda: _read_document(version)))
        return self._body[1]

    async def _in_thread(self, work: Callable[[], Result]) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._threads, _with_fresh(work))


def _with_fresh(work: Callable[[], Result]) -> Callable[[], Result]:
    """Run `work` between the checks that Django makes around a request's connections."""

    def run() -> Result:
        close_old_connections()
        try:
            return work()
        finally:
            close_old_connections()

    return run


def _publish_due() -> int:
    now = clock.now()
    state = snapshot_state()
    return snapshot_publish(now=now) if snapshot_due(state, now=now) else state.version


def _record(poll: Poll) -> None:
    node_poll_record(
        node_id=poll.node,
        boot=poll.boot,
        worker=poll.worker,
        acknowledged_version=poll.after,
        refused_version=poll.refused,
        refused_reason=poll.reason,
        now=clock.now(),
        wall=clock.wall_now(),
    )


def _read_document(version: int) -> bytes:
    """Return the stored document's text, or the newest one's when it has been dropped since."""
    rows = SnapshotVersion.objects.filter(version__gte=version).order_by("version")
    text: str = rows.values_list(Cast("document", TextField()), flat=True)[0]
    return text.encode()


async def _hung_up(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _send_problem(send: Send, status: int) -> None:
    code, detail = POLL_PROBLEMS[status]
    body = {"type": f"/docs/errors#{code}", "status": status, "code": code, "detail": detail}
    await _send_answer(send, status, json.dumps(body).encode(), kind=b"application/problem+json")


async def _send_answer(
    send: Send, status: int, body: bytes, *, kind: bytes = b"application/json"
) -> None:
    headers = [(b"content-type", kind), (b"cache-control", b"no-store")]
    if status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    if status != 204:
        headers.append((b"content-length", str(len(body)).encode()))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
