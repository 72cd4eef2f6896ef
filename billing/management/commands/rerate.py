"""`manage.py rerate --verify`: rate every document again and compare to the cent."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from billing.models import Invoice
from billing.services.invoices import invoice_rerate, rerate_differences
from billing.states import RERATABLE
from portal.clock import now


class Command(BaseCommand):
    help = "Rate drafts again from their frozen usage, or with --verify only compare invoices."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--verify", action="store_true", help="change nothing, compare")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["verify"]:
            self._verify()
            return
        count = 0
        for invoice in Invoice.objects.filter(state__in=RERATABLE).order_by("pk"):
            outcome = invoice_rerate(invoice_id=invoice.pk, now=now())
            count += outcome.changed
        self.stdout.write(f"{count} drafts changed")

    def _verify(self) -> None:
        """Hold every document of every chain against what it was rated from."""
        wrong, seen = [], 0
        rows = Invoice.objects.exclude(state="void").order_by("created_at", "pk")
        for invoice in rows.iterator(chunk_size=500):
            seen += 1
            differences = rerate_differences(invoice=invoice)
            if differences:
                wrong.append(str(invoice))
                self.stdout.write(f"{invoice}: {'; '.join(differences)}")
        self.stdout.write(f"{seen} invoices rated again, {len(wrong)} differ")
        if wrong:
            raise CommandError(", ".join(wrong))
