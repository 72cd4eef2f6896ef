"""Issued credit notes and ledger movements stay as they are, on a real PostgreSQL too."""

import threading
from datetime import timedelta

import pytest
from django.db import connections, transaction
from django.db.models import Sum

from billing.models import CreditDraw
from billing.services.invoices import invoice_advance
from tests.factories.billing import FEB, JAN, customer, plan_version, pro_terms
from tests.fakes.usage import FakeUsageReader
from tests.integration.billing.test_chain import close, settle_all
from tests.integration.billing.test_credit_notes import closed_month, draft, frozen_rows_hold
from tests.integration.portal.test_postgres import _postgres

__all__ = ["_postgres"]


@pytest.mark.timeout(90)
@pytest.mark.usefixtures("_postgres")
def test_postgres_keeps_an_issued_note_and_the_ledger() -> None:
    invoice, _ = closed_month(customer(), 61_250)
    frozen_rows_hold(invoice, draft(invoice, {"calls": 400}))


@pytest.mark.timeout(90)
@pytest.mark.usefixtures("_postgres")
def test_two_periods_at_once_never_draw_the_same_credit() -> None:
    """January's close and February's fees meet at the border, each in its own worker."""
    who = customer(version=plan_version(terms=pro_terms() | {"credits": [{"amount": "100.00"}]}))
    invoice_advance(period_id=who.january.pk, now=JAN)
    settle_all(who.january)
    at = FEB + timedelta(hours=2)
    reader = FakeUsageReader(complete_to=at)
    reader.add(who.subscription.pk, JAN, 61_250)

    def february() -> None:
        invoice_advance(period_id=who.february.pk, now=at)
        connections.close_all()

    other = threading.Thread(target=february)
    with transaction.atomic():
        assert close(who, reader, at).closed
        other.start()
        other.join(1)  # it waits, or it has read a wallet that is not true any more
    other.join(30)
    drawn = CreditDraw.objects.order_by("invoice__period__starts_at", "invoice__n")
    assert list(drawn.values_list("amount_minor", flat=True)) == [4900, 1440, 3660]
    assert drawn.aggregate(total=Sum("amount_minor"))["total"] == 10_000
