"""What the double does not take: unknown parameters, what it does not honour, other versions."""

import json
from typing import Any

import pytest
import stripe

from billing.payments.sandbox.double import Double
from tests.integration.stripe_double.conftest import KEY, Bench


def post(double: Double, path: str, body: str, **headers: str) -> tuple[int, dict[str, Any]]:
    made = double.handle("POST", path, {"Authorization": f"Bearer {KEY}", **headers}, body)
    found: dict[str, Any] = json.loads(json.dumps(made.body))
    return made.status, found.get("error", found)


@pytest.mark.parametrize(
    ("path", "body", "code", "param"),
    [
        ("/v1/customers", "nam=A", "parameter_unknown", "nam"),
        (
            "/v1/invoices",
            "customer=cus_1&pending_invoice_item_behavior=exclude",
            "parameter_unknown",
            "pending_invoice_item_behavior",
        ),
        ("/v1/invoiceitems", "period[start]=1", "parameter_missing", "period[end]"),
        ("/v1/invoiceitems", "amount=1.5", "parameter_invalid_integer", "amount"),
        ("/v1/customers", "shipping[name]=A&shipping[address]=", None, None),
        ("/v1/customers", "tax_exempt=exempt", "double_unsupported", "tax_exempt"),
        ("/v1/invoices", "auto_advance=true", "parameter_missing", "customer"),
        ("/v1/checkout/sessions", "mode=payment", "double_unsupported", "mode"),
        ("/v1/checkout/sessions", "payment_method_types[0]=card", "parameter_unknown", None),
    ],
)
def test_a_request_that_does_not_fit_is_a_400_that_names_the_parameter(
    double: Double, path: str, body: str, code: str | None, param: str | None
) -> None:
    status, error = post(double, path, body)
    assert (status, error["type"]) == (400, "invalid_request_error")
    if code is not None:
        assert error["code"] == code
    if param is not None:
        assert error["param"] == param
    assert double.store.counts() == {}


@pytest.mark.parametrize(
    "body",
    ["name=A&name=B", "metadata=a&metadata[b]=c", "metadata[a=1", "metadata[a]b=1", "[a]=1", "%"],
)
def test_a_body_that_is_not_well_formed_is_a_400(double: Double, body: str) -> None:
    assert post(double, "/v1/customers", body)[0] == 400


def test_metadata_has_its_limits(double: Double) -> None:
    many = "&".join(f"metadata[k{n}]=v" for n in range(51))
    assert post(double, "/v1/customers", many)[0] == 400
    assert post(double, "/v1/customers", f"metadata[k]={'v' * 501}")[0] == 400
    assert post(double, "/v1/customers", f"metadata[{'k' * 41}]=v")[0] == 400
    assert post(double, "/v1/customers", f"metadata[k]={'v' * 500}")[0] == 200


def test_another_version_of_the_api_is_refused(double: Double) -> None:
    status, error = post(double, "/v1/customers", "", **{"Stripe-Version": "2020-08-27"})
    assert (status, "version" in error["message"]) == (400, True)


@pytest.mark.parametrize(
    "authorization", ["", "Bearer ", "Bearer sk_test_other", "Bearer sk_live_double", "Basic !"]
)
def test_without_the_test_key_it_is_a_401(double: Double, authorization: str) -> None:
    made = double.handle("POST", "/v1/customers", {"Authorization": authorization}, "")
    assert made.status == 401
    assert double.store.counts() == {}


def test_an_unknown_address_is_a_404(double: Double) -> None:
    assert post(double, "/v1/subscriptions", "")[0] == 404
    assert post(double, "/v1/invoices/../customers", "")[0] == 404


def test_every_answer_says_its_request_and_version(double: Double) -> None:
    headers = {"Authorization": f"Bearer {KEY}", "Idempotency-Key": "k"}
    first = double.handle("POST", "/v1/customers", headers, "name=A")
    again = double.handle("POST", "/v1/customers", headers, "name=A")
    assert first.headers["Stripe-Version"] == stripe.api_version
    assert again.body == first.body
    assert again.headers["Idempotent-Replayed"] == "true"
    assert again.headers["Original-Request"] == first.headers["Request-Id"]
    assert again.headers["Request-Id"] != first.headers["Request-Id"]


def test_a_deleted_customer_is_marked_and_takes_no_invoice(bench: Bench) -> None:
    customer = bench.customer()
    bench.client.v1.customers.delete(customer)
    held = bench.client.v1.customers.retrieve(customer)
    assert held.deleted is True
    with pytest.raises(stripe.InvalidRequestError):
        bench.client.v1.invoices.create({"customer": customer})
    assert bench.client.v1.customers.list().data == []


def test_what_cannot_be_expanded_is_a_400(bench: Bench) -> None:
    customer = bench.customer()
    draft = bench.draft(customer)
    for path in ("nothing", "customer.nothing", "id", "a.b.c.d.e"):
        with pytest.raises(stripe.InvalidRequestError):
            bench.client.v1.invoices.retrieve(draft.id, {"expand": [path]})
