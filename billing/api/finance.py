"""Finance's desk: the review queue, evidence, decisions, payments and exports."""

from typing import Any, ClassVar

from django.http import Http404, StreamingHttpResponse
from django.shortcuts import get_object_or_404
from drf_spectacular.types import OpenApiTypes
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from billing.api.invoices import InvoiceOut, LineOut
from billing.models import Invoice, InvoiceLine, Payment, UsageSnapshot
from billing.payments.stripe_adapter import collector
from billing.selectors import close_board, evidence_list, invoice_list, invoice_named
from billing.services.exports import (
    INVOICE_HEADER,
    LINE_HEADER,
    csv_rows,
    invoice_rows,
    line_rows,
)
from billing.services.invoices import invoice_rerate
from billing.services.payments import invoice_void
from billing.services.review import clean_approve, invoice_approve, invoice_hold, invoice_release
from billing.states import InvoiceState
from portal import clock
from portal.api.base import Answer, ApiView, Body, operation, text_query
from portal.api.pagination import Pages
from portal.api.permissions import STAFF

MAX_HASHES = 200
FILTERS = (
    text_query("state", "one state", InvoiceState.values),
    text_query("q", "a number, an id or part of a customer's name"),
)


class FinanceInvoiceOut(InvoiceOut):
    """An invoice as finance sees it; approve it by its `content_hash`."""

    organization_name = serializers.CharField(source="organization.name")
    flags = serializers.ListField(child=serializers.CharField())
    rerate_diff = serializers.ListField(child=serializers.JSONField())

    class Meta(InvoiceOut.Meta):
        fields = (
            *InvoiceOut.Meta.fields,
            *("organization_name", "flags", "rerate_diff", "revision", "content_hash"),
            *("subtracts_hash", "engine_version", "created_at", "rated_at", "hold_reason"),
            *("void_reason", "approved_at", "approved_hash", "stripe_invoice_id", "alarm"),
        )  # type: ignore[assignment]


class SnapshotEvidenceOut(serializers.ModelSerializer[UsageSnapshot]):
    class Meta:
        model = UsageSnapshot
        fields = ("id", "meter", "starts_at", "ends_at", "revision")


class EvidenceOut(Answer):
    """A document with its lines and the frozen usage that they rest on."""

    invoice = FinanceInvoiceOut()
    lines = LineOut(many=True)
    snapshots = SnapshotEvidenceOut(many=True)


class StageOut(Answer):
    state = serializers.CharField()
    count = serializers.IntegerField()
    amounts = serializers.DictField(
        child=serializers.IntegerField(), help_text="minor units by currency"
    )


class BoardOut(Answer):
    as_of = serializers.DateTimeField()
    stages = StageOut(many=True)
    periods_waiting = serializers.IntegerField()
    open_findings = serializers.IntegerField()


class PaymentOut(serializers.ModelSerializer[Payment]):
    invoice = serializers.CharField(source="invoice_id")

    class Meta:
        model = Payment
        fields = (
            *("id", "invoice", "attempt", "state", "amount_minor", "currency", "decline_code"),
            *("started_at", "finished_at"),
        )


class ApproveIn(Body):
    content_hash = serializers.CharField(max_length=64)


class DecisionIn(Body):
    reason = serializers.CharField(max_length=300)


class HashesIn(Body):
    hashes = serializers.DictField(
        child=serializers.CharField(max_length=64), help_text="`content_hash` by invoice id"
    )

    def validate_hashes(self, value: dict[str, str]) -> dict[str, str]:
        if len(value) > MAX_HASHES:
            msg = f"At most {MAX_HASHES} at a time."
            raise serializers.ValidationError(msg, "too_many")
        return value


class ApprovedOut(Answer):
    approved = serializers.IntegerField()
    left_out = serializers.IntegerField(help_text="flagged, changed or taken meanwhile")


class FinanceView(ApiView):
    access: ClassVar = {"POST": STAFF}

    def invoice(self, reference: str) -> Invoice:
        """Return an invoice by its id or number."""
        return get_object_or_404(invoice_named(reference))

    def filtered(self, request: Request) -> Any:
        params = request.query_params
        return invoice_list(state=params.get("state", ""), text=params.get("q", "").strip())

    def decided(self, reference: str) -> Response:
        return Response(FinanceInvoiceOut(self.invoice(reference)).data)


class Board(FinanceView):
    access: ClassVar = {"GET": STAFF}

    @operation("finance_board", answer=BoardOut)
    def get(self, request: Request) -> Response:
        """Show how far the month is: documents by state, what waits, what was found."""
        at = clock.now()
        stages, waiting, findings = close_board(now=at)
        found = {
            "as_of": at,
            "stages": [
                {"state": s.state, "count": s.count, "amounts": dict(s.amounts)} for s in stages
            ],
            "periods_waiting": waiting,
            "open_findings": findings,
        }
        return Response(BoardOut(found).data)


