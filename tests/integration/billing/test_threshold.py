"""Threshold invoices: when they are made, when not, and that the pieces add up to the whole."""

from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db import transaction
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from billing.models import Invoice, InvoiceLine, UsageSnapshot
from billing.services.drafts import DraftOutcome
from billing.services.invoices import advance_due_list, invoice_advance, rerate_differences
from billing.services.reconcile import meter_matches
from billing.services.review import draft_void, invoice_approve
from billing.services.threshold import threshold_check, threshold_due_list
from portal.models import Subscription
from tests.factories.billing import (
    FEB,
    JAN,
    Customer,
    customer,
    finance_user,
    plan_changed,
    plan_version,
    pro_terms,
)
from tests.fakes.usage import FakeUsageReader
from tests.integration.billing.test_chain import close, nets, settle_all

pytestmark = pytest.mark.django_db
DAY = timedelta(days=1)


def limited(who: Customer, minor: int) -> Customer:
    Subscription.objects.filter(pk=who.subscription.pk).update(threshold_minor=minor)
    return who


def check(who: Customer, reader: FakeUsageReader, now: datetime) -> DraftOutcome:
    reader.complete_to = now
    return threshold_check(period_id=who.january.pk, reader=reader, expected=(), now=now)


def test_usage_that_reaches_the_amount_is_invoiced_and_the_close_bills_the_rest() -> None:
    who = limited(customer(), 1000)
    invoice_advance(period_id=who.january.pk, now=JAN)
    settle_all(who.january)
    reader = FakeUsageReader()
    reader.add(who.subscription.pk, JAN, 58_000)
    assert check(who, reader, JAN + DAY).invoice is None  # 8 blocks of 1.20
    reader.add(who.subscription.pk, JAN + DAY, 4_000)
    first = check(who, reader, JAN + 2 * DAY).invoice
    assert first is not None
    assert (first.kind, first.n, nets(first)) == ("threshold", 2, {"calls": 1440})
    assert UsageSnapshot.objects.get().ends_at == JAN + 2 * DAY
    assert all(match.equal for match in meter_matches(period=who.january, reader=reader))

    reader.add(who.subscription.pk, JAN + 3 * DAY, 60_000)
    waits = check(who, reader, JAN + 4 * DAY)
    assert (waits.invoice, Invoice.objects.get(pk=first.pk).revision) == (None, 1)
    settle_all(who.january)
    second = check(who, reader, JAN + 5 * DAY).invoice
    assert nets(second) == {"calls": 7200}
    settle_all(who.january)
    reader.add(who.subscription.pk, JAN + 6 * DAY, 1)
    reader.complete_to = FEB + 2 * timedelta(hours=1)
    last = close(who, reader).invoice
    assert last is not None
    assert (last.kind, last.n, nets(last)) == ("period", 4, {"calls": 120})
    assert all(match.equal for match in meter_matches(period=who.january, reader=reader))
    for invoice in Invoice.objects.all():
        assert rerate_differences(invoice=invoice) == ()


def test_a_changed_document_is_told_by_the_verification() -> None:
    who = limited(customer(), 1000)
    reader = FakeUsageReader()
    reader.add(who.subscription.pk, JAN, 61_250)
    invoice = check(who, reader, JAN + DAY).invoice
    assert invoice is not None
    invoice.lines.filter(line_key="calls").update(rated_amount_minor=1, amount_minor=1)
    assert [text.split(":")[0] for text in rerate_differences(invoice=invoice)] == [
        "calls",
        "total",
    ]


def test_the_plans_threshold_counts_unless_the_subscription_has_its_own() -> None:
    who = customer(version=plan_version(threshold_minor=10**6))
    unlimited = customer(name="Other", version=plan_version(slug="other"))
    assert list(threshold_due_list(now=JAN + DAY)) == [who.january.pk]
    reader = FakeUsageReader()
    reader.add(who.subscription.pk, JAN, 61_250)
    assert check(who, reader, JAN + DAY).invoice is None
    limited(who, 0)
    assert list(threshold_due_list(now=JAN + DAY)) == []
    limited(who, 500)
    limited(unlimited, 500)
    assert set(threshold_due_list(now=JAN + DAY)) == {who.january.pk, unlimited.january.pk}
    assert nets(check(who, reader, JAN + DAY).invoice) == {"base": 4900, "calls": 1440}


def test_true_ups_and_fees_in_arrears_wait_for_the_end() -> None:
    terms: dict[str, Any] = pro_terms() | {"minimum_commitment": "500.00"}
    terms["prices"].append(
        {"key": "care", "model": "flat", "amount": "10.00", "timing": "in_arrears"}
    )
    terms["prices"][1]["minimum"] = "50.00"
    who = limited(customer(version=plan_version(terms=terms)), 1000)
    reader = FakeUsageReader()
    reader.add(who.subscription.pk, JAN, 61_250)
    first = check(who, reader, JAN + DAY).invoice
    assert nets(first) == {"base": 4900, "calls": 1440}
    settle_all(who.january)
    reader.complete_to = FEB + 2 * timedelta(hours=1)
    last = close(who, reader).invoice
    assert nets(last) == {"care": 1000, "calls:minimum": 3560, "commitment": 39_100}


