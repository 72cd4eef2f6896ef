"""What a credit note is worth: the invoice settled with its lines before and after the note.

The lines that are left are settled by the same rating function as the invoice was, over the
prepaid credit that it drew, so that money goes back first, the wallet last, and the tax is
exactly what the smaller invoice would not have carried. Notes that take everything give back
everything, however many there are.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from billing.errors import CreditNoteRefusedError
from billing.models import CreditNote, CreditNoteLine, Invoice, InvoiceLine
from billing.services.chain import Difference, RatedLine
from billing.services.rated import Settlement, settle
from billing.services.wallet import credit_terms
from billing.states import NoteState
from portal.core.money import divide, round_half_up


@dataclass(frozen=True, slots=True)
class NoteAmounts:
    """total = subtotal - credit + tax - absorbed; `returns_minor` in order of the draws."""

    subtotal_minor: int
    credit_minor: int
    tax_minor: int
    absorbed_minor: int
    returns_minor: tuple[int, ...] = ()

    @property
    def total_minor(self) -> int:
        return self.subtotal_minor - self.credit_minor + self.tax_minor - self.absorbed_minor


def standing_notes(*, invoice: Invoice, before: CreditNote | None = None) -> list[CreditNote]:
    """Return the notes of an invoice that are not void, oldest first; up to `before`."""
    rows = invoice.credit_notes.exclude(state=NoteState.VOID).order_by("pk")
    return list(rows if before is None else rows.filter(pk__lt=before.pk))


def taken_map(*, notes: Sequence[CreditNote]) -> dict[str, int]:
    """Sum what correction notes took off each line."""
    taken: dict[str, int] = {}
    ids = [note.pk for note in notes if not note.goodwill]
    for row in CreditNoteLine.objects.filter(credit_note__in=ids):
        taken[row.line_key] = taken.get(row.line_key, 0) + row.amount_minor
    return taken


def left_map(*, invoice: Invoice) -> dict[str, int]:
    """Return what is left of each line that can be credited: its net less earlier notes."""
    taken = taken_map(notes=standing_notes(invoice=invoice))
    left = {line.line_key: line.net_minor for line in invoice.lines.all()}
    return {key: minor - taken.get(key, 0) for key, minor in left.items() if minor > 0}


def total_left_minor(*, invoice: Invoice, notes: Sequence[CreditNote]) -> int:
    return invoice.total_minor - sum(note.total_minor for note in notes)


def correction_amounts(
    *, invoice: Invoice, taken: Mapping[str, int], notes: Sequence[CreditNote]
) -> NoteAmounts:
    """Work out a correction that takes `taken` off the lines, after earlier `notes`.

    :raises CreditNoteRefusedError: beyond what is left of a line or of the invoice.
    """
    earlier = taken_map(notes=notes)
    nets = {line.line_key: line.net_minor for line in invoice.lines.all()}
    if not taken or any(
        minor <= 0 or earlier.get(key, 0) + minor > nets.get(key, 0)
        for key, minor in taken.items()
    ):
        msg = f"{invoice.pk}: not within what is left of each line"
        raise CreditNoteRefusedError(msg)
    both = {key: earlier.get(key, 0) + taken.get(key, 0) for key in earlier.keys() | taken.keys()}
    was, now = _settled(invoice, earlier), _settled(invoice, both)
    if sum(nets.values()) < sum(both.values()):
        msg = f"{invoice.pk}: more than the invoice"
        raise CreditNoteRefusedError(msg)
    worth = was.total_minor - now.total_minor
    absorbed = max(0, worth - total_left_minor(invoice=invoice, notes=notes))
    return NoteAmounts(
        subtotal_minor=sum(taken.values()),
        credit_minor=was.credit_minor - now.credit_minor,
        tax_minor=was.tax_minor - now.tax_minor,
        absorbed_minor=absorbed,
        returns_minor=tuple(
            before - after for before, after in zip(was.draws_minor, now.draws_minor, strict=True)
        ),
    )


def goodwill_amounts(
    *, invoice: Invoice, amount_minor: int, notes: Sequence[CreditNote]
) -> NoteAmounts:
    """Split a gift, tax included, into its part before tax and its share of the tax.

    :raises CreditNoteRefusedError: for nothing, or beyond what is left of the invoice.
    """
    left = total_left_minor(invoice=invoice, notes=notes)
    if not 0 < amount_minor <= left:
        msg = f"{invoice.pk}: {amount_minor} of {left} left"
        raise CreditNoteRefusedError(msg)
    tax_left = max(0, invoice.tax_minor - sum(note.tax_minor for note in notes))
    tax = round_half_up(divide(Fraction(tax_left) * amount_minor, left))
    return NoteAmounts(amount_minor - tax, 0, tax, 0)


def _settled(invoice: Invoice, taken: Mapping[str, int]) -> Settlement:
    """Settle the invoice's lines less `taken`, over the credit that it drew."""
    draws = list(invoice.credit_draws.select_related("grant").order_by("grant__created_at", "pk"))
    credits = credit_terms([(draw.grant, draw.amount_minor) for draw in draws])
    return settle(
        currency=invoice.currency,
        lines=[_left(line, taken.get(line.line_key, 0)) for line in invoice.lines.all()],
        credits=credits,
        tax=_tax_terms(invoice),
        at=invoice.period.starts_at,
        until=invoice.period.ends_at,
    )


def _tax_terms(invoice: Invoice) -> list[dict[str, Any]]:
    """Return the tax as it was when the invoice was settled."""
    own = invoice.plan_version.terms.get("tax")
    if own:
        return list(own)
    rate = invoice.tax_rate_percent
    return [] if rate in {"", "0"} else [{"rate": rate}]


def _left(line: InvoiceLine, taken_minor: int) -> Difference:
    return Difference(
        line=RatedLine(
            line_key=line.line_key,
            price_key=line.price_key,
            description=line.description,
            starts_at=line.starts_at,
            ends_at=line.ends_at,
            amount_minor=line.net_minor,
        ),
        amount_minor=line.net_minor - taken_minor,
        discount_minor=0,
        is_new=False,
    )
