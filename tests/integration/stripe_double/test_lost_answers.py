"""Faults at every write: one object each, equal totals, nothing charged twice."""

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from billing.errors import (
    CardDeclinedError,
    CollectorBusyError,
    CollectorRefusedError,
    CollectorUnavailableError,
)
from billing.payments.sandbox.double import Double
from tests.integration.stripe_double.conftest import Bench, in_process, line

WRITES = [
    "POST /v1/customers",
    "POST /v1/invoices",
    "POST /v1/invoiceitems",
    "POST /v1/invoices/{invoice}/finalize",
    "POST /v1/invoices/{invoice}/pay",
]
T0 = datetime(2026, 11, 2, tzinfo=UTC)


def run(bench: Bench, customer: str = "") -> str:
    """Issue and collect one invoice the way a task does: each key stored, each step repeatable."""
    held = customer or bench.customer()
    found = bench.collector.invoice_find(customer_id=held, invoice_id="inv_1")
    made = found or bench.draft(held)
    if made.status == "draft":
        there = {row.line_key for row in bench.collector.line_list(remote_id=made.id)}
        for key, amount in (("base", 4900), ("credit", -900), ("tax", 800)):
            if key not in there:
                bench.collector.line_create(
                    key=f"inv_1:{key}",
                    customer_id=held,
                    remote_id=made.id,
                    line=line(key, amount),
                )
        bench.collector.invoice_finalize(key="inv_1:fin", remote_id=made.id)
    if not bench.collector.card_read(customer_id=held):
        bench.card(held)
    if bench.collector.invoice_read(remote_id=made.id).status == "open":
        bench.collector.invoice_pay(key="inv_1:pay:1", remote_id=made.id)
    return made.id


def repeated(bench: Bench, between: Callable[[], None] = lambda: None) -> tuple[str, int]:
    """Run until a run gets through; return the invoice and how many were cut short."""
    for failures in range(60):
        try:
            return run(bench), failures
        except (CollectorUnavailableError, CollectorBusyError):
            between()
    pytest.fail("it never got through")


def assert_once(bench: Bench, invoice: str) -> None:
    counts = bench.counts()
    assert (counts["customer"], counts["invoice"], counts["invoiceitem"]) == (1, 1, 3)
    assert (counts["payment_intent"], counts["charge"]) == (1, 1)
    held = bench.collector.invoice_read(remote_id=invoice)
    assert (held.status, held.total_minor, held.amount_paid_minor) == ("paid", 4800, 4800)
    found = bench.collector.line_list(remote_id=invoice)
    assert sorted((row.line_key, row.amount_minor) for row in found) == [
        ("base", 4900),
        ("credit", -900),
        ("tax", 800),
    ]


@pytest.mark.parametrize("route", WRITES)
@pytest.mark.parametrize("kind", ["answer_lost", "request_lost", "conflict", "rate_limited"])
def test_one_fault_leaves_one_of_everything(bench: Bench, route: str, kind: str) -> None:
    bench.fault(kind, route)
    invoice, failures = repeated(bench)
    assert failures == 1
    assert_once(bench, invoice)


@pytest.mark.parametrize("route", WRITES)
def test_the_keys_are_forgotten_meanwhile(bench: Bench, route: str) -> None:
    bench.clock(T0)
    bench.fault("answer_lost", route)
    invoice, failures = repeated(bench, between=lambda: bench.clock(T0 + timedelta(hours=25)))
    assert failures == 1
    assert_once(bench, invoice)


@pytest.mark.parametrize("kind", ["error", "error_after"])
@pytest.mark.parametrize("route", WRITES)
def test_a_500_is_kept_for_a_day_and_then_looked_behind(
    bench: Bench, route: str, kind: str
) -> None:
    bench.clock(T0)
    bench.fault(kind, route)
    with pytest.raises(CollectorUnavailableError) as caught:
        run(bench)
    assert caught.value.unknown_outcome
    invoice, _ = repeated(bench, between=lambda: bench.clock(T0 + timedelta(hours=25)))
    assert_once(bench, invoice)


