"""What follows an invoice, for finance: credit notes, findings, the comparison of its totals."""

from typing import Any, ClassVar

from django.http import HttpResponse
from django.shortcuts import get_object_or_404
from drf_spectacular.types import OpenApiTypes
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from billing.api.finance import ApproveIn, DecisionIn, FinanceView
from billing.api.invoices import MONEY
from billing.models import CreditNote, CreditNoteLine, Finding, NoteReason, NoteSettlement
from billing.payments.stripe_adapter import collector
from billing.selectors import visible_notes
from billing.services.credit_notes import (
    credit_note_approve,
    credit_note_draft,
    credit_note_void,
)
from billing.services.documents import note_pdf
from billing.services.findings import finding_resolve
from billing.services.note_amounts import left_map
from billing.services.note_issue import note_alarm_clear
from billing.services.reconcile import FourTotals, invoice_reconcile
from billing.states import NoteState
from portal import clock
from portal.api.base import Answer, ApiView, Body, operation, text_query
from portal.api.pagination import Pages
from portal.api.permissions import STAFF
from portal.usage import reader


class NoteOut(serializers.ModelSerializer[CreditNote]):
    """A credit note as its customer sees it; `total_minor` is positive: taken off."""

    invoice = serializers.CharField(source="invoice_id")
    invoice_number = serializers.CharField(source="invoice.number", allow_null=True)
    currency = serializers.CharField(source="invoice.currency")

    class Meta:
        model = CreditNote
        fields = (
            *("id", "number", "state", "invoice", "invoice_number", "currency", "goodwill"),
            *("reason_code", "reason", "settlement", "subtotal_minor", "credit_minor"),
            *("tax_minor", "absorbed_minor", "total_minor", "applied_minor", "created_at"),
            *("issued_at",),
        )


class NoteLineOut(serializers.ModelSerializer[CreditNoteLine]):
    class Meta:
        model = CreditNoteLine
        fields = ("line_key", "description", "amount_minor")


class FinanceNoteOut(NoteOut):
    """A credit note as finance sees it; approve it by its `content_hash`."""

    lines = NoteLineOut(many=True)

    class Meta(NoteOut.Meta):
        fields = (
            *NoteOut.Meta.fields,
            *("lines", "content_hash", "approved_at", "approved_hash", "voided_at"),
            *("void_reason", "stripe_credit_note_id", "alarm"),
        )  # type: ignore[assignment]


class NoteIn(Body):
    """A correction by `lines`, or goodwill as one amount with tax; one of the two."""

    lines = serializers.DictField(
        child=serializers.IntegerField(min_value=1),
        required=False,
        help_text="minor units by `line_key`",
    )
    goodwill_minor = serializers.IntegerField(min_value=1, required=False)
    reason_code = serializers.ChoiceField(choices=NoteReason.choices)
    reason = serializers.CharField(max_length=300, help_text="in words, for the customer")
    settlement = serializers.ChoiceField(
        choices=NoteSettlement.choices,
        default=NoteSettlement.BALANCE,
        help_text="where the part goes that was paid already",
    )

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if bool(attrs.get("lines")) == bool(attrs.get("goodwill_minor")):
            text = "Send `lines` or `goodwill_minor`, one of them."
            raise serializers.ValidationError(text, "one_of")
        return attrs


class LeftOut(Answer):
    """What can still be credited of each line."""

    lines = serializers.DictField(child=serializers.IntegerField())


class FindingOut(serializers.ModelSerializer[Finding]):
    """A break that a reconciliation found; while open it blocks its customer's close."""

    organization = serializers.CharField(source="organization_id", allow_null=True)
    invoice = serializers.CharField(source="invoice_id", allow_null=True)

    class Meta:
        model = Finding
        fields = (
            *("id", "kind", "detail", "organization", "invoice", "found_at", "resolved_at"),
            *("resolution",),
        )


class MeterMatchOut(Answer):
    meter = serializers.CharField()
    snapshot = serializers.CharField(source="snapshot.pk")
    snapshot_billed = serializers.DecimalField(None, None, source="snapshot.billed")
    log_billed = serializers.DecimalField(None, None)
    equal = serializers.BooleanField()


class TotalsOut(Answer):
    """Log, usage snapshot, lines and collector side by side; `differences` is empty if equal."""

    invoice = serializers.CharField(source="invoice.pk")
    meters = MeterMatchOut(many=True)
    lines_minor = serializers.IntegerField()
    total_minor = serializers.IntegerField()
    remote_minor = serializers.IntegerField(allow_null=True, help_text="null: not there yet")
    remote_status = serializers.CharField(allow_blank=True)
    differences = serializers.ListField(child=serializers.CharField())


class Notes(ApiView):
    access: ClassVar = {"GET": MONEY}
    pagination_class = Pages

    @operation("credit_note_list", answer=NoteOut(many=True))
    def get(self, request: Request, org: str) -> Response:
        """List the credit notes that were issued, newest first."""
        return self.page(visible_notes(organization=self.member.organization), NoteOut)


class NotePdf(ApiView):
    access: ClassVar = {"GET": MONEY}

    @operation("credit_note_pdf", answer={(200, "application/pdf"): OpenApiTypes.BINARY})
    def get(self, request: Request, org: str, number: str) -> HttpResponse:
        """Return a credit note as PDF."""
        rows = visible_notes(organization=self.member.organization)
        built = note_pdf(note=get_object_or_404(rows, number=number))
        return HttpResponse(built, content_type="application/pdf")


