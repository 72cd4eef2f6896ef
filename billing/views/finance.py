"""Finance's pages under `/admin-console/finance/`: board, queue, review, lists, exports."""

from contextlib import suppress
from typing import Any

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase, StreamingHttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext
from django.views.decorators.http import require_GET, require_POST

from billing.errors import BillingError
from billing.models import Finding, Invoice, InvoiceLine, Payment
from billing.payments.stripe_adapter import collector
from billing.selectors import close_board, evidence_list, invoice_list, invoice_named
from billing.services import review
from billing.services.documents import count_policy_text, invoice_pdf
from billing.services.exports import (
    INVOICE_HEADER,
    LINE_HEADER,
    csv_rows,
    invoice_rows,
    line_rows,
)
from billing.services.findings import finding_resolve
from billing.services.flags import baseline_map, baseline_of
from billing.services.invoices import invoice_rerate
from billing.services.issue import alarm_clear
from billing.services.payments import invoice_void
from billing.services.reconcile import invoice_reconcile
from billing.states import CREDITABLE, InvoiceState, can_move
from billing.views.access import finance_only, signed_in
from billing.views.credits import findings_page
from gateway.contracts.access_log import Charge
from metering.errors import MeteringUnavailableError
from metering.queries import Dimension, UsageFilter, UsageReport
from portal.clock import now, wall_now
from portal.models import AuditEvent
from portal.usage import reader
from portal.views.admin_pages import page_of

_DONE = {
    "approve": gettext_lazy("Approved; it is issued in a moment."),
    "hold": gettext_lazy("Held."),
    "release": gettext_lazy("Released: it is a draft again."),
    "rerate": gettext_lazy("Rated again from the frozen usage."),
    "void": gettext_lazy("Void: the next document of the period picks its lines up."),
}


@require_GET
@finance_only
def board(request: HttpRequest) -> HttpResponse:
    """Show how far the month is: stages, blockers, findings."""
    stages, waiting, findings = close_board(now=now())
    alarms = Invoice.objects.exclude(alarm="").select_related("organization")[:20]
    context = {
        "stages": stages,
        "waiting": waiting,
        "findings": findings,
        "alarms": alarms,
        "as_of": now(),
    }
    return render(request, "billing/finance/board.html", context)


@require_GET
@finance_only
def queue(request: HttpRequest) -> HttpResponse:
    """List drafts with their change against the month before and their flags."""
    drafts = invoice_list().filter(state__in=(InvoiceState.DRAFT, InvoiceState.HELD))
    clean = drafts.filter(state=InvoiceState.DRAFT, flags=[])
    page = page_of(request, drafts)
    rows, before = [], baseline_map(page.object_list)
    for invoice in page.object_list:
        baseline = before.get(invoice.pk)
        change = invoice.total_minor - baseline.total_minor if baseline else None
        rows.append({"invoice": invoice, "change_minor": change})
    context = {
        "rows": rows,
        "page": page,
        "clean": clean.values_list("pk", "content_hash"),
        "clean_count": clean.count(),
        "as_of": now(),
    }
    return render(request, "billing/finance/queue.html", context)


@require_POST
@finance_only
def queue_approve(request: HttpRequest) -> HttpResponse:
    """Approve the clean drafts that the page showed, each by the hash it showed."""
    pairs = [value.partition(":")[::2] for value in request.POST.getlist("clean")]
    approved, left = review.clean_approve(actor=signed_in(request), now=now(), hashes=dict(pairs))
    text = ngettext("%(count)s draft approved.", "%(count)s drafts approved.", approved)
    messages.success(request, text % {"count": approved})
    if left:
        text = ngettext(
            "%(count)s left out because it changed.",
            "%(count)s left out because they changed.",
            left,
        )
        messages.warning(request, text % {"count": left})
    return redirect("finance_review")


