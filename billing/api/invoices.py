"""A customer's money: the running bill with its quotas, issued invoices, their lines, the PDF."""

from decimal import Decimal
from typing import Any, ClassVar

from django.http import HttpResponse
from django.shortcuts import get_object_or_404
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from billing.models import Invoice, InvoiceLine
from billing.selectors import visible_invoices
from billing.services.documents import invoice_pdf
from billing.services.money_text import decimal_text
from billing.services.plan_rows import plan_rows
from billing.services.preview import plan_example
from gateway.contracts.snapshot import WindowKind
from portal import clock
from portal.api.base import Answer, ApiView, operation
from portal.api.pagination import Pages
from portal.api.permissions import PUBLIC, members
from portal.permissions import BILLING_ROLES, EVERY_ROLE
from portal.selectors import offer_list

MONEY = members(*BILLING_ROLES)


class InvoiceOut(serializers.ModelSerializer[Invoice]):
    """Amounts are in minor units of `currency`; `total` is the same as a decimal."""

    organization = serializers.CharField(source="organization_id")
    subscription = serializers.CharField(source="subscription_id")
    plan_version = serializers.CharField(source="plan_version_id")
    total = serializers.SerializerMethodField()

    class Meta:
        model = Invoice
        fields = (
            *("id", "number", "state", "kind", "n", "organization", "subscription"),
            *("plan_version", "currency", "service_from", "service_to", "subtotal_minor"),
            *("discount_minor", "adjustment_minor", "credit_minor", "tax_minor", "total_minor"),
            *("total", "amount_paid_minor", "issued_at", "due_at", "paid_at", "hosted_url"),
        )

    def get_total(self, row: Invoice) -> str:
        return decimal_text(row.total_minor, row.currency)


class LineOut(serializers.ModelSerializer[InvoiceLine]):
    quantity = serializers.SerializerMethodField()
    unit_amount = serializers.SerializerMethodField()
    net_minor = serializers.IntegerField()
    billed_before_minor = serializers.IntegerField()
    formula = serializers.ListField(child=serializers.DictField(child=serializers.CharField()))
    evidence = serializers.ListField(child=serializers.CharField())

    class Meta:
        model = InvoiceLine
        fields = (
            *("id", "position", "line_key", "price_key", "meter", "description", "formula"),
            *("starts_at", "ends_at", "quantity", "unit_amount", "amount_minor"),
            *("discount_minor", "net_minor", "billed_before_minor", "evidence"),
        )

    def get_quantity(self, row: InvoiceLine) -> str | None:
        return None if row.quantity is None else format(row.quantity, "f")

    def get_unit_amount(self, row: InvoiceLine) -> str | None:
        return None if row.unit_amount is None else format(row.unit_amount, "f")


class QuotaOut(Answer):
    """A quota in its window `[starts_at, resets_at)`; calls are refused from `limit` on."""

    meter = serializers.CharField()
    window = serializers.ChoiceField(choices=[kind.value for kind in WindowKind])
    starts_at = serializers.DateTimeField()
    resets_at = serializers.DateTimeField(source="ends_at")
    used = serializers.IntegerField()
    quota = serializers.IntegerField()
    limit = serializers.IntegerField(allow_null=True, help_text="null: never, overage is billed")
    remaining = serializers.IntegerField(help_text="until refusal, else until overage")
    percent = serializers.IntegerField(help_text="of the quota, rounded down")


class EstimateOut(Answer):
    """A subscription's open period: what is due so far and where it is heading.

    Amounts are null and `quotas` empty while usage cannot be read (`usage_known` is false then).
    """

    subscription = serializers.CharField(source="subscription.pk")
    plan_version = serializers.CharField(source="version.pk", default=None, allow_null=True)
    usage_known = serializers.BooleanField(source="is_known")
    currency = serializers.CharField(source="bill.currency", default=None, allow_null=True)
    period_start = serializers.DateTimeField(
        source="period.starts_at", default=None, allow_null=True
    )
    period_end = serializers.DateTimeField(source="period.ends_at", default=None, allow_null=True)
    so_far_minor = serializers.IntegerField(
        source="bill.so_far.total_minor", default=None, allow_null=True
    )
    projected_minor = serializers.IntegerField(
        source="bill.projected.total_minor", default=None, allow_null=True
    )
    newest_event_at = serializers.DateTimeField(allow_null=True)
    quotas = QuotaOut(many=True)


