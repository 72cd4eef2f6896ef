"""Every row lock of billing, by primary key; taken late, once, inside a transaction."""

from billing.models import CreditGrant, CreditNote, Invoice, InvoiceNumbering
from portal.models import BillingPeriod, Organization


def organization_lock(organization_id: str) -> Organization:
    """Serialize what changes a customer's subscriptions."""
    return Organization.objects.select_for_update().get(pk=organization_id)


def period_lock(period_id: str) -> BillingPeriod:
    """Serialize everything that writes into one period's chain."""
    return (
        BillingPeriod.objects.select_for_update(of=("self",))
        .select_related("subscription__organization")
        .get(pk=period_id)
    )


def invoice_lock(invoice_id: str) -> Invoice:
    return Invoice.objects.select_for_update(of=("self",)).get(pk=invoice_id)


def grants_lock(organization_id: str) -> None:
    """Serialize documents that draw on one wallet: two periods of a customer share it."""
    list(
        CreditGrant.objects.select_for_update()
        .filter(organization_id=organization_id)
        .order_by("pk")
        .values_list("pk", flat=True)
    )


def credit_note_lock(note_id: str) -> CreditNote:
    return CreditNote.objects.select_for_update(of=("self",)).get(pk=note_id)


def numbering_take(series: str) -> int:
    """Return the next number of a series and raise it; without gaps, as the lock is held to the
    commit of the document that uses it."""
    InvoiceNumbering.objects.get_or_create(pk=series)
    row = InvoiceNumbering.objects.select_for_update().get(pk=series)
    InvoiceNumbering.objects.filter(pk=series).update(next_value=row.next_value + 1)
    return row.next_value
