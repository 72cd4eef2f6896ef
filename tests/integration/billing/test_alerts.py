"""Quota alerts: one row and one mail per window, threshold and quota."""

from datetime import datetime, timedelta

import pytest
from django.core import mail

from billing.services.alerts import alert_notify, alerts_take, notify_due_enqueue
from metering.queries import Threshold
from portal.models import UsageAlert
from tests.factories.billing import FEB, JAN, Customer, customer, plan_changed, plan_version
from tests.fakes.usage import FakeUsageReader

pytestmark = pytest.mark.django_db


def crossing(
    who: Customer, percent: int, at: datetime, *, window_end: datetime = FEB
) -> Threshold:
    return Threshold(
        crossed_at=at,
        organization_id=who.organization.pk,
        subscription_id=who.subscription.pk,
        meter="requests",
        window_start=JAN,
        window_end=window_end,
        percent=percent,
    )


def deliver(reader: FakeUsageReader, now: datetime) -> int:
    taken = alerts_take(reader=reader, now=now)
    for pk in UsageAlert.objects.values_list("pk", flat=True):
        alert_notify(alert_id=pk, now=now)
    return taken


def test_each_threshold_is_mailed_once_to_those_who_pay() -> None:
    who = customer()
    day = timedelta(days=1)
    reader = FakeUsageReader(crossings=[crossing(who, 80, JAN + 9 * day)])
    assert deliver(reader, JAN + 9 * day) == 1
    reader.crossings.append(crossing(who, 95, JAN + 12 * day))
    assert [deliver(reader, JAN + 12 * day) for _ in range(3)] == [1, 0, 0]
    assert [m.subject for m in mail.outbox] == [
        "80 % of your requests quota is used",
        "95 % of your requests quota is used",
    ]
    first = mail.outbox[0]
    assert "80 % (40,000 of 50,000)" in first.body
    assert "starts anew on 2026-02-01 00:00 UTC" in first.body
    assert "From 50,000 on, live calls are refused with 429 until then." in first.body
    assert f"/app/{who.organization.slug}/plan" in first.body
    assert f"the billing members of {who.organization.name}" in first.body
    assert set(first.to) == {who.organization.billing_email, who.owner.email}


def test_the_larger_quota_of_an_upgrade_warns_again() -> None:
    who, day = customer(), timedelta(days=1)
    limits = {"quotas": [{"meter": "requests", "quota": 250_000}]}
    plan_changed(who.subscription, to=plan_version(slug="scale", limits=limits), at=JAN + 10 * day)
    reader = FakeUsageReader(
        crossings=[crossing(who, 80, JAN + 9 * day), crossing(who, 80, JAN + 20 * day)]
    )
    assert deliver(reader, JAN + 20 * day) == 2
    assert "80 % (200,000 of 250,000)" in mail.outbox[1].body


def test_a_quota_without_a_block_says_that_calls_go_on() -> None:
    who = customer()
    limits = {"quotas": [{"meter": "requests", "quota": 10, "block_at_percent": 0}]}
    plan_changed(
        who.subscription, to=plan_version(slug="open", limits=limits), at=JAN + timedelta(days=1)
    )
    reader = FakeUsageReader(crossings=[crossing(who, 80, JAN + timedelta(days=9))])
    deliver(reader, JAN + timedelta(days=9))
    assert "go on and are priced as your plan says" in mail.outbox[0].body
    assert "refused" not in mail.outbox[0].body


def test_a_window_that_is_over_is_kept_but_not_mailed() -> None:
    who = customer()
    reader = FakeUsageReader(crossings=[crossing(who, 80, JAN + timedelta(days=9))])
    assert deliver(reader, FEB) == 1
    assert mail.outbox == []
    assert notify_due_enqueue(now=FEB) == 0


def test_another_installation_s_crossings_are_passed_over() -> None:
    who = customer()
    stray = Threshold(JAN, "org_x", "sub_x", "requests", JAN, FEB, 80)
    reader = FakeUsageReader(crossings=[stray, crossing(who, 80, JAN)])
    assert alerts_take(reader=reader, now=JAN) == 1
