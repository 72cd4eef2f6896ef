"""Where a subscription stands: the gauges read what the bill was rated from."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta

import pytest

from billing.services.plan_rows import plan_row
from billing.services.quota_use import quota_use_list
from gateway.contracts.access_log import Charge
from metering.queries import MeterUsage
from portal.usage import override
from tests.factories.billing import JAN, customer, plan_changed, plan_version
from tests.fakes.usage import FakeUsageReader

pytestmark = pytest.mark.django_db
DAY = timedelta(days=1)
LIMITS = {
    "quotas": [
        {"meter": "requests", "quota": 250_000},
        {"meter": "requests", "quota": 1_000, "window": "day"},
    ]
}


@dataclass
class AskedReader(FakeUsageReader):
    """Remembers the intervals that it was asked for."""

    asked: list[tuple[datetime, datetime]] = field(default_factory=list)

    def meter_usage(
        self, *, subscription_id: str, environment: str, start: datetime, end: datetime
    ) -> tuple[MeterUsage, ...]:
        self.asked.append((start, end))
        return super().meter_usage(
            subscription_id=subscription_id, environment=environment, start=start, end=end
        )


def test_gauges_ask_for_no_usage_that_the_bill_has_read() -> None:
    who, reader, at = customer(), AskedReader(), JAN + 20 * DAY
    scale = plan_version(slug="scale", limits=LIMITS)
    plan_changed(who.subscription, to=scale, at=JAN + 10 * DAY)
    for day, units, charge in (
        (9, 40_000, Charge.BILLED), (12, 700, Charge.BILLED), (12, 5, Charge.COUNTED),
        (19, 11, Charge.FREE), (20, 300, Charge.BILLED),
    ):  # fmt: skip
        reader.add(
            who.subscription.pk, JAN + day * DAY - timedelta(hours=day % 2), units, charge=charge
        )
    with override(reader):
        row = plan_row(who.subscription, at + timedelta(hours=1))
    assert row.period is not None
    assert [(quota.window, quota.used) for quota in row.quotas] == [
        ("billing_period", 41_005), ("day", 300),
    ]  # fmt: skip
    assert reader.asked == [
        (JAN, JAN + 10 * DAY), (JAN + 10 * DAY, at + timedelta(hours=1)), (at, at + DAY),
    ]  # fmt: skip
    assert row.quotas == quota_use_list(
        subscription=who.subscription, version=scale, period=row.period, reader=reader,
        now=at + timedelta(hours=1),
    )  # fmt: skip
