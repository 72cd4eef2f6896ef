"""The states of invoices and credit notes, and their moves; nothing here touches a database."""

from typing import Final

from django.db import models


class InvoiceState(models.TextChoices):
    DRAFT = "draft", "Draft"
    HELD = "held", "Held"
    APPROVED = "approved", "Approved"
    ISSUING = "issuing", "Issuing"
    OPEN = "open", "Open"
    PAID = "paid", "Paid"
    UNCOLLECTIBLE = "uncollectible", "Uncollectible"
    VOID = "void", "Void"


TRANSITIONS: Final[dict[InvoiceState, frozenset[InvoiceState]]] = {
    InvoiceState.DRAFT: frozenset({InvoiceState.HELD, InvoiceState.APPROVED, InvoiceState.VOID}),
    InvoiceState.HELD: frozenset({InvoiceState.DRAFT, InvoiceState.VOID}),
    InvoiceState.APPROVED: frozenset(
        {InvoiceState.ISSUING, InvoiceState.DRAFT, InvoiceState.HELD, InvoiceState.VOID}
    ),
    InvoiceState.ISSUING: frozenset({InvoiceState.OPEN, InvoiceState.PAID, InvoiceState.VOID}),
    InvoiceState.OPEN: frozenset(
        {InvoiceState.PAID, InvoiceState.UNCOLLECTIBLE, InvoiceState.VOID}
    ),
    InvoiceState.UNCOLLECTIBLE: frozenset({InvoiceState.PAID, InvoiceState.VOID}),
    InvoiceState.PAID: frozenset(),
    InvoiceState.VOID: frozenset(),
}
"""Forward only: a paid invoice is corrected by a credit note, a void one by the chain's next."""

UNISSUED: Final = frozenset(
    {InvoiceState.DRAFT, InvoiceState.HELD, InvoiceState.APPROVED, InvoiceState.ISSUING}
)
RERATABLE: Final = frozenset({InvoiceState.DRAFT, InvoiceState.HELD})
FINALIZED: Final = frozenset(
    {InvoiceState.ISSUING, InvoiceState.OPEN, InvoiceState.PAID, InvoiceState.UNCOLLECTIBLE}
    | {InvoiceState.VOID}
)


def can_move(source: str, target: str) -> bool:
    """Say whether the table has this move.

    >>> can_move("draft", "approved"), can_move("paid", "void")
    (True, False)
    """
    return InvoiceState(target) in TRANSITIONS[InvoiceState(source)]


def sources_of(target: InvoiceState) -> tuple[InvoiceState, ...]:
    """Return the states from which `target` can be reached, for a compare-and-set.

    >>> [s.value for s in sources_of(InvoiceState.UNCOLLECTIBLE)]
    ['open']
    """
    return tuple(s for s, targets in TRANSITIONS.items() if target in targets)


class NoteState(models.TextChoices):
    """A credit note's way; from `issuing` on it is never taken back."""

    DRAFT = "draft", "Draft"
    APPROVED = "approved", "Approved"
    ISSUING = "issuing", "Issuing"
    ISSUED = "issued", "Issued"
    VOID = "void", "Void"


NOTE_TRANSITIONS: Final[dict[NoteState, frozenset[NoteState]]] = {
    NoteState.DRAFT: frozenset({NoteState.APPROVED, NoteState.VOID}),
    NoteState.APPROVED: frozenset({NoteState.ISSUING, NoteState.VOID}),
    NoteState.ISSUING: frozenset({NoteState.ISSUED}),
    NoteState.ISSUED: frozenset(),
    NoteState.VOID: frozenset(),
}
CREDITABLE: Final = frozenset({InvoiceState.OPEN, InvoiceState.PAID, InvoiceState.UNCOLLECTIBLE})


def note_sources_of(target: NoteState) -> tuple[NoteState, ...]:
    """Return the states from which a note can become `target`.

    >>> [s.value for s in note_sources_of(NoteState.VOID)]
    ['draft', 'approved']
    """
    return tuple(s for s, targets in NOTE_TRANSITIONS.items() if target in targets)
