"""Collects open invoices and takes in what the collector says about them.

The collector's object is read again for every effect and our state only moves forward, so that
the order of events, their duplicates and their loss make no difference.
"""

from datetime import datetime, timedelta
from typing import Final

from django.db import transaction
from django.db.models import Max

from billing.errors import CardDeclinedError, CollectorRefusedError
from billing.models import (
    CollectionWait,
    CustomerAccount,
    Invoice,
    Outbox,
    Payment,
    PaymentState,
)
from billing.payments.port import Collector, RemoteInvoice
from billing.services.accounts import account_ensure, card_refresh
from billing.services.dunning import (
    card_notice_send,
    dunning_clear,
    dunning_failed,
    notice_send,
)
from billing.services.findings import finding_open
from billing.services.issue import alarm_raise
from billing.services.outbox import Step, outbox_call
from billing.services.review import draft_void, invoice_move
from billing.states import InvoiceState, sources_of
from portal.models import User
from portal.services.audit import audit_record

CLAIM = timedelta(minutes=10)
VOID_STEP: Final = "void"


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
    if invoice.due_minor == 0:
        return remote_apply(
            invoice=invoice,
            remote=collector.invoice_read(remote_id=invoice.stripe_invoice_id),
            now=now,
        )
    if not account.payment_method_id:
        return _send(invoice, collector, now, wall)
    return _charge(invoice, account, collector, dunning_days, now, wall)


def _send(invoice: Invoice, collector: Collector, now: datetime, wall: datetime) -> Invoice:
    """Let the collector mail it; one that was made for a card that is gone waits for a card."""
    try:
        outbox_call(
            step=Step(invoice=invoice, name="send", body_hash=invoice.content_hash),
            wall=wall,
            look=lambda: None,
            call=lambda key: collector.invoice_send(key=key, remote_id=invoice.stripe_invoice_id),
        )
    except CollectorRefusedError:
        return _card_wanted(invoice, collector, now)
    Invoice.objects.filter(pk=invoice.pk).update(next_attempt_at=None)
    return invoice


def _card_wanted(invoice: Invoice, collector: Collector, now: datetime) -> Invoice:
    """Wait for a card where the invoice is still open, and say so once, with the hosted page."""
    remote = collector.invoice_read(remote_id=invoice.stripe_invoice_id)
    if remote.status != "open":
        return remote_apply(invoice=invoice, remote=remote, now=now)
    waits = Invoice.objects.filter(pk=invoice.pk, state=InvoiceState.OPEN).exclude(
        waiting_for=CollectionWait.CARD
    )
    fresh = waits.update(waiting_for=CollectionWait.CARD, next_attempt_at=None)
    invoice.refresh_from_db()
    if fresh:
        card_notice_send(invoice=invoice)
    return invoice