class Review(FinanceView):
    access: ClassVar = {"GET": STAFF}
    pagination_class = Pages

    @operation("finance_review_list", answer=FinanceInvoiceOut(many=True))
    def get(self, request: Request) -> Response:
        """List the drafts that wait for a decision, with their flags."""
        waiting = (InvoiceState.DRAFT, InvoiceState.HELD)
        return self.page(invoice_list().filter(state__in=waiting), FinanceInvoiceOut)


class ReviewApprove(FinanceView):
    @operation("finance_review_approve", body=HashesIn, answer=ApprovedOut)
    def post(self, request: Request) -> Response:
        """Approve the clean ones of the drafts that were reviewed, each by its hash."""
        hashes = self.body(HashesIn)["hashes"]
        approved, left = clean_approve(actor=self.person, now=clock.now(), hashes=hashes)
        return Response(ApprovedOut({"approved": approved, "left_out": left}).data)


class FinanceInvoices(FinanceView):
    access: ClassVar = {"GET": STAFF}
    pagination_class = Pages

    @operation("finance_invoice_list", answer=FinanceInvoiceOut(many=True), query=FILTERS)
    def get(self, request: Request) -> Response:
        """List invoices, newest first."""
        return self.page(self.filtered(request), FinanceInvoiceOut)


class Evidence(FinanceView):
    access: ClassVar = {"GET": STAFF}

    @operation("finance_invoice_show", answer=EvidenceOut)
    def get(self, request: Request, reference: str) -> Response:
        """Show a document beside what it rests on."""
        invoice = self.invoice(reference)
        lines = list(invoice.lines.all())
        found = {"invoice": invoice, "lines": lines, "snapshots": evidence_list(lines)}
        return Response(EvidenceOut(found).data)


class Approve(FinanceView):
    @operation("finance_invoice_approve", body=ApproveIn, answer=FinanceInvoiceOut)
    def post(self, request: Request, reference: str) -> Response:
        """Approve exactly the draft that was reviewed, by its hash."""
        invoice_approve(
            invoice_id=self.invoice(reference).pk,
            **self.body(ApproveIn),
            actor=self.person,
            now=clock.now(),
        )
        return self.decided(reference)


class Hold(FinanceView):
    access: ClassVar = {"POST": STAFF, "DELETE": STAFF}

    @operation("finance_invoice_hold", body=DecisionIn, answer=FinanceInvoiceOut)
    def post(self, request: Request, reference: str) -> Response:
        """Stop a draft."""
        invoice_hold(
            invoice_id=self.invoice(reference).pk,
            **self.body(DecisionIn),
            actor=self.person,
            now=clock.now(),
        )
        return self.decided(reference)

    @operation("finance_invoice_release", answer=FinanceInvoiceOut)
    def delete(self, request: Request, reference: str) -> Response:
        """Make a held document a draft again."""
        invoice_release(invoice_id=self.invoice(reference).pk, actor=self.person, now=clock.now())
        return self.decided(reference)


class Void(FinanceView):
    @operation("finance_invoice_void", body=DecisionIn, answer=FinanceInvoiceOut, outside=True)
    def post(self, request: Request, reference: str) -> Response:
        """Void a document; the next of its chain picks its lines up."""
        invoice_void(
            invoice=self.invoice(reference),
            **self.body(DecisionIn),
            actor=self.person,
            collector=collector(),
            now=clock.now(),
            wall=clock.wall_now(),
        )
        return self.decided(reference)


class Rerate(FinanceView):
    @operation("finance_invoice_rerate", answer=FinanceInvoiceOut)
    def post(self, request: Request, reference: str) -> Response:
        """Rate an unapproved draft again from its frozen usage."""
        invoice_rerate(invoice_id=self.invoice(reference).pk, now=clock.now())
        return self.decided(reference)


class Payments(FinanceView):
    access: ClassVar = {"GET": STAFF}
    pagination_class = Pages

    @operation("finance_payment_list", answer=PaymentOut(many=True))
    def get(self, request: Request) -> Response:
        """List attempts to collect, newest first."""
        return self.page(Payment.objects.order_by("-started_at", "pk"), PaymentOut)


class Export(FinanceView):
    access: ClassVar = {"GET": STAFF}

    @operation("finance_export", answer={(200, "text/csv"): OpenApiTypes.STR}, query=FILTERS)
    def get(self, request: Request, what: str) -> StreamingHttpResponse:
        """Stream invoices or lines as CSV, exactly what the filters show."""
        rows = self.filtered(request)
        if what == "invoices":
            parts = csv_rows(INVOICE_HEADER, invoice_rows(rows.iterator(chunk_size=500)))
        elif what == "lines":
            lines = InvoiceLine.objects.filter(invoice__in=rows).select_related("invoice")
            ordered = lines.order_by("invoice__created_at", "invoice_id", "position")
            parts = csv_rows(LINE_HEADER, line_rows(ordered.iterator(chunk_size=500)))
        else:
            raise Http404
        return StreamingHttpResponse(parts, content_type="text/csv; charset=utf-8")
