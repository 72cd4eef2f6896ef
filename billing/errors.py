"""What can go wrong in billing.

BillingError
├─ InvoiceStateError           invoice_state          409  the document moved meanwhile
├─ StaleApprovalError          stale_approval         409  the draft is no longer what was reviewed
├─ CreditNoteStateError        credit_note_state      409  the note moved meanwhile
├─ CreditNoteRefusedError      credit_note_refused    422  more than is left, or nothing at all
├─ StalePreviewError           stale_preview          409  the previewed figures no longer hold
├─ RatingRefusedError          rating_refused         422  the rating document is not valid
├─ CollectorUnavailableError   collector_unavailable  503  the outcome of a call is unknown
├─ CollectorBusyError          collector_busy         503  told to wait; nothing happened
├─ CollectorRefusedError       collector_refused      502  the collector will not do it as asked
├─ CardDeclinedError           card_declined          402  the card was declined
├─ CardRequiredError           card_required          402  leave a card first
└─ SignatureInvalidError       webhook_signature      400  a webhook the collector did not sign
"""

from collections.abc import Sequence
from typing import ClassVar

from portal.core.checked_input import Problem


class BillingError(Exception):
    code: ClassVar[str] = "billing_error"
    status: ClassVar[int] = 500
    public: ClassVar[str] = "Something went wrong on our side."


class InvoiceStateError(BillingError):
    code = "invoice_state"
    status = 409
    public = "The invoice has moved on; look at it again before deciding."


class StaleApprovalError(BillingError):
    code = "stale_approval"
    status = 409
    public = "The document changed since you opened it; review it again before approving."


class CreditNoteStateError(BillingError):
    code = "credit_note_state"
    status = 409
    public = "The credit note has moved on; look at it again before deciding."


class CreditNoteRefusedError(BillingError):
    code = "credit_note_refused"
    status = 422
    public = "Credit at least something, and never more than is left of a line and of the invoice."


class StalePreviewError(BillingError):
    code = "stale_preview"
    status = 409
    public = "The figures changed since the preview; nothing was changed. Here are the new ones."


class RatingRefusedError(BillingError):
    """:ivar problems: every problem at once, each with the path of its field."""

    code = "rating_refused"
    status = 422
    public = "These terms cannot be rated; each wrong field is listed."

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("; ".join(f"{p.path or 'document'} {p.message}" for p in problems[:5]))
        self.problems = tuple(problems)


class CollectorUnavailableError(BillingError):
    """:ivar unknown_outcome: it may have happened; False = it certainly did not."""

    code = "collector_unavailable"
    status = 503
    public = "Payment could not be started. Nothing was charged; try again."

    def __init__(self, message: str = "", *, unknown_outcome: bool = True) -> None:
        super().__init__(message)
        self.unknown_outcome = unknown_outcome


class CollectorBusyError(BillingError):
    """:ivar retry_after_s: seconds to wait before the same call is made again."""

    code = "collector_busy"
    status = 503
    public = "Payment is busy. Nothing was charged; try again in a moment."

    def __init__(self, message: str = "", *, retry_after_s: int = 5) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class CollectorRefusedError(BillingError):
    code = "collector_refused"
    status = 502
    public = "The payment provider refused the request; finance has been told."


class CardDeclinedError(BillingError):
    """The invoice stays open.

    :ivar decline_code: why, in the collector's words.
    :ivar action_required: the customer has to confirm (3-D Secure) on the hosted invoice.
    """

    code = "card_declined"
    status = 402
    public = "The card was declined. Use another card, or pay the invoice by its own page."

    def __init__(
        self, message: str = "", *, decline_code: str = "", action_required: bool = False
    ) -> None:
        super().__init__(message)
        self.decline_code = decline_code
        self.action_required = action_required


class CardRequiredError(BillingError):
    code = "card_required"
    status = 402
    public = "This plan costs something: leave a card first."


class SignatureInvalidError(BillingError):
    code = "webhook_signature"
    status = 400
    public = "Signature check failed."