def test_every_answer_lost_once_in_one_run(bench: Bench) -> None:
    for route in WRITES:
        bench.fault("answer_lost", route, count=3 if route.endswith("items") else 1)
    invoice, failures = repeated(bench)
    assert failures >= len(WRITES)
    assert_once(bench, invoice)


def test_the_library_repeats_a_lost_answer_with_the_same_key(double: Double) -> None:
    bench = in_process(double, retries=2)
    bench.fault("answer_lost", "POST /v1/invoices", count=2)
    draft = bench.draft(bench.customer())
    assert draft.status == "draft"
    assert bench.counts()["invoice"] == 1
    tries = [e for e in double.log if (e.verb, e.path) == ("POST", "/v1/invoices")]
    assert [entry.status for entry in tries] == [0, 0, 200]
    assert {entry.key for entry in tries} == {"inv_1:draft"}


def test_the_library_never_repeats_a_429(double: Double) -> None:
    bench = in_process(double, retries=2)
    bench.fault("rate_limited", "POST /v1/customers")
    with pytest.raises(CollectorBusyError) as caught:
        bench.customer()
    assert caught.value.retry_after_s == 1
    assert [e.status for e in double.log if e.verb == "POST"] == [429]


def test_a_running_twin_gets_a_409_and_writes_nothing(double: Double) -> None:
    entered, leave = threading.Event(), threading.Event()

    def hold(delay_ms: int) -> None:
        entered.set()
        assert leave.wait(10)

    double.sleep_ms = hold
    bench, twin = in_process(double), in_process(double)
    customer = bench.customer()
    bench.fault("slow", "POST /v1/invoices", delay_ms=1)
    first = threading.Thread(target=bench.draft, args=(customer,))
    first.start()
    assert entered.wait(10)
    with pytest.raises(CollectorUnavailableError, match="409"):
        twin.draft(customer)
    leave.set()
    first.join(10)
    assert twin.draft(customer).status == "draft"
    assert bench.counts()["invoice"] == 1


def test_another_body_under_a_key_is_refused(bench: Bench) -> None:
    customer = bench.customer()
    draft = bench.draft(customer, 100)
    with pytest.raises(CollectorRefusedError, match="parameters"):
        bench.collector.line_create(
            key="inv_1:item:0", customer_id=customer, remote_id=draft.id, line=line("line0", 101)
        )
    assert bench.collector.invoice_read(remote_id=draft.id).total_minor == 100


def test_a_declined_card_is_kept_under_its_key(bench: Bench) -> None:
    customer = bench.customer()
    bench.card(customer, "4000000000000002")
    final = bench.opened(customer, 100)
    for _ in range(3):
        with pytest.raises(CardDeclinedError):
            bench.collector.invoice_pay(key="p1", remote_id=final.id)
    assert bench.counts()["charge"] == 1
    bench.card(customer)
    with pytest.raises(CardDeclinedError):
        bench.collector.invoice_pay(key="p1", remote_id=final.id)
    assert bench.collector.invoice_pay(key="p2", remote_id=final.id).status == "paid"


def test_nothing_is_kept_of_a_request_that_failed_validation(bench: Bench) -> None:
    customer = bench.customer()
    with pytest.raises(CollectorRefusedError):
        bench.collector.line_create(
            key="k", customer_id=customer, remote_id="in_nothing", line=line("a", 1)
        )
    draft = bench.draft(customer)
    made = bench.collector.line_create(
        key="k", customer_id=customer, remote_id=draft.id, line=line("a", 1)
    )
    assert made.amount_minor == 1


def test_a_lost_answer_over_a_socket_is_an_unknown_outcome(http_bench: Bench) -> None:
    http_bench.fault("answer_lost", "POST /v1/customers")
    with pytest.raises(CollectorUnavailableError) as caught:
        http_bench.customer()
    assert caught.value.unknown_outcome
    http_bench.customer()
    assert http_bench.counts()["customer"] == 1
