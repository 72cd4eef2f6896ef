"""The Collector that is Stripe: stripe-python's client, the v1 services, nothing else.

Owns the translation both ways; decides nothing about money. What bills, collects and asks for a
card is here, corrections and comparison are in `stripe_books`. `collector()` is what the product
calls. `STRIPE_API_BASE` says where Stripe is; this module neither knows nor asks what answers.

**The mapping.** One line of ours is one invoice item with an integer `amount`; a discount, a
minimum or a prepaid credit is an item too, negative where it takes away, and tax is an item with
the amount that we computed. Stripe gets no quantities, unit prices, coupons or tax rates, so it
has nothing to multiply or round, and its `total` is the plain sum of our lines.

**Keys.** Every write takes the caller's idempotency key, which covers a task that runs again. The
library's own retries reuse it, so they are safe too; it never retries a 429. One write has no key:
making a card the default is declarative, doing it twice is doing it once. Stripe ignores the key
of a delete, where "not there" is success.
"""

import logging
import os
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Final

import stripe
from django.conf import settings

from billing.errors import CollectorRefusedError
from billing.payments.failures import translated
from billing.payments.port import (
    Card,
    CheckoutSession,
    LineDraft,
    RemoteInvoice,
    RemoteLine,
)
from billing.payments.stripe_books import DESCRIPTION_MAX, PAGE, StripeBooks
from billing.payments.stripe_objects import (
    invoice_of,
    item_of,
    line_of,
    metadata_of,
    period_of,
)

if TYPE_CHECKING:
    from stripe.params import InvoiceCreateParams

TIMEOUT_S: Final = 10
RETRIES: Final = 2
OTHER_UNIT: Final = frozenset({"ISK", "MGA", "UGX"})
"""Currencies whose amounts Stripe counts in another unit than ISO 4217 gives them: a hundredth of
the krona and the shilling, the whole ariary. Sent as it is, an invoice would be a hundred times
too small or too large."""
FAILURE_EXPAND: Final = "payments.data.payment.payment_intent"


def client_build(
    *,
    secret_key: str,
    api_base: str = "",
    http_client: stripe.HTTPClient | None = None,
    retries: int = RETRIES,
) -> stripe.StripeClient:
    """Build a client: its own retries and timeout, no telemetry, both hosts at `api_base`.

    api_base   empty = Stripe. `meter_events` moves along, or the stream would leave for Stripe.
    """
    stripe.enable_telemetry = False
    logging.getLogger("stripe").setLevel(logging.WARNING)  # its INFO lines name mail addresses
    base = api_base.rstrip("/")
    client = http_client or stripe.RequestsClient(timeout=TIMEOUT_S)
    if not base:
        return stripe.StripeClient(secret_key, http_client=client, max_network_retries=retries)
    return stripe.StripeClient(
        secret_key,
        base_addresses={"api": base, "meter_events": base},
        http_client=client,
        max_network_retries=retries,
    )


def collector() -> "StripeCollector":
    """Return this process's collector, made on first use and never carried through a fork."""
    return _collector_of(os.getpid())


@lru_cache(maxsize=1)
def _collector_of(pid: int) -> "StripeCollector":
    env = settings.ENV
    client = client_build(secret_key=env.stripe_secret_key, api_base=env.stripe_api_base)
    return StripeCollector(client=client, webhook_secrets=env.stripe_webhook_secrets)


