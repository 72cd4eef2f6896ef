"""The invoice's states: what is allowed, what is refused, and what a refusal leaves untouched."""

import pytest
import stripe

from billing.errors import CollectorRefusedError
from billing.payments.sandbox.items import ITEMS_MAX
from tests.integration.stripe_double.conftest import Bench, line

STATUSES = ("draft", "open", "paid", "void", "uncollectible")
ALLOWED = {
    "finalize_invoice": {"draft"},
    "pay": {"open", "uncollectible"},
    "send_invoice": {"open"},
    "void_invoice": {"open", "uncollectible"},
    "mark_uncollectible": {"open"},
    "delete": {"draft"},
}


def brought_to(bench: Bench, status: str) -> str:
    """Return an invoice in a status; its customer has a card that works."""
    customer = bench.customer()
    bench.card(customer)
    made = bench.draft(customer, 1000, days=14)
    if status == "draft":
        return made.id
    bench.collector.invoice_finalize(key="f", remote_id=made.id)
    if status == "paid":
        bench.collector.invoice_pay(key="p", remote_id=made.id)
    if status == "void":
        bench.collector.invoice_void(key="v", remote_id=made.id)
    if status == "uncollectible":
        bench.collector.invoice_uncollectible(key="u", remote_id=made.id)
    return made.id


@pytest.mark.parametrize("status", STATUSES)
@pytest.mark.parametrize("move", list(ALLOWED))
def test_every_move_from_every_state(bench: Bench, status: str, move: str) -> None:
    invoice = brought_to(bench, status)
    before = bench.collector.invoice_read(remote_id=invoice)
    assert before.status == status
    act = getattr(bench.client.v1.invoices, move)
    if status in ALLOWED[move]:
        act(invoice)
        return
    events = bench.counts()["event"]
    with pytest.raises(stripe.InvalidRequestError) as caught:
        act(invoice)
    assert caught.value.http_status == 400
    assert bench.collector.invoice_read(remote_id=invoice) == before
    assert bench.counts()["event"] == events


@pytest.mark.parametrize("status", STATUSES[1:])
def test_the_lines_of_a_finalized_invoice_stand(bench: Bench, status: str) -> None:
    invoice = brought_to(bench, status)
    customer = bench.customer()
    (held,) = bench.collector.line_list(remote_id=invoice)
    with pytest.raises(CollectorRefusedError):
        bench.collector.line_create(
            key="x", customer_id=customer, remote_id=invoice, line=line("x", 1)
        )
    with pytest.raises(CollectorRefusedError):
        bench.collector.line_update(key="y", line_id=held.id, line=line("line0", 1))
    with pytest.raises(CollectorRefusedError):
        bench.collector.line_delete(key="z", line_id=held.id)
    with pytest.raises(stripe.InvalidRequestError):
        bench.client.v1.invoices.update(invoice, {"description": "x"})
    bench.client.v1.invoices.update(invoice, {"metadata": {"note": "allowed"}})
    assert bench.collector.line_list(remote_id=invoice) == (held,)


def test_a_second_finalize_is_refused_and_the_status_read_again_tells(bench: Bench) -> None:
    customer = bench.customer()
    final = bench.opened(customer, 100)
    with pytest.raises(CollectorRefusedError, match="already finalized"):
        bench.collector.invoice_finalize(key="another key", remote_id=final.id)
    assert bench.collector.invoice_read(remote_id=final.id).status == "open"


def test_a_negative_total_becomes_balance_that_the_next_invoice_consumes(bench: Bench) -> None:
    customer = bench.customer()
    bench.card(customer)
    credit = bench.opened(customer, 500, -2000, invoice_id="inv_1")
    assert (credit.status, credit.total_minor, credit.due_minor) == ("paid", -1500, 0)
    assert bench.client.v1.customers.retrieve(customer).balance == -1500
    following = bench.opened(customer, 4000, invoice_id="inv_2")
    assert (following.status, following.total_minor, following.due_minor) == ("open", 4000, 2500)
    paid = bench.collector.invoice_pay(key="p", remote_id=following.id)
    assert (paid.total_minor, paid.amount_paid_minor) == (4000, 2500)
    assert bench.client.v1.customers.retrieve(customer).balance == 0


