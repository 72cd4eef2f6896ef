"""Reads for the money pages."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db.models import Count, Q, QuerySet, Sum

from billing.models import CreditNote, Finding, Invoice, InvoiceLine, UsageSnapshot
from billing.states import InvoiceState, NoteState
from portal.models import BillingPeriod, Organization


def invoice_list(
    *, organization: Organization | None = None, state: str = "", text: str = ""
) -> "QuerySet[Invoice]":
    """Return invoices, newest first, with what a table shows."""
    rows = Invoice.objects.select_related(
        "organization", "period", "plan_version__plan", "subscription"
    ).order_by("-created_at", "-n", "pk")
    if organization is not None:
        rows = rows.filter(organization=organization)
    if state:
        rows = rows.filter(state=state)
    if text:
        rows = rows.filter(
            Q(number__icontains=text)
            | Q(pk=text)
            | Q(organization__name__icontains=text)
            | Q(stripe_invoice_id=text)
        )
    return rows


def visible_invoices(*, organization: Organization) -> "QuerySet[Invoice]":
    """Return what a customer sees: documents that were issued."""
    hidden = (
        InvoiceState.DRAFT,
        InvoiceState.HELD,
        InvoiceState.APPROVED,
        InvoiceState.ISSUING,
    )
    return (
        invoice_list(organization=organization)
        .exclude(state__in=hidden)
        .filter(number__isnull=False)
    )


def invoice_named(reference: str) -> "QuerySet[Invoice]":
    """Return the invoice of an id or a number, as rows that hold one or none."""
    return invoice_list().filter(Q(pk=reference) | Q(number=reference))


def evidence_list(lines: Iterable[InvoiceLine]) -> "QuerySet[UsageSnapshot]":
    """Return the frozen usage that lines rest on, in the order of time."""
    ids = {snapshot_id for line in lines for snapshot_id in line.evidence}
    rows = UsageSnapshot.objects.filter(pk__in=ids)
    return rows.order_by("starts_at", "meter", "revision")


def visible_notes(*, organization: Organization) -> "QuerySet[CreditNote]":
    """Return the credit notes that a customer sees: those that were issued, newest first."""
    rows = CreditNote.objects.select_related(
        "invoice__organization", "invoice__plan_version__plan"
    )
    return rows.filter(invoice__organization=organization, state=NoteState.ISSUED).order_by("-pk")


def balance_minor(*, organization: Organization) -> list[tuple[str, int]]:
    """Return what is owed per currency, after credit notes."""
    rows = (
        Invoice.objects.filter(organization=organization, state=InvoiceState.OPEN)
        .values("currency")
        .annotate(owed=Sum("total_minor") - Sum("credited_minor") - Sum("amount_paid_minor"))
        .order_by("currency")
    )
    return [(row["currency"], row["owed"]) for row in rows]


@dataclass(frozen=True, slots=True)
class Stage:
    """A column of the close board."""

    name: str
    state: str
    count: int
    amounts: Sequence[tuple[str, int]]


def close_board(*, now: datetime) -> tuple[list[Stage], int, int]:
    """Return the stages, the periods that wait for their close, and the open findings."""
    rows = list(
        Invoice.objects.values("state", "currency")
        .annotate(count=Count("pk"), amount=Sum("total_minor"))
        .order_by("currency")
    )
    stages = []
    for state in InvoiceState:
        mine = [row for row in rows if row["state"] == state]
        stages.append(
            Stage(
                name=str(state.label),
                state=state.value,
                count=sum(row["count"] for row in mine),
                amounts=[(row["currency"], row["amount"]) for row in mine],
            )
        )
    waiting = BillingPeriod.objects.filter(closed_at__isnull=True, ends_at__lte=now).count()
    findings = Finding.objects.filter(resolved_at__isnull=True).count()
    return stages, waiting, findings
