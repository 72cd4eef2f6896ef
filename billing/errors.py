"""What can go wrong in billing.

BillingError
├─ InvoiceStateError    invoice_state      409  the document moved meanwhile
└─ StaleApprovalError   stale_approval     409  the draft is no longer what was reviewed
"""

from typing import ClassVar


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
    public = "The draft changed since you opened it; review it again before approving."
