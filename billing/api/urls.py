"""Billing's URLs under `/api/v1/`, mounted by `billing.urls`."""

from typing import Final

from django.urls import URLPattern, URLResolver, path

from billing.api import corrections, finance, invoices, subscriptions

ORG: Final = "organizations/<slug:org>"
SUB: Final = f"{ORG}/subscriptions/<str:subscription_id>"
NOTE: Final = "finance/credit-notes/<str:note_id>"
ONE: Final = "finance/invoices/<str:reference>"

urlpatterns: list[URLPattern | URLResolver] = [
    path(f"{ORG}/estimate", invoices.Estimate.as_view()),
    path(f"{ORG}/invoices", invoices.Invoices.as_view()),
    path(f"{ORG}/invoices/<str:number>", invoices.InvoiceDetail.as_view()),
    path(f"{ORG}/invoices/<str:number>/lines", invoices.InvoiceLines.as_view()),
    path(f"{ORG}/invoices/<str:number>/pdf", invoices.InvoicePdf.as_view()),
    path(f"{ORG}/credit-notes", corrections.Notes.as_view()),
    path(f"{ORG}/credit-notes/<str:number>/pdf", corrections.NotePdf.as_view()),
    path(f"{ORG}/checkouts", subscriptions.Checkouts.as_view()),
    path(f"{ORG}/checkouts/<str:checkout_id>", subscriptions.CheckoutDetail.as_view()),
    path(f"{ORG}/checkouts/<str:checkout_id>/settle", subscriptions.CheckoutSettle.as_view()),
    path(f"{SUB}/change", subscriptions.OwnSubscriptionChange.as_view()),
    path(f"{SUB}/cancellation", subscriptions.OwnSubscriptionCancel.as_view()),
    path("plans/<slug:slug>/estimate", invoices.PlanEstimate.as_view()),
    path("finance/board", finance.Board.as_view()),
    path("finance/review", finance.Review.as_view()),
    path("finance/review/approve", finance.ReviewApprove.as_view()),
    path("finance/invoices", finance.FinanceInvoices.as_view()),
    path(ONE, finance.Evidence.as_view()),
    path(f"{ONE}/approve", finance.Approve.as_view()),
    path(f"{ONE}/hold", finance.Hold.as_view()),
    path(f"{ONE}/void", finance.Void.as_view()),
    path(f"{ONE}/rerate", finance.Rerate.as_view()),
    path(f"{ONE}/reconcile", corrections.Reconcile.as_view()),
    path(f"{ONE}/credit-notes", corrections.InvoiceNotes.as_view()),
    path("finance/credit-notes", corrections.FinanceNotes.as_view()),
    path(NOTE, corrections.FinanceNote.as_view()),
    path(f"{NOTE}/approve", corrections.NoteApprove.as_view()),
    path(f"{NOTE}/void", corrections.NoteVoid.as_view()),
    path(f"{NOTE}/retry", corrections.NoteRetry.as_view()),
    path("finance/findings", corrections.Findings.as_view()),
    path("finance/findings/<str:finding_id>/resolve", corrections.FindingResolve.as_view()),
    path("finance/payments", finance.Payments.as_view()),
    path("finance/exports/<slug:what>.csv", finance.Export.as_view()),
]
