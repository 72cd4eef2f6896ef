"""What billing may rely on of a Collector, with the Stripe one on the double, both ways."""

from datetime import UTC, datetime, timedelta

import pytest

from billing.errors import CardDeclinedError, CollectorRefusedError, CollectorUnavailableError
from billing.payments.port import Collector, CollectorBooks
from billing.payments.sandbox.problems import Problem
from billing.payments.stripe_adapter import client_build
from tests.integration.stripe_double.conftest import Bench, bench_on, line


def test_satisfies_both_protocols(bench: Bench) -> None:
    steps: Collector = bench.collector
    books: CollectorBooks = bench.collector
    assert (steps, books) == (bench.collector, bench.collector)


def test_an_organization_has_one_customer_whatever_the_key(any_bench: Bench) -> None:
    first = any_bench.customer()
    again = any_bench.collector.customer_create(
        key="another key", organization_id="org_1", name="Acme", email="org_1@example.test"
    )
    other = any_bench.collector.customer_create(
        key="third", organization_id="org_2", name="Acme", email="org_1@example.test"
    )
    assert again == first != other
    assert any_bench.counts()["customer"] == 2


def test_the_newest_card_is_the_one_that_is_charged(any_bench: Bench) -> None:
    customer = any_bench.customer()
    assert any_bench.collector.card_read(customer_id=customer) is None
    any_bench.card(customer)
    any_bench.card(customer, "5555555555554444")
    card = any_bench.collector.card_read(customer_id=customer)
    assert card is not None
    assert (card.brand, card.last4, card.expires) == ("mastercard", "4444", "12/2034")
    held = any_bench.client.v1.customers.retrieve(customer)
    assert held.invoice_settings is not None
    assert held.invoice_settings.default_payment_method == card.payment_method_id


def test_a_line_each_and_the_total_is_their_sum(any_bench: Bench) -> None:
    customer = any_bench.customer()
    draft = any_bench.draft(customer, 4900, -900, 800)
    assert (draft.status, draft.total_minor, draft.currency) == ("draft", 4800, "USD")
    found = any_bench.collector.line_list(remote_id=draft.id)
    assert [(row.line_key, row.amount_minor, row.body_hash) for row in found] == [
        ("line2", 800, "line2-800"),
        ("line1", -900, "line1--900"),
        ("line0", 4900, "line0-4900"),
    ]


def test_a_line_is_brought_up_to_date_and_taken_away(any_bench: Bench) -> None:
    customer = any_bench.customer()
    draft = any_bench.draft(customer, 100, 200)
    newest, oldest = any_bench.collector.line_list(remote_id=draft.id)
    changed = any_bench.collector.line_update(
        key="u", line_id=oldest.id, line=line("line0", 150, text="Changed")
    )
    any_bench.collector.line_delete(key="d", line_id=newest.id)
    any_bench.collector.line_delete(key="d", line_id=newest.id)
    assert any_bench.collector.line_list(remote_id=draft.id) == (changed,)
    assert any_bench.collector.invoice_read(remote_id=draft.id).total_minor == 150


def test_a_draft_is_found_by_our_id_and_deleted_once(any_bench: Bench) -> None:
    customer = any_bench.customer()
    draft = any_bench.draft(customer, 100)
    found = any_bench.collector.invoice_find(customer_id=customer, invoice_id="inv_1")
    assert found is not None
    assert found.id == draft.id
    assert any_bench.collector.invoice_find(customer_id=customer, invoice_id="inv_2") is None
    any_bench.collector.invoice_delete(key="d", remote_id=draft.id)
    any_bench.collector.invoice_delete(key="d", remote_id=draft.id)
    assert any_bench.collector.invoice_find(customer_id=customer, invoice_id="inv_1") is None


def test_number_and_links_exist_from_finalizing_on(any_bench: Bench) -> None:
    customer = any_bench.customer()
    draft = any_bench.draft(customer, 100)
    assert (draft.number, draft.hosted_url, draft.pdf_url) == ("", "", "")
    final = any_bench.collector.invoice_finalize(key="f", remote_id=draft.id)
    assert final.status == "open"
    assert final.number.endswith("-0001")
    assert final.hosted_url.startswith("http")
    assert final.pdf_url.startswith("http")