def test_a_voided_invoice_gives_back_the_balance_it_consumed(bench: Bench) -> None:
    customer = bench.customer()
    bench.opened(customer, -1500, invoice_id="inv_1")
    following = bench.opened(customer, 4000, invoice_id="inv_2")
    bench.collector.invoice_void(key="v", remote_id=following.id)
    assert bench.client.v1.customers.retrieve(customer).balance == -1500


def test_an_invoice_of_nothing_ends_paid(bench: Bench) -> None:
    customer = bench.customer()
    assert bench.opened(customer, 100, -100).status == "paid"
    assert "charge" not in bench.counts()


def test_more_items_than_it_holds_are_refused_and_all_pages_are_listed(bench: Bench) -> None:
    customer = bench.customer()
    draft = bench.draft(customer)
    for start in range(0, ITEMS_MAX, 50):
        bench.client.v1.invoices.add_lines(
            draft.id,
            {
                "lines": [
                    {"amount": n, "description": "x", "metadata": {"line_key": f"line{n}"}}
                    for n in range(start, start + 50)
                ]
            },
        )
    with pytest.raises(CollectorRefusedError, match="at most 250"):
        bench.collector.line_create(
            key="k", customer_id=customer, remote_id=draft.id, line=line("more", 1)
        )
    found = bench.collector.line_list(remote_id=draft.id)
    assert [row.line_key for row in found] == [f"line{n}" for n in reversed(range(ITEMS_MAX))]
    total = bench.collector.invoice_read(remote_id=draft.id).total_minor
    assert total == sum(range(ITEMS_MAX))


def test_lines_in_bulk_are_all_taken_or_none(bench: Bench) -> None:
    customer = bench.customer()
    draft = bench.draft(customer, *([1] * 5))
    events = bench.counts()["event"]
    with pytest.raises(stripe.InvalidRequestError, match="at most 250"):
        bench.client.v1.invoices.add_lines(
            draft.id, {"lines": [{"amount": 1} for _ in range(ITEMS_MAX)]}
        )
    assert len(bench.collector.line_list(remote_id=draft.id)) == 5
    assert bench.counts()["event"] == events


def test_items_without_an_invoice_wait_and_stay_out_of_ours(bench: Bench) -> None:
    customer = bench.customer()
    bench.client.v1.invoice_items.create({"customer": customer, "amount": 999, "currency": "usd"})
    assert bench.draft(customer, 100).total_minor == 100
    taken = bench.client.v1.invoices.create(
        {"customer": customer, "currency": "usd", "pending_invoice_items_behavior": "include"}
    )
    assert taken.total == 999


def test_another_currency_does_not_fit_on_an_invoice(bench: Bench) -> None:
    customer = bench.customer()
    draft = bench.draft(customer, 100)
    with pytest.raises(CollectorRefusedError, match="currency"):
        bench.collector.line_create(
            key="k", customer_id=customer, remote_id=draft.id, line=line("yen", 1, "JPY")
        )


def test_refunds_stop_at_what_was_charged(bench: Bench) -> None:
    invoice = brought_to(bench, "paid")
    charge = bench.client.v1.charges.list().data[0]
    bench.client.v1.refunds.create({"charge": charge.id, "amount": 600})
    with pytest.raises(stripe.InvalidRequestError):
        bench.client.v1.refunds.create({"charge": charge.id, "amount": 500})
    bench.client.v1.refunds.create({"payment_intent": str(charge.payment_intent)})
    held = bench.client.v1.charges.retrieve(charge.id)
    assert (held.amount_refunded, held.refunded) == (1000, True)
    assert bench.collector.invoice_read(remote_id=invoice).status == "paid"


def test_a_voided_credit_note_no_longer_lowers_the_invoice(bench: Bench) -> None:
    customer = bench.customer()
    final = bench.opened(customer, 1000)
    note = bench.collector.credit_note_create(
        key="c", remote_id=final.id, credit_note_id="cn_1", amount_minor=400, reason="Outage"
    )
    assert bench.collector.invoice_read(remote_id=final.id).due_minor == 600
    bench.client.v1.credit_notes.void_credit_note(note.id)
    assert bench.collector.invoice_read(remote_id=final.id).due_minor == 1000
    bench.collector.credit_note_create(
        key="c2", remote_id=final.id, credit_note_id="cn_2", amount_minor=1000, reason="All of it"
    )
    assert bench.collector.invoice_read(remote_id=final.id).status == "paid"
