"""What can go wrong in the portal.

PortalError
├─ NotFoundError              not_found               404  also for another organization's
├─ NaiveDatetimeError         naive_datetime          500  a caller passed a time without its zone
├─ UnknownCurrencyError       unknown_currency        422  not an active ISO 4217 currency
├─ InputInvalidError          input_invalid           422  carries every problem with its path
├─ InUseError                 in_use                  409  something still refers to the object
├─ PlanVersionPublishedError  plan_version_published  409  published versions are never changed
├─ PlanNotOfferedError        plan_not_offered        409  draft version, or an archived plan
├─ SubscriptionOverlapError   subscription_overlap    409  another one covers one of the APIs
├─ SubscriptionStateError     subscription_state      409  cancelled, paused or ended
├─ ChangeTooSoonError         change_too_soon         422  gateways would hear of it too late
├─ ClockRealError             clock_real              409  no sandbox: its clock is the machine's
├─ ClockBackwardError         clock_backward          422  the sandbox's clock only moves forward
├─ MailUnverifiedError        mail_unverified         403  a live key needs a verified address
├─ CredentialEndedError       credential_ended        409  revoked, expired or rotated already
├─ SealBrokenError            credential_unreadable   409  sealed under another SECRET_KEY
├─ LastOwnerError             last_owner              409  an organization keeps one owner
├─ RoleNotAllowedError        role_not_allowed        403  only owners hand out ownership
├─ ConsumerLimitError         consumer_limit          409  as many applications as there may be
├─ LastConsumerError          last_consumer           409  its keys are the last that work
├─ IdempotencyKeyError        idempotency_key_invalid 400  not 1 to 255 visible ASCII characters
├─ IdempotencyReusedError     idempotency_key_reused  422  the key stands for another body
├─ IdempotencyBusyError       idempotency_in_progress 409  the first call has not ended yet
├─ InvitationInvalidError     invitation_invalid      404  unknown, used, revoked or expired
└─ InvitationElsewhereError   invitation_elsewhere    403  it was sent to another address
"""

from collections.abc import Iterable
from typing import ClassVar, NamedTuple


class InputProblem(NamedTuple):
    """One thing that is wrong with a document; `path` names the field, `code` is stable."""

    path: str
    code: str
    message: str


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


class ConsumerLimitError(PortalError):
    code = "consumer_limit"
    status = 409
    public = (
        "This organization has as many applications as it may have, deactivated ones included."
    )


class LastConsumerError(PortalError):
    code = "last_consumer"
    status = 409
    public = "This is the last active application, and keys of it work: say that all are to stop."


class IdempotencyKeyError(PortalError):
    code = "idempotency_key_invalid"
    status = 400
    public = "An Idempotency-Key has 1 to 255 visible ASCII characters, without blanks."


class IdempotencyReusedError(PortalError):
    code = "idempotency_key_reused"
    status = 422
    public = "This Idempotency-Key stands for a call with another body or query."


class IdempotencyBusyError(PortalError):
    code = "idempotency_in_progress"
    status = 409
    public = "The first call with this Idempotency-Key has not ended yet."
    wait = 1  # seconds, for Retry-After


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


class InputInvalidError(PortalError):
    code = "input_invalid"
    status = 422
    public = "Some values cannot be used."

    def __init__(self, problems: Iterable[tuple[str, str, str]]) -> None:
        self.problems = tuple(InputProblem(*problem) for problem in problems)
        super().__init__("; ".join(f"{p.path}: {p.message}" for p in self.problems))


class InUseError(PortalError):
    code = "in_use"
    status = 409
    public = "Something still uses this; change that first."


class PlanVersionPublishedError(PortalError):
    code = "plan_version_published"
    status = 409
    public = "A published version is never changed; make a new version instead."


class PlanNotOfferedError(PortalError):
    code = "plan_not_offered"
    status = 409
    public = "This plan version is not offered."


class SubscriptionOverlapError(PortalError):
    code = "subscription_overlap"
    status = 409
    public = "Another subscription of this organization already covers one of these APIs."


class SubscriptionStateError(PortalError):
    code = "subscription_state"
    status = 409
    public = "The subscription does not allow this now: it is cancelled, paused or ended."


class ChangeTooSoonError(PortalError):
    code = "change_too_soon"
    status = 422
    public = "A change takes effect at least 2 seconds ahead."


class ClockRealError(PortalError):
    code = "clock_real"
    status = 409
    public = "Only a sandbox has a clock that can be moved."


class ClockBackwardError(PortalError):
    code = "clock_backward"
    status = 422
    public = "The sandbox's clock only moves forward."
