"""Answers that are ours: problem documents, and what the logs keep of a refusal.

With a known credential a refusal is an event (or part of a roll-up); before that it is an entry
of the bounded auth log and a metric, never a line in the spool (`gateway.md` §1).
"""

import logging
from collections.abc import Sequence
from email.utils import formatdate
from typing import Final

from gateway.contracts.problems import PROBLEMS
from gateway.core.compile import Compiled
from gateway.core.decision import Deny
from gateway.core.events import WhoText
from gateway.core.problems import CONTENT_TYPE, problem_body
from gateway.core.refusals import RefusalMeter
from gateway.errors import SpoolFullError
from gateway.exchange import Exchange
from gateway.metrics import AuthEntry, Stats
from gateway.ports import Admission
from gateway.turn import Journal, Turn

_log = logging.getLogger(__name__)
_EDGE_CODES: Final = frozenset(
    ("request_malformed", "target_refused", "target_too_long", "headers_too_large")
)
_MAX_PATH_CHARS: Final = 200


def answer_problem(
    client: Exchange, compiled: Compiled, deny: Deny, *, request_id: str,
    lines: Sequence[bytes] = (), retry_after_s: int | None = None, policies: Sequence[str] = (),
) -> None:  # fmt: skip
    """Write a problem document; `lines` are more header lines."""
    problem = PROBLEMS[deny.code]
    extra: dict[str, object] = {}
    if policies:
        extra["violated-policies"] = list(policies)
    if deny.upgrade_url and problem.status in (402, 403, 429):
        extra["upgrade_url"] = deny.upgrade_url
    if retry_after_s is None and problem.status == 503:
        retry_after_s = 1
    body = problem_body(
        problem, docs_url=compiled.options.docs_url, request_id=request_id,
        instance=client.target.partition("?")[0], detail=deny.detail, extra=extra,
    )  # fmt: skip
    head = [
        *lines,
        b"Content-Type: %b\r\nCache-Control: no-store\r\n" % CONTENT_TYPE,
        own_lines(request_id),
    ]
    if problem.status == 401:
        head.append(f'WWW-Authenticate: ApiKey realm="{compiled.options.realm}"\r\n'.encode())
    if deny.allow:
        head.append(f"Allow: {deny.allow}\r\n".encode())
    if retry_after_s is not None:
        head.append(f"Retry-After: {retry_after_s}\r\n".encode())
    no_body = client.method == "HEAD"
    client.start(problem.status, head, length=len(body), body=body, no_body=no_body, ends=True)


def own_lines(request_id: str) -> bytes:
    """Return the lines of every answer that comes from no upstream."""
    return f"Date: {formatdate(usegmt=True)}\r\nX-Request-Id: {request_id}\r\n".encode()


class Refuser:
    """Refuses, and keeps the books about it."""

    def __init__(self, *, journal: Journal, stats: Stats) -> None:
        self._journal = journal
        self._stats = stats
        self._meter = RefusalMeter()
        self._held: dict[str, Admission] = {}  # credential id -> holds the watermark

    def refuse_unknown(
        self, client: Exchange, compiled: Compiled, deny: Deny, *, request_id: str, ip: str = ""
    ) -> None:
        """Refuse before a credential is known."""
        self._stats.refused_unknown[deny.code] += 1
        path = client.target.partition("?")[0][:_MAX_PATH_CHARS]
        now_us = self._journal.clock.now_us()
        self._stats.auth_log.append(
            AuthEntry(now_us, ip or client.hop.peer, path, deny.code, deny.reason, deny.shown)
        )
        if deny.code in _EDGE_CODES:
            client.keep_alive = False
        answer_problem(client, compiled, deny, request_id=request_id)

    async def refuse(
        self, turn: Turn, deny: Deny, *, lines: Sequence[bytes] = (),
        retry_after_s: int | None = None, policies: Sequence[str] = (),
    ) -> None:  # fmt: skip
        """Refuse a request that passed the edge; the event is durable before the answer."""
        if deny.who is None or deny.caller is None:
            self.refuse_unknown(
                turn.client, turn.compiled, deny, request_id=turn.request_id,
                ip=turn.facts.client_ip,
            )  # fmt: skip
            return
        self._stats.requests[deny.who.who.route, deny.code, PROBLEMS[deny.code].status] += 1
        now_us = turn.admission.admitted_us
        if self._meter.note(deny.who.who, deny.code, now_us=now_us):
            await self._write(turn, deny, deny.who)
        elif deny.who.who.credential_id not in self._held:
            self._held[deny.who.who.credential_id] = turn.admission
            turn.is_open = False
        answer_problem(
            turn.client, turn.compiled, deny, request_id=turn.request_id, lines=lines,
            retry_after_s=retry_after_s, policies=policies,
        )  # fmt: skip

    async def _write(self, turn: Turn, deny: Deny, who: WhoText) -> None:
        record = self._journal.record(turn, who)
        record.decision, record.status = deny.code, PROBLEMS[deny.code].status
        try:
            seq = self._journal.append(turn, record)
        except SpoolFullError:
            _log.warning("no room in the spool for the event of a refusal")
            return
        await self._journal.spool.durable(seq)

    def flush(self, *, everything: bool = False) -> None:
        """Write the roll-ups of the seconds that are over; called each second by a timer."""
        now_us = self._journal.clock.now_us()
        for rollup in self._meter.collect(now_us=now_us, everything=everything):
            admission = self._held.pop(rollup.who.credential_id, None)
            try:
                self._journal.append_refusals(rollup, admission)
            except SpoolFullError:
                _log.warning("no room in the spool for %d refusals", sum(rollup.counts.values()))
                if admission is not None:
                    self._journal.spool.abandon(admission)