class FinanceNoteView(FinanceView):
    def note(self, note_id: str) -> CreditNote:
        rows = CreditNote.objects.select_related("invoice").prefetch_related("lines")
        return get_object_or_404(rows, pk=note_id)

    def note_decided(self, note_id: str) -> Response:
        return Response(FinanceNoteOut(self.note(note_id)).data)


class FinanceNotes(FinanceNoteView):
    access: ClassVar = {"GET": STAFF}
    pagination_class = Pages

    @operation(
        "finance_credit_note_list",
        answer=FinanceNoteOut(many=True),
        query=[text_query("state", "one state", NoteState.values)],
    )
    def get(self, request: Request) -> Response:
        """List credit notes, newest first."""
        rows = CreditNote.objects.select_related("invoice").prefetch_related("lines")
        if request.query_params.get("state"):
            rows = rows.filter(state=request.query_params["state"])
        return self.page(rows.order_by("-pk"), FinanceNoteOut)


class FinanceNote(FinanceNoteView):
    access: ClassVar = {"GET": STAFF}

    @operation("finance_credit_note_show", answer=FinanceNoteOut)
    def get(self, request: Request, note_id: str) -> Response:
        """Show a credit note."""
        return self.note_decided(note_id)


class InvoiceNotes(FinanceNoteView):
    access: ClassVar = {"GET": STAFF, "POST": STAFF}

    @operation("finance_creditable_show", answer=LeftOut)
    def get(self, request: Request, reference: str) -> Response:
        """Show what can still be credited of an invoice's lines."""
        return Response(LeftOut({"lines": left_map(invoice=self.invoice(reference))}).data)

    @operation("finance_credit_note_draft", body=NoteIn, answer=FinanceNoteOut, status=201)
    def post(self, request: Request, reference: str) -> Response:
        """Draft a correction of an issued invoice; nothing is sent before it is approved."""
        invoice, sent = self.invoice(reference), self.body(NoteIn)
        note = credit_note_draft(
            invoice_id=invoice.pk,
            lines=sent.get("lines"),
            goodwill_minor=sent.get("goodwill_minor", 0),
            reason_code=NoteReason(sent["reason_code"]),
            reason=sent["reason"],
            settlement=NoteSettlement(sent["settlement"]),
            actor=self.person,
            now=clock.now(),
        )
        return Response(FinanceNoteOut(self.note(note.pk)).data, status=201)


class NoteApprove(FinanceNoteView):
    @operation("finance_credit_note_approve", body=ApproveIn, answer=FinanceNoteOut)
    def post(self, request: Request, note_id: str) -> Response:
        """Approve exactly the note that was reviewed, by its hash, and let it be issued."""
        note, sent = self.note(note_id), self.body(ApproveIn)
        credit_note_approve(note_id=note.pk, **sent, actor=self.person, now=clock.now())
        return self.note_decided(note_id)


class NoteVoid(FinanceNoteView):
    @operation("finance_credit_note_void", body=DecisionIn, answer=FinanceNoteOut)
    def post(self, request: Request, note_id: str) -> Response:
        """Take back a note that is not on its way yet."""
        note, sent = self.note(note_id), self.body(DecisionIn)
        credit_note_void(note_id=note.pk, **sent, actor=self.person, now=clock.now())
        return self.note_decided(note_id)


class NoteRetry(FinanceNoteView):
    @operation("finance_credit_note_retry", answer=FinanceNoteOut)
    def post(self, request: Request, note_id: str) -> Response:
        """Let a note that stopped with an alarm go on, after a look at it."""
        note_alarm_clear(note_id=self.note(note_id).pk)
        return self.note_decided(note_id)


class Findings(FinanceView):
    access: ClassVar = {"GET": STAFF}
    pagination_class = Pages

    @operation(
        "finance_finding_list",
        answer=FindingOut(many=True),
        query=[text_query("all", "1: resolved ones too", ["1"])],
    )
    def get(self, request: Request) -> Response:
        """List what reconciliation found, oldest first."""
        rows = Finding.objects.order_by("found_at", "pk")
        if request.query_params.get("all") != "1":
            rows = rows.filter(resolved_at__isnull=True)
        return self.page(rows, FindingOut)


class FindingResolve(FinanceView):
    @operation("finance_finding_resolve", body=DecisionIn, answer=FindingOut)
    def post(self, request: Request, finding_id: str) -> Response:
        """Close a finding with a reason; one that is closed stays as it is."""
        finding, sent = get_object_or_404(Finding, pk=finding_id), self.body(DecisionIn)
        finding_resolve(finding_id=finding.pk, **sent, actor=self.person, now=clock.now())
        finding.refresh_from_db()
        return Response(FindingOut(finding).data)


class Reconcile(FinanceView):
    @operation("finance_invoice_reconcile", answer=TotalsOut, outside=True)
    def post(self, request: Request, reference: str) -> Response:
        """Compare the four totals of an invoice; what differs is kept as a finding."""
        totals: FourTotals = invoice_reconcile(
            invoice=self.invoice(reference),
            reader=reader(),
            collector=collector(),
            now=clock.now(),
        )
        return Response(TotalsOut(totals).data)
