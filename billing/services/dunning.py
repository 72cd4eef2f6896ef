"""What follows a failed payment: the next attempt, notices, grace, block; and their end."""

from datetime import datetime, timedelta

from django.conf import settings
from django.core.mail import send_mail
from django.db import transaction

from billing.models import Invoice
from billing.services.money_text import amount_text
from billing.states import InvoiceState
from portal.models import Organization, Role
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
        f"We will try again on {following:%Y-%m-%d}."
        if following
        else "We will not try this card again by ourselves."
    )
    if action_required:
        subject = f"Confirm the payment of invoice {invoice.number}"
        text = (
            f"Your bank asks you to confirm the payment of {_due_text(invoice)} for invoice "
            f"{invoice.number}. Confirm and pay here: {invoice.hosted_url}\n\n{plan}\n"
        )
    else:
        subject = f"Payment of invoice {invoice.number} failed"
        text = (
            f"The payment of {_due_text(invoice)} for invoice {invoice.number} was declined. "
            f"{plan}\n\nChange the card or pay here: {_billing_url(invoice)}\n"
        )
    _mail(invoice, subject, text)


def card_notice_send(*, invoice: Invoice) -> None:
    """Mail that an invoice was to be charged to a card that is no longer there."""
    _mail(
        invoice,
        f"Invoice {invoice.number} waits for a card",
        f"Invoice {invoice.number} over {_due_text(invoice)} was to be charged to a card, but "
        f"there is none any more.\n\nPay it here: {invoice.hosted_url}\n"
        f"Or add a card, and it is charged at once: {_billing_url(invoice)}\n",
    )


def _due_text(invoice: Invoice) -> str:
    return f"{amount_text(invoice.due_minor, invoice.currency)} {invoice.currency}"


def _billing_url(invoice: Invoice) -> str:
    return f"{settings.ENV.portal_url}/app/{invoice.organization.slug}/billing"


def _mail(invoice: Invoice, subject: str, text: str) -> None:
    send_mail(
        subject=subject,
        message=text,
        from_email=None,
        recipient_list=billing_addresses(organization=invoice.organization),
    )


def billing_addresses(*, organization: Organization) -> list[str]:
    """Return who is told about money: the billing address, owners and billing members."""
    members = organization.memberships.filter(role__in=(Role.OWNER, Role.BILLING))
    addresses = set(members.values_list("user__email", flat=True))
    if organization.billing_email:
        addresses.add(organization.billing_email)
    return sorted(addresses)


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
