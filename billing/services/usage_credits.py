"""Credit notes that corrected usage asks for (`architecture.md` §4.7): the period fell.

What fell is taken off the newest documents first, each line within what is left of it. What no
document can give back, and what rose meanwhile, is left to a `late` document of the chain.
"""

from collections.abc import Sequence
from datetime import datetime

from billing.models import CreditNote, Invoice, NoteReason
from billing.services.chain import RatedLine, differences
from billing.services.credit_notes import credit_note_draft
from billing.services.drafts import billed_map
from billing.services.note_amounts import standing_notes, taken_map
from billing.states import CREDITABLE
from portal.models import BillingPeriod

REASON = "Usage of the period was corrected after the invoice had been approved."


def fell_minor(
    *, period: BillingPeriod, lines: Sequence[RatedLine], without: Invoice | None = None
) -> int:
    """Return by how much the period is now worth less than is billed; 0 where it is not."""
    rows = differences(lines, billed_map(period=period, without=without))
    return max(0, -sum(row.net_minor for row in rows))


def usage_credits_draft(
    *, period: BillingPeriod, lines: Sequence[RatedLine], now: datetime
) -> tuple[CreditNote, ...]:
    """Draft the notes of a period that fell; () where it did not. Runs behind its lock."""
    if not fell_minor(period=period, lines=lines):
        return ()
    rows = differences(lines, billed_map(period=period))
    needed = {row.line.line_key: -row.net_minor for row in rows if row.net_minor < 0}
    notes = []
    for invoice in Invoice.objects.filter(period=period, state__in=CREDITABLE).order_by("-n"):
        taken = _within(invoice, needed)
        if not taken:
            continue
        notes.append(
            credit_note_draft(
                invoice_id=invoice.pk,
                lines=taken,
                reason_code=NoteReason.USAGE_CORRECTED,
                reason=REASON,
                now=now,
            )
        )
        for key, minor in taken.items():
            needed[key] -= minor
    return tuple(notes)


def _within(invoice: Invoice, needed: dict[str, int]) -> dict[str, int]:
    """Return what this invoice can give back of each line, and as a whole."""
    earlier = taken_map(notes=standing_notes(invoice=invoice))
    lines = list(invoice.lines.all())
    room = sum(line.net_minor for line in lines) - sum(earlier.values())
    taken: dict[str, int] = {}
    for line in lines:
        left = line.net_minor - earlier.get(line.line_key, 0)
        minor = min(needed.get(line.line_key, 0), left, room)
        if minor > 0:
            taken[line.line_key] = minor
            room -= minor
    return taken
