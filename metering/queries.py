"""The public door of metering: usage over `[start, end)`, the watermark and the proofs.

Read by usage pages, the REST API and the close of a period. Every answer says when it was taken
and up to which instant it is complete. Money reads one row per (stream, seq), never a view.
"""

from metering.clickhouse import ClickHouse
from metering.core.usage import (
    Dimension,
    ExpectedBoot,
    MeterUsage,
    RequestRow,
    StreamProof,
    Threshold,
    UsageFilter,
    UsageReader,
    UsageReport,
    UsageRow,
    Watermark,
)
from metering.reader import ClickHouseReader

__all__ = [
    "Dimension",
    "ExpectedBoot",
    "MeterUsage",
    "RequestRow",
    "StreamProof",
    "Threshold",
    "UsageFilter",
    "UsageReader",
    "UsageReport",
    "UsageRow",
    "Watermark",
    "connect",
]


def connect(url: str) -> UsageReader:
    """Return a reader over ClickHouse, `http://user:password@host:port/database`.

    It connects on first use and may be shared between threads.
    """
    return ClickHouseReader(ClickHouse(url))
