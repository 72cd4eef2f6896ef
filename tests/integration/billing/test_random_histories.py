"""Random lives of a subscription over three periods, by the real services under a frozen clock.

Whatever happens, and in whatever order: what the documents of a period that are not void have
billed is, line by line, what the whole period is worth when it is rated once at the end.
"""

import random
from collections import defaultdict
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db.models import Count

from billing.errors import BillingError
from billing.models import CreditNoteLine, Invoice, InvoiceLine, NoteReason, Rebill
from billing.services.close import (
    LATE_LOOK_BACK,
    due_list,
    period_close,
    period_rebill,
    subscription_recheck,
)
from billing.services.credit_notes import (
    credit_note_draft,
)
from billing.services.invoices import (
    advance_due_list,
    invoice_advance,
    invoice_rerate,
    rerate_differences,
)
from billing.services.issue import invoice_issue
from billing.services.payments import invoice_void, payment_collect
from billing.services.rated import period_rate, stretch_list, usage_read
from billing.services.review import invoice_approve, invoice_hold, invoice_release
from billing.services.snapshots import frozen_usage
from billing.services.threshold import threshold_check, threshold_due_list
from billing.states import UNISSUED, InvoiceState, NoteState
from portal.errors import PortalError
from portal.models import BillingPeriod, PlanVersion, Segment, Subscription
from portal.services.periods import periods_open_due
from portal.services.subscriptions import (
    subscription_cancel,
    subscription_cancel_undo,
    subscription_change,
    subscription_change_undo,
    subscription_create,
    subscription_pause,
    subscription_resume,
)
from tests.factories.billing import JAN, finance_user, organization, plan_version, pro_terms
from tests.fakes.collector import FakeCollector
from tests.fakes.usage import FakeUsageReader

pytestmark = pytest.mark.django_db
REFUSALS = (PortalError, BillingError)
WALL = datetime.fromisoformat("2026-06-01T00:00:00+00:00")
STEPS = (0, 1, 1, 2, 30, 3_600, 86_400, 3 * 86_400, 9 * 86_400)


def plans() -> list[PlanVersion]:
    """Free, a fee in advance, a larger one with a commitment, fees by the day and in arrears."""
    large = pro_terms(base="199.00", unit="0.80") | {
        "minimum_commitment": "250.00",
        "discounts": [{"type": "percent", "value": "7"}, {"type": "fixed", "value": "3.33"}],
    }
    daily = pro_terms(base="80.01")
    daily["prices"][0] |= {"proration": "day"}
    daily["prices"][1] |= {"minimum": "11.11", "maximum": "60.00"}
    daily["prices"].append(
        {"key": "care", "model": "flat", "amount": "31.07", "timing": "in_arrears"}
    )
    once = pro_terms(base="20.00")
    once["prices"][0] |= {"proration": "none"}
    once["credits"] = [{"amount": "15.00"}]
    return [
        plan_version(slug="free", terms={"prices": pro_terms()["prices"][1:]}, rank=0),
        plan_version(slug="once", terms=once, rank=1),
        plan_version(slug="pro", rank=2, threshold_minor=2_000),
        plan_version(slug="daily", terms=daily, rank=3),
        plan_version(slug="large", terms=large, rank=4),
    ]


