"""Dispatch: an admitted request goes to its upstream, and the answer comes down.

The `request` event is appended when the upstream's head is known (or will not come), a free
outcome's units go back, and only then does a byte leave for the client.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final

from gateway.adapters.upstream import CLIENT_GONE, Call, UpstreamClient
from gateway.adapters.upstream_connection import UpstreamConnection
from gateway.contracts.problems import PROBLEMS
from gateway.contracts.snapshot import Outcome
from gateway.core.charges import Level
from gateway.core.compile import Admit, Cost, failure_cost
from gateway.core.decision import Deny
from gateway.core.events import RequestRecord
from gateway.core.limit_headers import level_lines, returned_levels
from gateway.core.request_head import request_head
from gateway.core.settle import outcome_of
from gateway.errors import SpoolFullError, UpstreamError
from gateway.exchange import BodyError, Exchange
from gateway.metrics import Stats
from gateway.ports import Quota
from gateway.refusing import answer_problem
from gateway.turn import Journal, Turn

_log = logging.getLogger(__name__)
_CLOSED_REQUEST: Final = 499  # in the log only: nobody is there to be answered
_BODY_CODES: Final = frozenset(("request_malformed", "body_too_large", "request_timeout"))
_LAST_CHUNK: Final = b"0\r\n\r\n"
_SLICE_US: Final = 60_000_000
Levels = tuple[Level, ...]


def denial(admit: Admit, code: str, *, upgrade: bool = True) -> Deny:
    """Build the refusal of a request whose route and caller are known."""
    offers = upgrade and admit.entitlement is not None
    url = admit.entitlement.upgrade_url if offers and admit.entitlement is not None else ""
    return Deny(code=code, caller=admit.caller, who=admit.who, route=admit.route, upgrade_url=url)


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


class Forwarder:
    """Forwards admitted turns."""

    def __init__(
        self, *, journal: Journal, quota: Quota, upstreams: UpstreamClient, stats: Stats
    ) -> None:
        self._journal = journal
        self._quota = quota
        self._upstreams = upstreams
        self._stats = stats

    async def forward(self, turn: Turn, admit: Admit, levels: Levels, body: bytes | None) -> None:
        """Call the upstream and answer; `body` is None when it is still coming.

        :raises SpoolFullError: before anything was answered or settled.
        """
        record = self._journal.record(turn, admit.who)
        call = self._call(turn, admit, record, body)
        client = turn.client
        client.on_gone = call.client_gone
        if client.gone:
            call.client_gone()
        sent_s = self._journal.clock.mono_s()
        try:
            head = await self._upstreams.open(call)
        except UpstreamError as error:
            client.on_gone = None
            await self._fail(turn, admit, record, error, levels)
            return
        record.upstream_latency_us = self._journal.since(sent_s)
        self._stats.upstream_latency.add(record.upstream_latency_us)
        record.status = record.upstream_status = head.status
        try:
            await self._pass_down(turn, admit, record, call, levels)
        finally:
            client.on_gone = None
            self._upstreams.release(call)

    def _call(self, turn: Turn, admit: Admit, record: RequestRecord, body: bytes | None) -> Call:
        facts, route = turn.facts, admit.route.route
        upstream = admit.route.upstream
        call = Call(
            upstream=upstream,
            method=facts.method,
            head=lambda target: request_head(
                admit, facts, target, hop=turn.client.hop, request_id=turn.request_id,
                trace_lines=turn.trace.lines,
            ),
            body=body,
            read_s=(route.read_timeout_ms or upstream.upstream.read_timeout_ms) / 1000,
        )  # fmt: skip
        if body is None:
            call.send_body = self._body_sender(turn, admit, record)
            return call
        record.request_bytes = len(body)
        if facts.body_length is None:  # chunked stays chunked
            call.body = _chunk(body) + _LAST_CHUNK if body else _LAST_CHUNK
        return call

    def _body_sender(
        self, turn: Turn, admit: Admit, record: RequestRecord
    ) -> Callable[[UpstreamConnection], Awaitable[None]]:
        client, route = turn.client, admit.route
        send_s = route.upstream.upstream.send_timeout_ms / 1000
        is_chunked = turn.facts.body_length is None
        cap = route.route.max_body_bytes

        async def send(connection: UpstreamConnection) -> None:
            if turn.facts.headers.expects_continue:
                client.send_continue()
            passed = 0
            try:
                connection.await_client()
                while data := await client.read_body():
                    passed += len(data)
                    record.request_bytes += len(data)
                    if passed > cap:
                        raise BodyError("body_too_large")
                    connection.write(_chunk(data) if is_chunked else data)
                    await connection.drain(send_s=send_s)
                    connection.await_client()
                if is_chunked:
                    connection.write(_LAST_CHUNK)
                connection.await_answer()
            except BodyError as error:
                connection.fail(UpstreamError(error.code, "the client's body", sent=True))
            except UpstreamError:
                return  # whoever waits for the answer has it too

        return send

    async def _fail(
        self, turn: Turn, admit: Admit, record: RequestRecord, error: UpstreamError,
        levels: Levels,
    ) -> None:  # fmt: skip
        """Answer for an upstream that did not; the units go back."""
        client = turn.client
        gone = error.code == CLIENT_GONE or client.gone
        cost = admit.costs[Outcome.ABORTED] if gone else failure_cost(error.code)
        record.status = _CLOSED_REQUEST if gone else PROBLEMS[error.code].status
        record.cost, record.aborted = cost.text, gone
        record.latency_us = self._journal.since(turn.started_s)
        self._stats.upstream_failures[admit.who.who.route, error.code] += 1
        levels = await self._settle(turn, admit, record, cost, levels)
        if gone:
            client.keep_alive = False
            return
        if error.code in _BODY_CODES:
            client.keep_alive = False
        answer_problem(
            client, turn.compiled, denial(admit, error.code), request_id=turn.request_id,
            lines=limit_lines(turn, admit, levels),
        )  # fmt: skip

    async def _settle(
        self, turn: Turn, admit: Admit, record: RequestRecord, cost: Cost, levels: Levels
    ) -> Levels:
        """Append the event, give a free outcome's units back, and wait until it is durable."""
        seq = self._journal.append(turn, record)
        turn.is_settled = True
        self._stats.requests[record.who.who.route, record.decision, record.status] += 1
        self._stats.latency.add(record.latency_us)
        self._stats.request_bytes += record.request_bytes
        record.request_bytes = 0  # what still comes of the body goes into the next event
        if cost.settlement.returned and levels and admit.windows:
            await self._quota.give_back(admit.windows)
            levels = returned_levels(admit.charges, levels)
        await self._journal.spool.durable(seq)
        return levels

    async def _pass_down(
        self, turn: Turn, admit: Admit, record: RequestRecord, call: Call, levels: Levels
    ) -> None:
        """Write the event, then the answer, as it comes."""
        client, connection = turn.client, call.connection
        if connection is None or connection.head_seen is None:
            raise UpstreamError("upstream_protocol_error", "no connection", sent=True)
        headers = connection.head_seen.headers
        cost = admit.costs[outcome_of(record.status)]
        record.cost = cost.text
        no_body = turn.facts.method == "HEAD" or record.status in (204, 304)
        is_whole = connection.complete
        body = connection.take() if is_whole and not no_body else b""
        record.response_bytes = len(body)
        record.latency_us = self._journal.since(turn.started_s)
        levels = await self._settle(turn, admit, record, cost, levels)
        lines = [
            *headers.lines,
            f"X-Request-Id: {turn.request_id}\r\nVia: 1.1 tollway\r\n".encode(),
            *limit_lines(turn, admit, levels),
        ]
        length = headers.length if record.status != 204 else None  # RFC 9110: a 204 tells none
        if length is None and is_whole and not no_body and not headers.chunked:
            length = len(body)
        client.start(
            record.status, lines, length=length, body=body, no_body=no_body, ends=is_whole
        )
        if is_whole:
            self._stats.response_bytes += len(body)
        else:
            await self._stream(client, record, connection, turn.started_s)

    async def _stream(
        self, client: Exchange, record: RequestRecord, connection: UpstreamConnection,
        started_s: float,
    ) -> None:  # fmt: skip
        """Pass a body on piece by piece; a `response_end` every minute, and one at the end."""
        slice_from_s, slice_from_bytes, cut = started_s, 0, False
        try:
            while data := await connection.read():
                await client.write(data)
                if client.gone:
                    break
                if self._journal.since(slice_from_s) >= _SLICE_US and self._end_slice(
                    record, client.written - slice_from_bytes, slice_from_s
                ):
                    slice_from_s, slice_from_bytes = self._journal.clock.mono_s(), client.written
                    record.slice_no += 1
            else:
                client.finish()
        except UpstreamError:
            client.abort()  # the client must see that the body is not whole
        except asyncio.CancelledError:
            cut = True  # the worker stops, and its grace is over
            raise
        finally:
            record.aborted = client.gone or cut
            self._stats.response_bytes += client.written
            self._end_slice(record, client.written - slice_from_bytes, slice_from_s)

    def _end_slice(self, record: RequestRecord, body_bytes: int, from_s: float) -> bool:
        """Write what went up and down since the last event; all slices add up to the bodies.

        False = there is no room; the next slice tells of it too.
        """
        record.response_bytes = body_bytes
        record.latency_us = self._journal.since(from_s)
        try:
            self._journal.append_end(record)
        except SpoolFullError:
            _log.warning("no room in the spool for the end of a response")
            return False
        self._stats.request_bytes += record.request_bytes
        record.request_bytes = 0
        return True


def limit_lines(turn: Turn, admit: Admit, levels: Levels) -> list[bytes]:
    """Build the header lines that tell where the caller stands; none without levels."""
    if not levels or not turn.compiled.options.show_limits:
        return []
    return [level_lines(admit.policies, levels), admit.policy_line]
