"""The fake request log answers like ClickHouse: the same requests, the same questions.

Percentiles are left out: ClickHouse interpolates, the fake picks a value.
"""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from gateway.contracts.access_log import AccessLogEvent, Charge, Kind, encode
from metering.clickhouse import ClickHouse
from metering.queries import Dimension, RequestRow, UsageFilter, UsageReader, UsageReport, connect
from tests.clickhouse import Embedded, clickhouse, clickhouse_url
from tests.fakes.request_log import FakeRequestLog, Recorded

__all__ = ["clickhouse", "clickhouse_url"]
pytestmark = pytest.mark.timeout(120)
NOW = datetime(2026, 3, 14, 9, 26, 53, tzinfo=UTC)
WHOLE = UsageFilter(start=NOW - timedelta(days=3), end=NOW, organization_id="org_1")
QUESTIONS = {
    "everything of one organization": WHOLE,
    "test calls": replace(WHOLE, environment="test"),
    "one key": replace(WHOLE, credential_id="key_2"),
    "one status": replace(WHOLE, status=404),
    "one route": replace(WHOLE, route="currencies"),
    "what the quota counted": replace(WHOLE, charges=(Charge.BILLED, Charge.COUNTED)),
    "an interval that starts on an event": replace(WHOLE, start=NOW - timedelta(hours=7)),
    "an interval that ends on an event": replace(WHOLE, end=NOW - timedelta(hours=7)),
    "another organization": replace(WHOLE, organization_id="org_2"),
}
GROUPINGS = (
    (),
    (Dimension.DAY,),
    (Dimension.HOUR, Dimension.STATUS),
    (Dimension.ROUTE,),
    (Dimension.CREDENTIAL, Dimension.DAY),
    (Dimension.CHARGE, Dimension.DECISION),
)


def recorded() -> FakeRequestLog:
    log = FakeRequestLog(now=NOW)
    outcomes: list[dict[str, Any]] = [
        {},
        {"status": 404, "charge": Charge.COUNTED, "reason": "4xx", "units": 2},
        {"status": 429, "charge": Charge.FREE, "reason": "refused", "decision": "rate_limited"},
        {"status": 502, "charge": Charge.FREE, "reason": "5xx", "route": "currencies"},
        {"environment": "test", "charge": Charge.FREE, "reason": "test:2xx"},
    ]
    for n in range(40):
        log.add(
            "org_1" if n % 8 else "org_2",
            at=NOW - timedelta(hours=n),
            credential_id=f"key_{n % 3}",
            latency_us=1000 + n,
            **outcomes[n % len(outcomes)],
        )
    return log


def event_of(found: Recorded) -> AccessLogEvent:
    row = found.row
    copied = {
        name: getattr(row, name)
        for name in RequestRow.__dataclass_fields__
        if name not in {"charge", "quantities"}
    }
    return AccessLogEvent(
        **copied,
        kind=Kind.REQUEST,
        finished_at=row.admitted_at,
        node="node-1",
        organization_id=found.organization_id,
        charge=Charge(row.charge),
        quantities=dict(row.quantities),
    )


@pytest.fixture(scope="module")
def fake() -> FakeRequestLog:
    return recorded()


@pytest.fixture(scope="module")
def real(clickhouse: Embedded, fake: FakeRequestLog) -> Iterator[UsageReader]:
    writer = ClickHouse(clickhouse.url_writer)
    lines = b"".join(encode(event_of(found)) for found in fake.recorded)
    writer.insert_lines("access_log", lines, token="contract")
    yield connect(clickhouse.url_readonly)
    writer.close()


def figures(report: UsageReport) -> dict[tuple[tuple[str, str], ...], tuple[Any, ...]]:
    """Rows and total by group, without percentiles and without meters at zero."""
    return {
        tuple((str(k), v) for k, v in row.group.items()): (
            row.events,
            row.errors,
            {meter: units for meter, units in row.quantities.items() if units},
        )
        for row in (*report.rows, replace(report.total, group={"total": ""}))
    }


@pytest.mark.parametrize("by", GROUPINGS, ids=lambda by: "-".join(by) or "nothing")
@pytest.mark.parametrize("question", list(QUESTIONS))
def test_usage(
    question: str, by: tuple[Dimension, ...], real: UsageReader, fake: FakeRequestLog
) -> None:
    where = QUESTIONS[question]
    expected = figures(fake.usage(where, by=by))
    assert figures(real.usage(where, by=by)) == expected
    assert sum(value[0] for value in expected.values()) > 0


@pytest.mark.parametrize("question", list(QUESTIONS))
def test_requests(question: str, real: UsageReader, fake: FakeRequestLog) -> None:
    where = QUESTIONS[question]
    assert real.requests(where) == fake.requests(where)
    page = fake.requests(where, limit=2)
    rest = real.requests(where, before=page[-1].admitted_at, limit=3)
    assert rest == fake.requests(where, before=page[-1].admitted_at, limit=3)


def test_one_request_and_the_last_uses(real: UsageReader, fake: FakeRequestLog) -> None:
    found = fake.recorded[3]
    for organization_id in ("org_1", "org_2"):
        asked = {"organization_id": organization_id, "request_id": found.row.request_id}
        assert real.request(**asked) == fake.request(**asked)
    keys = ["key_0", "key_1", "key_2", "key_unused"]
    assert real.last_used(credential_ids=keys) == fake.last_used(credential_ids=keys)


def test_money_reads_the_same_units(real: UsageReader, fake: FakeRequestLog) -> None:
    period = {"start": WHOLE.start, "end": WHOLE.end}
    asked: dict[str, Any] = {"subscription_id": "sub_1", "environment": "live", **period}
    assert real.meter_usage(**asked) == fake.meter_usage(**asked)
    values = fake.event_values(subscription_id="sub_1", meter="requests", **period)
    assert real.event_values(subscription_id="sub_1", meter="requests", **period) == values
    assert set(values) == {Decimal(1)}
