"""Billing's tasks: each advances a row that still needs it; the scans find what was lost."""

from typing import Final

from celery import shared_task
from django.conf import settings
from django.db import transaction

from billing.errors import CollectorBusyError, CollectorUnavailableError
from billing.payments.stripe_adapter import collector
from billing.services import (
    alerts,
    books,
    checkouts,
    close,
    dunning,
    inbox,
    invoices,
    issue,
    note_issue,
    payments,
    reconcile,
    threshold,
)
from metering.errors import MeteringUnavailableError
from portal.clock import now, wall_now
from portal.queue import Scan, enqueue_on_commit
from portal.services.nodes import expected_boots
from portal.usage import reader

LATER: Final = (CollectorBusyError, CollectorUnavailableError, MeteringUnavailableError)
"""Nothing is lost: the row keeps its `due_at`, the next scan sends the task again."""


@shared_task(name="billing.period_close")
def period_close(subscription_id: str, period_id: str) -> None:
    try:
        close.period_close(
            subscription_id=subscription_id,
            period_id=period_id,
            reader=reader(),
            expected=expected_boots(),
            grace_s=close.grace_s(),
            now=now(),
        )
    except LATER:
        return


@shared_task(name="billing.invoice_issue")
def invoice_issue(invoice_id: str) -> None:
    try:
        issue.invoice_issue(
            invoice_id=invoice_id, collector=collector(), now=now(), wall=wall_now()
        )
    except LATER:
        return


@shared_task(name="billing.credit_note_issue")
def credit_note_issue(note_id: str) -> None:
    try:
        note_issue.credit_note_issue(
            note_id=note_id, collector=collector(), now=now(), wall=wall_now()
        )
    except LATER:
        return


@shared_task(name="billing.payment_collect")
def payment_collect(invoice_id: str) -> None:
    try:
        payments.payment_collect(
            invoice_id=invoice_id,
            collector=collector(),
            dunning_days=settings.ENV.dunning_days,
            now=now(),
            wall=wall_now(),
        )
    except LATER:
        return


@shared_task(name="billing.webhook_apply")
def webhook_apply(event_id: str) -> None:
    try:
        inbox.event_apply(event_id=event_id, collector=collector(), now=now(), wall=wall_now())
    except LATER:
        return


@shared_task(name="billing.checkout_settle")
def checkout_settle(checkout_id: str) -> None:
    try:
        checkouts.checkout_due_settle(
            checkout_id=checkout_id, collector=collector(), now=now(), wall=wall_now()
        )
    except LATER:
        return


@shared_task(name="portal.alert_notify")
def alert_notify(alert_id: int) -> None:
    alerts.alert_notify(alert_id=alert_id, now=now())


@shared_task(name="billing.invoice_advance")
def invoice_advance(period_id: str) -> None:
    invoices.invoice_advance(period_id=period_id, now=now())


@shared_task(base=Scan, name="billing.scan_due")
def scan_due() -> None:
    """Send every row that is due: closes, advances, issuing, collection, events, notices."""
    instant, wall = now(), wall_now()
    with transaction.atomic():
        close.due_enqueue(now=instant, grace_s=close.grace_s())
        for period_id in invoices.advance_due_list(now=instant):
            enqueue_on_commit("billing.invoice_advance", period_id=period_id)
        for invoice_id in issue.issue_due_list(wall=wall):
            enqueue_on_commit("billing.invoice_issue", invoice_id=invoice_id)
        for note_id in note_issue.note_due_list(wall=wall):
            enqueue_on_commit("billing.credit_note_issue", note_id=note_id)
        for invoice_id in payments.collect_due_list(now=instant):
            enqueue_on_commit("billing.payment_collect", invoice_id=invoice_id)
        inbox.inbox_sweep(wall=wall)
        checkouts.checkout_due_enqueue(wall=wall)
        alerts.notify_due_enqueue(now=instant)
    dunning.block_due(now=instant)


@shared_task(base=Scan, name="billing.scan_alerts")
def scan_alerts() -> None:
    try:
        alerts.alerts_take(reader=reader(), now=now())
    except LATER:
        return


@shared_task(base=Scan, name="billing.scan_late")
def scan_late() -> None:
    """Send a recheck per subscription whose period closed lately, and what is billed again."""
    with transaction.atomic():
        close.late_enqueue(now=now())
        close.rebill_enqueue()


@shared_task(name="billing.period_rebill")
def period_rebill(period_id: str) -> None:
    close.period_rebill(period_id=period_id, now=now())


@shared_task(name="billing.subscription_recheck")
def subscription_recheck(subscription_id: str) -> None:
    """Look again at periods closed lately: late usage becomes a visible document."""
    try:
        close.subscription_recheck(
            subscription_id=subscription_id,
            reader=reader(),
            expected=expected_boots(),
            now=now(),
        )
    except LATER:
        return


@shared_task(base=Scan, name="billing.scan_thresholds")
def scan_thresholds() -> None:
    """Send a check per open period that has a threshold."""
    with transaction.atomic():
        for period_id in threshold.threshold_due_list(now=now()):
            enqueue_on_commit("billing.threshold_check", period_id=period_id)


@shared_task(name="billing.threshold_check")
def threshold_check(period_id: str) -> None:
    try:
        threshold.threshold_check(
            period_id=period_id, reader=reader(), expected=expected_boots(), now=now()
        )
    except LATER:
        return


@shared_task(name="billing.reconcile_hourly")
def reconcile_hourly() -> None:
    """Heal webhooks that were lost."""
    try:
        books.books_heal(collector=collector(), now=now(), wall=wall_now())
    except LATER:
        return


@shared_task(name="billing.reconcile_nightly")
def reconcile_nightly() -> None:
    """Compare the books of the last days; send a comparison per invoice issued in them."""
    lately = reconcile.issued_since(since=now() - books.DAYS_BACK)
    with transaction.atomic():
        for invoice_id in lately.values_list("pk", flat=True):
            enqueue_on_commit("billing.invoice_reconcile", invoice_id=invoice_id)
    try:
        books.books_compare(collector=collector(), now=now(), wall=wall_now())
    except LATER:
        return


@shared_task(name="billing.invoice_reconcile")
def invoice_reconcile(invoice_id: str) -> None:
    """Compare the four totals of one invoice; lost, the next night sends it again."""
    invoice = reconcile.issued_since(since=None).filter(pk=invoice_id).first()
    if invoice is None:
        return  # voided since it was sent
    try:
        reconcile.invoice_reconcile(
            invoice=invoice, reader=reader(), collector=collector(), now=now()
        )
    except LATER:
        return
