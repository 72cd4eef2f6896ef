"""Every object the double gives fits the classes of the pinned Stripe library, field by field."""

import json
from typing import Any

import pytest
import stripe

from billing.payments.sandbox.double import Double
from billing.payments.sandbox.routes import ROUTES
from tests.integration.stripe_double.conftest import KEY, Bench
from tests.integration.stripe_double.sdk_types import faults_of

LISTS = [route.path for route in ROUTES if route.is_list and "{" not in route.path]


def answer_to(double: Double, verb: str, target: str, body: str = "") -> Any:
    made = double.handle(verb, target, {"Authorization": f"Bearer {KEY}"}, body)
    assert made.status == 200, made.body
    return json.loads(json.dumps(made.body))


@pytest.fixture
def lived_in(bench: Bench) -> Bench:
    """A double in which everything that it can hold has happened at least once."""
    customer = bench.customer()
    bench.card(customer)
    paid = bench.opened(customer, 1000, -200, invoice_id="inv_1")
    bench.collector.invoice_pay(key="p1", remote_id=paid.id)
    bench.collector.credit_note_create(
        key="c", remote_id=paid.id, credit_note_id="cn_1", amount_minor=100, reason="Outage"
    )
    charge = bench.client.v1.charges.list({"customer": customer}).data[0]
    bench.client.v1.refunds.create({"charge": charge.id, "amount": 50})
    bench.collector.credit_note_create(
        key="c2",
        remote_id=paid.id,
        credit_note_id="cn_2",
        amount_minor=60,
        reason="Outage",
        refund=True,
    )
    bench.dispute(charge.id)
    bench.collector.invoice_void(
        key="v", remote_id=bench.opened(customer, 500, days=7, invoice_id="inv_2").id
    )
    bench.card(customer, "4000000000000002")
    declined = bench.opened(customer, 700, invoice_id="inv_3")
    with pytest.raises(Exception, match="402"):
        bench.collector.invoice_pay(key="p3", remote_id=declined.id)
    bench.card(customer, "4000002500003155")
    with pytest.raises(Exception, match="402"):
        bench.collector.invoice_pay(key="p4", remote_id=declined.id)
    bench.draft(customer, 1, invoice_id="inv_4")
    bench.opened(customer, -50, invoice_id="inv_5")
    return bench


@pytest.mark.parametrize("path", [path for path in LISTS if path != "/v1/payment_methods"])
def test_every_listed_object_fits(lived_in: Bench, path: str) -> None:
    found = answer_to(lived_in.double, "GET", f"{path}?limit=100")
    assert found["data"], f"{path} shows nothing, so nothing was held against the library"
    assert faults_of(found) == []


def test_objects_below_a_customer_and_an_invoice_fit(lived_in: Bench) -> None:
    double = lived_in.double
    customer = answer_to(double, "GET", "/v1/customers")["data"][0]["id"]
    invoice = answer_to(double, "GET", "/v1/invoices?status=paid")["data"][-1]["id"]
    for path in (
        f"/v1/customers/{customer}/payment_methods",
        f"/v1/customers/{customer}/balance_transactions",
        f"/v1/payment_methods?customer={customer}",
        f"/v1/invoices/{invoice}/lines",
    ):
        found = answer_to(double, "GET", path)
        assert found["data"], path
        assert faults_of(found) == []


def test_an_expanded_invoice_fits(lived_in: Bench) -> None:
    invoice = answer_to(lived_in.double, "GET", "/v1/invoices")["data"][-1]["id"]
    found = answer_to(
        lived_in.double,
        "GET",
        f"/v1/invoices/{invoice}?expand[0]=customer&expand[1]="
        "payments.data.payment.payment_intent",
    )
    assert found["customer"]["object"] == "customer"
    assert found["payments"]["data"][0]["payment"]["payment_intent"]["object"] == "payment_intent"
    assert faults_of(found) == []


def test_the_objects_inside_events_fit(lived_in: Bench) -> None:
    events = lived_in.double.store.newest_first("event")
    kinds = {event["type"] for event in events}
    assert {"invoice.paid", "invoice.voided", "credit_note.created", "charge.refunded"} <= kinds
    assert "charge.dispute.created" in kinds
    faults = [f for event in events for f in faults_of(event["data"]["object"])]
    assert faults == []


def test_the_checker_finds_what_does_not_fit(lived_in: Bench) -> None:
    good = answer_to(lived_in.double, "GET", "/v1/invoices")["data"][0]
    assert faults_of({**good, "paid": True}) == ["invoice.paid: unknown to the library"]
    assert faults_of({**good, "total": "12"}) == ["invoice.total: '12' is no int"]
    assert len(faults_of({**good, "status": "lost"})) == 1
    del good["amount_due"]
    assert faults_of(good) == ["invoice.amount_due: missing"]


def test_the_library_is_the_one_this_double_was_derived_for() -> None:
    """When this fails, derive again: run this file, read the changelog, then move the pin."""
    assert (stripe.VERSION, stripe.api_version) == ("16.1.0", "2026-10-28.endive")
