"""An organization's account at the collector: its customer and its card."""

from datetime import datetime

from django.db.models import F

from billing.models import CustomerAccount
from billing.payments.port import CheckoutSession, Collector
from billing.services.findings import finding_open
from portal.models import Organization


def account_ensure(
    *, organization: Organization, collector: Collector, now: datetime
) -> CustomerAccount:
    """Return the account, making the customer on first use; the key makes a rerun harmless."""
    account, _ = CustomerAccount.objects.get_or_create(
        organization=organization, defaults={"updated_at": now}
    )
    if account.stripe_customer_id:
        return account
    again = f":{account.generation}" if account.generation else ""
    customer_id = collector.customer_create(
        key=f"{organization.pk}:customer{again}",
        organization_id=organization.pk,
        name=organization.name,
        email=organization.billing_email,
    )
    CustomerAccount.objects.filter(pk=account.pk, stripe_customer_id="").update(
        stripe_customer_id=customer_id, updated_at=now
    )
    account.refresh_from_db()
    return account


def card_setup_start(
    *,
    organization: Organization,
    collector: Collector,
    success_url: str,
    cancel_url: str,
    now: datetime,
) -> CheckoutSession:
    """Open the hosted card page; each call is a new page, so the key carries the instant."""
    account = account_ensure(organization=organization, collector=collector, now=now)
    session = collector.checkout_create(
        key=f"{organization.pk}:setup:{now:%Y%m%d%H%M%S%f}",
        customer_id=account.stripe_customer_id,
        success_url=success_url,
        cancel_url=cancel_url,
    )
    CustomerAccount.objects.filter(pk=account.pk).update(
        setup_session_id=session.id, updated_at=now
    )
    return session


def card_refresh(
    *, account: CustomerAccount, collector: Collector, now: datetime
) -> CustomerAccount:
    """Read the customer's card at the collector and keep what may be shown of it."""
    card = collector.card_read(customer_id=account.stripe_customer_id)
    CustomerAccount.objects.filter(pk=account.pk).update(
        payment_method_id=card.payment_method_id if card else "",
        card_brand=card.brand if card else "",
        card_last4=card.last4 if card else "",
        card_expires=card.expires if card else "",
        updated_at=now,
    )
    account.refresh_from_db()
    return account


def account_deleted(*, account: CustomerAccount, now: datetime) -> bool:
    """Forget a customer that was deleted at the collector; the next invoice makes a new one.

    Finance has to look: open invoices of the deleted customer can no longer be charged.
    """
    gone = account.stripe_customer_id
    cleared = CustomerAccount.objects.filter(pk=account.pk, stripe_customer_id=gone).update(
        stripe_customer_id="",
        payment_method_id="",
        card_brand="",
        card_last4="",
        card_expires="",
        generation=F("generation") + 1,
        updated_at=now,
    )
    finding_open(
        key=f"{account.pk}:customer_deleted:{gone}",
        kind="customer_deleted",
        detail=f"The customer {gone} was deleted at the collector, with its card.",
        organization_id=account.pk,
        now=now,
    )
    return cleared == 1
