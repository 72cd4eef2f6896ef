"""Billing's URL map, mounted at the root by `portal.urls`."""

from django.urls import URLPattern, URLResolver, include, path

from billing.views import (
    credits,
    developer,
    error_codes,
    finance,
    plan,
    plan_change,
    pricing,
    subscribe,
)
from billing.webhooks import stripe_webhook

FINANCE = "admin-console/finance"

urlpatterns: list[URLPattern | URLResolver] = [
    path("api/v1/", include("billing.api.urls")),
    path("webhooks/stripe", stripe_webhook, name="stripe_webhook"),
    path("pricing", pricing.pricing, name="pricing"),
    path("docs/errors", error_codes.errors_page, name="docs_errors"),
    path(
        "admin-console/plans/versions/<str:version_id>/preview",
        pricing.plan_preview,
        name="plan_preview",
    ),
    path("app/<slug:org>", developer.org_home, name="org_home"),
    path("pricing/choose", subscribe.plan_choose, name="plan_choose"),
    path("app/<slug:org>/plan", plan.org_plan, name="org_plan"),
    path("app/<slug:org>/plan/change", plan_change.org_plan_change, name="org_plan_change"),
    path(
        "app/<slug:org>/plan/change/confirm",
        plan_change.org_plan_confirm,
        name="org_plan_confirm",
    ),
    path("app/<slug:org>/plan/cancel", plan.org_plan_cancel, name="org_plan_cancel"),
    path("app/<slug:org>/plan/undo", plan.org_plan_undo, name="org_plan_undo"),
    path("app/<slug:org>/plan/subscribe", subscribe.org_subscribe, name="org_subscribe"),
    path(
        "app/<slug:org>/plan/checkout/<str:checkout_id>",
        subscribe.org_checkout,
        name="org_checkout",
    ),
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
    path(
        "app/<slug:org>/billing/credits/<str:number>/pdf",
        developer.credit_document,
        name="billing_credit_pdf",
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
    path(
        f"{FINANCE}/invoices/<str:reference>/credit",
        credits.credit_new,
        name="finance_credit_new",
    ),
    path(f"{FINANCE}/credits", credits.credit_list, name="finance_credits"),
    path(f"{FINANCE}/credits/<str:note_id>", credits.credit_page, name="finance_credit"),
    path(
        f"{FINANCE}/credits/<str:note_id>/decide",
        credits.credit_decide,
        name="finance_credit_decide",
    ),
    path(
        f"{FINANCE}/credits/<str:note_id>/pdf",
        credits.credit_document,
        name="finance_credit_pdf",
    ),
    path(f"{FINANCE}/disputes", credits.dispute_list, name="finance_disputes"),
    path(f"{FINANCE}/reconcile", credits.finding_list, name="finance_findings"),
    path(f"{FINANCE}/reconcile/<str:reference>", finance.reconcile, name="finance_reconcile"),
    path(
        f"{FINANCE}/findings/<str:finding_id>/resolve",
        finance.finding_close,
        name="finance_finding",
    ),
    path(f"{FINANCE}/payments", finance.payments, name="finance_payments"),
    path(f"{FINANCE}/exports/<slug:what>.csv", finance.export, name="finance_export"),
]
