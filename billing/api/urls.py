"""Billing's URLs under `/api/v1/`, mounted by `billing.urls`."""

from typing import Final

from django.urls import URLPattern, URLResolver, path

from billing.api import finance, invoices

ORG: Final = "organizations/<slug:org>"
ONE: Final = "finance/invoices/<str:reference>"

urlpatterns: list[URLPattern | URLResolver] = [
    path(f"{ORG}/estimate", invoices.Estimate.as_view()),
    path(f"{ORG}/invoices", invoices.Invoices.as_view()),
    path(f"{ORG}/invoices/<str:number>", invoices.InvoiceDetail.as_view()),
    path(f"{ORG}/invoices/<str:number>/lines", invoices.InvoiceLines.as_view()),
    path(f"{ORG}/invoices/<str:number>/pdf", invoices.InvoicePdf.as_view()),
    path("plans/<slug:slug>/estimate", invoices.PlanEstimate.as_view()),
    path("finance/board", finance.Board.as_view()),
    path("finance/review", finance.Review.as_view()),
    path("finance/invoices", finance.FinanceInvoices.as_view()),
    path(ONE, finance.Evidence.as_view()),
    path(f"{ONE}/approve", finance.Approve.as_view()),
    path(f"{ONE}/hold", finance.Hold.as_view()),
    path(f"{ONE}/void", finance.Void.as_view()),
    path(f"{ONE}/rerate", finance.Rerate.as_view()),
    path("finance/payments", finance.Payments.as_view()),
    path("finance/exports/<slug:what>.csv", finance.Export.as_view()),
]
