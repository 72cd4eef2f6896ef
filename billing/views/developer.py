"""The customer's money pages under `/app/<org>`: home, billing, invoices, the card."""

from decimal import Decimal
from typing import Any

from django.conf import settings
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.urls import reverse
from django.views.decorators.http import require_GET, require_POST

from billing.errors import BillingError
from billing.models import CollectionWait, CustomerAccount, Invoice
from billing.payments.stripe_adapter import collector
from billing.selectors import balance_minor, evidence_list, visible_invoices, visible_notes
from billing.services.accounts import card_setup_start
from billing.services.documents import count_policy_text
from billing.services.plan_rows import PlanRow, plan_rows
from billing.views.access import MONEY_ROLES, organization_of
from billing.views.credits import note_pdf_answer
from billing.views.finance import pdf_answer
from metering.errors import MeteringUnavailableError
from metering.queries import Dimension, UsageFilter, UsageReport
from portal.clock import now, wall_now
from portal.models import Organization
from portal.usage import reader
from portal.views.verdicts import remedy_of

LAST_ERRORS = 5


@require_GET
@login_required
def org_home(request: HttpRequest, org: str) -> HttpResponse:
    """Spend so far, where it is heading, quotas, the next invoice, the last errors."""
    organization, at = organization_of(request, org), now()
    rows = plan_rows(organization=organization, at=at)
    context = {
        "organization": organization,
        "rows": rows,
        "complete": all(row.is_known for row in rows),
        "errors": _last_errors(organization, rows),
        "as_of": at,
    }
    return render(request, "billing/app/home.html", context)


def _last_errors(organization: Organization, rows: list[PlanRow]) -> list[Any]:
    starts = [row.period.starts_at for row in rows if row.period]
    if not starts:
        return []
    where = UsageFilter(start=min(starts), end=now(), organization_id=organization.pk)
    try:
        found = reader().requests(where, limit=200)
    except MeteringUnavailableError:
        return []
    failed = [row for row in found if row.status >= 400]
    return [(row, remedy_of(row).meaning) for row in failed[:LAST_ERRORS]]


@require_GET
@login_required
def billing_home(request: HttpRequest, org: str) -> HttpResponse:
    """What is owed, the card, every issued invoice."""
    organization = organization_of(request, org, roles=MONEY_ROLES)
    context = {
        "organization": organization,
        "balances": balance_minor(organization=organization),
        "account": CustomerAccount.objects.filter(pk=organization.pk).first(),
        "invoices": visible_invoices(organization=organization)[:200],
        "notes": visible_notes(organization=organization)[:200],
        "action": visible_invoices(organization=organization).filter(
            waiting_for__in=(CollectionWait.ACTION, CollectionWait.CARD)
        ),
        "as_of": now(),
    }
    return render(request, "billing/app/billing.html", context)


def _own_invoice(organization: Organization, number: str) -> Invoice:
    return get_object_or_404(visible_invoices(organization=organization), number=number)


@require_GET
@login_required
def invoice_page(request: HttpRequest, org: str, number: str) -> HttpResponse:
    """One invoice: the arithmetic of each line and the usage it rests on."""
    organization = organization_of(request, org, roles=MONEY_ROLES)
    invoice = _own_invoice(organization, number)
    lines = list(invoice.lines.all())
    context = {
        "organization": organization,
        "invoice": invoice,
        "lines": lines,
        "snapshots": evidence_list(lines),
        "policy": count_policy_text(invoice.plan_version.limits.get("count_policy")),
        "notes": visible_notes(organization=organization).filter(invoice=invoice),
    }
    return render(request, "billing/app/invoice.html", context)


@require_GET
@login_required
def invoice_line(request: HttpRequest, org: str, number: str, line_id: str) -> HttpResponse:
    """Drill a line down to its days and routes."""
    organization = organization_of(request, org, roles=MONEY_ROLES)
    invoice = _own_invoice(organization, number)
    line = get_object_or_404(invoice.lines, pk=line_id)
    usage = None
    if line.meter:
        where = UsageFilter(
            start=line.starts_at, end=line.ends_at, subscription_id=invoice.subscription_id
        )
        try:
            usage = reader().usage(where, by=(Dimension.DAY, Dimension.ROUTE, Dimension.CHARGE))
        except MeteringUnavailableError:
            usage = None
    context = {
        "organization": organization,
        "invoice": invoice,
        "line": line,
        "usage": usage,
        "days": [
            {"row": row, "units": row.quantities.get(line.meter, 0)}
            for row in (usage.rows if usage else ())
        ],
        "sums": _charge_sums(usage, line.meter),
    }
    return render(request, "billing/app/line.html", context)


def _charge_sums(usage: UsageReport | None, meter: str) -> list[dict[str, Any]]:
    """Add the rows up by charge: what is billed is the quantity of the line."""
    sums: dict[str, dict[str, Any]] = {}
    for row in usage.rows if usage else ():
        charge = row.group[Dimension.CHARGE]
        one = sums.setdefault(charge, {"charge": charge, "events": 0, "units": Decimal(0)})
        one["events"] += row.events
        one["units"] += row.quantities.get(meter, 0)
    return [sums[charge] for charge in sorted(sums)]


@require_GET
@login_required
def invoice_document(request: HttpRequest, org: str, number: str) -> HttpResponse:
    organization = organization_of(request, org, roles=MONEY_ROLES)
    return pdf_answer(_own_invoice(organization, number))


@require_GET
@login_required
def credit_document(request: HttpRequest, org: str, number: str) -> HttpResponse:
    organization = organization_of(request, org, roles=MONEY_ROLES)
    notes = visible_notes(organization=organization)
    return note_pdf_answer(get_object_or_404(notes, number=number))


@require_POST
@login_required
def card_start(request: HttpRequest, org: str) -> HttpResponse:
    """Open the hosted card page and answer with a link to it.

    A redirect to another origin after a POST is refused by `form-action` (`ux.md` §5).
    """
    organization = organization_of(request, org, roles=MONEY_ROLES)
    back = settings.ENV.portal_url + reverse("billing_home", args=[organization.slug])
    session, problem = None, ""
    try:
        session = card_setup_start(
            organization=organization,
            collector=collector(),
            success_url=back,
            cancel_url=back,
            now=wall_now(),
        )
    except BillingError as error:
        problem = error.public
    context = {"organization": organization, "session": session, "problem": problem}
    return render(request, "billing/app/card.html", context, status=503 if problem else 200)
