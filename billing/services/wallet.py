"""The prepaid wallet of a subscription: what is granted, what is left, what a document drew."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from django.db.models import QuerySet, Sum

from billing.models import CreditDraw, CreditGrant, CreditReturn, Invoice
from billing.services.rated import Stretch
from billing.states import InvoiceState, NoteState
from gateway.contracts.access_log import format_time, parse_time
from portal.core.money import major_to_minor, minor_to_major
from portal.models import PlanVersion, Subscription


def grants_ensure(
    *, subscription: Subscription, stretches: Sequence[Stretch], now: datetime
) -> None:
    """Grant the credits of the plans in use, each a single time per subscription and plan."""
    for stretch in stretches:
        version = stretch.segment.plan_version
        for index, credit in enumerate(version.terms.get("credits") or []):
            expires = credit.get("expires_at")
            CreditGrant.objects.get_or_create(
                key=_grant_key(subscription, version, index),
                defaults={
                    "organization_id": subscription.organization_id,
                    "subscription": subscription,
                    "currency": version.currency,
                    "amount_minor": major_to_minor(credit["amount"], version.currency),
                    "priority": credit.get("priority", 0),
                    "applies_to": credit.get("applies_to"),
                    "expires_at": parse_time(expires) if expires else None,
                    "created_at": now,
                },
            )


def grant_list(
    *, subscription: Subscription, currency: str, without: Invoice | None = None
) -> list[tuple[CreditGrant, int]]:
    """Return the usable grants with what is left, oldest first (file order is age).

    without   a draft that is rated again: its own draws do not count
    """
    grants = CreditGrant.objects.filter(
        organization_id=subscription.organization_id, currency=currency
    ).order_by("created_at", "key")
    rows = []
    for grant in grants:
        if grant.subscription_id not in (None, subscription.pk):
            continue
        draws = CreditDraw.objects.filter(grant=grant).exclude(invoice__state=InvoiceState.VOID)
        if without is not None:
            draws = draws.exclude(invoice=without)
        back = CreditReturn.objects.filter(grant=grant, credit_note__state=NoteState.ISSUED)
        back = back.exclude(
            credit_note__invoice__state=InvoiceState.VOID
        )  # its draw is back whole
        drawn = _sum_minor(draws) - _sum_minor(back)
        if grant.amount_minor > drawn:
            rows.append((grant, grant.amount_minor - drawn))
    return rows


def credit_terms_ahead(
    *, subscription: Subscription, versions: Sequence[PlanVersion]
) -> list[dict[str, Any]]:
    """Write the credits that the first document of these plans would grant, for previews."""
    terms = []
    for version in versions:
        for index, credit in enumerate(version.terms.get("credits") or []):
            key = _grant_key(subscription, version, index)
            if not CreditGrant.objects.filter(key=key).exists():
                minor = major_to_minor(credit["amount"], version.currency)
                terms.append(dict(credit) | {"balance_minor": minor})
    return terms


def _grant_key(subscription: Subscription, version: PlanVersion, index: int) -> str:
    return f"{subscription.pk}:{version.plan_id}:{index}"


def _sum_minor(rows: "QuerySet[CreditDraw] | QuerySet[CreditReturn]") -> int:
    return int(rows.aggregate(total=Sum("amount_minor"))["total"] or 0)


def credit_terms(rows: Sequence[tuple[CreditGrant, int]]) -> list[dict[str, Any]]:
    """Write grants as `credits` of a rating document, each with its balance beside it."""
    return [
        {
            "amount": format(minor_to_major(left, grant.currency), "f"),
            "balance_minor": left,
            "priority": grant.priority,
            "expires_at": format_time(grant.expires_at) if grant.expires_at else None,
        }
        | ({"applies_to": grant.applies_to} if grant.applies_to is not None else {})
        for grant, left in rows
    ]


def draws_write(
    *, invoice: Invoice, rows: Sequence[tuple[CreditGrant, int]], draws_minor: Sequence[int]
) -> None:
    """Replace a draft's draws."""
    invoice.credit_draws.all().delete()
    CreditDraw.objects.bulk_create(
        CreditDraw(grant=grant, invoice=invoice, amount_minor=drawn)
        for (grant, _), drawn in zip(rows, draws_minor, strict=True)
        if drawn
    )
