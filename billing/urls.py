"""Billing's URL map, mounted at the root by `portal.urls`."""

from django.urls import URLPattern, URLResolver, path

from billing.views import developer, error_codes, finance, pricing
from billing.webhooks import stripe_webhook

FINANCE = "admin-console/finance"

urlpatterns: list[URLPattern | URLResolver] = [
    path("webhooks/stripe", stripe_webhook, name="stripe_webhook"),
    path("pricing", pricing.pricing, name="pricing"),
    path("docs/errors", error_codes.errors_page, name="docs_errors"),
    path(
        "admin-console/plans/versions/<str:version_id>/preview",
        pricing.plan_preview,
        name="plan_preview",
    ),
    path("app/<slug:org>", developer.org_home, name="org_home"),
    path("app/<slug:org>/billing", developer.billing_home, name="billing_home"),
    path("app/<slug:org>/billing/card", developer.card_start, name="billing_card"),
    path(
        "app/<slug:org>/billing/invoices/<str:number>",
        developer.invoice_page,
        name="billing_invoice",
    ),
    path(
        "app/<slug:org>/billing/invoices/<str:number>/pdf",
        developer.invoice_document,
        name="billing_invoice_pdf",
    ),
    path(
        "app/<slug:org>/billing/invoices/<str:number>/lines/<str:line_id>",
        developer.invoice_line,
        name="billing_invoice_line",
    ),
    path(FINANCE, finance.board, name="finance_board"),
    path(f"{FINANCE}/review", finance.queue, name="finance_review"),
    path(f"{FINANCE}/review/approve", finance.queue_approve, name="finance_review_approve"),
    path(f"{FINANCE}/invoices", finance.invoices, name="finance_invoices"),
    path(f"{FINANCE}/invoices/<str:reference>", finance.invoice_review, name="finance_invoice"),
    path(
        f"{FINANCE}/invoices/<str:reference>/decide", finance.invoice_decide, name="finance_decide"
    ),
    path(
        f"{FINANCE}/invoices/<str:reference>/pdf",
        finance.invoice_document,
        name="finance_invoice_pdf",
    ),
    path(f"{FINANCE}/reconcile/<str:reference>", finance.reconcile, name="finance_reconcile"),
    path(
        f"{FINANCE}/findings/<str:finding_id>/resolve",
        finance.finding_close,
        name="finance_finding",
    ),
    path(f"{FINANCE}/payments", finance.payments, name="finance_payments"),
    path(f"{FINANCE}/exports/<slug:what>.csv", finance.export, name="finance_export"),
]
