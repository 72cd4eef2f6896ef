"""Applies stored webhook events: each is a hint to read the object again (`stripe.md` §6)."""

from datetime import datetime, timedelta
from typing import Final

from django.db import transaction

from billing.models import CustomerAccount, InboxState, Invoice, WebhookInbox
from billing.payments.port import Collector
from billing.services.accounts import card_refresh
from billing.services.checkouts import checkout_of_session, checkout_settle
from billing.services.payments import card_changed, remote_apply
from portal.queue import enqueue_on_commit

SWEEP_AFTER: Final = timedelta(seconds=30)
CARD_EVENTS: Final = (
    "checkout.session.completed",
    "setup_intent.succeeded",
    "payment_method.",
    "customer.updated",
)


def event_apply(
    *, event_id: str, collector: Collector, now: datetime, wall: datetime
) -> WebhookInbox:
    """Apply one event and mark it in one transaction; a second run finds it marked."""
    event = WebhookInbox.objects.get(pk=event_id)
    if event.state != InboxState.STORED:
        return event
    with transaction.atomic():
        known = _effect(event, collector, now, wall)
        state = InboxState.APPLIED if known else InboxState.IGNORED
        WebhookInbox.objects.filter(pk=event_id, state=InboxState.STORED).update(
            state=state, applied_at=wall, attempts=event.attempts + 1
        )
    event.refresh_from_db()
    return event


def _effect(event: WebhookInbox, collector: Collector, now: datetime, wall: datetime) -> bool:
    """Carry out what the event hints at; False for one that says nothing to us."""
    if event.type.startswith("invoice."):
        invoice = Invoice.objects.select_related("organization").filter(
            stripe_invoice_id=event.object_id
        )
        found = invoice.first()
        if found is None or not event.object_id:
            return False
        remote = collector.invoice_read(remote_id=event.object_id)
        remote_apply(invoice=found, remote=remote, now=now)
        return True
    if event.type.startswith(CARD_EVENTS):
        customer_id = event.customer_id
        if event.type == "customer.updated":
            customer_id = event.object_id
        account = CustomerAccount.objects.filter(stripe_customer_id=customer_id).first()
        if account is None or not customer_id:
            return False
        before = account.payment_method_id
        account = card_refresh(account=account, collector=collector, now=wall)
        if account.payment_method_id and account.payment_method_id != before:
            card_changed(account=account, now=now)
        checkout = checkout_of_session(session_id=event.object_id)
        if checkout is not None:
            checkout_settle(checkout=checkout, collector=collector, now=now, wall=wall)
        return True
    return False


def inbox_sweep(*, wall: datetime, limit: int = 200) -> int:
    """Enqueue events that were stored but whose message was lost."""
    rows = WebhookInbox.objects.filter(
        state=InboxState.STORED, received_at__lte=wall - SWEEP_AFTER
    ).order_by("received_at")
    ids = list(rows.values_list("pk", flat=True)[:limit])
    for event_id in ids:
        enqueue_on_commit("billing.webhook_apply", event_id=event_id)
    return len(ids)
