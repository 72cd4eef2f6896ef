"""One request under way, and the journal that writes its events.

Every turn ends in exactly one of three ways: its event is appended, it is rolled up with other
refusals, or its admission is abandoned.
"""

from dataclasses import dataclass

from gateway.contracts.snapshot import Entitlement
from gateway.core.charges import WindowCharge
from gateway.core.compile import Compiled
from gateway.core.decision import Facts
from gateway.core.events import EventEncoder, RequestRecord, WhoText
from gateway.core.refusals import RollUp
from gateway.core.tracing import Trace
from gateway.exchange import Exchange
from gateway.ports import Admission, Clock, Spool


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


class Journal:
    """Encodes events and appends them to the worker's stream."""

    def __init__(self, *, clock: Clock, spool: Spool) -> None:
        self.clock = clock
        self.spool = spool
        self._encoder = EventEncoder(spool.node)

    def since(self, started_s: float) -> int:
        """Return the microseconds since a monotonic instant."""
        return int((self.clock.mono_s() - started_s) * 1_000_000)

    def record(self, turn: Turn, who: WhoText) -> RequestRecord:
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

    def append(self, turn: Turn, record: RequestRecord) -> int:
        """Append the turn's `request` event, and return its seq.

        :raises SpoolFullError: when even the reserve is gone; the turn stays open.
        """
        finished_us = max(self.clock.now_us(), record.admitted_us)
        tail = self._encoder.request(record, finished_us=finished_us)
        seq = self.spool.append(tail, turn.admission)
        turn.is_open = False
        return seq

    def append_end(self, record: RequestRecord) -> None:
        """Append the `response_end` of a body that was streamed.

        :raises SpoolFullError: when even the reserve is gone.
        """
        now_us = self.clock.now_us()
        admission = self.spool.admit(now_us)
        at_us = admission.admitted_us
        tail = self._encoder.response_end(record, finished_us=max(now_us, at_us), at_us=at_us)
        try:
            self.spool.append(tail, admission)
        except BaseException:
            self.spool.abandon(admission)
            raise

    def append_threshold(
        self, turn: Turn, entitlement: Entitlement, charge: WindowCharge, percent: int
    ) -> None:
        """Append that the turn's charge crossed a percentage.

        :raises SpoolFullError: when even the reserve is gone.
        """
        at_us = turn.admission.admitted_us
        self.spool.append(self._encoder.threshold(entitlement, charge, percent, at_us=at_us))

    def append_refusals(self, rollup: RollUp, admission: Admission | None) -> None:
        """Append a roll-up at the admission that was held for it.

        :raises SpoolFullError: when even the reserve is gone.
        """
        now_us = self.clock.now_us()
        at_us = admission.admitted_us if admission is not None else rollup.start_us
        tail = self._encoder.refusals(
            rollup.who, rollup.counts, at_us=at_us, to_us=max(now_us, at_us)
        )
        self.spool.append(tail, admission)
