"""Four totals of one invoice side by side: gateway, usage snapshot, lines, collector."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from django.db.models import QuerySet

from billing.models import Finding, Invoice, UsageSnapshot
from billing.payments.port import Collector
from billing.services.findings import finding_open
from billing.services.issue import line_drafts
from billing.services.snapshots import newest_map
from billing.states import InvoiceState
from metering.queries import UsageReader
from portal.models import BillingPeriod


@dataclass(frozen=True, slots=True)
class MeterMatch:
    """One meter of one segment: what the log says now against what was frozen and billed."""

    meter: str
    snapshot: UsageSnapshot
    log_billed: Decimal
    log_id_hash: str

    @property
    def equal(self) -> bool:
        return (self.log_billed, self.log_id_hash) == (
            self.snapshot.billed,
            self.snapshot.id_hash,
        )


@dataclass(frozen=True, slots=True)
class FourTotals:
    """`lines_minor` is the sum of the parts that were sent; `remote_minor` is None before that."""

    invoice: Invoice
    meters: tuple[MeterMatch, ...]
    lines_minor: int
    total_minor: int
    remote_minor: int | None
    remote_status: str

    @property
    def differences(self) -> tuple[str, ...]:
        found = [
            f"{m.meter}: log {m.log_billed:f}, snapshot {m.snapshot.billed:f}"
            for m in self.meters
            if not m.equal
        ]
        if self.lines_minor != self.total_minor:
            found.append(f"lines {self.lines_minor}, total {self.total_minor}")
        if self.remote_minor is not None and self.remote_minor != self.total_minor:
            found.append(f"collector {self.remote_minor}, total {self.total_minor}")
        return tuple(found)


def four_totals(*, invoice: Invoice, reader: UsageReader, collector: Collector) -> FourTotals:
    """Read the log again, add the lines up and ask the collector."""
    remote_minor, status = None, ""
    if invoice.stripe_invoice_id:
        remote = collector.invoice_read(remote_id=invoice.stripe_invoice_id)
        remote_minor, status = remote.total_minor, remote.status
    return FourTotals(
        invoice=invoice,
        meters=meter_matches(period=invoice.period, reader=reader),
        lines_minor=sum(line.amount_minor for line in line_drafts(invoice)),
        total_minor=invoice.total_minor,
        remote_minor=remote_minor,
        remote_status=status,
    )


def meter_matches(*, period: BillingPeriod, reader: UsageReader) -> tuple[MeterMatch, ...]:
    """Compare every newest usage snapshot of a period with a fresh query over its own bounds."""
    rows = []
    for snapshot in newest_map(period=period).values():
        fresh = {
            row.meter: row
            for row in reader.meter_usage(
                subscription_id=snapshot.subscription_id,
                environment="live",
                start=snapshot.starts_at,
                end=snapshot.ends_at,
            )
        }
        now = fresh.get(snapshot.meter)
        rows.append(
            MeterMatch(
                meter=snapshot.meter,
                snapshot=snapshot,
                log_billed=now.billed if now else Decimal(0),
                log_id_hash=now.id_hash if now else snapshot.id_hash,
            )
        )
    return tuple(rows)


def findings_write(*, totals: FourTotals, now: datetime) -> Sequence[Finding]:
    """Keep each difference as an open finding, once; nothing repairs itself in silence."""
    rows = []
    for text in totals.differences:
        finding = finding_open(
            key=f"{totals.invoice.pk}:{text}",
            kind="four_totals",
            detail=f"{totals.invoice}: {text}",
            invoice=totals.invoice,
            now=now,
        )
        rows.append(finding)
    return rows


def invoice_reconcile(
    *, invoice: Invoice, reader: UsageReader, collector: Collector, now: datetime
) -> FourTotals:
    """Compare the four totals of one invoice and keep what differs: the page, the command and
    the nightly run all come through here."""
    totals = four_totals(invoice=invoice, reader=reader, collector=collector)
    findings_write(totals=totals, now=now)
    return totals


def issued_since(*, since: datetime | None) -> "QuerySet[Invoice]":
    """Return the invoices whose totals are compared: issued lately, or every one."""
    rows = Invoice.objects.select_related("period", "organization").exclude(
        state=InvoiceState.VOID
    )
    if since is not None:
        rows = rows.filter(issued_at__gte=since)
    return rows.order_by("created_at", "pk")
