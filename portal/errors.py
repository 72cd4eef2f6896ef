"""What can go wrong in the portal.

PortalError
├─ NotFoundError          not_found         404  also for an object of another organization
├─ NaiveDatetimeError     naive_datetime    500  a caller passed a time without its zone
└─ UnknownCurrencyError   unknown_currency  422  not an active ISO 4217 currency
"""

from typing import ClassVar


class PortalError(Exception):
    code: ClassVar[str] = "portal_error"
    status: ClassVar[int] = 500
    public: ClassVar[str] = "Something went wrong on our side."


class NotFoundError(PortalError):
    code = "not_found"
    status = 404
    public = "There is no such object."


class NaiveDatetimeError(PortalError):
    code = "naive_datetime"


class UnknownCurrencyError(PortalError):
    code = "unknown_currency"
    status = 422
    public = "This currency is not known."