class EstimatesOut(Answer):
    as_of = serializers.DateTimeField()
    items = EstimateOut(many=True)


class PlanEstimateOut(Answer):
    """A month of a plan at one quantity of its main meter, from the invoice's own arithmetic."""

    plan_version = serializers.CharField()
    quantity = serializers.CharField()
    currency = serializers.CharField()
    total_minor = serializers.IntegerField()
    total = serializers.CharField()


class QuantityQuery(serializers.Serializer[Any]):
    quantity = serializers.IntegerField(min_value=0, max_value=10**15)


class Invoices(ApiView):
    access: ClassVar = {"GET": MONEY}
    pagination_class = Pages

    @operation("invoice_list", answer=InvoiceOut(many=True))
    def get(self, request: Request, org: str) -> Response:
        """List issued invoices, newest first."""
        return self.page(visible_invoices(organization=self.member.organization), InvoiceOut)


class InvoiceView(ApiView):
    def invoice(self, number: str) -> Invoice:
        rows = visible_invoices(organization=self.member.organization)
        return get_object_or_404(rows, number=number)


class InvoiceDetail(InvoiceView):
    access: ClassVar = {"GET": MONEY}

    @operation("invoice_show", answer=InvoiceOut)
    def get(self, request: Request, org: str, number: str) -> Response:
        """Show an invoice."""
        return Response(InvoiceOut(self.invoice(number)).data)


class InvoiceLines(InvoiceView):
    access: ClassVar = {"GET": MONEY}
    pagination_class = Pages

    @operation("invoice_line_list", answer=LineOut(many=True))
    def get(self, request: Request, org: str, number: str) -> Response:
        """List an invoice's lines with their arithmetic."""
        return self.page(self.invoice(number).lines.all(), LineOut)


class InvoicePdf(InvoiceView):
    access: ClassVar = {"GET": MONEY}

    @operation("invoice_pdf", answer={(200, "application/pdf"): OpenApiTypes.BINARY})
    def get(self, request: Request, org: str, number: str) -> HttpResponse:
        """Return the invoice as PDF."""
        built = invoice_pdf(invoice=self.invoice(number))
        return HttpResponse(built, content_type="application/pdf")


class Estimate(ApiView):
    access: ClassVar = {"GET": members(*EVERY_ROLE)}

    @operation("estimate_show", answer=EstimatesOut)
    def get(self, request: Request, org: str) -> Response:
        """Show each subscription's quotas, spend so far and projected bill."""
        at = clock.now()
        rows = plan_rows(organization=self.member.organization, at=at)
        return Response(EstimatesOut({"as_of": at, "items": rows}).data)


class PlanEstimate(ApiView):
    access: ClassVar = {"GET": PUBLIC}

    @operation(
        "plan_estimate",
        answer=PlanEstimateOut,
        query=[OpenApiParameter("quantity", int, required=True, description="units in a month")],
    )
    def get(self, request: Request, slug: str) -> Response:
        """Price a month of 30 days at a quantity."""
        asked = QuantityQuery(data=request.query_params)
        asked.is_valid(raise_exception=True)
        version = get_object_or_404(offer_list(), plan__slug=slug)
        start = clock.now().replace(day=1, hour=0, minute=0, second=0, microsecond=0)
        example = plan_example(
            version=version, quantity=Decimal(asked.validated_data["quantity"]), month_start=start
        )
        found = {
            "plan_version": version.pk,
            "quantity": format(example.quantity, "f"),
            "currency": version.currency,
            "total_minor": example.total_minor,
            "total": decimal_text(example.total_minor, version.currency),
        }
        return Response(PlanEstimateOut(found).data)
