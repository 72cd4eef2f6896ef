"""What billing needs from whoever collects the money; Stripe behind an adapter."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteInvoice:
    id: str
    status: str
    currency: str
    total_minor: int
    amount_paid_minor: int
    hosted_url: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteLine:
    id: str
    line_key: str
    amount_minor: int
    body_hash: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class LineDraft:
    line_key: str
    description: str
    amount_minor: int
    currency: str
    starts_at: datetime
    ends_at: datetime
    body_hash: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    payment_method_id: str
    brand: str
    last4: str
    expires: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckoutSession:
    id: str
    url: str
    complete: bool


class Collector(Protocol):
    def customer_create(self, *, key: str, organization_id: str, name: str, email: str) -> str: ...
    def checkout_create(
        self, *, key: str, customer_id: str, success_url: str, cancel_url: str
    ) -> CheckoutSession: ...
    def card_read(self, *, customer_id: str) -> Card | None: ...
    def invoice_find(self, *, customer_id: str, invoice_id: str) -> RemoteInvoice | None: ...
    def invoice_read(self, *, remote_id: str) -> RemoteInvoice: ...
    def invoice_create(
        self,
        *,
        key: str,
        customer_id: str,
        currency: str,
        days_until_due: int | None,
        metadata: Mapping[str, str],
    ) -> RemoteInvoice: ...
    def line_list(self, *, remote_id: str) -> Sequence[RemoteLine]: ...
    def line_create(
        self, *, key: str, customer_id: str, remote_id: str, line: LineDraft
    ) -> RemoteLine: ...
    def invoice_finalize(self, *, key: str, remote_id: str) -> RemoteInvoice: ...
    def invoice_pay(self, *, key: str, remote_id: str) -> RemoteInvoice: ...
    def invoice_send(self, *, key: str, remote_id: str) -> RemoteInvoice: ...
    def invoice_void(self, *, key: str, remote_id: str) -> RemoteInvoice: ...