class StripeCollector(StripeBooks):
    """Satisfies `Collector`; with its base, `FullCollector`."""

    # customers and cards

    def customer_create(self, *, key: str, organization_id: str, name: str, email: str) -> str:
        with translated("customer_create"):
            found = self._customer_find(organization_id, email)
            if found:
                return found
            made = self._v1.customers.create(
                {"name": name, "email": email, "metadata": {"organization_id": organization_id}},
                {"idempotency_key": key},
            )
        return made.id

    def _customer_find(self, organization_id: str, email: str) -> str:
        """Look among the customers of that address; the key alone may be forgotten by now."""
        if not email:
            return ""
        rows = self._v1.customers.list({"email": email, "limit": PAGE}).auto_paging_iter()
        for row in rows:
            if metadata_of(row).get("organization_id") == organization_id:
                return row.id
        return ""

    def checkout_create(
        self, *, key: str, customer_id: str, success_url: str, cancel_url: str
    ) -> CheckoutSession:
        with translated("checkout_create"):
            made = self._v1.checkout.sessions.create(
                {
                    "mode": "setup",
                    "customer": customer_id,
                    "allowed_payment_method_types": ["card"],
                    "success_url": success_url,
                    "cancel_url": cancel_url,
                },
                {"idempotency_key": key},
            )
        return CheckoutSession(id=made.id, url=made.url or "", complete=made.status == "complete")

    def checkout_read(self, *, session_id: str) -> CheckoutSession:
        with translated("checkout_read"):
            held = self._v1.checkout.sessions.retrieve(session_id)
        return CheckoutSession(id=held.id, url=held.url or "", complete=held.status == "complete")

    def card_read(self, *, customer_id: str) -> Card | None:
        with translated("card_read"):
            rows = self._v1.customers.payment_methods.list(
                customer_id, {"type": "card", "limit": 1}
            )
            if not rows.data:
                return None
            newest = rows.data[0]
            self._card_default(customer_id, newest.id)
        card = newest.card
        if card is None:
            return None
        return Card(
            payment_method_id=newest.id,
            brand=card.brand,
            last4=card.last4 or "",
            expires=f"{card.exp_month:02d}/{card.exp_year}",
        )

    def _card_default(self, customer_id: str, payment_method_id: str) -> None:
        """Charge invoices to the newest card; a hosted setup attaches it but stops there."""
        held = self._v1.customers.retrieve(customer_id)
        chosen = getattr(held, "invoice_settings", None)
        default = getattr(chosen, "default_payment_method", None)
        if default == payment_method_id or getattr(default, "id", None) == payment_method_id:
            return
        self._v1.customers.update(
            customer_id, {"invoice_settings": {"default_payment_method": payment_method_id}}
        )

    # the invoice and its lines

    def invoice_find(self, *, customer_id: str, invoice_id: str) -> RemoteInvoice | None:
        with translated("invoice_find"):
            rows = self._v1.invoices.list({"customer": customer_id, "limit": PAGE})
            ours = [
                row
                for row in rows.auto_paging_iter()
                if metadata_of(row).get("invoice_id") == invoice_id
            ]
        ours.sort(key=lambda row: row.status == "void")  # a live one before a void one
        return invoice_of(ours[0]) if ours else None

    def invoice_read(self, *, remote_id: str) -> RemoteInvoice:
        with translated("invoice_read"):
            return invoice_of(self._v1.invoices.retrieve(remote_id, {"expand": [FAILURE_EXPAND]}))

    def invoice_create(
        self,
        *,
        key: str,
        customer_id: str,
        currency: str,
        days_until_due: int | None,
        metadata: Mapping[str, str],
    ) -> RemoteInvoice:
        if currency.upper() in OTHER_UNIT:
            msg = f"{currency.upper()}: an amount means another sum at Stripe; nothing is sent."
            raise CollectorRefusedError(msg)
        params: InvoiceCreateParams = {
            "customer": customer_id,
            "currency": currency.lower(),
            "auto_advance": False,
            "pending_invoice_items_behavior": "exclude",
            "collection_method": "charge_automatically",
            "metadata": dict(metadata),
        }
        if days_until_due is not None:
            params["collection_method"] = "send_invoice"
            params["days_until_due"] = days_until_due
        with translated("invoice_create"):
            return invoice_of(self._v1.invoices.create(params, {"idempotency_key": key}))

    def line_list(self, *, remote_id: str) -> Sequence[RemoteLine]:
        with translated("line_list"):
            rows = self._v1.invoices.line_items.list(remote_id, {"limit": PAGE})
            return tuple(line_of(row) for row in rows.auto_paging_iter())

    def line_create(
        self, *, key: str, customer_id: str, remote_id: str, line: LineDraft
    ) -> RemoteLine:
        with translated("line_create"):
            made = self._v1.invoice_items.create(
                {
                    "customer": customer_id,
                    "invoice": remote_id,
                    "amount": line.amount_minor,
                    "currency": line.currency.lower(),
                    "description": line.description[:DESCRIPTION_MAX],
                    "period": period_of(line),
                    "metadata": {"line_key": line.line_key, "body_hash": line.body_hash},
                },
                {"idempotency_key": key},
            )
        return item_of(made)

    # its way through its states

    def invoice_finalize(self, *, key: str, remote_id: str) -> RemoteInvoice:
        with translated("invoice_finalize"):
            return invoice_of(
                self._v1.invoices.finalize_invoice(
                    remote_id, {"auto_advance": False}, {"idempotency_key": key}
                )
            )

    def invoice_pay(self, *, key: str, remote_id: str) -> RemoteInvoice:
        with translated("invoice_pay"):
            return invoice_of(
                self._v1.invoices.pay(remote_id, {"off_session": True}, {"idempotency_key": key})
            )

    def invoice_send(self, *, key: str, remote_id: str) -> RemoteInvoice:
        with translated("invoice_send"):
            return invoice_of(
                self._v1.invoices.send_invoice(remote_id, {}, {"idempotency_key": key})
            )

    def invoice_void(self, *, key: str, remote_id: str) -> RemoteInvoice:
        with translated("invoice_void"):
            return invoice_of(
                self._v1.invoices.void_invoice(remote_id, {}, {"idempotency_key": key})
            )
