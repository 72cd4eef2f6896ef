"""What follows a failed payment: the next attempt, notices, grace, block; and their end."""

from datetime import datetime, timedelta

from django.db import transaction

from billing.models import Invoice
from billing.services.billing_mail import app_url, billing_mail_send, day_text
from billing.services.money_text import amount_text
from billing.states import InvoiceState
from portal.models import Organization
from portal.services.audit import audit_record
from portal.snapshots import snapshot_touch


def dunning_failed(
    *, invoice: Invoice, days: list[int], now: datetime, action_required: bool = False
) -> None:
    """Plan the next attempt, mark the customer past due once, tell its people.

    action_required   the bank asks the customer to confirm; the notice says where
    """
    step = invoice.dunning_step
    following = now + timedelta(days=days[step]) if step < len(days) else None
    with transaction.atomic():
        Invoice.objects.filter(pk=invoice.pk, state=InvoiceState.OPEN).update(
            dunning_step=step + 1, next_attempt_at=following
        )
        Organization.objects.filter(
            pk=invoice.organization_id, past_due_since__isnull=True
        ).update(past_due_since=now)
        audit_record(
            actor=None,
            action="payment.failed",
            target=invoice.pk,
            now=now,
            organization=invoice.organization,
            after={"step": step + 1, "next_attempt_at": following},
        )
    notice_send(invoice=invoice, following=following, action_required=action_required)


def notice_send(
    *, invoice: Invoice, following: datetime | None, action_required: bool = False
) -> None:
    """Mail the organization's billing people about a payment that did not go through."""
    plan = (
        f"We will try again on {day_text(following)}."
        if following
        else "We will not try this card again by ourselves."
    )
    if action_required:
        subject = f"Confirm the payment of invoice {invoice.number}"
        text = (
            f"Your bank asks you to confirm the payment of {_due_text(invoice)} for invoice "
            f"{invoice.number}. {plan}\n\nConfirm and pay: {invoice.hosted_url}"
        )
    else:
        subject = f"Payment of invoice {invoice.number} failed"
        text = (
            f"The payment of {_due_text(invoice)} for invoice {invoice.number} was declined. "
            f"{plan}{_block_text(invoice)}\n\n"
            f"Change the card or pay: {app_url(invoice.organization, 'billing')}"
        )
    billing_mail_send(organization=invoice.organization, subject=subject, text=text)


def _block_text(invoice: Invoice) -> str:
    """Say when calls stop if nothing is paid; nothing where they have stopped."""
    row = Organization.objects.get(pk=invoice.organization_id)
    if row.past_due_since is None or row.blocked_at is not None:
        return ""
    end = day_text(row.past_due_since + grace_of(organization=row))
    return f" Calls go on until {end}; if it is not paid by then, live calls are refused."


def card_notice_send(*, invoice: Invoice) -> None:
    """Mail that an invoice was to be charged to a card that is no longer there."""
    billing_mail_send(
        organization=invoice.organization,
        subject=f"Invoice {invoice.number} waits for a card",
        text=(
            f"Invoice {invoice.number} of {_due_text(invoice)} was to be charged to your card, "
            f"but there is no card any more.\n\nPay it: {invoice.hosted_url}\n"
            f"Or add a card, and it is charged at once: "
            f"{app_url(invoice.organization, 'billing')}"
        ),
    )


def _due_text(invoice: Invoice) -> str:
    return f"{amount_text(invoice.due_minor, invoice.currency)} {invoice.currency}"


def block_due(*, now: datetime) -> int:
    """Block customers whose grace is over; the gateway answers 402 from the next snapshot on."""
    blocked = 0
    late = Organization.objects.filter(past_due_since__isnull=False, blocked_at__isnull=True)
    for organization in late.order_by("pk"):
        since = organization.past_due_since
        if since is None or since + grace_of(organization=organization) > now:
            continue
        with transaction.atomic():
            moved = Organization.objects.filter(
                pk=organization.pk, past_due_since__isnull=False, blocked_at__isnull=True
            ).update(blocked_at=now)
            if moved:
                audit_record(
                    actor=None,
                    action="organization.block",
                    target=organization.pk,
                    now=now,
                    organization=organization,
                    reason="payment is past due and its grace is over",
                )
                snapshot_touch()
                blocked += 1
    return blocked


def grace_of(*, organization: Organization) -> timedelta:
    """Return the longest grace among the plans of the customer's unpaid invoices."""
    unpaid = Invoice.objects.filter(organization=organization, state=InvoiceState.OPEN)
    days = unpaid.values_list("plan_version__past_due_grace_days", flat=True)
    return timedelta(days=max(days, default=7))


def dunning_clear(*, organization_id: str, now: datetime) -> bool:
    """End past due and block once no invoice of the customer has a failed payment open."""
    failing = Invoice.objects.filter(
        organization_id=organization_id, state=InvoiceState.OPEN, dunning_step__gt=0
    )
    if failing.exists():
        return False
    cleared = Organization.objects.filter(pk=organization_id, past_due_since__isnull=False).update(
        past_due_since=None, blocked_at=None
    )
    if cleared:
        audit_record(
            actor=None,
            action="organization.unblock",
            target=organization_id,
            now=now,
            organization=Organization.objects.get(pk=organization_id),
            reason="nothing is past due",
        )
        snapshot_touch()
    return bool(cleared)
