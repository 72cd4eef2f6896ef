"""Writes drafts: differences against the chain, settled, hashed; re-rated until approved.

Called by the close, by in-advance billing and by `invoice_rerate`. One unissued document per
period is a constraint of the database, so that two runners end with the same row.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from django.db import transaction
from django.db.models import Max

from billing.locks import grants_lock, period_lock
from billing.models import (
    DESCRIPTION_MAX,
    CreditNote,
    CreditNoteLine,
    Invoice,
    InvoiceKind,
    InvoiceLine,
)
from billing.services.chain import (
    Billed,
    Difference,
    RatedLine,
    billed_digest,
    changes,
    differences,
    digest,
)
from billing.services.flags import flags_of
from billing.services.formula import formula_of, formulas_of
from billing.services.kinds import takes
from billing.services.rated import (
    ENGINE_VERSION,
    PeriodRating,
    Settlement,
    Stretch,
    settle,
)
from billing.services.wallet import credit_terms, draws_write, grant_list, grants_ensure
from billing.states import RERATABLE, UNISSUED, InvoiceState, NoteState
from portal.models import BillingPeriod, Organization, Subscription

TAX_TEXT_MAX: Final = 12  # characters of the column


@dataclass(frozen=True, slots=True)
class DraftOutcome:
    """What became of the draft.

    waits   an approved or issuing document of the period must leave first
    notes   credit notes that were drafted because usage fell
    """

    invoice: Invoice | None
    created: bool = False
    changed: bool = False
    waits: bool = False
    notes: tuple[CreditNote, ...] = ()


def billed_map(*, period: BillingPeriod, without: Invoice | None = None) -> dict[str, Billed]:
    """Sum what documents of the period that are not void have billed, by `line_key`.

    Correction notes count from their draft on, so that what they take back is not taken twice.
    """
    lines = InvoiceLine.objects.filter(invoice__period=period).exclude(
        invoice__state=InvoiceState.VOID
    )
    if without is not None:
        lines = lines.exclude(invoice=without)
    billed: dict[str, Billed] = {}
    for row in lines.order_by("invoice__n", "position"):
        _add(billed, _line_of(row), row.amount_minor, row.discount_minor)
    notes = (
        CreditNoteLine.objects.filter(
            credit_note__invoice__period=period, credit_note__goodwill=False
        )
        .exclude(credit_note__state=NoteState.VOID)
        .exclude(credit_note__invoice__state=InvoiceState.VOID)
    )
    for note in notes:
        if note.line_key in billed:
            _add(billed, billed[note.line_key].line, -note.amount_minor, 0)
    return billed


def billed_of_kind(
    *,
    period: BillingPeriod,
    kind: InvoiceKind,
    stretches: Sequence[Stretch],
    without: Invoice | None,
) -> dict[str, Billed]:
    """Return what a document of this kind subtracts: of what is billed, the lines it takes."""
    wanted = takes(kind, stretches)
    billed = billed_map(period=period, without=without)
    return {key: was for key, was in billed.items() if wanted(was.line)}


def _add(billed: dict[str, Billed], line: RatedLine, amount: int, discount: int) -> None:
    was = billed.get(line.line_key)
    billed[line.line_key] = Billed(
        line=line,
        amount_minor=(was.amount_minor if was else 0) + amount,
        discount_minor=(was.discount_minor if was else 0) + discount,
    )


def _line_of(row: InvoiceLine) -> RatedLine:
    return RatedLine(
        line_key=row.line_key,
        price_key=row.price_key,
        description=row.description,
        starts_at=row.starts_at,
        ends_at=row.ends_at,
        amount_minor=row.rated_amount_minor,
        discount_minor=row.rated_discount_minor,
        quantity=row.quantity,
        unit_amount=row.unit_amount,
        meter=row.meter,
    )


def tax_terms(organization: Organization, stretches: Sequence[Stretch]) -> list[dict[str, Any]]:
    """Return the tax entries: the plan's own where it names any, else the customer's rate."""
    own = stretches[-1].segment.plan_version.terms.get("tax")
    if own:
        return list(own)
    rate = organization.tax_rate_percent
    return [] if rate in {"", "0"} else [{"rate": rate}]


def _tax_text(tax: Sequence[Mapping[str, Any]]) -> str:
    """Write the rates that a document was taxed at, as they are printed before the percent sign.

    >>> _tax_text([]), _tax_text([{"rate": "20"}]), _tax_text([{"rate": "5"}, {"rate": "9.975"}])
    ('0', '20', '5 + 9.975')
    """
    text = " + ".join(dict.fromkeys(str(entry["rate"]) for entry in tax)) or "0"
    return text if len(text) <= TAX_TEXT_MAX else "several"


def draft_write(
    *,
    subscription: Subscription,
    period: BillingPeriod,
    kind: InvoiceKind,
    rating: PeriodRating,
    stretches: Sequence[Stretch],
    now: datetime,
) -> DraftOutcome:
    """Create or update the one unissued document of a period; nothing new gives no document."""
    with transaction.atomic():
        period_lock(period.pk)
        held = Invoice.objects.filter(period=period, state__in=UNISSUED).first()
        if held is not None and held.state not in RERATABLE:
            return DraftOutcome(held, waits=True)
        billed = billed_of_kind(period=period, kind=kind, stretches=stretches, without=held)
        wanted = takes(kind, stretches)
        rows = differences([line for line in rating.lines if wanted(line)], billed)
        if held is None and not any(row.moves_money for row in rows):
            return DraftOutcome(None)
        if held is not None and not rows:
            return _emptied(held)
        grants_ensure(subscription=subscription, stretches=stretches, now=now)
        grants_lock(subscription.organization_id)
        grants = grant_list(
            subscription=subscription, currency=rating.document["currency"], without=held
        )
        tax = tax_terms(subscription.organization, stretches)
        settled = settle(
            currency=rating.document["currency"],
            lines=rows,
            credits=credit_terms(grants),
            tax=tax,
            at=period.starts_at,
            until=period.ends_at,
        )
        content = _content(kind, rating, rows, settled, billed_digest(billed), stretches)
        if held is not None and held.content_hash == content["hash"]:
            return DraftOutcome(held)
        invoice = _save(
            held,
            subscription,
            period,
            kind,
            rating,
            content,
            settled,
            _tax_text(tax),
            stretches,
            now,
        )
        previous = {} if held is None else {x.line_key: x.net_minor for x in invoice.lines.all()}
        _lines_write(invoice, rows, rating, stretches)
        draws_write(invoice=invoice, rows=grants, draws_minor=settled.draws_minor)
        invoice.rerate_diff = [] if held is None else changes(previous, rows)
        invoice.flags = flags_of(invoice=invoice)
        invoice.save(update_fields=["flags", "rerate_diff"])
        return DraftOutcome(invoice, created=held is None, changed=True)


def _emptied(held: Invoice) -> DraftOutcome:
    """Void a draft that has nothing left to bill, so that the chain goes on without it."""
    Invoice.objects.filter(pk=held.pk, state__in=RERATABLE).update(
        state=InvoiceState.VOID, void_reason="Rated again, nothing is left to bill."
    )
    held.refresh_from_db()
    return DraftOutcome(held, changed=True)


def draft_give_way(*, held: Invoice) -> None:
    """Void a late draft whose period fell below what is billed: credit notes follow instead."""
    Invoice.objects.filter(pk=held.pk, state__in=RERATABLE).update(
        state=InvoiceState.VOID,
        void_reason="Usage fell below what is billed; a credit note follows.",
    )


def _content(
    kind: InvoiceKind,
    rating: PeriodRating,
    rows: Sequence[Difference],
    settled: Settlement,
    subtracts_hash: str,
    stretches: Sequence[Stretch],
) -> dict[str, str]:
    """Hash all that a reviewer sees and all that it rests on."""
    body = {
        "kind": kind.value,
        "currency": rating.document["currency"],
        "engine": ENGINE_VERSION,
        "input": rating.document,
        "plans": [s.segment.plan_version.content_hash for s in stretches],
        "lines": [
            [r.line.line_key, r.amount_minor, r.discount_minor, r.line.amount_minor] for r in rows
        ],
        "evidence": {r.line.line_key: rating.evidence.get(r.line.line_key, ()) for r in rows},
        "credit": settled.credit_minor,
        "tax": settled.tax_minor,
        "total": settled.total_minor,
        "subtracts": subtracts_hash,
    }
    return {"hash": digest(body), "subtracts": subtracts_hash}


def _save(
    held: Invoice | None,
    subscription: Subscription,
    period: BillingPeriod,
    kind: InvoiceKind,
    rating: PeriodRating,
    content: dict[str, str],
    settled: Settlement,
    tax_text: str,
    stretches: Sequence[Stretch],
    now: datetime,
) -> Invoice:
    values: dict[str, Any] = {
        "kind": kind,
        "plan_version": stretches[-1].segment.plan_version,
        "currency": rating.document["currency"],
        "service_from": stretches[0].starts_at,
        "service_to": stretches[-1].ends_at,
        "subtotal_minor": settled.subtotal_minor,
        "discount_minor": settled.discount_minor,
        "adjustment_minor": settled.adjustment_minor,
        "credit_minor": settled.credit_minor,
        "tax_minor": settled.tax_minor,
        "total_minor": settled.total_minor,
        "tax_rate_percent": tax_text,
        "rating_input": rating.document,
        "engine_version": ENGINE_VERSION,
        "content_hash": content["hash"],
        "subtracts_hash": content["subtracts"],
        "rated_at": now,
    }
    if held is not None:
        for name, value in values.items():
            setattr(held, name, value)
        held.revision += 1
        held.save(update_fields=[*values, "revision"])
        return held
    last = Invoice.objects.filter(period=period).aggregate(last=Max("n"))["last"] or 0
    return Invoice.objects.create(
        organization_id=subscription.organization_id,
        subscription=subscription,
        period=period,
        n=last + 1,
        created_at=now,
        **values,
    )


def _lines_write(
    invoice: Invoice,
    rows: Sequence[Difference],
    rating: PeriodRating,
    stretches: Sequence[Stretch],
) -> None:
    invoice.lines.all().delete()
    formulas = formulas_of(rating.document)
    InvoiceLine.objects.bulk_create(
        InvoiceLine(
            invoice=invoice,
            position=position,
            line_key=row.line.line_key,
            price_key=row.line.price_key,
            meter=row.line.meter,
            description=row.line.description[:DESCRIPTION_MAX],
            formula=formula_of(row, stretches, formulas),
            starts_at=row.line.starts_at,
            ends_at=row.line.ends_at,
            quantity=row.line.quantity,
            unit_amount=row.line.unit_amount,
            is_adjustment=row.line.is_adjustment,
            amount_minor=row.amount_minor,
            discount_minor=row.discount_minor,
            rated_amount_minor=row.line.amount_minor,
            rated_discount_minor=row.line.discount_minor,
            evidence=list(rating.evidence.get(row.line.line_key, ())),
        )
        for position, row in enumerate(rows, start=1)
    )
