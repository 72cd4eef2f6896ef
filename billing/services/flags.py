"""What makes a draft worth a look before it is approved (`ux.md` §1 Finance)."""

from collections.abc import Iterable
from typing import Final

from django.utils.translation import gettext_lazy as _

from billing.models import CustomerAccount, Invoice
from billing.states import InvoiceState

FIXED_CHANGE_PERCENT: Final = 2
USAGE_CHANGE_PERCENT: Final = 50

FLAG_LABELS: Final = {
    "first_invoice": _("First invoice"),
    "fixed_changed": _("Fixed part changed by more than 2 %"),
    "usage_changed": _("Usage changed by more than 50 %"),
    "zero_baseline": _("Nothing was billed last month"),
    "plan_changed": _("Plan changed"),
    "credit": _("Prepaid credit used"),
    "negative": _("Negative total"),
    "no_payment_method": _("No payment method"),
    "late_usage": _("Late usage"),
}


def baseline_of(invoice: Invoice) -> Invoice | None:
    """Return the document of the same kind of the period before, or None."""
    return (
        Invoice.objects.filter(
            subscription_id=invoice.subscription_id,
            kind=invoice.kind,
            period__number__lt=invoice.period.number,
        )
        .exclude(state=InvoiceState.VOID)
        .order_by("-period__number", "-n")
        .first()
    )


def baseline_map(invoices: Iterable[Invoice]) -> dict[str, Invoice]:
    """Return `baseline_of` for many invoices at once; those without one are left out."""
    wanted = list(invoices)
    rows = Invoice.objects.filter(subscription_id__in={i.subscription_id for i in wanted})
    older = rows.exclude(state=InvoiceState.VOID).select_related("period")
    chains: dict[tuple[str, str], list[Invoice]] = {}
    for row in older.order_by("-period__number", "-n"):
        chains.setdefault((row.subscription_id, row.kind), []).append(row)
    found = {}
    for invoice in wanted:
        chain = chains.get((invoice.subscription_id, invoice.kind), [])
        before = (row for row in chain if row.period.number < invoice.period.number)
        baseline = next(before, None)
        if baseline is not None:
            found[invoice.pk] = baseline
    return found


def flags_of(*, invoice: Invoice) -> list[str]:
    """Work out the flags of a draft whose lines are written; [] means clean."""
    others = Invoice.objects.filter(organization_id=invoice.organization_id).exclude(pk=invoice.pk)
    found = []
    if not others.exclude(state=InvoiceState.VOID).exists():
        found.append("first_invoice")
    baseline = baseline_of(invoice)
    if baseline is not None:
        found += _against(invoice, baseline)
    if invoice.credit_minor:
        found.append("credit")
    if invoice.total_minor < 0:
        found.append("negative")
    if invoice.kind == "late":
        found.append("late_usage")
    if invoice.total_minor > 0 and not _has_card(invoice):
        found.append("no_payment_method")
    return found


def _has_card(invoice: Invoice) -> bool:
    account = CustomerAccount.objects.filter(pk=invoice.organization_id).first()
    return account is not None and account.payment_method_id != ""


def _against(invoice: Invoice, baseline: Invoice) -> list[str]:
    found = []
    fixed, usage = parts_minor(invoice)
    fixed_before, usage_before = parts_minor(baseline)
    if baseline.plan_version_id != invoice.plan_version_id:
        found.append("plan_changed")
    if baseline.total_minor == 0:
        found.append("zero_baseline")
    if _moved(fixed, fixed_before, FIXED_CHANGE_PERCENT):
        found.append("fixed_changed")
    if usage_before and _moved(usage, usage_before, USAGE_CHANGE_PERCENT):
        found.append("usage_changed")
    return found


def parts_minor(invoice: Invoice) -> tuple[int, int]:
    """Return (fixed, usage): the net of the lines without and with a meter."""
    lines = list(invoice.lines.all())
    return (
        sum(line.net_minor for line in lines if not line.meter),
        sum(line.net_minor for line in lines if line.meter),
    )


def _moved(now: int, before: int, percent: int) -> bool:
    """Say whether the change is more than `percent` of what was.

    >>> _moved(102, 100, 2), _moved(103, 100, 2)
    (False, True)
    """
    return abs(now - before) * 100 > abs(before) * percent
