"""`manage.py reconcile`: gateway, usage snapshot, lines and collector for every invoice."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from billing.models import Invoice
from billing.payments.stripe_adapter import collector
from billing.services.reconcile import findings_write, four_totals
from billing.states import InvoiceState
from portal.clock import now
from portal.usage import reader


class Command(BaseCommand):
    help = "Compare the four totals of invoices; differences are kept as findings."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("invoice", nargs="*", help="ids or numbers; empty = all issued")

    def handle(self, *args: Any, **options: Any) -> None:
        rows = Invoice.objects.select_related("period", "organization").exclude(
            state=InvoiceState.VOID
        )
        if options["invoice"]:
            wanted = options["invoice"]
            rows = rows.filter(pk__in=wanted) | rows.filter(number__in=wanted)
        wrong = 0
        for invoice in rows.order_by("created_at", "pk"):
            totals = four_totals(invoice=invoice, reader=reader(), collector=collector())
            findings_write(totals=totals, now=now())
            wrong += bool(totals.differences)
            text = "; ".join(totals.differences) or "equal"
            self.stdout.write(f"{invoice} {invoice.total_minor} {invoice.currency}: {text}")
        if wrong:
            msg = f"{wrong} invoices differ"
            raise CommandError(msg)