def test_a_card_that_works_pays_the_invoice(any_bench: Bench) -> None:
    customer = any_bench.customer()
    any_bench.card(customer)
    final = any_bench.opened(customer, 4900)
    paid = any_bench.collector.invoice_pay(key="p", remote_id=final.id)
    assert (paid.status, paid.amount_paid_minor, paid.failure) == ("paid", 4900, None)


@pytest.mark.parametrize(
    ("number", "decline_code"),
    [("4000000000000002", "generic_decline"), ("4000000000009995", "insufficient_funds")],
)
def test_a_declined_card_leaves_it_open(any_bench: Bench, number: str, decline_code: str) -> None:
    customer = any_bench.customer()
    any_bench.card(customer, number)
    final = any_bench.opened(customer, 4900)
    with pytest.raises(CardDeclinedError) as caught:
        any_bench.collector.invoice_pay(key="p1", remote_id=final.id)
    assert (caught.value.decline_code, caught.value.action_required) == (decline_code, False)
    held = any_bench.collector.invoice_read(remote_id=final.id)
    assert (held.status, held.amount_paid_minor) == ("open", 0)
    assert held.failure is not None
    assert (held.failure.code, held.failure.decline_code) == ("card_declined", decline_code)
    any_bench.card(customer)
    assert any_bench.collector.invoice_pay(key="p2", remote_id=final.id).status == "paid"


def test_a_card_that_asks_for_action_says_so(any_bench: Bench) -> None:
    customer = any_bench.customer()
    any_bench.card(customer, "4000002500003155")
    final = any_bench.opened(customer, 4900)
    with pytest.raises(CardDeclinedError) as caught:
        any_bench.collector.invoice_pay(key="p", remote_id=final.id)
    assert caught.value.action_required
    assert any_bench.collector.invoice_read(remote_id=final.id).status == "open"


def test_without_a_card_paying_is_refused_and_sending_works(any_bench: Bench) -> None:
    customer = any_bench.customer()
    final = any_bench.opened(customer, 4900, days=14)
    with pytest.raises(CollectorRefusedError):
        any_bench.collector.invoice_pay(key="p", remote_id=final.id)
    assert any_bench.collector.invoice_send(key="s", remote_id=final.id).status == "open"


def test_an_open_invoice_is_voided_or_given_up(any_bench: Bench) -> None:
    customer = any_bench.customer()
    first = any_bench.opened(customer, 100)
    second = any_bench.opened(customer, 200, invoice_id="inv_2")
    assert any_bench.collector.invoice_void(key="v", remote_id=first.id).status == "void"
    given_up = any_bench.collector.invoice_uncollectible(key="u", remote_id=second.id)
    assert given_up.status == "uncollectible"


def test_credit_notes_lower_what_is_open_and_credit_what_is_paid(any_bench: Bench) -> None:
    customer = any_bench.customer()
    any_bench.card(customer)
    first = any_bench.opened(customer, 1000)
    note = any_bench.collector.credit_note_create(
        key="c1", remote_id=first.id, credit_note_id="cn_1", amount_minor=300, reason="Outage"
    )
    again = any_bench.collector.credit_note_create(
        key="c1b", remote_id=first.id, credit_note_id="cn_1", amount_minor=300, reason="Outage"
    )
    assert (note.total_minor, again.id) == (300, note.id)
    paid = any_bench.collector.invoice_pay(key="p", remote_id=first.id)
    assert (paid.amount_paid_minor, paid.total_minor) == (700, 1000)
    any_bench.collector.credit_note_create(
        key="c2", remote_id=first.id, credit_note_id="cn_2", amount_minor=200, reason="Outage"
    )
    assert any_bench.client.v1.customers.retrieve(customer).balance == -200
    with pytest.raises(CollectorRefusedError):
        any_bench.collector.credit_note_create(
            key="c3", remote_id=first.id, credit_note_id="cn_3", amount_minor=600, reason="Much"
        )
    assert len(any_bench.collector.credit_note_list(remote_id=first.id)) == 2


