"""Turns what the Stripe library raises into billing's own errors; nothing else leaves here."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final

import stripe

from billing.errors import (
    BillingError,
    CardDeclinedError,
    CollectorBusyError,
    CollectorRefusedError,
    CollectorUnavailableError,
)

RETRY_AFTER_S: Final = 5
RETRY_AFTER_MAX_S: Final = 3_600
ACTION_CODES: Final = frozenset(
    {"authentication_required", "invoice_payment_intent_requires_action"}
)


@contextmanager
def translated(doing: str) -> Iterator[None]:
    """Raise billing's error in place of the library's; `doing` names the call in our logs."""
    try:
        yield
    except stripe.StripeError as error:
        raise translate(error, doing) from error


def translate(error: stripe.StripeError, doing: str) -> BillingError:
    """Say what is known after a failed call (`stripe.md` §3).

    - 429: nothing happened; wait.
    - 401, 403: nothing happened and no call will work until the key is put right.
    - 402: the card was declined.
    - other 4xx but 409: refused; a second try would be too. Another body under a key is one.
    - 409 (a twin is running), 5xx and a lost connection: it may have happened.
    """
    text = f"{doing}: {_reason(error)}"
    if isinstance(error, stripe.RateLimitError):
        return CollectorBusyError(text, retry_after_s=_retry_after_s(error.headers))
    if isinstance(error, stripe.CardError):
        code, decline_code = error_codes(error)
        return CardDeclinedError(
            text,
            decline_code=decline_code or code,
            action_required=bool({code, decline_code} & ACTION_CODES),
        )
    if isinstance(error, stripe.AuthenticationError | stripe.PermissionError):
        return CollectorUnavailableError(text, unknown_outcome=False)
    if isinstance(error, stripe.InvalidRequestError | stripe.IdempotencyError):
        return CollectorRefusedError(text)
    return CollectorUnavailableError(text, unknown_outcome=True)


def error_codes(error: stripe.StripeError) -> tuple[str, str]:
    """Return code and decline code; they are on `.error`, the exception's own may be None."""
    inner = error.error
    return (
        str(getattr(inner, "code", None) or ""),
        str(getattr(inner, "decline_code", None) or ""),
    )


def _reason(error: stripe.StripeError) -> str:
    code, _ = error_codes(error)
    parts = (
        f"HTTP {error.http_status}" if error.http_status else type(error).__name__,
        code,
        str(error.user_message or ""),
        str(error.request_id or ""),
    )
    return " ".join(part for part in parts if part)


def _retry_after_s(headers: Mapping[str, str] | None) -> int:
    """Read whole seconds; the date form of RFC 9110 and nonsense get the default."""
    lower = {name.lower(): value for name, value in (headers or {}).items()}
    text = lower.get("retry-after", "")
    if not (text.isascii() and text.isdigit()):
        return RETRY_AFTER_S
    return min(max(int(text[:9]), 1), RETRY_AFTER_MAX_S)
