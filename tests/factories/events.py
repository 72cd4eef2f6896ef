"""Access-log events as the gateway would write them, and reading them back from a spool."""

import re
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from gateway.adapters.spool_files import StreamReader, crc, segment_files
from gateway.contracts.access_log import AccessLogEvent, Charge, Kind, decode, encode
from gateway.contracts.spool import decode_blocks, decode_segment_header

ADMITTED_AT = datetime(2026, 11, 3, 12, 0, tzinfo=UTC)
_REQUEST = AccessLogEvent(
    stream="s",
    seq=1,
    kind=Kind.REQUEST,
    admitted_at=ADMITTED_AT,
    finished_at=ADMITTED_AT,
    node="n1",
    request_id="r1",
    environment="live",
    organization_id="org_1",
    subscription_id="sub_1",
    api="orders",
    route="list",
    method="GET",
    path_template="/orders",
    status=200,
    upstream_status=200,
    decision="allow",
    charge=Charge.BILLED,
    charge_reason="2xx",
    quantities={"requests": Decimal(1)},
)


def request_tail(**changes: Any) -> bytes:
    """Encode a request event's line from `"kind":` on, as the port takes it."""
    line = encode(replace(_REQUEST, **changes))
    return line[line.index(b'"kind":') :]


def synced_lines(stream_dir: Path) -> list[bytes]:
    """Read what a reader may read: the lines behind the last fdatasync."""
    reader, lines = StreamReader(stream_dir), []
    while blocks := reader.read():
        for block in blocks:
            lines += block.payload.splitlines(keepends=True)
    return lines


def written_lines(stream_dir: Path) -> list[bytes]:
    """Read all valid blocks of all segments, synced or not."""
    return [line for _, path in segment_files(stream_dir) for line in _lines_of(path)]


def _lines_of(path: Path) -> list[bytes]:
    data = path.read_bytes()
    header = decode_segment_header(data, crc=crc)
    blocks = decode_blocks(data, offset=header.size, crc=crc)
    return [line for block in blocks for line in block.payload.splitlines(keepends=True)]


def events_of(path: Path) -> list[AccessLogEvent]:
    """Read the events of a segment's valid blocks."""
    return events(_lines_of(path))


def seqs(lines: list[bytes]) -> list[int]:
    """Read the seqs of lines, whatever else is in them."""
    found = [re.search(rb'"seq":(\d+),', line) for line in lines]
    return [int(match[1]) for match in found if match]


def events(lines: list[bytes]) -> list[AccessLogEvent]:
    return [decode(line) for line in lines]
