"""Onto a plan: review, card, subscription; the subscription is made exactly once.

A `PlanCheckout` row is what the customer agreed to. It is settled by whoever comes first: the
return page, the webhook, or the scan for those who closed the tab; the compare-and-set on its
state lets one of them through. A card that is refused or never left changes nothing.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Final

from django.conf import settings
from django.db import transaction
from django.urls import reverse

from billing.errors import BillingError, CardRequiredError
from billing.models import CheckoutState, CustomerAccount, PlanCheckout
from billing.payments.port import Collector
from billing.services.accounts import account_ensure, card_refresh
from portal.errors import InputInvalidError, PlanNotOfferedError, SubscriptionOverlapError
from portal.models import Organization, PlanVersion, Subscription, User
from portal.queue import enqueue_on_commit
from portal.services.subscriptions import subscription_create, subscription_create_check

LOOK_EVERY: Final = timedelta(minutes=2)
GIVE_UP_AFTER: Final = timedelta(hours=25)  # the hosted page lives for 24 hours
_AMOUNTS: Final = (
    *("amount", "unit_amount", "package_amount", "flat_amount"),
    *("rate", "fixed_per_event", "min_per_event", "minimum"),
)
REFUSALS: Final = (
    *(PlanNotOfferedError, SubscriptionOverlapError, InputInvalidError),
    CardRequiredError,
)


def plan_costs(version: PlanVersion) -> bool:
    """Say whether the plan can ever ask for money: then a card is needed.

    >>> plan_costs(PlanVersion(terms={"prices": []}))
    False
    >>> plan_costs(PlanVersion(terms={"prices": [{"key": "b", "model": "flat", "amount": "1"}]}))
    True
    """
    terms = version.terms
    if terms.get("minimum_commitment"):
        return True
    return any(
        price["model"] == "dynamic"
        or _asks_for_money(price)
        or any(_asks_for_money(tier) for tier in price.get("tiers") or ())
        for price in terms.get("prices", [])
    )


def _asks_for_money(entry: Mapping[str, Any]) -> bool:
    return any(Decimal(str(entry.get(name) or 0)) > 0 for name in _AMOUNTS)


def has_card(organization: Organization) -> bool:
    return (
        CustomerAccount.objects.filter(pk=organization.pk).exclude(payment_method_id="").exists()
    )


def plan_subscribe(
    *, organization: Organization, version: PlanVersion, actor: User | None, now: datetime
) -> Subscription:
    """Put an organization on a plan, now; the first fees are drafted at once.

    :raises CardRequiredError: when the plan costs something and no card was left.
    :raises PlanNotOfferedError, SubscriptionOverlapError, InputInvalidError: as
        `subscription_create` does.
    """
    if plan_costs(version) and not has_card(organization):
        raise CardRequiredError
    with transaction.atomic():
        subscription = subscription_create(
            organization=organization, version=version, actor=actor, now=now
        )
        first = subscription.periods.earliest("number")
        enqueue_on_commit("billing.invoice_advance", period_id=first.pk)
    return subscription


def checkout_start(
    *,
    organization: Organization,
    version: PlanVersion,
    actor: User | None,
    collector: Collector,
    now: datetime,
    wall: datetime,
) -> PlanCheckout:
    """Keep what was agreed to and open the hosted card page, or subscribe where none is needed.

    The card page sends the customer back to the checkout's own page.

    :raises PlanNotOfferedError, SubscriptionOverlapError, InputInvalidError: before anything is
        asked of the customer.
    :raises CollectorUnavailableError, CollectorBusyError, CollectorRefusedError: no page could
        be opened; nothing else happened.
    """
    subscription_create_check(organization=organization, version=version, now=now)
    checkout = PlanCheckout.objects.create(
        organization=organization,
        plan_version=version,
        created_by=actor,
        created_at=now,
        opened_at=wall,
        due_at=wall + LOOK_EVERY,
    )
    if not plan_costs(version) or has_card(organization):
        return _subscribe(checkout, now=now)
    try:
        return _page_open(checkout, collector=collector, wall=wall)
    except BillingError:
        checkout.delete()  # nobody was sent anywhere: nothing half-made stays
        raise


def _page_open(checkout: PlanCheckout, *, collector: Collector, wall: datetime) -> PlanCheckout:
    """Open the hosted page of a checkout."""
    own_path = reverse("org_checkout", args=[checkout.organization.slug, checkout.pk])
    own_url = settings.ENV.portal_url.rstrip("/") + own_path
    account = account_ensure(organization=checkout.organization, collector=collector, now=wall)
    session = collector.checkout_create(
        key=f"{checkout.pk}:setup",
        customer_id=account.stripe_customer_id,
        success_url=own_url,
        cancel_url=f"{own_url}?left=1",
    )
    PlanCheckout.objects.filter(pk=checkout.pk).update(
        session_id=session.id, session_url=session.url
    )
    checkout.refresh_from_db()
    return checkout


def checkout_settle(
    *, checkout: PlanCheckout, collector: Collector, now: datetime, wall: datetime
) -> PlanCheckout:
    """Look whether the card was left and, if so, subscribe; again changes nothing.

    :raises CollectorUnavailableError, CollectorBusyError: try later; nothing happened.
    """
    if checkout.state != CheckoutState.OPEN or not checkout.session_id:
        return checkout
    session = collector.checkout_read(session_id=checkout.session_id)
    if session.complete:
        account = account_ensure(organization=checkout.organization, collector=collector, now=wall)
        card_refresh(account=account, collector=collector, now=wall)
        return _subscribe(checkout, now=now)
    if not session.url:
        _finish(checkout, CheckoutState.EXPIRED, now=now)
    return checkout


def _subscribe(checkout: PlanCheckout, *, now: datetime) -> PlanCheckout:
    """Make the one subscription of a checkout, or note why there can be none."""
    try:
        with transaction.atomic():
            if _finish(checkout, CheckoutState.DONE, now=now):
                made = plan_subscribe(
                    organization=checkout.organization,
                    version=checkout.plan_version,
                    actor=checkout.created_by,
                    now=now,
                )
                PlanCheckout.objects.filter(pk=checkout.pk).update(subscription=made)
    except REFUSALS as error:
        _finish(checkout, CheckoutState.REFUSED, now=now, problem=error.code)
    checkout.refresh_from_db()
    return checkout


def _finish(
    checkout: PlanCheckout, state: CheckoutState, *, now: datetime, problem: str = ""
) -> bool:
    """Move an open checkout to its end; False = somebody else did."""
    moved = PlanCheckout.objects.filter(pk=checkout.pk, state=CheckoutState.OPEN).update(
        state=state, finished_at=now, problem=problem
    )
    checkout.refresh_from_db()
    return moved == 1


def checkout_of_session(*, session_id: str) -> PlanCheckout | None:
    rows = PlanCheckout.objects.select_related("organization", "plan_version", "created_by")
    return rows.filter(session_id=session_id).first() if session_id else None


def checkout_due_settle(
    *, checkout_id: str, collector: Collector, now: datetime, wall: datetime
) -> None:
    """Look at a page whose customer never came back; give it up once it cannot be used."""
    rows = PlanCheckout.objects.filter(pk=checkout_id, state=CheckoutState.OPEN)
    if rows.filter(due_at__lte=wall).update(due_at=wall + LOOK_EVERY) != 1:
        return
    checkout = rows.select_related("organization", "plan_version", "created_by").get()
    checkout = checkout_settle(checkout=checkout, collector=collector, now=now, wall=wall)
    if checkout.opened_at <= wall - GIVE_UP_AFTER:
        _finish(checkout, CheckoutState.EXPIRED, now=now)


def checkout_due_enqueue(*, wall: datetime, limit: int = 200) -> int:
    """Send a task for each open checkout that is to be looked at."""
    rows = PlanCheckout.objects.filter(state=CheckoutState.OPEN, due_at__lte=wall)
    ids = list(rows.order_by("due_at").values_list("pk", flat=True)[:limit])
    for checkout_id in ids:
        enqueue_on_commit("billing.checkout_settle", checkout_id=checkout_id)
    return len(ids)
