"""One request from first look to last byte, in the order of `gateway.md` §1.

Everything that decides is in `core`; this module asks it, takes the charges, calls the upstream,
writes the event and only then the answer. It knows the client as an `Exchange`, whatever lane
that came by.

Every admitted request ends in exactly one of three ways: its `request` event is appended (and the
units of a free outcome are given back), it is rolled up, or its admission is abandoned.
"""

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from email.utils import formatdate
from typing import Final

from gateway.adapters.upstream import CLIENT_GONE, Call, UpstreamClient, UpstreamConnection
from gateway.contracts.snapshot import Outcome
from gateway.core.addresses import TrustedProxies
from gateway.core.charges import BucketCharge, Level, Refused, StoreDown, Taken
from gateway.core.compile import Admit, Compiled, Cost, failure_cost
from gateway.core.decision import Deny, Facts, UsageQuery, decide, read_request
from gateway.core.events import EventEncoder, RequestRecord, WhoText
from gateway.core.headers import Role
from gateway.core.limit_headers import (
    level_lines,
    policy_name,
    refused_lines,
    returned_levels,
    whole_seconds,
)
from gateway.core.problems import CONTENT_TYPE, PROBLEMS, problem_body
from gateway.core.refusals import RefusalMeter
from gateway.core.request_head import request_head
from gateway.core.settle import outcome_of
from gateway.core.tracing import TRACE_BYTES, Trace, client_request_id, trace_of, uuid7
from gateway.core.usage_report import build_usage_report
from gateway.edge import BodyError, Exchange
from gateway.errors import SpoolFailedError, SpoolFullError, UpstreamError
from gateway.metrics import AuthEntry, Stats
from gateway.ports import Admission, Clock, Quota, Spool

_log = logging.getLogger(__name__)
_NOTHING_TAKEN: Final = Taken(())
_CLOSED_REQUEST: Final = 499  # in the log only: nobody is there to be answered
_EDGE_CODES: Final = frozenset(
    ("request_malformed", "target_refused", "target_too_long", "headers_too_large")
)
_BODY_CODES: Final = frozenset(("request_malformed", "body_too_large", "request_timeout"))


@dataclass(slots=True)
class Turn:
    """What belongs to one request while it is under way."""

    client: Exchange
    facts: Facts
    compiled: Compiled
    request_id: str
    trace: Trace
    started_s: float
    admission: Admission
    is_open: bool = True  # the admission still waits for its event
    is_settled: bool = False  # the event of an admitted request is written


