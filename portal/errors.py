"""What can go wrong in the portal.

PortalError
├─ NotFoundError              not_found             404  or it belongs to somebody else
├─ NaiveDatetimeError         naive_datetime        500  a caller passed a time without its zone
├─ UnknownCurrencyError       unknown_currency      422  not an active ISO 4217 currency
├─ MailUnverifiedError        mail_unverified       403  a live key needs a verified address
├─ CredentialEndedError       credential_ended      409  revoked, expired or rotated already
├─ SealBrokenError            credential_unreadable 409  sealed under another SECRET_KEY
├─ LastOwnerError             last_owner            409  an organization keeps one owner
├─ RoleNotAllowedError        role_not_allowed      403  only owners hand out ownership
├─ InvitationInvalidError     invitation_invalid    404  unknown, used, revoked or expired
└─ InvitationElsewhereError   invitation_elsewhere  403  it was sent to another address
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


class MailUnverifiedError(PortalError):
    code = "mail_unverified"
    status = 403
    public = "Confirm your e-mail address first; test keys work without."


class CredentialEndedError(PortalError):
    code = "credential_ended"
    status = 409
    public = "This key has already been revoked, has expired, or was rotated."


class SealBrokenError(PortalError):
    code = "credential_unreadable"
    status = 409
    public = "This test key can no longer be shown; create a new one."


class LastOwnerError(PortalError):
    code = "last_owner"
    status = 409
    public = "An organization keeps at least one owner. Make somebody else an owner first."


class RoleNotAllowedError(PortalError):
    code = "role_not_allowed"
    status = 403
    public = "Only an owner may make, change or remove an owner."


class InvitationInvalidError(PortalError):
    code = "invitation_invalid"
    status = 404
    public = "This invitation is used, withdrawn or expired. Ask for a new one."


class InvitationElsewhereError(PortalError):
    code = "invitation_elsewhere"
    status = 403
    public = "This invitation was sent to another e-mail address. Sign in with that one."


class NaiveDatetimeError(PortalError):
    code = "naive_datetime"


class UnknownCurrencyError(PortalError):
    code = "unknown_currency"
    status = 422
    public = "This currency is not known."
