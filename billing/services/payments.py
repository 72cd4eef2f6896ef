"""Collects open invoices and takes in what the collector says about them.

The collector's object is read again for every effect and our state only moves forward, so that
the order of events, their duplicates and their loss make no difference.
"""

from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import F, Max

from billing.errors import CardDeclinedError, CollectorRefusedError
from billing.models import CustomerAccount, Invoice, Payment, PaymentState
from billing.payments.port import Collector, RemoteInvoice
from billing.services.accounts import account_ensure
from billing.services.dunning import dunning_clear, dunning_failed
from billing.services.issue import alarm_raise
from billing.services.outbox import Step, outbox_call
from billing.services.review import invoice_move
from billing.states import InvoiceState
from portal.models import User
from portal.services.audit import audit_record

CLAIM = timedelta(minutes=10)


def payment_collect(
    *,
    invoice_id: str,
    collector: Collector,
    dunning_days: list[int],
    now: datetime,
    wall: datetime,
) -> Invoice:
    """Make the attempt that is due, or send the invoice where there is no card.

    The attempt is claimed by moving `next_attempt_at` ahead; a run that dies is made again with
    the same attempt number and therefore the same key.
    """
    invoice = Invoice.objects.select_related("organization", "plan_version").get(pk=invoice_id)
    claimed = Invoice.objects.filter(
        pk=invoice_id, state=InvoiceState.OPEN, next_attempt_at__lte=now
    ).update(next_attempt_at=now + CLAIM)
    if claimed != 1:
        return invoice
    account = account_ensure(organization=invoice.organization, collector=collector, now=wall)
    if invoice.total_minor <= 0:
        return remote_apply(
            invoice=invoice,
            remote=collector.invoice_read(remote_id=invoice.stripe_invoice_id),
            now=now,
        )
    if not account.payment_method_id:
        return _send(invoice, collector, wall)
    return _charge(invoice, collector, dunning_days, now, wall)


def _send(invoice: Invoice, collector: Collector, wall: datetime) -> Invoice:
    outbox_call(
        step=Step(invoice=invoice, name="send", body_hash=invoice.content_hash),
        wall=wall,
        look=lambda: None,
        call=lambda key: collector.invoice_send(key=key, remote_id=invoice.stripe_invoice_id),
    )
    Invoice.objects.filter(pk=invoice.pk).update(next_attempt_at=None)
    return invoice


def _charge(
    invoice: Invoice,
    collector: Collector,
    dunning_days: list[int],
    now: datetime,
    wall: datetime,
) -> Invoice:
    payment = attempt_open(invoice=invoice, now=now)
    step = Step(
        invoice=invoice, name="pay", body_hash=invoice.content_hash, suffix=str(payment.attempt)
    )

    def look() -> RemoteInvoice | None:
        remote = collector.invoice_read(remote_id=invoice.stripe_invoice_id)
        return None if remote.status == "open" else remote

    try:
        remote = outbox_call(
            step=step,
            wall=wall,
            look=look,
            call=lambda key: collector.invoice_pay(key=key, remote_id=invoice.stripe_invoice_id),
        )
    except CardDeclinedError as error:
        attempt_close(payment=payment, state=PaymentState.FAILED, now=now, code=error.decline_code)
        dunning_failed(invoice=invoice, days=dunning_days, now=now)
        return invoice
    except CollectorRefusedError:
        remote = collector.invoice_read(remote_id=invoice.stripe_invoice_id)
    return remote_apply(invoice=invoice, remote=remote, now=now)


def attempt_open(*, invoice: Invoice, now: datetime) -> Payment:
    """Return the attempt that has no answer yet, or the next one."""
    with transaction.atomic():
        started = invoice.payments.filter(state=PaymentState.STARTED).first()
        if started is not None:
            return started
        last = invoice.payments.aggregate(last=Max("attempt"))["last"] or 0
        return Payment.objects.create(
            invoice=invoice,
            attempt=last + 1,
            amount_minor=invoice.total_minor - invoice.amount_paid_minor,
            currency=invoice.currency,
            started_at=now,
        )


