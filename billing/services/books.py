"""Our books against the collector's (`stripe.md` §7): hourly heals, nightly finds.

Hourly: events that never arrived and open invoices that moved are taken in by the same doors as
webhooks. Nightly: the invoices of the last days one to one, refunds and disputes; what differs is
a finding, which blocks the customer's next close until a person resolves it with a reason. Times
given to the collector are wall time.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from django.db.models import Q

from billing.models import Finding, Invoice, MovementKind, NoteSettlement, Outbox, OutboxState
from billing.payments.port import FullCollector, RemoteInvoice
from billing.services.charges import (
    charge_apply,
    dispute_apply,
    invoice_of_remote,
    refund_gap_found,
)
from billing.services.findings import finding_open
from billing.services.inbox import event_store
from billing.services.payments import remote_apply
from billing.states import InvoiceState, NoteState

EVENTS_BACK: Final = timedelta(hours=3)
DAYS_BACK: Final = timedelta(days=4)
DRAFT_PATIENCE: Final = timedelta(days=1)
SENT: Final = (InvoiceState.OPEN, InvoiceState.PAID, InvoiceState.UNCOLLECTIBLE)


@dataclass(frozen=True, slots=True)
class Healed:
    """What an hourly run took in."""

    events: int
    invoices: int


def books_heal(*, collector: FullCollector, now: datetime, wall: datetime) -> Healed:
    """Take in events that never arrived and open invoices that moved; again finds nothing.

    :raises CollectorBusyError: and :raises CollectorUnavailableError: the next run does it.
    """
    since = wall - EVENTS_BACK
    events = sum(
        event_store(event=event, now=wall) for event in collector.event_list(created_from=since)
    )
    return Healed(events, open_heal(collector=collector, now=now))


def open_heal(*, collector: FullCollector, now: datetime) -> int:
    """Read again each invoice that is open here and no longer there, or was credited there."""
    ours = dict(
        Invoice.objects.filter(state=InvoiceState.OPEN)
        .exclude(stripe_invoice_id="")
        .values_list("stripe_invoice_id", "pk")
    )
    theirs = {
        remote.id: remote for remote in collector.invoice_list(created_from=None, status="open")
    }
    moved = 0
    for remote_id in sorted(ours.keys() - theirs.keys()):
        moved += _read_again(remote_id, collector, now)
    for remote_id, remote in theirs.items():
        held = invoice_of_remote(remote_id=remote_id)
        if held is not None and held.credited_minor != remote.credited_minor:
            moved += _read_again(remote_id, collector, now)
    return moved


def _read_again(remote_id: str, collector: FullCollector, now: datetime) -> bool:
    held = invoice_of_remote(remote_id=remote_id)
    if held is None:
        return False
    before = (held.state, held.credited_minor)
    remote_apply(invoice=held, remote=collector.invoice_read(remote_id=remote_id), now=now)
    held.refresh_from_db()
    return (held.state, held.credited_minor) != before


def books_compare(*, collector: FullCollector, now: datetime, wall: datetime) -> Sequence[Finding]:
    """Compare the last days one to one and keep every difference as a finding.

    :raises CollectorBusyError: and :raises CollectorUnavailableError: the next run does it.
    """
    since = wall - DAYS_BACK
    for refund in collector.refund_list(created_from=since):
        charge_apply(charge=collector.charge_read(charge_id=refund.charge_id), now=now)
    for dispute in collector.dispute_list(created_from=since):
        dispute_apply(remote=dispute, now=now)
    open_heal(collector=collector, now=now)
    remotes = collector.invoice_list(created_from=since)
    held = {
        row.stripe_invoice_id: row
        for row in Invoice.objects.select_related("organization").filter(
            stripe_invoice_id__in=[remote.id for remote in remotes]
        )
    }
    found = [
        finding_open(key=key, kind="collector", detail=text, invoice=invoice, now=now)
        for key, text, invoice in _breaks(remotes, held, collector, wall)
    ]
    found += _missing(held, since, now)
    for invoice in _refunded(since=now - DAYS_BACK):
        refund_gap_found(invoice=invoice, now=now)
    return [row for row in found if row.resolved_at is None]


Break = tuple[str, str, Invoice | None]


def _breaks(
    remotes: Sequence[RemoteInvoice],
    held: Mapping[str, Invoice],
    collector: FullCollector,
    wall: datetime,
) -> Iterator[Break]:
    for remote in remotes:
        invoice = held.get(remote.id)
        claimed = remote.metadata.get("invoice_id", "")
        if invoice is None:
            if claimed:
                owner = Invoice.objects.filter(pk=claimed).first()
                text = f"{remote.id} at the collector says it is {claimed}; ours is another."
                yield f"{remote.id}:unknown", text, owner
            continue
        if remote.status == "draft":
            if remote.created_at and wall - remote.created_at > DRAFT_PATIENCE:
                text = f"{invoice}: a draft at the collector for more than a day."
                yield f"{invoice.pk}:stale_draft", text, invoice
            continue
        for name, ours, theirs in _pairs(invoice, remote, collector):
            if ours != theirs:
                text = f"{invoice}: {name} is {ours} here and {theirs} at the collector."
                yield f"{invoice.pk}:{name}:{ours}:{theirs}", text, invoice


def _pairs(
    invoice: Invoice, remote: RemoteInvoice, collector: FullCollector
) -> Iterator[tuple[str, object, object]]:
    """Yield what must be equal: (name, ours, the collector's)."""
    yield "total", invoice.total_minor, remote.total_minor
    yield "currency", invoice.currency, remote.currency
    yield "amount paid", invoice.amount_paid_minor, remote.amount_paid_minor
    if invoice.state not in {InvoiceState.APPROVED, InvoiceState.ISSUING}:
        yield "status", invoice.state, remote.status
    notes = invoice.credit_notes.filter(state=NoteState.ISSUED)
    ours = sum(note.total_minor for note in notes)
    theirs = 0
    if ours or remote.credited_minor or remote.status == "paid":
        rows = collector.credit_note_list(remote_id=remote.id)
        theirs = sum(row.total_minor for row in rows if row.status == "issued")
    yield "credited", ours, theirs


def _missing(held: Mapping[str, Invoice], since: datetime, now: datetime) -> list[Finding]:
    """Keep a finding for each invoice that we sent in those days and the collector does not list.

    When it was sent is told by the outbox, whose times are wall time like the collector's.
    """
    sent = Outbox.objects.filter(step="draft", state=OutboxState.DONE, sent_at__gte=since)
    rows = Invoice.objects.filter(pk__in=sent.values("invoice_id"), state__in=SENT)
    return [
        finding_open(
            key=f"{row.pk}:missing",
            kind="collector",
            detail=f"{row}: {row.stripe_invoice_id} is not at the collector.",
            invoice=row,
            now=now,
        )
        for row in rows.exclude(stripe_invoice_id__in=held.keys())
    ]


def _refunded(*, since: datetime) -> Iterator[Invoice]:
    """Yield invoices on which money went back, or was to, in those days."""
    rows = Invoice.objects.filter(
        Q(movements__kind=MovementKind.REFUND, movements__at__gte=since)
        | Q(
            credit_notes__settlement=NoteSettlement.REFUND,
            credit_notes__state=NoteState.ISSUED,
            credit_notes__issued_at__gte=since,
        )
    )
    return rows.order_by("pk").distinct().iterator(chunk_size=500)
