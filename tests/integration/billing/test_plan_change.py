"""A plan change costs exactly what its preview said, or it does not happen."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from billing.errors import StalePreviewError
from billing.models import Invoice
from billing.services.close import period_close
from billing.services.invoices import invoice_advance
from billing.services.plan_change import (
    HOLD,
    PlanChangePreview,
    Timing,
    plan_change_confirm,
    plan_change_preview,
)
from gateway.contracts.access_log import Charge
from metering.errors import MeteringUnavailableError
from portal.errors import InputInvalidError, PlanNotOfferedError, SubscriptionStateError
from portal.models import Organization, PlanVersion, Segment, Subscription
from portal.services.subscriptions import subscription_cancel
from tests.factories.billing import FEB, JAN, MAR, Customer, customer, plan_version, pro_terms
from tests.fakes.usage import FakeUsageReader

pytestmark = pytest.mark.django_db
MIDDLE = datetime(2026, 1, 16, tzinfo=UTC)
BEFORE = MIDDLE - timedelta(minutes=1)


def large(*, quota: int = 250_000, **extra: Any) -> PlanVersion:
    """Scale: 199.00, 250,000 calls included, then 0.90 per 1,000."""
    terms = pro_terms(base="199.00", unit="0.90") | extra
    terms["prices"][1]["tiers"][0]["up_to"] = str(quota)
    limits = {"quotas": [{"meter": "requests", "quota": quota}]}
    return plan_version(slug="scale", terms=terms, limits=limits, rank=10)


def preview(
    who: Customer, to: PlanVersion, *, now: datetime = BEFORE, **options: Any
) -> PlanChangePreview:
    subscription = Subscription.objects.select_related("plan", "organization").get(
        pk=who.subscription.pk
    )
    options.setdefault("reader", FakeUsageReader())
    return plan_change_preview(subscription=subscription, version=to, now=now, **options)


def confirm(shown: PlanChangePreview, *, now: datetime = BEFORE, digest: str = "") -> Segment:
    return plan_change_confirm(
        subscription=shown.subscription,
        version=shown.to_version,
        timing=shown.timing,
        at=shown.effective_at,
        digest=digest or shown.digest,
        actor=None,
        reader=FakeUsageReader(),
        now=now,
    )


def lines_of(shown: PlanChangePreview) -> list[tuple[str, int]]:
    return [(row.line.line_key, row.net_minor) for row in shown.rows]


def test_an_upgrade_in_the_middle_of_january() -> None:
    """49.00 → 199.00 on 16 January: 16 of 31 days are left (`pricing.md` §4, 10)."""
    who, to = customer(tax="20"), large()
    invoice_advance(period_id=who.january.pk, now=JAN)
    reader = FakeUsageReader()
    reader.add(who.subscription.pk, JAN + timedelta(days=3), 61_250)
    shown = preview(who, to, at=MIDDLE, reader=reader)
    assert lines_of(shown) == [("base:unused", -2529), ("base@2026-01-16T00:00:00Z", 10271)]
    assert shown.settlement.tax_minor == 1548  # 20 % of 77.42 = 15.484
    assert shown.due_minor == 7742 + 1548
    following = shown.next_invoice
    assert following is not None
    assert (following.at, following.fee_minor, following.tax_minor) == (FEB, 19900, 3980)
    assert (
        following.usage_minor == 1440
    )  # 11,250 calls above 50,000 under the old terms: 12 x 1.20
    assert shown.warnings == ()


@pytest.mark.parametrize("issued", [True, False], ids=["fee issued", "fee still a draft"])
def test_the_invoice_is_what_was_previewed(issued: bool) -> None:
    who, to = customer(tax="20"), large()
    first = invoice_advance(period_id=who.january.pk, now=JAN).invoice
    assert first is not None
    for state in ("approved", "issuing", "open") if issued else ():
        Invoice.objects.filter(pk=first.pk).update(state=state)
    shown = preview(who, to, at=MIDDLE)
    segment = confirm(shown)
    assert (segment.starts_at, segment.plan_version_id) == (MIDDLE, to.pk)
    made = invoice_advance(period_id=who.january.pk, now=MIDDLE).invoice
    assert made is not None
    if issued:
        assert made.total_minor == shown.due_minor == 9290
        assert [(x.line_key, x.net_minor) for x in made.lines.all()] == lines_of(shown)
    else:  # one unissued document per period: it holds the fee and the change
        assert made.pk == first.pk
        assert made.total_minor == 5880 + 9290  # 126.42 (§4, 10), taxed once: 25.284
        assert sum(net for _, net in lines_of(shown)) + 4900 == 12642


def test_credits_of_the_new_plan_are_drawn_in_the_preview_as_on_the_invoice() -> None:
    who, to = customer(), large(credits=[{"amount": "50.00"}])
    first = invoice_advance(period_id=who.january.pk, now=JAN).invoice
    assert first is not None
    for state in ("approved", "issuing", "open"):
        Invoice.objects.filter(pk=first.pk).update(state=state)
    shown = preview(who, to, at=MIDDLE)
    assert (shown.settlement.credit_minor, shown.due_minor) == (5000, 2742)
    confirm(shown)
    made = invoice_advance(period_id=who.january.pk, now=MIDDLE).invoice
    assert made is not None
    assert (made.credit_minor, made.total_minor) == (5000, 2742)


def test_a_downgrade_waits_for_the_period_and_costs_nothing_now() -> None:
    to = large()
    who = customer(version=to)
    small = plan_version(slug="starter")
    reader = FakeUsageReader()
    reader.add(who.subscription.pk, JAN + timedelta(days=3), 61_000)
    reader.add(who.subscription.pk, JAN + timedelta(days=4), 250, charge=Charge.COUNTED)
    shown = preview(who, small, reader=reader)
    assert (shown.timing, shown.effective_at) == (Timing.PERIOD_END, FEB)
    assert (shown.rows, shown.due_minor) == ((), 0)
    (warning,) = shown.warnings
    assert (warning.meter, warning.used, warning.quota, warning.blocks) == (
        "requests",
        61_250,
        50_000,
        True,
    )
    segment = confirm(shown)
    assert segment.starts_at == FEB
    with pytest.raises(InputInvalidError):
        preview(who, small, timing=Timing.NOW)


def test_an_upgrade_may_wait_for_the_period_too() -> None:
    who, to = customer(), large()
    shown = preview(who, to, timing=Timing.PERIOD_END)
    assert (shown.effective_at, shown.due_minor) == (FEB, 0)
    assert confirm(shown).starts_at == FEB


def test_an_instant_is_proposed_ahead_of_the_reader() -> None:
    who, to = customer(), large()
    shown = preview(who, to)
    assert shown.effective_at == BEFORE + HOLD + timedelta(seconds=2)
    late = preview(who, to, now=FEB - timedelta(seconds=30))
    assert (late.timing, late.effective_at, late.rows) == (Timing.PERIOD_END, FEB, ())


def test_a_stale_preview_changes_nothing() -> None:
    who, to = customer(), large()
    shown = preview(who, to, at=MIDDLE)
    with pytest.raises(StalePreviewError):
        confirm(shown, digest="other")
    with pytest.raises(StalePreviewError):
        confirm(shown, now=MIDDLE - timedelta(seconds=1))
    Organization.objects.filter(pk=who.organization.pk).update(tax_rate_percent="20")
    with pytest.raises(StalePreviewError):
        confirm(shown)
    assert Segment.objects.count() == 1


def test_a_period_that_turned_meanwhile_is_stale() -> None:
    who, to = customer(), large()
    shown = preview(who, to, timing=Timing.PERIOD_END)
    with pytest.raises(StalePreviewError):
        confirm(shown, now=FEB + timedelta(hours=1))


def test_a_double_submit_plans_one_change() -> None:
    who, to = customer(), large()
    shown = preview(who, to, at=MIDDLE)
    assert confirm(shown).pk == confirm(shown, now=BEFORE + timedelta(seconds=1)).pk
    assert Segment.objects.filter(subscription=who.subscription).count() == 2


def test_what_cannot_be_changed_to() -> None:
    who, to = customer(), large()
    with pytest.raises(InputInvalidError):
        preview(who, who.version)
    draft = plan_version(slug="draft", published=False)
    with pytest.raises(PlanNotOfferedError):
        preview(who, draft)
    subscription_cancel(subscription=who.subscription, actor=None, now=BEFORE)
    with pytest.raises(SubscriptionStateError):
        preview(who, to)


def test_during_a_trial_a_change_costs_nothing_at_once() -> None:
    who, to = customer(), large()
    ends = JAN + timedelta(days=20)
    Subscription.objects.filter(pk=who.subscription.pk).update(trial_ends_at=ends)
    shown = preview(who, to, at=MIDDLE)
    assert (shown.due_minor, shown.trial_ends_at) == (0, ends)
    confirm(shown)
    made = invoice_advance(period_id=who.january.pk, now=ends).invoice
    assert made is not None
    assert made.total_minor == 7061  # 199.00 x 11/31 = 70.6129


def test_usage_that_cannot_be_read_hides_the_estimate_alone() -> None:
    class Down(FakeUsageReader):
        def meter_usage(self, **_: Any) -> Any:
            raise MeteringUnavailableError

    shown = preview(customer(), large(), at=MIDDLE, reader=Down())
    assert shown.due_minor == 7742
    assert not shown.usage_known
    assert shown.next_invoice is not None
    assert shown.next_invoice.usage_minor is None


def test_a_plan_that_reads_a_meter_in_another_way_starts_with_the_next_period() -> None:
    """Within a period the two could not be rated together: the month would never be billed."""
    share = {"key": "share", "meter": "requests", "model": "percentage", "rate": "2.9"}
    terms = {"prices": [pro_terms()["prices"][0], share]}
    who, to = customer(), plan_version(slug="share", terms=terms, rank=10)
    with pytest.raises(InputInvalidError) as error:
        preview(who, to)
    assert [(p.path, p.code) for p in error.value.problems] == [("plan", "usage_kind")]
    shown = preview(who, to, timing=Timing.PERIOD_END)
    confirm(shown)

    reader = FakeUsageReader(complete_to=MAR)
    reader.add(who.subscription.pk, JAN, 51_000)
    reader.add(who.subscription.pk, FEB, 100)
    totals = []
    for period in (who.january, who.february):
        outcome = period_close(
            subscription_id=who.subscription.pk,
            period_id=period.pk,
            reader=reader,
            expected=(),
            grace_s=0,
            now=MAR,
        )
        assert outcome.invoice is not None
        totals.append(outcome.invoice.total_minor)
    assert totals == [4900 + 120, 4900 + 290]