def attempt_close(*, payment: Payment, state: PaymentState, now: datetime, code: str = "") -> None:
    Payment.objects.filter(pk=payment.pk, state=PaymentState.STARTED).update(
        state=state, finished_at=now, decline_code=code[:60]
    )


def remote_apply(*, invoice: Invoice, remote: RemoteInvoice, now: datetime) -> Invoice:
    """Move an invoice forward to what the collector's object says. Again changes nothing."""
    if invoice.state in {InvoiceState.DRAFT, InvoiceState.HELD, InvoiceState.APPROVED}:
        return invoice
    if remote.status != "draft" and remote.total_minor != invoice.total_minor:
        text = f"Total: ours {invoice.total_minor}, the collector's {remote.total_minor}."
        alarm_raise(invoice=invoice, text=text)
        return invoice
    if remote.status == "paid":
        return _paid(invoice, remote, now)
    if remote.status == "void" and invoice.state != InvoiceState.VOID:
        alarm_raise(invoice=invoice, text="Void at the collector, not by us.")
    if remote.status == "uncollectible" and invoice.state == InvoiceState.OPEN:
        invoice_move(
            invoice=invoice,
            target=InvoiceState.UNCOLLECTIBLE,
            action="invoice.uncollectible",
            now=now,
            next_attempt_at=None,
        )
    return invoice


def _paid(invoice: Invoice, remote: RemoteInvoice, now: datetime) -> Invoice:
    if invoice.state not in {InvoiceState.OPEN, InvoiceState.UNCOLLECTIBLE}:
        return invoice
    with transaction.atomic():
        if remote.amount_paid_minor:
            payment = attempt_open(invoice=invoice, now=now)
            attempt_close(payment=payment, state=PaymentState.SUCCEEDED, now=now)
        invoice_move(
            invoice=invoice,
            target=InvoiceState.PAID,
            action="invoice.paid",
            now=now,
            sources=(InvoiceState.OPEN, InvoiceState.UNCOLLECTIBLE),
            paid_at=now,
            amount_paid_minor=remote.amount_paid_minor,
            next_attempt_at=None,
        )
        dunning_clear(organization_id=invoice.organization_id, now=now)
    return invoice


def collect_due_list(*, now: datetime, limit: int = 200) -> list[str]:
    """Return open invoices whose next attempt is due."""
    rows = Invoice.objects.filter(state=InvoiceState.OPEN, next_attempt_at__lte=now, alarm="")
    return list(rows.order_by("next_attempt_at", "pk").values_list("pk", flat=True)[:limit])


def card_changed(*, account: CustomerAccount, now: datetime) -> int:
    """A new card: what is open is tried at once; the schedule starts again."""
    return Invoice.objects.filter(
        organization_id=account.pk, state=InvoiceState.OPEN, total_minor__gt=0
    ).update(next_attempt_at=now, dunning_step=F("dunning_step"))


def open_void(
    *,
    invoice_id: str,
    reason: str,
    actor: User,
    collector: Collector,
    now: datetime,
    wall: datetime,
) -> Invoice:
    """Void an issued, unpaid invoice at the collector first, then here; the chain goes on."""
    invoice = Invoice.objects.select_related("organization").get(pk=invoice_id)
    remote = outbox_call(
        step=Step(invoice=invoice, name="void", body_hash=invoice.content_hash),
        wall=wall,
        look=lambda: None,
        call=lambda key: collector.invoice_void(key=key, remote_id=invoice.stripe_invoice_id),
    )
    with transaction.atomic():
        invoice_move(
            invoice=invoice,
            target=InvoiceState.VOID,
            action="invoice.void",
            now=now,
            actor=actor,
            reason=reason,
            sources=(InvoiceState.OPEN, InvoiceState.UNCOLLECTIBLE),
            void_reason=reason[:300],
            next_attempt_at=None,
        )
        dunning_clear(organization_id=invoice.organization_id, now=now)
        audit_record(
            actor=actor,
            action="collector.void",
            target=remote.id,
            now=now,
            organization=invoice.organization,
            reason=reason,
        )
    return invoice