def _charge(
    invoice: Invoice,
    account: CustomerAccount,
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
        _declined(invoice, payment, error, dunning_days, now)
        return invoice
    except CollectorRefusedError:
        return _not_charged(invoice, account, payment, collector, dunning_days, now, wall)
    return remote_apply(invoice=invoice, remote=remote, now=now)


def _declined(
    invoice: Invoice,
    payment: Payment,
    error: CardDeclinedError,
    dunning_days: list[int],
    now: datetime,
) -> None:
    action = error.action_required
    attempt_close(
        payment=payment,
        state=PaymentState.ACTION_REQUIRED if action else PaymentState.FAILED,
        now=now,
        code=error.decline_code,
    )
    if action:
        wait_set(invoice=invoice, wait=CollectionWait.ACTION)
    dunning_failed(invoice=invoice, days=dunning_days, now=now, action_required=action)


def _not_charged(
    invoice: Invoice,
    account: CustomerAccount,
    payment: Payment,
    collector: Collector,
    dunning_days: list[int],
    now: datetime,
    wall: datetime,
) -> Invoice:
    """Find out why the collector refused to charge: settled meanwhile, or no card any more."""
    remote = collector.invoice_read(remote_id=invoice.stripe_invoice_id)
    if remote.status != "open":
        return remote_apply(invoice=invoice, remote=remote, now=now)
    account = card_refresh(account=account, collector=collector, now=wall)
    code = "refused" if account.payment_method_id else "card_missing"
    attempt_close(payment=payment, state=PaymentState.FAILED, now=now, code=code)
    if account.payment_method_id:
        dunning_failed(invoice=invoice, days=dunning_days, now=now)
        return invoice
    return _card_wanted(invoice, collector, now)


def wait_set(*, invoice: Invoice, wait: CollectionWait) -> bool:
    """Say what an open invoice waits for; False where it is known already."""
    rows = Invoice.objects.filter(pk=invoice.pk, state=InvoiceState.OPEN)
    return rows.exclude(waiting_for=wait).update(waiting_for=wait) == 1


def attempt_open(*, invoice: Invoice, now: datetime) -> Payment:
    """Return the attempt that has no answer yet, or the next one.

    One that waited for the customer is over when another begins: its key is used up.
    """
    with transaction.atomic():
        started = invoice.payments.filter(state=PaymentState.STARTED).first()
        if started is not None:
            return started
        invoice.payments.filter(state=PaymentState.ACTION_REQUIRED).update(
            state=PaymentState.FAILED, finished_at=now
        )
        wait_set(invoice=invoice, wait=CollectionWait.NOTHING)
        last = invoice.payments.aggregate(last=Max("attempt"))["last"] or 0
        return Payment.objects.create(
            invoice=invoice,
            attempt=last + 1,
            amount_minor=invoice.due_minor,
            currency=invoice.currency,
            started_at=now,
        )


def attempt_close(*, payment: Payment, state: PaymentState, now: datetime, code: str = "") -> None:
    """Write an attempt's answer, once; one that waits for the customer may still end."""
    Payment.objects.filter(
        pk=payment.pk, state__in=(PaymentState.STARTED, PaymentState.ACTION_REQUIRED)
    ).update(state=state, finished_at=now, decline_code=code[:60])


def _attempt_waiting(invoice: Invoice, now: datetime) -> Payment:
    """Return the attempt that an answer from elsewhere belongs to."""
    waiting = invoice.payments.filter(state=PaymentState.ACTION_REQUIRED).first()
    return waiting or attempt_open(invoice=invoice, now=now)


def remote_apply(*, invoice: Invoice, remote: RemoteInvoice, now: datetime) -> Invoice:
    """Move an invoice forward to what the collector's object says. Again changes nothing."""
    if invoice.state in {InvoiceState.DRAFT, InvoiceState.HELD, InvoiceState.APPROVED}:
        return invoice
    if remote.status != "draft" and remote.total_minor != invoice.total_minor:
        text = f"Total: ours {invoice.total_minor}, the collector's {remote.total_minor}."
        alarm_raise(invoice=invoice, text=text)
        return invoice
    if remote.credited_minor != invoice.credited_minor:
        Invoice.objects.filter(pk=invoice.pk).update(credited_minor=remote.credited_minor)
        invoice.credited_minor = remote.credited_minor
    match remote.status:
        case "paid":
            return _paid(invoice, remote, now)
        case "void" if invoice.state in sources_of(InvoiceState.VOID):
            return _void_elsewhere(invoice, now)
        case "uncollectible" if invoice.state == InvoiceState.OPEN:
            _given_up(invoice, now)
        case "open" if invoice.state == InvoiceState.OPEN:
            _action_noticed(invoice, remote, now)
    return invoice


def _given_up(invoice: Invoice, now: datetime) -> None:
    invoice_move(
        invoice=invoice,
        target=InvoiceState.UNCOLLECTIBLE,
        action="invoice.uncollectible",
        now=now,
        sources=(InvoiceState.OPEN,),
        next_attempt_at=None,
        waiting_for=CollectionWait.NOTHING,
    )


def _void_elsewhere(invoice: Invoice, now: datetime) -> Invoice:
    """Follow a void that was made at the collector; finance has to look at why.

    One that we sent may be told to us before its answer is, or instead of it: nothing to look at.
    """
    ours = Outbox.objects.filter(invoice=invoice, step=VOID_STEP).exists()
    reason = "Void at the collector, as we asked." if ours else "Void at the collector, not by us."
    with transaction.atomic():
        invoice_move(
            invoice=invoice,
            target=InvoiceState.VOID,
            action="invoice.void",
            now=now,
            reason=reason,
            void_reason=reason,
            next_attempt_at=None,
            waiting_for=CollectionWait.NOTHING,
        )
        if not ours:
            finding_open(
                key=f"{invoice.pk}:void_elsewhere",
                kind="void_elsewhere",
                detail=f"{invoice} was made void at the collector, not by us.",
                invoice=invoice,
                now=now,
            )
        dunning_clear(organization_id=invoice.organization_id, now=now)
    return invoice


def _action_noticed(invoice: Invoice, remote: RemoteInvoice, now: datetime) -> None:
    """Take in that the customer has to confirm; told once per attempt, by mail and banner."""
    if remote.failure is None or not remote.failure.action_required:
        return
    newest = invoice.payments.order_by("-attempt").first()
    if newest is not None and newest.state == PaymentState.ACTION_REQUIRED:
        return
    payment = attempt_open(invoice=invoice, now=now)
    code = remote.failure.decline_code or remote.failure.code
    attempt_close(payment=payment, state=PaymentState.ACTION_REQUIRED, now=now, code=code)
    if wait_set(invoice=invoice, wait=CollectionWait.ACTION):
        notice_send(invoice=invoice, following=invoice.next_attempt_at, action_required=True)


def _paid(invoice: Invoice, remote: RemoteInvoice, now: datetime) -> Invoice:
    if invoice.state not in {InvoiceState.OPEN, InvoiceState.UNCOLLECTIBLE}:
        return invoice
    with transaction.atomic():
        if remote.amount_paid_minor:
            payment = _attempt_waiting(invoice, now)
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
            waiting_for=CollectionWait.NOTHING,
        )
        dunning_clear(organization_id=invoice.organization_id, now=now)
    return invoice


