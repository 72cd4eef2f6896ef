"""The hosted pages as a browser meets them: forms without script, a strict policy, test cards."""

import re
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass
from email.message import Message
from typing import Any

import pytest

from billing.errors import CardDeclinedError
from tests.integration.stripe_double.conftest import Bench, line


class _Stay(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *args: Any, **kwargs: Any) -> None:
        return None


@dataclass
class Seen:
    status: int
    text: str
    headers: Message


def visit(url: str, form: dict[str, str] | None = None) -> Seen:
    data = None if form is None else urllib.parse.urlencode(form).encode()
    opener = urllib.request.build_opener(_Stay)
    try:
        with opener.open(urllib.request.Request(url, data=data), timeout=5) as answer:  # noqa: S310
            return Seen(answer.status, answer.read().decode("latin-1"), answer.headers)
    except urllib.error.HTTPError as error:
        with error:
            return Seen(error.code, error.read().decode(), error.headers)


def session_of(bench: Bench, customer: str) -> str:
    made = bench.collector.checkout_create(
        key="setup",
        customer_id=customer,
        success_url="https://portal.example.test/ok?session={CHECKOUT_SESSION_ID}",
        cancel_url='https://portal.example.test/no?a="><script>',
    )
    return made.url


def test_a_card_is_left_and_the_browser_sent_back(http_bench: Bench) -> None:
    customer = http_bench.customer()
    url = session_of(http_bench, customer)
    page = visit(url)
    assert page.status == 200
    policy = page.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "form-action 'self' https://portal.example.test" in policy
    assert "<script" not in page.text
    assert " style=" not in page.text
    assert set(re.findall(r'<label for="(\w+)"', page.text)) == {"number", "expiry", "name"}
    done = visit(url, {"number": "4242 4242 4242 4242", "expiry": "01/31", "name": "Ada"})
    session = url.rsplit("/", 1)[1]
    assert (done.status, done.headers["Location"]) == (
        303,
        f"https://portal.example.test/ok?session={session}",
    )
    card = http_bench.collector.card_read(customer_id=customer)
    assert card is not None
    assert (card.last4, card.expires) == ("4242", "01/2031")
    assert visit(url).status == 410
    assert visit(url, {"number": "4242424242424242", "expiry": "01/31"}).status == 410


@pytest.mark.parametrize(
    ("number", "expiry"),
    [("4111111111111111", "12/34"), ("", "12/34"), ("4242424242424242", "13/34")],
)
def test_anything_but_a_test_card_is_told_so_and_nothing_is_kept(
    http_bench: Bench, number: str, expiry: str
) -> None:
    customer = http_bench.customer()
    page = visit(session_of(http_bench, customer), {"number": number, "expiry": expiry})
    assert page.status == 422
    assert 'role="alert"' in page.text
    assert "payment_method" not in http_bench.counts()


def test_an_open_invoice_is_shown_escaped_and_paid_on_its_page(http_bench: Bench) -> None:
    customer = http_bench.customer()
    draft = http_bench.draft(customer)
    http_bench.collector.line_create(
        key="k",
        customer_id=customer,
        remote_id=draft.id,
        line=line("a", 123456, text="<b>Calls</b> & more"),
    )
    assert visit(f"{http_bench.url}/i/{draft.id}").status == 404
    final = http_bench.collector.invoice_finalize(key="f", remote_id=draft.id)
    page = visit(final.hosted_url)
    assert "&lt;b&gt;Calls&lt;/b&gt; &amp; more" in page.text
    assert "1,234.56 USD" in page.text
    declined = visit(final.hosted_url, {"number": "4000000000000002", "expiry": "12/34"})
    assert (declined.status, "Your card was declined." in declined.text) == (422, True)
    assert http_bench.collector.invoice_read(remote_id=final.id).status == "open"
    assert visit(final.hosted_url, {"number": "4242424242424242", "expiry": "12/34"}).status == 303
    assert "This invoice is paid" in visit(final.hosted_url).text
    assert http_bench.collector.invoice_read(remote_id=final.id).amount_paid_minor == 123456


def test_a_payment_that_waits_for_the_customer_is_confirmed_there(http_bench: Bench) -> None:
    customer = http_bench.customer()
    http_bench.card(customer, "4000002500003155")
    final = http_bench.opened(customer, 500)
    with pytest.raises(CardDeclinedError):
        http_bench.collector.invoice_pay(key="p", remote_id=final.id)
    assert "Confirm with your bank" in visit(final.hosted_url).text
    assert visit(final.hosted_url, {"confirm": "yes"}).status == 303
    held = http_bench.collector.invoice_read(remote_id=final.id)
    assert (held.status, held.amount_paid_minor) == ("paid", 500)
    assert http_bench.counts()["payment_intent"] == 1


def test_the_pdf_is_one(http_bench: Bench) -> None:
    final = http_bench.opened(http_bench.customer(), 500)
    found = visit(final.pdf_url)
    assert found.headers["Content-Type"] == "application/pdf"
    assert found.text.startswith("%PDF-1.4")
    offset = int(found.text.rsplit("startxref\n", 1)[1].split("\n")[0])
    assert found.text[offset:].startswith("xref")


def test_what_is_not_there_is_a_404(http_bench: Bench) -> None:
    for path in ("/i/in_nothing", "/i/in_nothing/pdf", "/c/cs_nothing"):
        assert visit(http_bench.url + path).status == 404