def _usage_by_route(invoice: Invoice) -> dict[str, Any] | None:
    """Return the period's billed requests by day and route, and summed by route."""
    where = UsageFilter(
        start=invoice.period.starts_at,
        end=invoice.period.ends_at,
        subscription_id=invoice.subscription_id,
        charges=(Charge.BILLED,),
    )
    report: UsageReport | None = None
    with suppress(MeteringUnavailableError):
        report = reader().usage(where, by=(Dimension.DAY, Dimension.ROUTE))
    if report is None:
        return None
    routes: dict[str, int] = {}
    for row in report.rows:
        name = row.group[Dimension.ROUTE]
        routes[name] = routes.get(name, 0) + row.events
    ranked = sorted(routes.items(), key=lambda item: (-item[1], item[0]))
    return {"report": report, "routes": [{"name": n, "events": e} for n, e in ranked]}


@require_GET
@finance_only
def invoice_review(request: HttpRequest, reference: str) -> HttpResponse:
    """Show the invoice as the customer sees it, beside what it rests on."""
    return _review_page(request, get_object_or_404(invoice_named(reference)))


def _review_page(request: HttpRequest, invoice: Invoice, *, problem: str = "") -> HttpResponse:
    """problem   what is wrong with the reason that was sent"""
    lines = list(invoice.lines.all())
    context = {
        "invoice": invoice,
        "lines": lines,
        "snapshots": evidence_list(lines),
        "usage": _usage_by_route(invoice),
        "policy": count_policy_text(invoice.plan_version.limits.get("count_policy")),
        "audit": AuditEvent.objects.filter(target=invoice.pk).order_by("-at", "-id")[:30],
        "baseline": baseline_of(invoice),
        "chain": Invoice.objects.filter(period=invoice.period).order_by("n"),
        "payments": invoice.payments.order_by("attempt"),
        "notes": invoice.credit_notes.order_by("pk"),
        "movements": invoice.movements.order_by("at"),
        "may": {
            "approve": invoice.state == InvoiceState.DRAFT,
            "hold": can_move(invoice.state, InvoiceState.HELD),
            "release": invoice.state == InvoiceState.HELD,
            "void": can_move(invoice.state, InvoiceState.VOID)
            and invoice.state != InvoiceState.ISSUING,
            "rerate": invoice.state in {InvoiceState.DRAFT, InvoiceState.HELD},
            "credit": invoice.state in CREDITABLE,
        },
        "as_of": now(),
        "problem": problem,
    }
    status = 422 if problem else 200
    return render(request, "billing/finance/review.html", context, status=status)


@require_POST
@finance_only
def invoice_decide(request: HttpRequest, reference: str) -> HttpResponse:
    """Carry out one decision; a refusal comes back to the page as a message."""
    invoice, actor = get_object_or_404(invoice_named(reference)), signed_in(request)
    decision, reason = request.POST.get("decision", ""), request.POST.get("reason", "").strip()
    if decision in {"hold", "void"} and not reason:
        return _review_page(request, invoice, problem=_("Give a reason."))
    try:
        _decide(invoice, decision, reason, request.POST.get("content_hash", ""), actor)
    except BillingError as error:
        messages.error(request, error.public)
    else:
        messages.success(request, _DONE.get(decision, _("Done.")))
    if request.POST.get("back") == "queue":
        return redirect("finance_review")
    return redirect("finance_invoice", reference=reference)


def _decide(invoice: Invoice, decision: str, reason: str, seen: str, actor: Any) -> None:
    instant = now()
    match decision:
        case "approve":
            review.invoice_approve(
                invoice_id=invoice.pk, content_hash=seen, actor=actor, now=instant
            )
        case "hold":
            review.invoice_hold(invoice_id=invoice.pk, reason=reason, actor=actor, now=instant)
        case "release":
            review.invoice_release(invoice_id=invoice.pk, actor=actor, now=instant)
        case "rerate":
            invoice_rerate(invoice_id=invoice.pk, now=instant)
        case "retry":
            alarm_clear(invoice_id=invoice.pk)
        case "void":
            invoice_void(
                invoice=invoice,
                reason=reason,
                actor=actor,
                collector=collector(),
                now=instant,
                wall=wall_now(),
            )
        case _:
            msg = "no such decision"
            raise Http404(msg)