def test_reconciliation_lists_invoices_and_events_page_by_page(any_bench: Bench) -> None:
    customer = any_bench.customer()
    for index in range(3):
        any_bench.draft(customer, 100, invoice_id=f"inv_{index}")
    since = datetime.fromtimestamp(any_bench.double.now(), UTC) - timedelta(hours=1)
    listed = any_bench.collector.invoice_list(created_from=since)
    assert [row.metadata["invoice_id"] for row in listed] == ["inv_2", "inv_1", "inv_0"]
    assert any_bench.collector.invoice_list(created_from=since, status="paid") == ()
    assert any_bench.collector.invoice_list(created_from=since + timedelta(hours=2)) == ()
    assert any_bench.collector.invoice_list(created_from=None, status="draft") == listed
    events = any_bench.collector.event_list(created_from=since)
    assert events[0].type == "customer.created"
    assert events[0].customer_id == customer
    assert any_bench.collector.event_read(event_id=events[-1].id) == events[-1]


def test_what_is_not_there_is_refused(any_bench: Bench) -> None:
    with pytest.raises(CollectorRefusedError):
        any_bench.collector.invoice_read(remote_id="in_nothing")


@pytest.mark.parametrize("key", ["sk_test_other", "sk_live_double"])
def test_a_key_that_is_not_taken_means_nothing_happened(http_bench: Bench, key: str) -> None:
    client = client_build(secret_key=key, api_base=http_bench.url, retries=0)
    with pytest.raises(CollectorUnavailableError) as caught:
        bench_on(http_bench.double, client).customer()
    assert not caught.value.unknown_outcome
    assert http_bench.counts() == {}


def paid_invoice(bench: Bench, amount: int = 1000) -> tuple[str, str]:
    """Return an invoice that a card has paid, and the charge."""
    customer = bench.customer()
    bench.card(customer)
    paid = bench.collector.invoice_pay(key="p", remote_id=bench.opened(customer, amount).id)
    return paid.id, bench.charge_of(paid.id)


def test_a_note_on_a_paid_invoice_is_refunded_in_the_same_call(any_bench: Bench) -> None:
    remote_id, charge_id = paid_invoice(any_bench)
    notes = [
        any_bench.collector.credit_note_create(
            key="c1",
            remote_id=remote_id,
            credit_note_id="cn_1",
            amount_minor=300,
            reason="Outage",
            refund=True,
        )
        for _ in range(2)
    ]
    assert notes[0] == notes[1]
    assert (notes[0].total_minor, notes[0].applied_minor) == (300, 0)
    charge = any_bench.collector.charge_read(charge_id=charge_id)
    assert (charge.invoice_id, charge.amount_minor) == (remote_id, 1000)
    assert [(r.amount_minor, r.status) for r in charge.refunds] == [(300, "succeeded")]
    since = datetime(2020, 1, 1, tzinfo=UTC)
    assert any_bench.collector.refund_list(created_from=since) == tuple(charge.refunds)


def test_what_is_open_and_what_is_credited_are_told(any_bench: Bench) -> None:
    final = any_bench.opened(any_bench.customer(), 1000, days=7)
    note = any_bench.collector.credit_note_create(
        key="c1", remote_id=final.id, credit_note_id="cn_1", amount_minor=300, reason="Outage"
    )
    held = any_bench.collector.invoice_read(remote_id=final.id)
    assert (note.applied_minor, held.credited_minor, held.remaining_minor) == (300, 300, 700)
    assert (held.total_minor, held.status) == (1000, "open")


def test_a_dispute_names_the_invoice_and_ends_once(any_bench: Bench) -> None:
    remote_id, charge_id = paid_invoice(any_bench)
    dispute_id = any_bench.dispute(charge_id, amount=400)
    held = any_bench.collector.dispute_read(dispute_id=dispute_id)
    assert (held.invoice_id, held.charge_id, held.amount_minor) == (remote_id, charge_id, 400)
    assert (held.status, held.reason) == ("needs_response", "fraudulent")
    assert held.evidence_due_at is not None
    any_bench.decide(dispute_id, "lost")
    since = datetime(2020, 1, 1, tzinfo=UTC)
    found = any_bench.collector.dispute_list(created_from=since)
    assert [(row.id, row.status) for row in found] == [(dispute_id, "lost")]
    with pytest.raises(Problem):
        any_bench.decide(dispute_id, "won")


def test_a_deleted_customer_is_gone(any_bench: Bench) -> None:
    customer = any_bench.customer()
    assert any_bench.collector.customer_exists(customer_id=customer)
    any_bench.client.v1.customers.delete(customer)
    assert not any_bench.collector.customer_exists(customer_id=customer)
    assert not any_bench.collector.customer_exists(customer_id="cus_never")
