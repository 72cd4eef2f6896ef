"""A whole month through the services, under the product's clock: sign-up to reconciled."""

from datetime import UTC, datetime, timedelta

import pytest

from billing.models import CustomerAccount, Invoice
from billing.services.close import due_list, period_close
from billing.services.estimate import running_bill
from billing.services.invoices import invoice_advance, rerate_differences
from billing.services.issue import invoice_issue, issue_due_list
from billing.services.payments import collect_due_list, payment_collect
from billing.services.reconcile import four_totals
from billing.services.review import invoice_approve
from tests.factories.billing import FEB, JAN, customer, finance_user
from tests.fakes.collector import FakeCollector
from tests.fakes.usage import FakeUsageReader

pytestmark = pytest.mark.django_db
WALL = datetime(2026, 6, 1, tzinfo=UTC)


def test_a_month_ends_with_four_equal_totals() -> None:
    who, finance = customer(tax="20"), finance_user()
    reader, collector = FakeUsageReader(complete_to=FEB), FakeCollector()
    CustomerAccount.objects.create(
        organization=who.organization,
        stripe_customer_id="cus_9",
        payment_method_id="pm_1",
        updated_at=WALL,
    )

    def send_all(now: datetime) -> None:
        for draft in Invoice.objects.filter(state="draft"):
            invoice_approve(
                invoice_id=draft.pk, content_hash=draft.content_hash, actor=finance, now=now
            )
        for invoice_id in issue_due_list(wall=WALL):
            invoice_issue(invoice_id=invoice_id, collector=collector, now=now, wall=WALL)
        for invoice_id in collect_due_list(now=now):
            payment_collect(
                invoice_id=invoice_id,
                collector=collector,
                dunning_days=[3],
                now=now,
                wall=WALL,
            )

    invoice_advance(period_id=who.january.pk, now=JAN)
    send_all(JAN)
    for day in range(10):
        reader.add(who.subscription.pk, JAN + timedelta(days=day), 6_125)
    bill = running_bill(
        subscription=who.subscription, reader=reader, now=JAN + timedelta(days=15, hours=12)
    )
    assert bill is not None
    assert bill.so_far.total_minor == 7608  # (49.00 + 14.40) and 20 % tax
    assert bill.usage["requests"].billed == 61_250
    assert bill.projected.total_minor == 16_392  # 122,500 calls: 73 blocks, with 20 % tax

    for period in due_list(now=FEB, grace_s=0):
        period_close(
            subscription_id=period.subscription_id,
            period_id=period.pk,
            reader=reader,
            expected=(),
            grace_s=0,
            now=FEB,
        )
    send_all(FEB)
    rows = list(Invoice.objects.order_by("n"))
    assert [(i.kind, i.state, i.total_minor, i.number) for i in rows] == [
        ("advance", "paid", 5880, "2026-000001"),
        ("period", "paid", 1728, "2026-000002"),
    ]
    for invoice in rows:
        totals = four_totals(invoice=invoice, reader=reader, collector=collector)
        assert totals.differences == ()
        assert totals.remote_minor == invoice.total_minor
    assert sum(i.total_minor for i in rows) == bill.so_far.total_minor
    assert [rerate_differences(invoice=i) for i in rows] == [(), ()]
    assert not due_list(now=FEB, grace_s=0).exists()
