"""Stores and applies webhook events: each is a hint to read the object again (`stripe.md` §6).

Webhooks and reconciliation store through the same door, so that an event that was lost and found
again by list is applied like any other, once.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from django.db import transaction

from billing.models import CustomerAccount, InboxState, WebhookInbox
from billing.payments.port import FullCollector, RemoteEvent
from billing.services.accounts import account_deleted, card_refresh
from billing.services.charges import charge_apply, dispute_apply, invoice_of_remote
from billing.services.checkouts import checkout_of_session, checkout_settle
from billing.services.findings import finding_open
from billing.services.payments import card_changed, remote_apply
from portal.queue import enqueue_on_commit

SWEEP_AFTER: Final = timedelta(seconds=30)


def event_store(*, event: RemoteEvent, now: datetime) -> bool:
    """Store an event once and enqueue its worker on commit; False for one that was there.

    Only what tells which object to read is kept: names and addresses stay with the collector.
    """
    with transaction.atomic():
        _, created = WebhookInbox.objects.get_or_create(
            pk=event.id[:120],
            defaults={
                "type": event.type[:80],
                "object_id": event.object_id[:120],
                "customer_id": event.customer_id[:120],
                "payload": {"invoice": event.invoice_id, "charge": event.charge_id},
                "received_at": now,
            },
        )
        if created:
            enqueue_on_commit("billing.webhook_apply", event_id=event.id[:120])
    return created


@dataclass(frozen=True, slots=True)
class _Hint:
    """An event with all that its effect may need."""

    event: WebhookInbox
    collector: FullCollector
    now: datetime
    wall: datetime

    def link(self, name: str) -> str:
        return str(self.event.payload.get(name) or "")


def event_apply(
    *, event_id: str, collector: FullCollector, now: datetime, wall: datetime
) -> WebhookInbox:
    """Apply one event and mark it in one transaction; a second run finds it marked."""
    event = WebhookInbox.objects.get(pk=event_id)
    if event.state != InboxState.STORED:
        return event
    with transaction.atomic():
        known = _effect(_Hint(event, collector, now, wall))
        state = InboxState.APPLIED if known else InboxState.IGNORED
        WebhookInbox.objects.filter(pk=event_id, state=InboxState.STORED).update(
            state=state, applied_at=wall, attempts=event.attempts + 1
        )
    event.refresh_from_db()
    return event


def _effect(hint: _Hint) -> bool:
    """Carry out what the event hints at; False for one that says nothing to us."""
    for prefix, effect in _EFFECTS:
        if hint.event.type.startswith(prefix):
            return effect(hint)
    return False


def _invoice(hint: _Hint) -> bool:
    return _invoice_again(hint, hint.event.object_id)


def _invoice_linked(hint: _Hint) -> bool:
    return _invoice_again(hint, hint.link("invoice"))


def _invoice_again(hint: _Hint, remote_id: str) -> bool:
    found = invoice_of_remote(remote_id=remote_id)
    if found is None:
        return False
    remote = hint.collector.invoice_read(remote_id=remote_id)
    remote_apply(invoice=found, remote=remote, now=hint.now)
    return True


def _credit_note(hint: _Hint) -> bool:
    """Take in what a note did to its invoice; one that is not ours was made elsewhere."""
    remote_id = hint.link("invoice")
    found = invoice_of_remote(remote_id=remote_id)
    if found is None or not _invoice_again(hint, remote_id):
        return False
    ours = set(found.credit_notes.values_list("pk", flat=True))
    for note in hint.collector.credit_note_list(remote_id=remote_id):
        if note.metadata.get("credit_note_id") not in ours:
            finding_open(
                key=f"{found.pk}:credit_note:{note.id}",
                kind="credit_note_elsewhere",
                detail=f"{found}: credit note {note.id} was made at the collector, not by us.",
                invoice=found,
                now=hint.now,
            )
    return True


def _charge(hint: _Hint) -> bool:
    charge_id = hint.event.object_id
    return charge_apply(charge=hint.collector.charge_read(charge_id=charge_id), now=hint.now)


def _refund(hint: _Hint) -> bool:
    charge_id = hint.link("charge")
    if not charge_id:
        return False
    return charge_apply(charge=hint.collector.charge_read(charge_id=charge_id), now=hint.now)


def _dispute(hint: _Hint) -> bool:
    remote = hint.collector.dispute_read(dispute_id=hint.event.object_id)
    return dispute_apply(remote=remote, now=hint.now)


def _customer_deleted(hint: _Hint) -> bool:
    customer_id = hint.event.object_id
    account = _account(stripe_customer_id=customer_id)
    if account is None or hint.collector.customer_exists(customer_id=customer_id):
        return False
    return account_deleted(account=account, now=hint.wall)


def _card(hint: _Hint) -> bool:
    return _card_again(hint, _account(stripe_customer_id=hint.event.customer_id))


def _checkout(hint: _Hint) -> bool:
    """Take in the card, then put the customer on the plan that waited for it."""
    if not _card(hint):
        return False
    checkout = checkout_of_session(session_id=hint.event.object_id)
    if checkout is not None:
        checkout_settle(checkout=checkout, collector=hint.collector, now=hint.now, wall=hint.wall)
    return True


def _card_gone(hint: _Hint) -> bool:
    """A detached card no longer names its customer: the account that holds it does."""
    return _card_again(hint, _account(payment_method_id=hint.event.object_id))


def _card_again(hint: _Hint, account: CustomerAccount | None) -> bool:
    if account is None:
        return False
    if not hint.collector.customer_exists(customer_id=account.stripe_customer_id):
        return account_deleted(account=account, now=hint.wall)
    before = account.payment_method_id
    account = card_refresh(account=account, collector=hint.collector, now=hint.wall)
    if account.payment_method_id and account.payment_method_id != before:
        card_changed(account=account, now=hint.now)
    return True


def _account(**where: str) -> CustomerAccount | None:
    if not all(where.values()):
        return None
    return CustomerAccount.objects.filter(**where).first()


_EFFECTS: Final[tuple[tuple[str, Callable[[_Hint], bool]], ...]] = (
    ("invoice_payment.", _invoice_linked),
    ("invoice.", _invoice),
    ("credit_note.", _credit_note),
    ("charge.dispute.", _dispute),
    ("charge.refund.", _refund),
    ("charge.refunded", _charge),
    ("refund.", _refund),
    ("customer.deleted", _customer_deleted),
    ("customer.updated", _card),
    ("payment_method.detached", _card_gone),
    ("payment_method.", _card),
    ("checkout.session.completed", _checkout),
    ("setup_intent.succeeded", _card),
)
"""The first prefix that fits decides; what fits none is stored and ignored."""

APPLIED_EVENTS: Final = tuple(prefix for prefix, _ in _EFFECTS)


def inbox_sweep(*, wall: datetime) -> int:
    """Enqueue events that were stored but whose message was lost."""
    rows = WebhookInbox.objects.filter(
        state=InboxState.STORED, received_at__lte=wall - SWEEP_AFTER
    ).order_by("received_at")
    ids = list(rows.values_list("pk", flat=True))
    for event_id in ids:
        enqueue_on_commit("billing.webhook_apply", event_id=event_id)
    return len(ids)
