"""CSV exports with stable headers; cells that a spreadsheet would run are made harmless."""

import csv
import io
import re
from collections.abc import Iterable, Iterator
from typing import Final

from billing.models import Invoice, InvoiceLine
from billing.services.money_text import decimal_text
from gateway.contracts.access_log import format_time
from portal.core import csv_cells

INVOICE_HEADER: Final = (
    "invoice_id",
    "number",
    "state",
    "kind",
    "organization_id",
    "organization_name",
    "subscription_id",
    "period_start",
    "period_end",
    "n",
    "currency",
    "subtotal",
    "discount",
    "adjustment",
    "credit",
    "tax",
    "total",
    "amount_paid",
    "created_at",
    "issued_at",
    "due_at",
    "paid_at",
    "stripe_invoice_id",
    "content_hash",
)
_NEGATIVE: Final = re.compile(r"-[0-9]+(\.[0-9]+)?")
LINE_HEADER: Final = (
    "invoice_id",
    "number",
    "line_key",
    "price_key",
    "meter",
    "description",
    "from",
    "to",
    "quantity",
    "unit_amount",
    "currency",
    "amount",
    "discount",
    "net",
    "rated_amount",
)


def safe_cell(text: str) -> str:
    """Defuse a cell that a spreadsheet would take for a formula, as every export does.

    Numbers keep their sign.

    >>> safe_cell("=1+1"), safe_cell("\\n=1"), safe_cell("-12.50"), safe_cell("Acme")
    ("'=1+1", "'\\n=1", '-12.50', 'Acme')
    """
    return text if _NEGATIVE.fullmatch(text) else csv_cells.safe_cell(text)


def csv_rows(header: Iterable[str], rows: Iterable[Iterable[object]]) -> Iterator[str]:
    """Yield the lines of a CSV file, for a streaming answer."""
    yield _row(header)
    for row in rows:
        yield _row("" if cell is None else safe_cell(str(cell)) for cell in row)


def _row(cells: Iterable[str]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\r\n").writerow(list(cells))
    return buffer.getvalue()


def invoice_rows(invoices: Iterable[Invoice]) -> Iterator[list[object]]:
    for i in invoices:
        money = [
            decimal_text(minor, i.currency)
            for minor in (
                i.subtotal_minor,
                i.discount_minor,
                i.adjustment_minor,
                i.credit_minor,
                i.tax_minor,
                i.total_minor,
                i.amount_paid_minor,
            )
        ]
        times = [
            format_time(t) if t else "" for t in (i.created_at, i.issued_at, i.due_at, i.paid_at)
        ]
        yield [
            i.pk,
            i.number,
            i.state,
            i.kind,
            i.organization_id,
            i.organization.name,
            i.subscription_id,
            format_time(i.period.starts_at),
            format_time(i.period.ends_at),
            i.n,
            i.currency,
            *money,
            *times,
            i.stripe_invoice_id,
            i.content_hash,
        ]


def line_rows(lines: Iterable[InvoiceLine]) -> Iterator[list[object]]:
    for x in lines:
        currency = x.invoice.currency
        yield [
            x.invoice_id,
            x.invoice.number,
            x.line_key,
            x.price_key,
            x.meter,
            x.description,
            format_time(x.starts_at),
            format_time(x.ends_at),
            "" if x.quantity is None else format(x.quantity, "f"),
            "" if x.unit_amount is None else format(x.unit_amount, "f"),
            currency,
            decimal_text(x.amount_minor, currency),
            decimal_text(x.discount_minor, currency),
            decimal_text(x.net_minor, currency),
            decimal_text(x.rated_amount_minor, currency),
        ]