def collect_due_list(*, now: datetime) -> list[str]:
    """Return open invoices whose next attempt is due."""
    rows = Invoice.objects.filter(state=InvoiceState.OPEN, next_attempt_at__lte=now, alarm="")
    return list(rows.order_by("next_attempt_at", "pk").values_list("pk", flat=True))


def card_changed(*, account: CustomerAccount, now: datetime) -> int:
    """A new card: what is open is tried at once; the schedule starts again."""
    return Invoice.objects.filter(
        organization_id=account.pk, state=InvoiceState.OPEN, total_minor__gt=0
    ).update(next_attempt_at=now, waiting_for=CollectionWait.NOTHING)


def invoice_void(
    *,
    invoice: Invoice,
    reason: str,
    actor: User,
    collector: Collector,
    now: datetime,
    wall: datetime,
) -> None:
    """Void a document wherever it is: a draft here alone, an issued one at the collector first.

    :raises InvoiceStateError: for one that is paid, void or on its way.
    """
    if invoice.state not in {InvoiceState.OPEN, InvoiceState.UNCOLLECTIBLE}:
        draft_void(invoice_id=invoice.pk, reason=reason, actor=actor, now=now)
        return
    open_void(
        invoice_id=invoice.pk,
        reason=reason,
        actor=actor,
        collector=collector,
        now=now,
        wall=wall,
    )


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
        step=Step(invoice=invoice, name=VOID_STEP, body_hash=invoice.content_hash),
        wall=wall,
        look=lambda: None,
        call=lambda key: collector.invoice_void(key=key, remote_id=invoice.stripe_invoice_id),
    )
    invoice.refresh_from_db()
    with transaction.atomic():
        if invoice.state != InvoiceState.VOID:  # a webhook may have been quicker than the answer
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
                waiting_for=CollectionWait.NOTHING,
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