@require_GET
@finance_only
def invoices(request: HttpRequest) -> HttpResponse:
    state, text = request.GET.get("state", ""), request.GET.get("q", "").strip()
    rows = invoice_list(state=state, text=text)
    context = {
        "page": page_of(request, rows),
        "state": state,
        "q": text,
        "states": InvoiceState.choices,
        "as_of": now(),
    }
    return render(request, "billing/finance/invoices.html", context)


@require_GET
@finance_only
def export(request: HttpRequest, what: str) -> HttpResponseBase:
    """Stream a CSV of exactly what the filters show."""
    rows = invoice_list(state=request.GET.get("state", ""), text=request.GET.get("q", ""))
    if what == "invoices":
        parts = csv_rows(INVOICE_HEADER, invoice_rows(rows.iterator(chunk_size=500)))
    elif what == "lines":
        lines = InvoiceLine.objects.filter(invoice__in=rows).select_related("invoice")
        ordered = lines.order_by("invoice__created_at", "invoice_id", "position")
        parts = csv_rows(LINE_HEADER, line_rows(ordered.iterator(chunk_size=500)))
    else:
        msg = "no such export"
        raise Http404(msg)
    answer = StreamingHttpResponse(parts, content_type="text/csv; charset=utf-8")
    answer["Content-Disposition"] = f'attachment; filename="{what}.csv"'
    return answer


@require_GET
@finance_only
def invoice_document(request: HttpRequest, reference: str) -> HttpResponse:
    return pdf_answer(get_object_or_404(invoice_named(reference)))


def pdf_answer(invoice: Invoice) -> HttpResponse:
    """Answer with the PDF as a download."""
    answer = HttpResponse(invoice_pdf(invoice=invoice), content_type="application/pdf")
    answer["Content-Disposition"] = f'attachment; filename="invoice-{invoice}.pdf"'
    return answer


@require_GET
@finance_only
def payments(request: HttpRequest) -> HttpResponse:
    rows = Payment.objects.select_related("invoice__organization").order_by("-started_at", "pk")
    open_rows = invoice_list(state=InvoiceState.OPEN).order_by("due_at")
    context = {"page": page_of(request, rows), "open_rows": open_rows[:100], "as_of": now()}
    return render(request, "billing/finance/payments.html", context)


@require_GET
@finance_only
def reconcile(request: HttpRequest, reference: str) -> HttpResponse:
    """Show the four totals of one invoice; what differs is kept as a finding."""
    return _reconcile_page(request, get_object_or_404(invoice_named(reference)))


def _reconcile_page(request: HttpRequest, invoice: Invoice, *, refused: str = "") -> HttpResponse:
    """refused   the finding that was to be resolved without a reason"""
    totals, problem = None, ""
    try:
        totals = invoice_reconcile(
            invoice=invoice, reader=reader(), collector=collector(), now=now()
        )
    except (BillingError, MeteringUnavailableError) as error:
        problem = str(error) or type(error).__name__
    context = {
        "invoice": invoice,
        "totals": totals,
        "problem": problem,
        "findings": Finding.objects.filter(invoice=invoice).order_by("-found_at"),
        "refused": refused,
        "as_of": now(),
    }
    status = 422 if refused else 200
    return render(request, "billing/finance/reconcile.html", context, status=status)


@require_POST
@finance_only
def finding_close(request: HttpRequest, finding_id: str) -> HttpResponse:
    """Resolve a finding with a reason; the page it was asked on comes back."""
    finding = get_object_or_404(Finding.objects.select_related("invoice"), pk=finding_id)
    reason = request.POST.get("reason", "").strip()
    invoice = None if request.POST.get("back") == "list" else finding.invoice
    if not reason and invoice is None:
        return findings_page(request, refused=finding.pk)
    if not reason and invoice is not None:
        return _reconcile_page(request, invoice, refused=finding.pk)
    finding_resolve(finding_id=finding_id, reason=reason, actor=signed_in(request), now=now())
    if invoice is None:
        return redirect("finance_findings")
    return redirect("finance_reconcile", reference=invoice.pk)
