"""Stripe behind `Collector`: hosted Checkout for cards, invoices with our own amounts.

Every line goes as an invoice item with an integer `amount`, discounts, credits and tax included,
so that Stripe's total is ours (`stripe.md` §2). No retry here beyond one for a lost connection:
the outbox owns keys and timing. Library exceptions stop in this module.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any, Final, TypeVar

import stripe
from django.conf import settings

from billing.errors import (
    CardDeclinedError,
    CollectorBusyError,
    CollectorRefusedError,
    CollectorUnavailableError,
)
from billing.payments.port import (
    Card,
    CheckoutSession,
    Collector,
    LineDraft,
    RemoteInvoice,
    RemoteLine,
)

T = TypeVar("T")
TIMEOUT_S: Final = 10
RETRY_AFTER_S: Final = 5
_PAGE: Final = 100


def _guarded(call: Callable[[], T]) -> T:
    """Run one call and translate Stripe's exceptions.

    :raises CollectorBusyError: 429; nothing happened.
    :raises CardDeclinedError: the card was refused.
    :raises CollectorRefusedError: Stripe will not take this request.
    :raises CollectorUnavailableError: the outcome is unknown; repeat with the same key.
    """
    try:
        return call()
    except stripe.RateLimitError as error:
        raise CollectorBusyError(str(error), retry_after_s=RETRY_AFTER_S) from error
    except stripe.CardError as error:
        raise CardDeclinedError(str(error)) from error
    except (
        stripe.InvalidRequestError,
        stripe.AuthenticationError,
        stripe.PermissionError,
    ) as error:
        raise CollectorRefusedError(str(error)) from error
    except stripe.StripeError as error:
        raise CollectorUnavailableError(str(error)) from error


def _invoice(found: stripe.Invoice) -> RemoteInvoice:
    metadata = found.metadata.to_dict() if found.metadata is not None else {}
    return RemoteInvoice(
        id=str(found.id),
        status=str(found.status),
        currency=str(found.currency).upper(),
        total_minor=found.total,
        amount_paid_minor=found.amount_paid,
        hosted_url=getattr(found, "hosted_invoice_url", None) or "",
        metadata={str(k): str(v) for k, v in metadata.items()},
    )


class StripeCollector:
    """`Collector` over the Stripe API; `api_base` empty = Stripe itself."""

    def __init__(self, *, secret_key: str, api_base: str) -> None:
        stripe.enable_telemetry = False
        bases: Any = {"api": api_base, "meter_events": api_base} if api_base else {}
        client = stripe.StripeClient(
            secret_key,
            http_client=stripe.RequestsClient(timeout=TIMEOUT_S),
            base_addresses=bases,
            max_network_retries=1,
        )
        self._api = client.v1

    def customer_create(self, *, key: str, organization_id: str, name: str, email: str) -> str:
        made = _guarded(
            lambda: self._api.customers.create(
                {"name": name, "email": email, "metadata": {"organization_id": organization_id}},
                {"idempotency_key": key},
            )
        )
        return str(made.id)

    def checkout_create(
        self, *, key: str, customer_id: str, success_url: str, cancel_url: str
    ) -> CheckoutSession:
        made = _guarded(
            lambda: self._api.checkout.sessions.create(
                {
                    "mode": "setup",
                    "currency": "usd",
                    "customer": customer_id,
                    "success_url": success_url,
                    "cancel_url": cancel_url,
                },
                {"idempotency_key": key},
            )
        )
        return CheckoutSession(
            id=str(made.id), url=made.url or "", complete=made.status == "complete"
        )

    def card_read(self, *, customer_id: str) -> Card | None:
        found = _guarded(
            lambda: self._api.customers.payment_methods.list(
                customer_id, {"type": "card", "limit": 1}
            )
        )
        if not found.data:
            return None
        method = found.data[0]
        card: Any = method["card"]
        return Card(
            payment_method_id=str(method.id),
            brand=str(card.brand),
            last4=str(card.last4),
            expires=f"{card.exp_month:02d}/{card.exp_year}",
        )

    def invoice_find(self, *, customer_id: str, invoice_id: str) -> RemoteInvoice | None:
        """List and compare metadata: the search API lags behind by minutes."""

        def look() -> RemoteInvoice | None:
            listed = self._api.invoices.list({"customer": customer_id, "limit": _PAGE})
            for found in listed.auto_paging_iter():
                remote = _invoice(found)
                if remote.metadata.get("invoice_id") == invoice_id:
                    return remote
            return None

        return _guarded(look)

    def invoice_read(self, *, remote_id: str) -> RemoteInvoice:
        return _invoice(_guarded(lambda: self._api.invoices.retrieve(remote_id)))

    def invoice_create(
        self,
        *,
        key: str,
        customer_id: str,
        currency: str,
        days_until_due: int | None,
        metadata: Mapping[str, str],
    ) -> RemoteInvoice:
        collection: Any = (
            {"collection_method": "charge_automatically"}
            if days_until_due is None
            else {"collection_method": "send_invoice", "days_until_due": days_until_due}
        )
        params: Any = {
            "customer": customer_id,
            "currency": currency.lower(),
            "auto_advance": False,
            "pending_invoice_items_behavior": "exclude",
            "metadata": dict(metadata),
            **collection,
        }
        made = _guarded(lambda: self._api.invoices.create(params, {"idempotency_key": key}))
        return _invoice(made)

    def line_list(self, *, remote_id: str) -> Sequence[RemoteLine]:
        def look() -> list[RemoteLine]:
            listed = self._api.invoices.line_items.list(remote_id, {"limit": _PAGE})
            lines = []
            for line in listed.auto_paging_iter():
                metadata = line.metadata.to_dict()
                lines.append(
                    RemoteLine(
                        id=str(line.id),
                        line_key=str(metadata.get("line_key", "")),
                        amount_minor=line.amount,
                        body_hash=str(metadata.get("body_hash", "")),
                    )
                )
            return lines

        return _guarded(look)

    def line_create(
        self, *, key: str, customer_id: str, remote_id: str, line: LineDraft
    ) -> RemoteLine:
        made = _guarded(
            lambda: self._api.invoice_items.create(
                {
                    "customer": customer_id,
                    "invoice": remote_id,
                    "amount": line.amount_minor,
                    "currency": line.currency.lower(),
                    "description": line.description,
                    "period": {
                        "start": int(line.starts_at.timestamp()),
                        "end": int(line.ends_at.timestamp()),
                    },
                    "metadata": {"line_key": line.line_key, "body_hash": line.body_hash},
                },
                {"idempotency_key": key},
            )
        )
        return RemoteLine(
            id=str(made.id),
            line_key=line.line_key,
            amount_minor=made.amount,
            body_hash=line.body_hash,
        )

    def invoice_finalize(self, *, key: str, remote_id: str) -> RemoteInvoice:
        return _invoice(
            _guarded(
                lambda: self._api.invoices.finalize_invoice(
                    remote_id, {"auto_advance": False}, {"idempotency_key": key}
                )
            )
        )

    def invoice_pay(self, *, key: str, remote_id: str) -> RemoteInvoice:
        return _invoice(
            _guarded(lambda: self._api.invoices.pay(remote_id, {}, {"idempotency_key": key}))
        )

    def invoice_send(self, *, key: str, remote_id: str) -> RemoteInvoice:
        return _invoice(
            _guarded(
                lambda: self._api.invoices.send_invoice(remote_id, {}, {"idempotency_key": key})
            )
        )

    def invoice_void(self, *, key: str, remote_id: str) -> RemoteInvoice:
        return _invoice(
            _guarded(
                lambda: self._api.invoices.void_invoice(remote_id, {}, {"idempotency_key": key})
            )
        )


@cache
def collector() -> Collector:
    """Return the process's collector, built from the settings on first use."""
    return StripeCollector(
        secret_key=settings.ENV.stripe_secret_key, api_base=settings.ENV.stripe_api_base
    )
