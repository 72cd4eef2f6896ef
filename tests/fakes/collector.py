"""A collector in memory that keeps Stripe's rules that billing leans on, with faults to order."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from billing.errors import (
    CardDeclinedError,
    CollectorBusyError,
    CollectorRefusedError,
    CollectorUnavailableError,
)
from billing.payments.port import (
    Card,
    CheckoutSession,
    LineDraft,
    RemoteInvoice,
    RemoteLine,
)


@dataclass
class FakeCollector:
    """Answers a known key with its first result; `faults` is consumed call by call.

    faults   (method, fault): `lost_answer` acts and then fails, `unavailable` `busy` do not
    """

    card: Card | None = None
    declines: int = 0
    faults: list[tuple[str, str]] = field(default_factory=list)
    invoices: dict[str, RemoteInvoice] = field(default_factory=dict)
    customers: dict[str, str] = field(default_factory=dict)
    lines: dict[str, list[RemoteLine]] = field(default_factory=dict)
    keys: dict[str, object] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)
    tampered_minor: int = 0
    sessions: dict[str, CheckoutSession] = field(default_factory=dict)

    def _enter(self, method: str) -> bool:
        """Record the call; True when its answer will be lost."""
        self.calls.append(method)
        for index, (name, fault) in enumerate(self.faults):
            if name != method:
                continue
            del self.faults[index]
            if fault == "lost_answer":
                return True
            if fault == "busy":
                raise CollectorBusyError(method, retry_after_s=7)
            raise CollectorUnavailableError(method)
        return False

    @staticmethod
    def _leave(method: str, lost: bool) -> None:
        if lost:
            msg = f"{method}: answer lost"
            raise CollectorUnavailableError(msg)

    def customer_create(self, *, key: str, organization_id: str, name: str, email: str) -> str:
        lost = self._enter("customer_create")
        made = self.customers.setdefault(organization_id, f"cus_{len(self.customers) + 1}")
        self._leave("customer_create", lost)
        return made

    def checkout_create(
        self, *, key: str, customer_id: str, success_url: str, cancel_url: str
    ) -> CheckoutSession:
        lost = self._enter("checkout_create")
        if key not in self.keys:
            new = f"cs_{len(self.sessions) + 1}"
            made = CheckoutSession(
                id=new, url=f"https://checkout.example.test/{new}", complete=False
            )
            self.keys[key] = new
            self.sessions[new] = made
        self._leave("checkout_create", lost)
        return self.sessions[str(self.keys[key])]

    def checkout_read(self, *, session_id: str) -> CheckoutSession:
        self._enter("checkout_read")
        return self.sessions[session_id]

    def card_leave(self, session_id: str, card: Card) -> None:
        """What the customer does on the hosted page."""
        self.card = card
        self.sessions[session_id] = replace(self.sessions[session_id], url="", complete=True)

    def card_read(self, *, customer_id: str) -> Card | None:
        self._enter("card_read")
        return self.card

    def invoice_find(self, *, customer_id: str, invoice_id: str) -> RemoteInvoice | None:
        self._enter("invoice_find")
        rows = [i for i in self.invoices.values() if i.metadata.get("invoice_id") == invoice_id]
        return rows[0] if rows else None

    def invoice_read(self, *, remote_id: str) -> RemoteInvoice:
        self._enter("invoice_read")
        return self.invoices[remote_id]

    def invoice_create(
        self,
        *,
        key: str,
        customer_id: str,
        currency: str,
        days_until_due: int | None,
        metadata: Mapping[str, str],
    ) -> RemoteInvoice:
        lost = self._enter("invoice_create")
        if key not in self.keys:
            made = RemoteInvoice(
                id=f"in_{len(self.invoices) + 1}",
                status="draft",
                currency=currency,
                total_minor=0,
                amount_paid_minor=0,
                metadata=dict(metadata),
            )
            self.invoices[made.id], self.keys[key] = made, made.id
        self._leave("invoice_create", lost)
        return self.invoices[str(self.keys[key])]

    def line_list(self, *, remote_id: str) -> Sequence[RemoteLine]:
        self._enter("line_list")
        return tuple(self.lines.get(remote_id, []))

    def line_create(
        self, *, key: str, customer_id: str, remote_id: str, line: LineDraft
    ) -> RemoteLine:
        lost = self._enter("line_create")
        held = self.lines.setdefault(remote_id, [])
        if key not in self.keys:
            if self.invoices[remote_id].status != "draft":
                raise CollectorRefusedError("finalized")
            amount = line.amount_minor + self.tampered_minor
            made = RemoteLine(id=f"ii_{len(held)}", line_key=line.line_key, amount_minor=amount)
            held.append(made)
            self.keys[key] = made
            total = sum(row.amount_minor for row in held)
            self._set(remote_id, total_minor=total)
        self._leave("line_create", lost)
        return held[-1]

    def _set(self, remote_id: str, **values: object) -> RemoteInvoice:
        self.invoices[remote_id] = replace(self.invoices[remote_id], **values)  # type: ignore[arg-type]
        return self.invoices[remote_id]

    def invoice_finalize(self, *, key: str, remote_id: str) -> RemoteInvoice:
        lost = self._enter("invoice_finalize")
        if self.invoices[remote_id].status != "draft" and key not in self.keys:
            raise CollectorRefusedError("already finalized")
        self.keys[key] = True
        paid = self.invoices[remote_id].total_minor <= 0
        if self.invoices[remote_id].status == "draft":
            self._set(remote_id, status="paid" if paid else "open", hosted_url="https://h.test/i")
        self._leave("invoice_finalize", lost)
        return self.invoices[remote_id]

    def invoice_pay(self, *, key: str, remote_id: str) -> RemoteInvoice:
        lost = self._enter("invoice_pay")
        if self.declines:
            self.declines -= 1
            raise CardDeclinedError("declined", decline_code="insufficient_funds")
        total = self.invoices[remote_id].total_minor
        self._set(remote_id, status="paid", amount_paid_minor=total)
        self._leave("invoice_pay", lost)
        return self.invoices[remote_id]

    def invoice_send(self, *, key: str, remote_id: str) -> RemoteInvoice:
        self._enter("invoice_send")
        return self.invoices[remote_id]

    def invoice_void(self, *, key: str, remote_id: str) -> RemoteInvoice:
        self._enter("invoice_void")
        return self._set(remote_id, status="void")