class Proxy:
    """Serves exchanges. `compiled` is replaced as a whole when a snapshot is applied."""

    def __init__(
        self, *, clock: Clock, spool: Spool, quota: Quota, upstreams: UpstreamClient,
        stats: Stats, trusted: TrustedProxies, random_bytes: Callable[[int], bytes],
        on_fatal: Callable[[str], None],
    ) -> None:  # fmt: skip
        self.compiled: Compiled | None = None
        self._clock = clock
        self._spool = spool
        self._quota = quota
        self._upstreams = upstreams
        self._stats = stats
        self._trusted = trusted
        self._random = random_bytes
        self._on_fatal = on_fatal
        self._encoder = EventEncoder(spool.node)
        self._refusals = RefusalMeter()
        self._rolled_up: dict[str, Admission] = {}  # credential id -> what holds the watermark

    async def serve(self, client: Exchange) -> None:
        """Serve one exchange; whatever goes wrong inside is a 500, never a pass."""
        compiled = self.compiled
        if compiled is None:
            client.abort()
            return
        self._stats.in_flight += 1
        try:
            await self._serve(client, compiled)
        except SpoolFailedError as error:
            client.abort()
            self._on_fatal(str(error))
        except Exception:  # noqa: BLE001 - the outermost loop of a request
            _log.exception("policy error")
            self._stats.policy_errors += 1
            if client.started:
                client.abort()
            else:
                self._answer(client, compiled, Deny(code="policy_error"), self._new_id(), [])
        finally:
            self._stats.in_flight -= 1

    def _new_id(self) -> str:
        wall_us = self._clock.now_us() - self._offset_us()
        return uuid7(unix_ms=wall_us // 1000, randomness=int.from_bytes(self._random(10)))

    def _offset_us(self) -> int:
        return self.compiled.snapshot.clock_offset_us if self.compiled is not None else 0

    async def _serve(self, client: Exchange, compiled: Compiled) -> None:
        if client.parse_code:
            self._refuse_unknown(client, compiled, Deny(code=client.parse_code), self._new_id())
            return
        facts = read_request(
            compiled, method=client.method, target=client.target, raw=client.raw_headers,
            http_1_0=client.http_1_0,
        )  # fmt: skip
        if isinstance(facts, Deny):
            self._refuse_unknown(client, compiled, facts, self._new_id())
            return
        headers = facts.headers
        facts.client_ip = self._trusted.client_of(
            client.hop.peer, headers.values(Role.FORWARDED_FOR)
        )
        request_id = client_request_id(headers.values(Role.REQUEST_ID)) or self._new_id()
        trace = trace_of(
            headers.values(Role.TRACEPARENT), headers.values(Role.TRACESTATE),
            randomness=self._random(TRACE_BYTES),
        )  # fmt: skip
        admission = self._spool.admit(self._clock.now_us())
        turn = Turn(client, facts, compiled, request_id, trace, self._clock.mono_s(), admission)
        try:
            await self._decide(turn)
        finally:
            if turn.is_open:
                self._spool.abandon(admission)

    async def _decide(self, turn: Turn) -> None:
        decision = decide(turn.compiled, turn.facts, turn.admission.admitted_us)
        if isinstance(decision, Admit):
            await self._admit(turn, decision)
        elif isinstance(decision, Deny):
            await self._refuse(turn, decision)
        else:
            await self._answer_usage(turn, decision)

    # --- refusals

    def _refuse_unknown(
        self, client: Exchange, compiled: Compiled, deny: Deny, request_id: str, ip: str = ""
    ) -> None:
        """Refuse before a credential is known: metrics and the auth log, never the spool."""
        self._stats.refused_unknown[deny.code] += 1
        entry = AuthEntry(
            self._clock.now_us(), ip or client.hop.peer, client.target.partition("?")[0][:200],
            deny.code, deny.reason, deny.shown,
        )  # fmt: skip
        self._stats.auth_log.append(entry)
        if deny.code in _EDGE_CODES:
            client.keep_alive = False
        self._answer(client, compiled, deny, request_id, [])

    async def _refuse(self, turn: Turn, deny: Deny, lines: bytes = b"", **extra: object) -> None:
        """Refuse a request that passed the edge, with an event if the credential is known."""
        if deny.who is None or deny.caller is None:
            self._refuse_unknown(
                turn.client, turn.compiled, deny, turn.request_id, turn.facts.client_ip
            )
            return
        status = PROBLEMS[deny.code].status
        self._stats.requests[deny.who.who.route, deny.code, status] += 1
        now_us = turn.admission.admitted_us
        if self._refusals.note(deny.who.who, deny.code, now_us=now_us):
            record = self._record(turn, deny.who)
            record.decision, record.status = deny.code, status
            try:
                await self._spool.durable(self._append(turn, record))
            except SpoolFullError:
                _log.warning("no room in the spool for the event of a refusal")
        else:
            self._hold_roll_up(turn, deny.who)
        self._answer(turn.client, turn.compiled, deny, turn.request_id, [lines], **extra)

    def _hold_roll_up(self, turn: Turn, who: WhoText) -> None:
        """Keep one admission open per roll-up, so that no seal passes the event to come."""
        key = who.who.credential_id
        if key not in self._rolled_up:
            self._rolled_up[key] = turn.admission
            turn.is_open = False

    def flush_refusals(self, *, everything: bool = False) -> None:
        """Write the roll-ups of the seconds that are over; called each second by a timer."""
        now_us = self._clock.now_us()
        for rollup in self._refusals.collect(now_us=now_us, everything=everything):
            admission = self._rolled_up.pop(rollup.who.credential_id, None)
            at_us = admission.admitted_us if admission is not None else rollup.start_us
            tail = self._encoder.refusals(
                rollup.who, rollup.counts, at_us=at_us, to_us=max(now_us, at_us)
            )
            try:
                self._spool.append(tail, admission)
            except SpoolFullError:
                _log.warning("no room in the spool for %d refusals", sum(rollup.counts.values()))
                if admission is not None:
                    self._spool.abandon(admission)

    def _answer(
        self, client: Exchange, compiled: Compiled, deny: Deny, request_id: str,
        lines: list[bytes], **extra: object,
    ) -> None:  # fmt: skip
        """Write a problem document."""
        problem = PROBLEMS[deny.code]
        more: dict[str, object] = {key: value for key, value in extra.items() if value}
        retry_after = more.pop("retry_after_s", 1 if problem.status == 503 else None)
        if deny.upgrade_url and problem.status in (402, 403, 429):
            more["upgrade_url"] = deny.upgrade_url
        if "violated_policies" in more:
            more["violated-policies"] = more.pop("violated_policies")
        body = problem_body(
            problem, docs_url=compiled.options.docs_url, request_id=request_id,
            instance=client.target.partition("?")[0], detail=deny.detail, extra=more,
        )  # fmt: skip
        head = [
            *lines,
            b"Content-Type: %b\r\nCache-Control: no-store\r\n" % CONTENT_TYPE,
            b"Date: %b\r\n" % formatdate(usegmt=True).encode(),
            f"X-Request-Id: {request_id}\r\n".encode(),
        ]
        if problem.status == 401:
            head.append(f'WWW-Authenticate: ApiKey realm="{compiled.options.realm}"\r\n'.encode())
        if deny.allow:
            head.append(f"Allow: {deny.allow}\r\n".encode())
        if retry_after is not None:
            head.append(f"Retry-After: {retry_after}\r\n".encode())
        no_body = client.method == "HEAD"
        client.start(problem.status, head, length=len(body), body=body, no_body=no_body, ends=True)

    # --- limits

    async def _admit(self, turn: Turn, admit: Admit) -> None:
        if not self._spool.has_room():
            await self._refuse(turn, self._denial(admit, "metering_unavailable"))
            return
        taken = _NOTHING_TAKEN
        if admit.charges:
            answer = await self._quota.take(admit.charges, now_us=turn.admission.admitted_us)
            if isinstance(answer, Taken):
                taken = answer
            elif not await self._goes_on(turn, admit, answer):
                return
        try:
            if taken.crossed:
                self._note_thresholds(turn, admit, taken)
            await self._forward(turn, admit, taken.levels)
        except SpoolFullError:
            await self._refuse(turn, self._denial(admit, "metering_unavailable"))
        finally:
            if taken.levels and not turn.is_settled:  # no event says so: nothing may stay taken
                await self._quota.give_back(admit.windows)

    def _denial(self, admit: Admit, code: str, detail: str = "") -> Deny:
        url = admit.entitlement.upgrade_url if admit.entitlement is not None else ""
        return Deny(
            code=code, detail=detail, caller=admit.caller, who=admit.who, route=admit.route,
            upgrade_url=url,
        )  # fmt: skip

    async def _goes_on(self, turn: Turn, admit: Admit, answer: Refused | StoreDown) -> bool:
        """Answer a refusal; True = the store is down and the plan stays open."""
        if isinstance(answer, StoreDown):
            self._stats.quota_store_down += 1
            if admit.fail_open:
                self._stats.fail_open += 1
                return True
            await self._refuse(turn, self._denial(admit, "quota_unavailable"))
            return False
        charge = admit.charges[answer.index]
        name = policy_name(charge)
        self._stats.throttles[name] += 1
        retry_after_s = max(1, whole_seconds(answer.retry_after_us))
        code = "rate_limited" if isinstance(charge, BucketCharge) else "quota_exceeded"
        lines = b""
        if turn.compiled.options.show_limits:
            lines = refused_lines(charge, retry_after_s=retry_after_s) + admit.policy_line
        deny = self._denial(admit, code)
        if isinstance(charge, BucketCharge):
            deny = replace(deny, upgrade_url="")
        await self._refuse(
            turn, deny, lines, retry_after_s=retry_after_s, violated_policies=[name]
        )
        return False

    def _note_thresholds(self, turn: Turn, admit: Admit, taken: Taken) -> None:
        for index, percent in taken.crossed:
            charge = admit.charges[index]
            if not isinstance(charge, BucketCharge) and admit.entitlement is not None:
                tail = self._encoder.threshold(
                    admit.entitlement, charge, percent, at_us=turn.admission.admitted_us
                )
                self._spool.append(tail)

    # --- dispatch

    async def _forward(self, turn: Turn, admit: Admit, levels: tuple[Level, ...]) -> None:
        client, facts = turn.client, turn.facts
        upstream = admit.route.upstream
        body = client.whole_body()
        record = self._record(turn, admit.who)
        read_ms = admit.route.route.read_timeout_ms or upstream.upstream.read_timeout_ms
        call = Call(
            upstream=upstream,
            method=facts.method,
            head=lambda target: request_head(
                admit, facts, target, hop=client.hop, request_id=turn.request_id,
                trace_lines=turn.trace.lines,
            ),
            body=body,
            read_s=read_ms / 1000,
        )  # fmt: skip
        if body is None:
            call.send_body = self._body_sender(turn, admit, record)
        else:
            record.request_bytes = len(body)
        client.on_gone = call.client_gone
        if client.gone:
            call.client_gone()
        sent_s = self._clock.mono_s()
        try:
            head = await self._upstreams.open(call)
        except UpstreamError as error:
            await self._fail(turn, admit, record, error, levels)
            return
        record.upstream_latency_us = self._since(sent_s)
        self._stats.upstream_latency.add(record.upstream_latency_us)
        record.status = record.upstream_status = head.status
        try:
            await self._pass_down(turn, admit, record, call, levels)
        finally:
            client.on_gone = None
            self._upstreams.release(call)

    def _body_sender(
        self, turn: Turn, admit: Admit, record: RequestRecord
    ) -> Callable[[UpstreamConnection], Awaitable[None]]:
        client, route = turn.client, admit.route
        send_s = route.upstream.upstream.send_timeout_ms / 1000
        chunked = turn.facts.body_length is None
        cap = route.route.max_body_bytes

        async def send(connection: UpstreamConnection) -> None:
            if turn.facts.headers.expects_continue:
                client.send_continue()
            try:
                while data := await client.read_body():
                    record.request_bytes += len(data)
                    if record.request_bytes > cap:
                        raise BodyError("body_too_large")
                    connection.write(b"%x\r\n%b\r\n" % (len(data), data) if chunked else data)
                    await connection.drain(send_s=send_s)
                if chunked:
                    connection.write(b"0\r\n\r\n")
            except BodyError as error:
                connection.fail(UpstreamError(error.code, "the client's body", sent=True))
            except UpstreamError:
                return  # whoever waits for the answer has it too

        return send

    async def _fail(
        self, turn: Turn, admit: Admit, record: RequestRecord, error: UpstreamError,
        levels: tuple[Level, ...],
    ) -> None:  # fmt: skip
        """Answer for an upstream that did not; the units go back."""
        client = turn.client
        client.on_gone = None
        gone = error.code == CLIENT_GONE or client.gone
        cost = admit.costs[Outcome.ABORTED] if gone else failure_cost(error.code)
        record.status = _CLOSED_REQUEST if gone else PROBLEMS[error.code].status
        record.cost, record.aborted = cost.text, gone
        record.latency_us = self._since(turn.started_s)
        self._stats.upstream_failures[admit.who.who.route, error.code] += 1
        levels = await self._settle(turn, admit, record, cost, levels)
        if gone:
            client.keep_alive = False
            return
        if error.code in _BODY_CODES:
            client.keep_alive = False
        lines = self._limit_lines(turn, admit, levels)
        self._answer(
            client, turn.compiled, self._denial(admit, error.code), turn.request_id, lines
        )

    async def _settle(
        self, turn: Turn, admit: Admit, record: RequestRecord, cost: Cost,
        levels: tuple[Level, ...],
    ) -> tuple[Level, ...]:  # fmt: skip
        """Append the event, give a free outcome's units back, and wait until it is durable."""
        seq = self._append(turn, record)
        turn.is_settled = True
        self._stats.requests[record.who.who.route, record.decision, record.status] += 1
        self._stats.latency.add(record.latency_us)
        if cost.settlement.returned and levels:
            windows = admit.windows
            if windows:
                await self._quota.give_back(windows)
                levels = returned_levels(admit.charges, levels)
        await self._spool.durable(seq)
        return levels

    async def _pass_down(
        self, turn: Turn, admit: Admit, record: RequestRecord, call: Call,
        levels: tuple[Level, ...],
    ) -> None:  # fmt: skip
        """Write the event, then the answer, as it comes."""
        client, connection = turn.client, call.connection
        if connection is None or connection.head_seen is None:
            raise UpstreamError("upstream_protocol_error", "no connection", sent=True)
        headers = connection.head_seen.headers
        cost = admit.costs[outcome_of(record.status)]
        record.cost = cost.text
        no_body = turn.facts.method == "HEAD" or record.status in (204, 304)
        whole = connection.complete
        body = connection.take() if whole and not no_body else b""
        record.response_bytes = len(body)
        record.latency_us = self._since(turn.started_s)
        levels = await self._settle(turn, admit, record, cost, levels)
        lines = [
            *headers.lines,
            f"X-Request-Id: {turn.request_id}\r\nVia: 1.1 tollway\r\n".encode(),
            *self._limit_lines(turn, admit, levels),
        ]
        length = headers.length
        if length is None and whole and not no_body and not headers.chunked:
            length = len(body)
        client.start(record.status, lines, length=length, body=body, no_body=no_body, ends=whole)
        self._stats.request_bytes += record.request_bytes
        if whole:
            self._stats.response_bytes += len(body)
        else:
            await self._stream(turn, record, connection)

    async def _stream(
        self, turn: Turn, record: RequestRecord, connection: UpstreamConnection
    ) -> None:
        """Pass a body on piece by piece, and write its `response_end`."""
        client = turn.client
        try:
            while data := await connection.read():
                await client.write(data)
                if client.gone:
                    break
            else:
                client.finish()
        except UpstreamError:
            client.abort()  # the client must see that the body is not whole
        record.response_bytes = client.written
        record.aborted = client.gone
        record.latency_us = self._since(turn.started_s)
        self._stats.response_bytes += client.written
        now_us = self._clock.now_us()
        admission = self._spool.admit(now_us)
        tail = self._encoder.response_end(
            record, finished_us=max(now_us, admission.admitted_us), at_us=admission.admitted_us
        )
        try:
            self._spool.append(tail, admission)
        except SpoolFullError:
            self._spool.abandon(admission)
            _log.warning("no room in the spool for the end of a response")

    def _limit_lines(self, turn: Turn, admit: Admit, levels: tuple[Level, ...]) -> list[bytes]:
        if not levels or not turn.compiled.options.show_limits:
            return []
        return [level_lines(admit.charges, levels, admit.quotas), admit.policy_line]

    # --- events

    def _since(self, started_s: float) -> int:
        return int((self._clock.mono_s() - started_s) * 1_000_000)

    def _record(self, turn: Turn, who: WhoText) -> RequestRecord:
        facts = turn.facts
        return RequestRecord(
            who=who,
            admitted_us=turn.admission.admitted_us,
            request_id=turn.request_id,
            method=facts.method,
            client_ip=facts.client_ip,
            user_agent=facts.headers.user_agent,
            trace_id=turn.trace.trace_id,
        )

    def _append(self, turn: Turn, record: RequestRecord) -> int:
        finished_us = max(self._clock.now_us(), record.admitted_us)
        seq = self._spool.append(
            self._encoder.request(record, finished_us=finished_us), turn.admission
        )
        turn.is_open = False
        return seq

    # --- own usage

    async def _answer_usage(self, turn: Turn, query: UsageQuery) -> None:
        """Answer `GET /me/usage`: free, reads only, the same numbers as the headers."""
        levels: list[tuple[Level, ...]] = []
        for line in query.lines:
            answer = await self._quota.peek(line.charges, now_us=turn.admission.admitted_us)
            if isinstance(answer, StoreDown):
                self._stats.quota_store_down += 1
                deny = Deny(
                    code="quota_unavailable", caller=query.caller, who=query.caller.who_text
                )
                await self._refuse(turn, deny)
                return
            levels.append(answer.levels)
        body = build_usage_report(query, levels, now_us=turn.admission.admitted_us)
        head = [
            b"Content-Type: application/json\r\nCache-Control: no-store\r\n",
            b"Date: %b\r\n" % formatdate(usegmt=True).encode(),
            f"X-Request-Id: {turn.request_id}\r\n".encode(),
        ]
        no_body = turn.facts.method == "HEAD"
        turn.client.start(200, head, length=len(body), body=body, no_body=no_body, ends=True)
