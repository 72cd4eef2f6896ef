"""What billing hears of each failure of the Stripe library."""

import pytest
import stripe
from stripe._error import StripeError

from billing.errors import (
    BillingError,
    CardDeclinedError,
    CollectorBusyError,
    CollectorRefusedError,
    CollectorUnavailableError,
)
from billing.payments.failures import translate, translated


def raised(kind: type[StripeError], status: int, **fields: str) -> StripeError:
    """Build an error as the library does from an answer."""
    body = {"error": {"type": "x", "message": "no", **fields}}
    if issubclass(kind, stripe.CardError | stripe.InvalidRequestError):
        return kind("no", None, http_status=status, json_body=body, **_code(kind, fields))
    return kind("no", http_status=status, json_body=body)


def _code(kind: type[StripeError], fields: dict[str, str]) -> dict[str, str | None]:
    return {"code": fields.get("code")}


@pytest.mark.parametrize(
    ("error", "expected", "unknown"),
    [
        (raised(stripe.APIConnectionError, 0), CollectorUnavailableError, True),
        (raised(stripe.APIError, 500), CollectorUnavailableError, True),
        (raised(stripe.APIError, 409), CollectorUnavailableError, True),
        (raised(stripe.AuthenticationError, 401), CollectorUnavailableError, False),
        (raised(stripe.PermissionError, 403), CollectorUnavailableError, False),
        (raised(stripe.InvalidRequestError, 400), CollectorRefusedError, None),
        (raised(stripe.InvalidRequestError, 404), CollectorRefusedError, None),
        (raised(stripe.IdempotencyError, 400), CollectorRefusedError, None),
        (raised(stripe.CardError, 402), CardDeclinedError, None),
        (raised(stripe.RateLimitError, 429), CollectorBusyError, None),
    ],
)
def test_each_failure_has_one_meaning(
    error: StripeError, expected: type[BillingError], unknown: bool | None
) -> None:
    made = translate(error, "doing")
    assert type(made) is expected
    assert getattr(made, "unknown_outcome", None) is unknown
    assert str(made).startswith("doing: ")


@pytest.mark.parametrize(
    ("fields", "decline_code", "action"),
    [
        ({"code": "card_declined", "decline_code": "lost_card"}, "lost_card", False),
        ({"code": "expired_card"}, "expired_card", False),
        (
            {"code": "invoice_payment_intent_requires_action"},
            "invoice_payment_intent_requires_action",
            True,
        ),
        (
            {"code": "card_declined", "decline_code": "authentication_required"},
            "authentication_required",
            True,
        ),
    ],
)
def test_a_declined_card_says_why(fields: dict[str, str], decline_code: str, action: bool) -> None:
    made = translate(raised(stripe.CardError, 402, **fields), "pay")
    assert isinstance(made, CardDeclinedError)
    assert (made.decline_code, made.action_required) == (decline_code, action)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("7", 7),
        ("0", 1),
        ("999999", 3_600),
        ("", 5),
        ("soon", 5),
        ("Wed, 21 Oct 2026 07:28:00 GMT", 5),
    ],
)
def test_how_long_to_wait_is_read_with_care(header: str, seconds: int) -> None:
    error = stripe.RateLimitError("slow down", http_status=429, headers={"Retry-After": header})
    made = translate(error, "doing")
    assert isinstance(made, CollectorBusyError)
    assert made.retry_after_s == seconds


def test_nothing_of_the_library_leaves() -> None:
    with pytest.raises(CollectorUnavailableError) as caught, translated("doing"):
        raise raised(stripe.APIError, 503)
    assert isinstance(caught.value.__cause__, stripe.APIError)


def test_other_errors_are_none_of_its_business() -> None:
    with pytest.raises(ZeroDivisionError), translated("doing"):
        raise ZeroDivisionError