class Life:
    """One subscription, what happens to it, and by whom."""

    def __init__(self, seed: int) -> None:
        self.dice = random.Random(seed)
        self.now = JAN + timedelta(days=self.dice.choice([0, 0, 14, 28, 30]), seconds=7)
        self.plans, self.finance = plans(), finance_user()
        self.reader, self.collector = FakeUsageReader(), FakeCollector()
        self.log: list[str] = []
        first = self.dice.choice(self.plans)
        self.subscription = subscription_create(
            organization=organization(tax=self.dice.choice(["0", "19"])),
            version=first,
            actor=None,
            now=self.now,
        )
        if self.dice.random() < 0.3:
            ends = self.now + timedelta(days=self.dice.choice([3, 20, 40]))
            Subscription.objects.filter(pk=self.subscription.pk).update(trial_ends_at=ends)
        # what was agreed: the plan version in force from an instant on, None = no service
        self.agreed: list[tuple[datetime, PlanVersion | None]] = [(self.now, first)]
        self.resumed_at: datetime | None = None

    # what a customer does

    def customer_acts(self) -> None:
        who: dict[str, Any] = {
            "subscription": Subscription.objects.get(pk=self.subscription.pk),
            "actor": None,
            "now": self.now,
        }
        match self.dice.randrange(8):
            case 0 | 1 | 2:
                version = self.dice.choice(self.plans)
                at = self.now + timedelta(minutes=2) if self.dice.random() < 0.3 else None
                opened = subscription_change(**who, version=version, at=at)
                self._forget_planned()
                self.agreed.append((opened.starts_at, version))
            case 3:
                subscription_change_undo(**who)
                self._forget_planned()
            case 4:
                at_once = self.dice.random() < 0.3
                ends_at = subscription_cancel(**who, at_once=at_once)
                self._forget_planned()
                self.agreed.append((ends_at, None))
            case 5:
                subscription_cancel_undo(**who)
                self.agreed = [row for row in self.agreed if row[0] <= self.now or row[1]]
            case 6:
                paused_at = subscription_pause(**who)
                self._forget_planned()
                self.agreed.append((paused_at, None))
            case _:
                opened = subscription_resume(**who)
                self.resumed_at = opened.starts_at
                self.agreed.append((opened.starts_at, opened.plan_version))

    def _forget_planned(self) -> None:
        self.agreed = [
            row for row in self.agreed if row[0] <= max(self.now, self.resumed_at or self.now)
        ]

    def customer_calls(self) -> None:
        back = timedelta(seconds=self.dice.choice([1, 1, 1, 600, 3 * 86_400]))
        at = max(self.subscription.starts_at, self.now - back)
        if any(s.starts_at <= at < (s.ends_at or at + back) for s in self.segments()):
            self.reader.add(self.subscription.pk, at, self.dice.choice([1, 999, 20_000, 45_001]))

    def usage_is_corrected(self) -> None:
        if self.reader.events:
            del self.reader.events[self.dice.randrange(len(self.reader.events))]

    # what time and finance do

    def work(self) -> None:
        """Everything that the scans would send."""
        self.reader.complete_to = self.now
        periods_open_due(now=self.now)
        for period_id in list(threshold_due_list(now=self.now)):
            threshold_check(period_id=period_id, reader=self.reader, expected=(), now=self.now)
        for period_id in list(advance_due_list(now=self.now)):
            invoice_advance(period_id=period_id, now=self.now)
        for period in list(due_list(now=self.now, grace_s=0)):
            period_close(
                subscription_id=period.subscription_id,
                period_id=period.pk,
                reader=self.reader,
                expected=(),
                grace_s=0,
                now=self.now,
            )
        for period_id in list(Rebill.objects.values_list("pk", flat=True)):
            period_rebill(period_id=period_id, now=self.now)
        subscription_recheck(
            subscription_id=self.subscription.pk, reader=self.reader, expected=(), now=self.now
        )

    def finance_acts(self) -> None:
        rows = list(Invoice.objects.order_by("pk"))
        invoice = self.dice.choice(rows) if rows else None
        if invoice is None:
            return
        match self.dice.randrange(9):
            case 0 | 1 | 2:
                self.approve(invoice)
            case 3:
                invoice_hold(
                    invoice_id=invoice.pk, reason="look", actor=self.finance, now=self.now
                )
            case 4:
                invoice_release(invoice_id=invoice.pk, actor=self.finance, now=self.now)
            case 5:
                invoice_void(
                    invoice=invoice,
                    reason="wrong",
                    actor=self.finance,
                    collector=self.collector,
                    now=self.now,
                    wall=WALL,
                )
            case 6:
                invoice_rerate(invoice_id=invoice.pk, now=self.now)
            case _:
                self.goodwill(invoice)

    def approve(self, invoice: Invoice) -> None:
        invoice_approve(
            invoice_id=invoice.pk,
            content_hash=invoice.content_hash,
            actor=self.finance,
            now=self.now,
        )
        if self.dice.random() < 0.8:
            self.issue(invoice)

    def issue(self, invoice: Invoice) -> None:
        held = invoice_issue(
            invoice_id=invoice.pk, collector=self.collector, now=self.now, wall=WALL
        )
        assert not held.alarm
        if self.dice.random() < 0.5:
            payment_collect(
                invoice_id=invoice.pk,
                collector=self.collector,
                dunning_days=[3],
                now=self.now,
                wall=WALL,
            )

    def goodwill(self, invoice: Invoice) -> None:
        """A gift stands outside the chain; a correction by hand is a decision about its sum."""
        credit_note_draft(
            invoice_id=invoice.pk,
            goodwill_minor=self.dice.randint(1, 500),
            reason_code=NoteReason.OTHER,
            reason="a gift",
            now=self.now,
        )

    # the life itself

    def step(self) -> None:
        self.now += timedelta(seconds=self.dice.choice(STEPS))
        act = self.dice.choice(
            [
                self.customer_acts,
                self.customer_acts,
                self.customer_calls,
                self.customer_calls,
                self.work,
                self.finance_acts,
                self.finance_acts,
                self.usage_is_corrected,
            ]
        )
        self.log.append(f"{self.now:%m-%d %H:%M:%S} {act.__name__}")
        with suppress(*REFUSALS):
            act()
        self.holds()

    def segments(self) -> list[Segment]:
        return list(self.subscription.segments.order_by("starts_at"))

    def holds(self) -> None:
        """What is true at every instant: a chain without gaps, one document not issued."""
        rows = Invoice.objects.filter(state__in=UNISSUED).values("period")
        assert not rows.annotate(many=Count("pk")).filter(many__gt=1).exists()
        chains = defaultdict(list)
        for period_id, n in Invoice.objects.order_by("n").values_list("period_id", "n"):
            chains[period_id].append(n)
        for chain in chains.values():
            assert chain == list(range(1, len(chain) + 1))

    def end(self) -> None:
        """Let the third period pass, then let everything settle."""
        periods = list(self.subscription.periods.order_by("number"))
        self.now = max(self.now, periods[min(2, len(periods) - 1)].ends_at) + timedelta(hours=1)
        for _ in range(4):
            self.work()
            for invoice in Invoice.objects.filter(state__in=["draft", "held", "approved"]):
                with suppress(*REFUSALS):
                    if invoice.state == InvoiceState.HELD:
                        invoice_release(invoice_id=invoice.pk, actor=self.finance, now=self.now)
                    if invoice.state != InvoiceState.APPROVED:
                        self.approve(invoice)
                self.issue(invoice)

    def check(self) -> None:
        self.as_agreed()
        closed = self.subscription.periods.filter(closed_at__isnull=False)
        assert closed.count() >= 1
        for period in closed.order_by("number"):
            assert self.billed(period) == self.worth(period), period.number
        for invoice in Invoice.objects.all():
            assert rerate_differences(invoice=invoice) == ()

    def as_agreed(self) -> None:
        """The segments say what the customer was told, second by second."""
        instants = sorted({at for at, _ in self.agreed} | {s.starts_at for s in self.segments()})
        for at in instants:
            told = [version for start, version in self.agreed if start <= at][-1]
            held = [
                s
                for s in self.segments()
                if s.starts_at <= at and (s.ends_at is None or at < s.ends_at)
            ]
            assert [s.plan_version_id for s in held] == ([told.pk] if told else []), at

    def billed(self, period: BillingPeriod) -> dict[str, int]:
        total: dict[str, int] = defaultdict(int)
        for line in InvoiceLine.objects.filter(invoice__period=period).exclude(
            invoice__state=InvoiceState.VOID
        ):
            total[line.line_key] += line.net_minor
        for row in CreditNoteLine.objects.filter(
            credit_note__invoice__period=period, credit_note__goodwill=False
        ).exclude(credit_note__state=NoteState.VOID):
            if row.credit_note.invoice.state != InvoiceState.VOID:
                total[row.line_key] -= row.amount_minor
        return {key: minor for key, minor in total.items() if minor}

    def worth(self, period: BillingPeriod) -> dict[str, int]:
        stretches = stretch_list(subscription=self.subscription, period=period, now=self.now)
        if not stretches:
            return {}
        closed_at = BillingPeriod.objects.get(pk=period.pk).closed_at
        is_recent = closed_at is not None and closed_at > self.now - LATE_LOOK_BACK
        usage = (
            usage_read(reader=self.reader, subscription=self.subscription, stretches=stretches)
            if is_recent
            else frozen_usage(period=period)
        )
        rating = period_rate(
            subscription=Subscription.objects.get(pk=self.subscription.pk),
            period=period,
            stretches=stretches,
            usage=usage,
        )
        nets = {x.line_key: x.amount_minor - x.discount_minor for x in rating.lines}
        return {key: minor for key, minor in nets.items() if minor}


@pytest.mark.parametrize("seed", range(100, 115))
def test_what_is_billed_is_what_the_period_is_worth(seed: int) -> None:
    life = Life(seed)
    for _ in range(70):
        life.step()
    life.end()
    life.check()
