"""Issues approved invoices through the collector (`stripe.md` §2), resumable at every step.

claim → customer → draft → items → read back and compare → finalize → open → collect. A killed run
starts again at the top: what is done is found, never done twice. A difference between our ledger
and the collector's stops the invoice with an alarm and waits for a person.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final

from django.db import transaction

from billing.errors import CollectorRefusedError
from billing.locks import numbering_take
from billing.models import CustomerAccount, Invoice, Outbox, OutboxState
from billing.payments.items import ITEMS_MAX, lines_fit
from billing.payments.port import Collector, LineDraft, RemoteInvoice, RemoteLine
from billing.services.accounts import account_ensure
from billing.services.billing_mail import app_url, billing_mail_send, day_text
from billing.services.chain import digest
from billing.services.documents import pdf_store
from billing.services.money_text import amount_text
from billing.services.outbox import Step, outbox_call
from billing.services.review import invoice_move
from billing.states import InvoiceState
from portal.queue import enqueue_on_commit

DAYS_UNTIL_DUE: Final = 14


def invoice_issue(
    *, invoice_id: str, collector: Collector, now: datetime, wall: datetime
) -> Invoice:
    """Advance one invoice from approved to open; every other state is left as it is.

    :raises CollectorBusyError: and :raises CollectorUnavailableError: the scan runs it again.
    """
    invoice = _claim(invoice_id, now)
    if invoice.state != InvoiceState.ISSUING or invoice.alarm:
        return invoice
    account = account_ensure(organization=invoice.organization, collector=collector, now=wall)
    try:
        remote = _draft_ensure(invoice, account, collector, wall)
        if remote.status == "draft":
            if not _items_ensure(invoice, account, remote, collector, wall):
                return invoice
            remote = _finalize(invoice, remote, collector, wall)
    except CollectorRefusedError as error:
        alarm_raise(invoice=invoice, text=str(error))
        return invoice
    return _opened(invoice, remote, collector, now)


def _claim(invoice_id: str, now: datetime) -> Invoice:
    """Take the invoice for one worker and give it its number; a lost race changes nothing."""
    with transaction.atomic():
        invoice = Invoice.objects.select_related("organization", "period").get(pk=invoice_id)
        if invoice.state != InvoiceState.APPROVED:
            return invoice
        if invoice.approved_hash != invoice.content_hash:
            alarm_raise(invoice=invoice, text="The approved hash is not the draft's.")
            return invoice
        number = invoice.number or f"{now:%Y}-{numbering_take(f'{now:%Y}'):06d}"
        invoice_move(
            invoice=invoice,
            target=InvoiceState.ISSUING,
            action="invoice.issue",
            now=now,
            number=number,
            issued_at=now,
        )
    return invoice


def alarm_raise(*, invoice: Invoice, text: str) -> None:
    """Stop an invoice where it stands; finance sees why."""
    Invoice.objects.filter(pk=invoice.pk).update(alarm=text[:500])
    invoice.alarm = text[:500]


def alarm_clear(*, invoice_id: str) -> None:
    """Let the issuing go on after a person has looked."""
    with transaction.atomic():
        cleared = Invoice.objects.filter(pk=invoice_id).exclude(alarm="").update(alarm="")
        if cleared:
            enqueue_on_commit("billing.invoice_issue", invoice_id=invoice_id)


def _draft_ensure(
    invoice: Invoice, account: CustomerAccount, collector: Collector, wall: datetime
) -> RemoteInvoice:
    """Find the draft by its stored id or its metadata, else create it."""
    if invoice.stripe_invoice_id:
        return collector.invoice_read(remote_id=invoice.stripe_invoice_id)
    customer_id = account.stripe_customer_id

    def look() -> RemoteInvoice | None:
        return collector.invoice_find(customer_id=customer_id, invoice_id=invoice.pk)

    metadata = _metadata(invoice)
    days = None if account.payment_method_id else DAYS_UNTIL_DUE
    remote = look() or outbox_call(
        step=Step(invoice=invoice, name="draft", body_hash=digest(metadata)),
        wall=wall,
        look=look,
        call=lambda key: collector.invoice_create(
            key=key,
            customer_id=customer_id,
            currency=invoice.currency,
            days_until_due=days,
            metadata=metadata,
        ),
    )
    Invoice.objects.filter(pk=invoice.pk, stripe_invoice_id="").update(stripe_invoice_id=remote.id)
    invoice.stripe_invoice_id = remote.id
    return remote


def _metadata(invoice: Invoice) -> dict[str, str]:
    return {
        "invoice_id": invoice.pk,
        "revision": str(invoice.revision),
        "plan_version": invoice.plan_version_id,
        "usage_digest": invoice.content_hash,
    }


def line_drafts(invoice: Invoice) -> tuple[LineDraft, ...]:
    """Write the document as amounts for the collector; their sum is the total.

    Prepaid credit and tax stay lines of their own; where there are more lines than the collector
    takes, the smallest are folded into one.
    """
    rows = [
        (line.line_key, line.description, line.net_minor, line.starts_at, line.ends_at)
        for line in invoice.lines.all()
        if line.net_minor
    ]
    span, extra = (invoice.service_from, invoice.service_to), []
    if invoice.credit_minor:
        extra.append((":credit", "Prepaid credit", -invoice.credit_minor, *span))
    if invoice.tax_minor:
        extra.append((":tax", f"Tax {invoice.tax_rate_percent} %", invoice.tax_minor, *span))
    lines = lines_fit(
        lines=[_line_draft(invoice.currency, *row) for row in rows],
        body_hash=digest([row[:3] for row in rows])[:16],
        limit=ITEMS_MAX - len(extra),
    )
    return (*lines, *(_line_draft(invoice.currency, *row) for row in extra))


def _line_draft(
    currency: str, key: str, text: str, minor: int, start: datetime, end: datetime
) -> LineDraft:
    return LineDraft(
        line_key=key,
        description=text[:500],
        amount_minor=minor,
        currency=currency,
        starts_at=start,
        ends_at=end,
        body_hash=digest([key, text, minor, start, end])[:16],
    )


def _items_ensure(
    invoice: Invoice,
    account: CustomerAccount,
    remote: RemoteInvoice,
    collector: Collector,
    wall: datetime,
) -> bool:
    """Create the items that are not there, read all back; False where the ledgers differ."""
    wanted = line_drafts(invoice)
    there = {row.line_key for row in collector.line_list(remote_id=remote.id)}
    for line in wanted:
        if line.line_key not in there:
            _item_create(invoice, account, remote, collector, line, wall)
    text = ledger_difference(
        wanted=wanted,
        found=collector.line_list(remote_id=remote.id),
        total_minor=invoice.total_minor,
        remote=collector.invoice_read(remote_id=remote.id),
    )
    if text:
        alarm_raise(invoice=invoice, text=text)
    return not text


def _item_create(
    invoice: Invoice,
    account: CustomerAccount,
    remote: RemoteInvoice,
    collector: Collector,
    line: LineDraft,
    wall: datetime,
) -> None:
    def look() -> RemoteLine | None:
        rows = collector.line_list(remote_id=remote.id)
        return next((row for row in rows if row.line_key == line.line_key), None)

    outbox_call(
        step=Step(
            invoice=invoice,
            name="item",
            body_hash=line.body_hash,
            suffix=f"{line.line_key}:{line.body_hash}",
        ),
        wall=wall,
        look=look,
        call=lambda key: collector.line_create(
            key=key, customer_id=account.stripe_customer_id, remote_id=remote.id, line=line
        ),
    )


def ledger_difference(
    *,
    wanted: Sequence[LineDraft],
    found: Sequence[RemoteLine],
    total_minor: int,
    remote: RemoteInvoice,
) -> str:
    """Compare line by line and in total; empty = equal, else one sentence."""
    ours: Mapping[str, int] = {line.line_key: line.amount_minor for line in wanted}
    theirs: dict[str, int] = {}
    for row in found:
        if row.line_key in theirs:
            return f"Line {row.line_key} is at the collector twice."
        theirs[row.line_key] = row.amount_minor
    for key in sorted(ours.keys() | theirs.keys()):
        if ours.get(key) != theirs.get(key):
            return f"Line {key}: ours {ours.get(key)}, the collector's {theirs.get(key)}."
    if remote.total_minor != total_minor:
        return f"Total: ours {total_minor}, the collector's {remote.total_minor}."
    return ""


def _finalize(
    invoice: Invoice, remote: RemoteInvoice, collector: Collector, wall: datetime
) -> RemoteInvoice:
    def look() -> RemoteInvoice | None:
        now = collector.invoice_read(remote_id=remote.id)
        return None if now.status == "draft" else now

    step = Step(invoice=invoice, name="finalize", body_hash=invoice.content_hash)
    try:
        return outbox_call(
            step=step,
            wall=wall,
            look=look,
            call=lambda key: collector.invoice_finalize(key=key, remote_id=remote.id),
        )
    except CollectorRefusedError:
        found = look()  # a second finalize is refused: the first one may have gone through
        if found is None:
            raise
        Outbox.objects.filter(pk=step.key).update(state=OutboxState.DONE)
        return found


def _opened(
    invoice: Invoice, remote: RemoteInvoice, collector: Collector, now: datetime
) -> Invoice:
    """Record what the collector finalized; collection is a task of its own."""
    if remote.total_minor != invoice.total_minor:
        text = f"Finalized total: ours {invoice.total_minor}, theirs {remote.total_minor}."
        alarm_raise(invoice=invoice, text=text)
        return invoice
    pdf_store(invoice=invoice)
    with transaction.atomic():
        invoice_move(
            invoice=invoice,
            target=InvoiceState.OPEN,
            action="invoice.open",
            now=now,
            sources=(InvoiceState.ISSUING,),
            stripe_total_minor=remote.total_minor,
            hosted_url=remote.hosted_url,
            due_at=now + timedelta(days=DAYS_UNTIL_DUE),
            next_attempt_at=now,
        )
        enqueue_on_commit("billing.payment_collect", invoice_id=invoice.pk)
    _notice_send(invoice)
    return invoice


def _notice_send(invoice: Invoice) -> None:
    """Mail that the invoice is there; one over nothing asks for nothing, and sends nothing."""
    if not invoice.due_minor or invoice.due_at is None:
        return
    due = f"{amount_text(invoice.due_minor, invoice.currency)} {invoice.currency}"
    billing_mail_send(
        organization=invoice.organization,
        subject=f"Invoice {invoice.number} over {due}",
        text=(
            f"Invoice {invoice.number} over {due} is issued, due by {day_text(invoice.due_at)}. "
            f"If we have a card of yours, it is charged now, and nothing is left to do.\n\n"
            f"Every line down to its calls, and the PDF: "
            f"{app_url(invoice.organization, f'billing/invoices/{invoice.number}')}"
        ),
    )


def issue_due_list(*, wall: datetime) -> list[str]:
    """Return invoices that are approved or half issued and not told to wait."""
    waiting = Outbox.objects.filter(state=OutboxState.PENDING, due_at__gt=wall)
    rows = Invoice.objects.filter(
        state__in=(InvoiceState.APPROVED, InvoiceState.ISSUING), alarm=""
    ).exclude(pk__in=waiting.values("invoice_id"))
    return list(rows.order_by("approved_at", "pk").values_list("pk", flat=True))
