"""The hosted pages: leave a card, look at an invoice, pay it. Plain HTML, no script.

Every value is escaped. The address carries the object's id, which is its capability, as with the
real pages. What a card number says is looked up and forgotten; only test numbers are taken.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from typing import Final
from urllib.parse import urlsplit

from billing.payments.sandbox import cards, checkout, collecting, customers
from billing.payments.sandbox.pdf import text_pdf
from billing.payments.sandbox.problems import Problem
from billing.payments.sandbox.render import lines_of
from billing.payments.sandbox.store import Document
from billing.payments.sandbox.world import World
from portal.core.money import EXPONENTS

STYLE: Final = """
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif; }
body { margin: 0 auto; max-width: 36rem; padding: 2rem 1rem; }
.banner { border: 1px solid; border-radius: .5rem; padding: .5rem 1rem; }
label { display: block; margin: 1rem 0 .25rem; }
input, button { box-sizing: border-box; font: inherit; padding: .6rem .8rem; width: 100%; }
button { cursor: pointer; margin-top: 1.5rem; }
table { border-collapse: collapse; width: 100%; }
th, td { border-bottom: 1px solid; padding: .4rem 0; text-align: left; }
.amount { font-variant-numeric: tabular-nums; text-align: right; }
"""
BANNER: Final = (
    '<p class="banner" role="note">Sandbox: no real card is taken and no money moves.</p>'
)
STATES: Final = {
    "draft": "This invoice is not finalized yet.",
    "open": "This invoice waits for payment.",
    "paid": "This invoice is paid. Thank you.",
    "void": "This invoice was voided. Nothing is due.",
    "uncollectible": "This invoice was given up, and can still be paid.",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """An answer to a browser; `form_origin` is where its form may lead besides this server."""

    status: int = 200
    html: str = ""
    location: str = ""
    form_origin: str = ""
    pdf: bytes = b""

    def headers(self) -> dict[str, str]:
        action = f"'self' {self.form_origin}".strip()
        return {
            "Content-Security-Policy": "default-src 'none'; style-src 'self'; base-uri 'none'; "
            f"frame-ancestors 'none'; form-action {action}",
            "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "no-referrer",
            "Cache-Control": "no-store",
        }


def money(minor: int, currency: str) -> str:
    """Write an amount with its currency's decimals.

    >>> money(-4950, "usd"), money(1200, "jpy")
    ('-49.50 USD', '1,200 JPY')
    """
    code = currency.upper()
    places = EXPONENTS.get(code, 2)
    whole, part = divmod(abs(minor), 10**places)
    tail = f".{part:0{places}d}" if places else ""
    return f"{'-' if minor < 0 else ''}{whole:,}{tail} {code}"


def _html(title: str, body: str) -> str:
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<title>{escape(title)}</title><link rel="stylesheet" href="/page.css"></head>'
        f"<body><main>{BANNER}<h1>{escape(title)}</h1>{body}</main></body></html>"
    )


def _alert(text: str) -> str:
    return f'<p class="banner" role="alert">{escape(text)}</p>' if text else ""


def _card_form(action: str, button: str) -> str:
    numbers = ", ".join(cards.TEST_CARDS)
    return (
        f'<form method="post" action="{escape(action)}">'
        '<label for="number">Card number</label>'
        '<input id="number" name="number" inputmode="numeric" autocomplete="off" required '
        'aria-describedby="numbers">'
        f'<p id="numbers">Test numbers: {escape(numbers)}</p>'
        '<label for="expiry">Expiry (MM/YY)</label>'
        '<input id="expiry" name="expiry" autocomplete="off" value="12/34" required>'
        '<label for="name">Name on card</label>'
        '<input id="name" name="name" autocomplete="off">'
        f'<button type="submit">{escape(button)}</button></form>'
    )


def not_found() -> Page:
    return Page(status=404, html=_html("Not found", "<p>There is nothing here.</p>"))


@dataclass(frozen=True, slots=True)
class _Typed:
    card: cards.KnownCard
    exp_month: int
    exp_year: int
    name: str


def _typed(form: Mapping[str, str]) -> _Typed | str:
    """Read the card form; a sentence where it will not do."""
    card = cards.card_of(form.get("number", ""))
    if card is None:
        return "This sandbox takes its test numbers alone."
    month, _, year = form.get("expiry", "").replace(" ", "").partition("/")
    if not (month.isdecimal() and year.isdecimal() and 1 <= int(month) <= 12):
        return "Write the expiry as MM/YY."
    if len(year) not in (2, 4):
        return "Write the expiry as MM/YY."
    full = int(year) + (2_000 if len(year) == 2 else 0)
    return _Typed(card, int(month), full, form.get("name", "")[:100])


# leave a card


def checkout_show(world: World, session_id: str, *, problem: str = "") -> Page:
    session = world.store.get("checkout_session", session_id)
    if session is None:
        return not_found()
    if session["status"] != "open":
        return Page(
            status=410, html=_html("Page closed", "<p>This page has been used or expired.</p>")
        )
    cancel = session["cancel_url"]
    back = f'<p><a href="{escape(cancel)}">Cancel and go back</a></p>' if cancel else ""
    body = _alert(problem) + _card_form(f"/c/{session_id}", "Save card") + back
    return Page(
        status=422 if problem else 200,
        html=_html("Save a card", body),
        form_origin=_origin(session["success_url"]),
    )


def checkout_submit(world: World, session_id: str, form: Mapping[str, str]) -> Page:
    """Save the card and send the browser back."""
    typed = _typed(form)
    if isinstance(typed, str):
        return checkout_show(world, session_id, problem=typed)
    if typed.card.refused:
        return checkout_show(world, session_id, problem=cards.DECLINES[typed.card.outcome])
    session = world.store.get("checkout_session", session_id)
    if session is None or session["status"] != "open":
        return checkout_show(world, session_id)
    done = checkout.complete(
        world,
        session_id,
        card=typed.card,
        exp_month=typed.exp_month,
        exp_year=typed.exp_year,
        name=typed.name,
    )
    return Page(status=303, location=checkout.return_url(done))


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


# look at an invoice and pay it


def invoice_show(world: World, invoice_id: str, *, problem: str = "") -> Page:
    invoice = world.store.get("invoice", invoice_id)
    if invoice is None or invoice["status"] == "draft":
        return not_found()
    action = f"/i/{invoice_id}"
    body = _alert(problem) + _invoice_table(world, invoice)
    if invoice["status"] in ("open", "uncollectible"):
        body += f"<h2>Pay {money(invoice['amount_remaining'], invoice['currency'])}</h2>"
        if _waits_for_action(world, invoice_id):
            body += (
                f'<form method="post" action="{action}"><input type="hidden" name="confirm" '
                'value="yes"><button type="submit">Confirm with your bank</button></form>'
            )
        body += _card_form(action, "Pay")
    title = f"Invoice {invoice['number']}"
    return Page(status=422 if problem else 200, html=_html(title, body))


def _invoice_table(world: World, invoice: Document) -> str:
    currency = invoice["currency"]
    rows = "".join(
        f"<tr><td>{escape(line['description'] or '')}</td>"
        f'<td class="amount">{money(line["amount"], currency)}</td></tr>'
        for line in reversed(lines_of(world.store, invoice["id"]))
    )
    return (
        f"<p>{STATES[invoice['status']]}</p>"
        '<table><thead><tr><th scope="col">Item</th><th scope="col" class="amount">Amount</th>'
        f'</tr></thead><tbody>{rows}</tbody><tfoot><tr><th scope="row">Total</th>'
        f'<td class="amount">{money(invoice["total"], currency)}</td></tr></tfoot></table>'
        f'<p><a href="/i/{invoice["id"]}/pdf">Download as PDF</a></p>'
    )


def _waits_for_action(world: World, invoice_id: str) -> bool:
    for link in world.store.newest_first("invoice_payment", parent=invoice_id):
        intent = world.store.get("payment_intent", link["payment"]["payment_intent"])
        if link["status"] == "open" and intent and intent["status"] == "requires_action":
            return True
    return False


def invoice_submit(world: World, invoice_id: str, form: Mapping[str, str]) -> Page:
    """Pay with the card typed in, or confirm the payment that waits for it.

    The customer is present, so a card that asks for confirmation is confirmed in one go.
    """
    invoice = world.store.get("invoice", invoice_id)
    if invoice is None or invoice["status"] not in ("open", "uncollectible"):
        return invoice_show(world, invoice_id)
    try:
        if form.get("confirm"):
            collecting.action_done(world, invoice_id)
        else:
            typed = _typed(form)
            if isinstance(typed, str):
                return invoice_show(world, invoice_id, problem=typed)
            _pay(world, invoice, typed)
    except Problem as problem:
        return invoice_show(world, invoice_id, problem=problem.message)
    return Page(status=303, location=f"/i/{invoice_id}")


def _pay(world: World, invoice: Document, typed: _Typed) -> None:
    method = customers.method_create(
        world,
        card=typed.card,
        exp_month=typed.exp_month,
        exp_year=typed.exp_year,
        name=typed.name,
    )
    present = typed.card.outcome == cards.REQUIRES_ACTION
    outcome = cards.SUCCEEDS if present else typed.card.outcome
    collecting.attempt(world, invoice, method, outcome=outcome)


def invoice_pdf(world: World, invoice_id: str) -> Page:
    invoice = world.store.get("invoice", invoice_id)
    if invoice is None or invoice["status"] == "draft":
        return not_found()
    lines = [f"Invoice {invoice['number']}", f"For {invoice['customer_name'] or ''}", ""]
    for line in reversed(lines_of(world.store, invoice_id)):
        amount = money(line["amount"], invoice["currency"])
        lines.append(f"{amount:>20}   {line['description'] or ''}")
    lines += ["", f"Total {money(invoice['total'], invoice['currency'])}", invoice["status"]]
    return Page(pdf=text_pdf(lines))
