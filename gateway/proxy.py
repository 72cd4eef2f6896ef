"""One request from first look to last byte, in the order of `gateway.md` §1.

Everything that decides is in `core`; this module asks it, takes the charges all at once, and
hands over to `forwarding` or `refusing`. It knows the client as an `Exchange`, whatever lane that
came by.
"""

import logging
from collections.abc import Callable
from typing import Final

from gateway.adapters.upstream import UpstreamClient
from gateway.core.addresses import TrustedProxies
from gateway.core.charges import BucketCharge, Level, Refused, StoreDown, Taken
from gateway.core.compile import Admit, Compiled
from gateway.core.decision import Deny, UsageQuery, decide, read_request
from gateway.core.headers import Role
from gateway.core.limit_headers import policy_name, refused_lines, whole_seconds
from gateway.core.tracing import TRACE_BYTES, client_request_id, trace_of, uuid7
from gateway.core.usage_report import build_usage_report
from gateway.errors import SpoolFailedError, SpoolFullError
from gateway.exchange import Exchange
from gateway.forwarding import Forwarder, denial
from gateway.metrics import Stats
from gateway.ports import Clock, Quota, Spool
from gateway.refusing import Refuser, answer_problem, own_lines
from gateway.turn import Journal, Turn

_log = logging.getLogger(__name__)
_NOTHING_TAKEN: Final = Taken(())
_ID_BYTES: Final = 10


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
        self._stats = stats
        self._trusted = trusted
        self._random = random_bytes
        self._on_fatal = on_fatal
        self._journal = Journal(clock=clock, spool=spool)
        self._refuser = Refuser(journal=self._journal, stats=stats)
        self._forwarder = Forwarder(
            journal=self._journal, quota=quota, upstreams=upstreams, stats=stats
        )

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
                deny = Deny(code="policy_error")
                answer_problem(client, compiled, deny, request_id=self._new_id(compiled))
        finally:
            self._stats.in_flight -= 1

    def flush_refusals(self, *, everything: bool = False) -> None:
        """Write the roll-ups that are due; called each second by a timer."""
        self._refuser.flush(everything=everything)

    def _new_id(self, compiled: Compiled) -> str:
        wall_us = self._clock.now_us() - compiled.snapshot.clock_offset_us
        return uuid7(unix_ms=wall_us // 1000, randomness=int.from_bytes(self._random(_ID_BYTES)))

    async def _serve(self, client: Exchange, compiled: Compiled) -> None:
        facts = (
            Deny(code=client.parse_code)
            if client.parse_code
            else read_request(
                compiled, method=client.method, target=client.target, raw=client.raw_headers,
                http_1_0=client.http_1_0,
            )
        )  # fmt: skip
        if isinstance(facts, Deny):
            self._refuser.refuse_unknown(
                client, compiled, facts, request_id=self._new_id(compiled)
            )
            return
        headers = facts.headers
        facts.client_ip = self._trusted.client_of(
            client.hop.peer, headers.values(Role.FORWARDED_FOR)
        )
        trace = trace_of(
            headers.values(Role.TRACEPARENT), headers.values(Role.TRACESTATE),
            randomness=self._random(TRACE_BYTES),
        )  # fmt: skip
        request_id = client_request_id(headers.values(Role.REQUEST_ID)) or self._new_id(compiled)
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
            await self._refuser.refuse(turn, decision)
        else:
            await self._answer_usage(turn, decision)

    async def _admit(self, turn: Turn, admit: Admit) -> None:
        """Take what the request costs, and forward it; whatever fails leaves nothing taken."""
        body = turn.client.whole_body()
        if body is not None and len(body) > admit.route.route.max_body_bytes:
            await self._refuser.refuse(turn, denial(admit, "body_too_large", upgrade=False))
            return
        if not self._spool.has_room():
            await self._refuser.refuse(turn, denial(admit, "metering_unavailable"))
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
            await self._forwarder.forward(turn, admit, taken.levels, body)
        except SpoolFullError:
            await self._refuser.refuse(turn, denial(admit, "metering_unavailable"))
        finally:
            if taken.levels and not turn.is_settled:  # no event says so: nothing may stay taken
                await self._quota.give_back(admit.windows)

    async def _goes_on(self, turn: Turn, admit: Admit, answer: Refused | StoreDown) -> bool:
        """Answer a refusal; True = the store is down and the plan stays open."""
        if isinstance(answer, StoreDown):
            self._stats.quota_store_down += 1
            if admit.fail_open:
                self._stats.fail_open += 1
                return True
            await self._refuser.refuse(turn, denial(admit, "quota_unavailable"))
            return False
        charge = admit.charges[answer.index]
        name = policy_name(charge)
        self._stats.throttles[name] += 1
        retry_after_s = max(1, whole_seconds(answer.retry_after_us))
        lines: list[bytes] = []
        if turn.compiled.options.show_limits:
            lines = [refused_lines(charge, retry_after_s=retry_after_s), admit.policy_line]
        is_rate = isinstance(charge, BucketCharge)
        code = "rate_limited" if is_rate else "quota_exceeded"
        await self._refuser.refuse(
            turn, denial(admit, code, upgrade=not is_rate), lines=lines,
            retry_after_s=retry_after_s, policies=[name],
        )  # fmt: skip
        return False

    def _note_thresholds(self, turn: Turn, admit: Admit, taken: Taken) -> None:
        for index, percent in taken.crossed:
            charge = admit.charges[index]
            if not isinstance(charge, BucketCharge) and admit.entitlement is not None:
                self._journal.append_threshold(turn, admit.entitlement, charge, percent)

    async def _answer_usage(self, turn: Turn, query: UsageQuery) -> None:
        """Answer `GET /me/usage`: free, reads only, the same numbers as the headers."""
        levels: list[tuple[Level, ...]] = []
        for line in query.lines:
            answer = await self._quota.peek(line.charges, now_us=turn.admission.admitted_us)
            if isinstance(answer, StoreDown):
                self._stats.quota_store_down += 1
                who = query.caller.who_text
                deny = Deny(code="quota_unavailable", caller=query.caller, who=who)
                await self._refuser.refuse(turn, deny)
                return
            levels.append(answer.levels)
        body = build_usage_report(query, levels, now_us=turn.admission.admitted_us)
        head = [
            b"Content-Type: application/json\r\nCache-Control: no-store\r\n",
            own_lines(turn.request_id),
        ]
        no_body = turn.facts.method == "HEAD"
        turn.client.start(200, head, length=len(body), body=body, no_body=no_body, ends=True)
