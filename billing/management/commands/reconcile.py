"""`manage.py reconcile`: gateway, usage snapshot, lines and collector; and both ledgers."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from billing.payments.stripe_adapter import collector
from billing.services.books import books_compare, books_heal
from billing.services.reconcile import invoice_reconcile, issued_since
from portal.clock import now, wall_now
from portal.usage import reader


class Command(BaseCommand):
    help = (
        "Compare the four totals of invoices and our books with the collector's; "
        "differences are kept as findings."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("invoice", nargs="*", help="ids or numbers; empty = all")
        parser.add_argument(
            "--heal", action="store_true", help="take in lost events first, as every hour"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        if options["heal"]:
            healed = books_heal(collector=collector(), now=now(), wall=wall_now())
            self.stdout.write(f"{healed.events} events and {healed.invoices} invoices healed")
        wrong = self._invoices(options["invoice"])
        if not options["invoice"]:
            wrong += self._books()
        if wrong:
            msg = f"{wrong} invoices differ"
            raise CommandError(msg)

    def _invoices(self, wanted: list[str]) -> int:
        rows = issued_since(since=None)
        if wanted:
            rows = rows.filter(pk__in=wanted) | rows.filter(number__in=wanted)
        wrong = 0
        for invoice in rows:
            totals = invoice_reconcile(
                invoice=invoice, reader=reader(), collector=collector(), now=now()
            )
            wrong += bool(totals.differences)
            text = "; ".join(totals.differences) or "equal"
            self.stdout.write(f"{invoice} {invoice.total_minor} {invoice.currency}: {text}")
        return wrong

    def _books(self) -> int:
        found = books_compare(collector=collector(), now=now(), wall=wall_now())
        for row in found:
            self.stdout.write(row.detail)
        self.stdout.write(f"books of the last days: {len(found)} open differences")
        return len({row.invoice_id or row.pk for row in found})
