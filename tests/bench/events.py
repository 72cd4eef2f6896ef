"""Events for the sink's part: the gateway's own encoder, in spool files of its framing."""

from pathlib import Path
from typing import Final

from gateway.adapters.spool_files import line_head
from gateway.contracts.access_log import Charge
from gateway.core.events import EventEncoder, RequestRecord, Who, cost_text, who_text
from gateway.core.tracing import uuid7
from tests.factories.access_log import StreamWriter
from tests.factories.spool_files import SpoolWriter

_PER_BLOCK: Final = 32
_PER_SEGMENT: Final = 100_000
_START_US: Final = 1_772_366_400_000_000
_STEP_US: Final = 250
_BILLED: Final = cost_text(Charge.BILLED, "2xx", {"requests": 1})


def write_stream(spool_dir: Path, *, stream: str, events: int) -> int:
    """Write a stream of `events` requests, sealed to its end; return how many rows it makes."""
    writer = StreamWriter(stream=stream)
    spool = SpoolWriter(spool_dir, writer)
    encoder, head = EventEncoder(writer.node), line_head(stream)
    callers = [
        who_text(
            Who(
                organization_id=f"org_{n // 10}", consumer_id=f"con_{n}", credential_id=f"key_{n}",
                subscription_id=f"sub_{n // 10}", plan_version_id="pv_1", api="world",
                route="countries", path_template="/v1/countries/{code}",
            )
        )
        for n in range(1_000)
    ]  # fmt: skip
    for number in range(events):
        at_us = _START_US + number * _STEP_US
        record = RequestRecord(
            who=callers[number % len(callers)], admitted_us=at_us, method="GET",
            request_id=uuid7(unix_ms=at_us // 1000, randomness=number), client_ip="192.0.2.7",
            user_agent=b"bench/1.0", trace_id=f"{number:032x}", cost=_BILLED, status=200,
            upstream_status=200, response_bytes=1024, latency_us=900 + number % 700,
            upstream_latency_us=600 + number % 500,
        )  # fmt: skip
        tail = encoder.request(record, finished_us=at_us + record.latency_us)
        writer.append(b"%b%d,%b" % (head, writer.next_seq, tail))
        if len(writer.lines) - spool.written == _PER_BLOCK:
            if spool.written and spool.written % _PER_SEGMENT < _PER_BLOCK:
                spool.new_segment()
            spool.block()
    writer.step(3600)
    writer.seal(final=True)
    spool.block()
    spool.sync()
    return len(writer.lines)