def test_nothing_before_it_is_proven_and_nothing_after_a_refusal() -> None:
    who = limited(customer(), 1000)
    reader = FakeUsageReader()
    reader.add(who.subscription.pk, JAN, 61_250)
    for watermark in (None, JAN):
        reader.complete_to = watermark
        assert (
            threshold_check(
                period_id=who.january.pk, reader=reader, expected=(), now=JAN + DAY
            ).invoice
            is None
        )
    draft = check(who, reader, JAN + DAY).invoice
    assert draft is not None
    draft_void(invoice_id=draft.pk, reason="talk first", actor=finance_user(), now=JAN + DAY)
    assert check(who, reader, JAN + 2 * DAY).invoice is None
    reader.complete_to = FEB + 2 * timedelta(hours=1)
    assert nets(close(who, reader).invoice) == {"base": 4900, "calls": 1440}


def test_a_threshold_draft_can_be_approved_as_it_was_seen() -> None:
    who = limited(customer(), 1000)
    reader = FakeUsageReader()
    reader.add(who.subscription.pk, JAN, 61_250)
    draft = check(who, reader, JAN + DAY).invoice
    assert draft is not None
    approved = invoice_approve(
        invoice_id=draft.pk, content_hash=draft.content_hash, actor=finance_user(), now=JAN + DAY
    )
    assert approved.state == "approved"


def test_fees_are_looked_at_again_only_when_something_changed() -> None:
    who = customer()
    assert list(advance_due_list(now=JAN)) == [who.january.pk]
    invoice_advance(period_id=who.january.pk, now=JAN)
    assert list(advance_due_list(now=JAN + DAY)) == []
    plan_changed(who.subscription, to=plan_version(slug="scale"), at=JAN + 2 * DAY)
    assert list(advance_due_list(now=JAN + DAY)) == []
    assert list(advance_due_list(now=JAN + 2 * DAY)) == [who.january.pk]


MODELS: dict[str, dict[str, Any]] = {
    "graduated": {"tiers": [{"up_to": "900", "unit_amount": "0.013"}, {"unit_amount": "0.007"}]},
    "volume": {"tiers": [{"up_to": "900", "unit_amount": "0.02"}, {"unit_amount": "0.001"}]},
    "package": {"package_size": "300", "package_amount": "1.99", "included": "100"},
    "per_unit": {"unit_amount": "0.00333", "maximum": "7.77"},
}


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    model=st.sampled_from(sorted(MODELS)),
    days=st.lists(st.integers(0, 1500), min_size=1, max_size=6),
    upgraded=st.booleans(),
    discount=st.sampled_from(["0", "12.5"]),
)
def test_any_split_of_a_period_adds_up_to_the_whole(
    model: str, days: list[int], upgraded: bool, discount: str
) -> None:
    """The same month in pieces and as one document: equal by line key, to the cent."""
    with transaction.atomic():
        price = {"key": "calls", "meter": "requests", "model": model, **MODELS[model]}
        terms = {"prices": [pro_terms()["prices"][0], price]}
        if discount != "0":
            terms["discounts"] = [{"type": "percent", "value": discount}]
        version = plan_version(slug=f"split-{model}", terms=terms)
        whole, split = customer(version=version), limited(customer(version=version), 1)
        bigger = plan_version(slug="bigger", terms=pro_terms(base="99.00"))
        readers = FakeUsageReader(), FakeUsageReader()
        for number, units in enumerate(days, start=1):
            at = JAN + number * DAY
            if upgraded and number == 3:
                for who in (whole, split):
                    plan_changed(who.subscription, to=bigger, at=at)
            for who, reader in zip((whole, split), readers, strict=True):
                reader.add(who.subscription.pk, at, units)
            check(split, readers[1], at + timedelta(hours=1))
            settle_all(split.january)
        for who, reader in zip((whole, split), readers, strict=True):
            reader.complete_to = FEB + timedelta(hours=2)
            close(who, reader)
        assert billed(split) == billed(whole)
        transaction.set_rollback(True)


def billed(who: Customer) -> dict[str, int]:
    """Sum every document of January by line key, zeros left out."""
    sums: dict[str, int] = {}
    for line in InvoiceLine.objects.filter(invoice__period=who.january):
        sums[line.line_key] = sums.get(line.line_key, 0) + line.net_minor
    return {key: minor for key, minor in sums.items() if minor}
