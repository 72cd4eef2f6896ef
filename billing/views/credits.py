"""Finance's pages of what follows an invoice: credit notes, disputes, findings."""

from django.contrib import messages
from django.db.models import Q
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from billing.errors import BillingError
from billing.forms import CreditNoteForm
from billing.models import CreditNote, Dispute, Finding, NoteReason, NoteSettlement
from billing.selectors import invoice_named
from billing.services import credit_notes
from billing.services.charges import DECIDED
from billing.services.documents import note_pdf
from billing.services.note_amounts import left_map
from billing.services.note_issue import note_alarm_clear
from billing.states import CREDITABLE, NoteState
from billing.views.access import finance_only, signed_in
from portal.clock import now
from portal.models import AuditEvent
from portal.views.admin_pages import page_of


@require_GET
@finance_only
def credit_list(request: HttpRequest) -> HttpResponse:
    """List credit notes, those that wait for a decision first."""
    rows = CreditNote.objects.select_related("invoice__organization").order_by("-pk")
    state = request.GET.get("state", "")
    if state:
        rows = rows.filter(state=state)
    context = {
        "page": page_of(request, rows),
        "waiting": CreditNote.objects.select_related("invoice__organization").filter(
            Q(state=NoteState.DRAFT) | ~Q(alarm="")
        ),
        "state": state,
        "states": NoteState.choices,
        "as_of": now(),
    }
    return render(request, "billing/finance/credits.html", context)


@require_http_methods(["GET", "POST"])
@finance_only
def credit_new(request: HttpRequest, reference: str) -> HttpResponse:
    """Draft a credit note of an issued invoice; it is approved on its own page."""
    invoice = get_object_or_404(invoice_named(reference))
    if invoice.state not in CREDITABLE:
        messages.error(request, _("Only an issued invoice can be credited."))
        return redirect("finance_invoice", reference=reference)
    form = CreditNoteForm(
        request.POST or None,
        invoice=invoice,
        lines=list(invoice.lines.all()),
        left=left_map(invoice=invoice),
    )
    if request.method == "POST" and form.is_valid():
        data = form.cleaned_data
        try:
            note = credit_notes.credit_note_draft(
                invoice_id=invoice.pk,
                lines=data["lines"],
                goodwill_minor=data["goodwill_minor"],
                reason_code=NoteReason(data["reason_code"]),
                reason=data["reason"],
                settlement=NoteSettlement(data["settlement"]),
                actor=signed_in(request),
                now=now(),
            )
        except BillingError as error:
            form.add_error(None, error.public)
        else:
            return redirect("finance_credit", note_id=note.pk)
    context = {"invoice": invoice, "form": form}
    status = 422 if form.is_bound else 200
    return render(request, "billing/finance/credit_new.html", context, status=status)


def _note(note_id: str) -> CreditNote:
    rows = CreditNote.objects.select_related(
        "invoice__organization", "invoice__plan_version__plan", "invoice__period"
    )
    return get_object_or_404(rows, pk=note_id)


@require_GET
@finance_only
def credit_page(request: HttpRequest, note_id: str) -> HttpResponse:
    return _credit_page(request, _note(note_id))


def _credit_page(request: HttpRequest, note: CreditNote, *, problem: str = "") -> HttpResponse:
    """problem   what is wrong with the reason that was sent"""
    context = {
        "note": note,
        "lines": note.lines.order_by("pk"),
        "others": note.invoice.credit_notes.exclude(pk=note.pk).order_by("pk"),
        "movements": note.movements.order_by("at"),
        "audit": AuditEvent.objects.filter(target=note.pk).order_by("-at", "-id")[:30],
        "may_void": note.state in {NoteState.DRAFT, NoteState.APPROVED},
        "as_of": now(),
        "problem": problem,
    }
    status = 422 if problem else 200
    return render(request, "billing/finance/credit.html", context, status=status)


@require_POST
@finance_only
def credit_decide(request: HttpRequest, note_id: str) -> HttpResponse:
    """Carry out one decision; a refusal comes back to the page as a message."""
    note, actor = _note(note_id), signed_in(request)
    reason = request.POST.get("reason", "").strip()
    try:
        match request.POST.get("decision", ""):
            case "approve":
                seen = request.POST.get("content_hash", "")
                credit_notes.credit_note_approve(
                    note_id=note.pk, content_hash=seen, actor=actor, now=now()
                )
            case "void" if not reason:
                return _credit_page(request, note, problem=_("Give a reason."))
            case "void":
                credit_notes.credit_note_void(
                    note_id=note.pk, reason=reason, actor=actor, now=now()
                )
            case "retry":
                note_alarm_clear(note_id=note.pk)
            case _:
                msg = "no such decision"
                raise Http404(msg)
    except BillingError as error:
        messages.error(request, error.public)
    else:
        messages.success(request, _("Done."))
    return redirect("finance_credit", note_id=note_id)


@require_GET
@finance_only
def credit_document(request: HttpRequest, note_id: str) -> HttpResponse:
    return note_pdf_answer(_note(note_id))


def note_pdf_answer(note: CreditNote) -> HttpResponse:
    """Answer with the PDF as a download."""
    answer = HttpResponse(note_pdf(note=note), content_type="application/pdf")
    answer["Content-Disposition"] = f'attachment; filename="credit-note-{note}.pdf"'
    return answer


@require_GET
@finance_only
def dispute_list(request: HttpRequest) -> HttpResponse:
    """List disputes, those that can still be answered first, by their deadline."""
    rows = Dispute.objects.select_related("invoice", "organization")
    context = {
        "running": rows.exclude(status__in=DECIDED).order_by("evidence_due_at", "pk"),
        "page": page_of(request, rows.filter(status__in=DECIDED).order_by("-opened_at", "pk")),
        "as_of": now(),
    }
    return render(request, "billing/finance/disputes.html", context)


@require_GET
@finance_only
def finding_list(request: HttpRequest) -> HttpResponse:
    """List what reconciliation found: open findings block the close of their customer."""
    return findings_page(request)


def findings_page(request: HttpRequest, *, refused: str = "") -> HttpResponse:
    """refused   the finding that was to be resolved without a reason"""
    rows = Finding.objects.select_related("organization", "invoice")
    context = {
        "open_rows": rows.filter(resolved_at__isnull=True).order_by("found_at", "pk"),
        "page": page_of(request, rows.filter(resolved_at__isnull=False).order_by("-resolved_at")),
        "refused": refused,
        "as_of": now(),
    }
    status = 422 if refused else 200
    return render(request, "billing/finance/findings.html", context, status=status)
