"""The outside of a portal for browser tests: a ClickHouse engine and Stripe's double, both real.

Both run for the whole package and are reached as in production: over HTTP, by the settings.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

from django.conf import settings
from django.test import override_settings

from billing.models import CustomerAccount
from billing.payments.sandbox import cards, checkout
from billing.payments.sandbox.double import Double
from billing.payments.sandbox.server import build_app
from billing.payments.sandbox.store import Store
from billing.payments.stripe_adapter import _collector_of, collector
from billing.services.accounts import account_ensure, card_refresh
from billing.services.invoices import advance_due_list, invoice_advance
from billing.services.issue import invoice_issue, issue_due_list
from billing.services.payments import collect_due_list, payment_collect
from metering.clickhouse import ClickHouse
from portal.clock import wall_now
from portal.models import Organization
from tests.clickhouse import embedded_with_schema
from tests.factories.access_log import StreamWriter
from tests.integration.stripe_double.conftest import KEY, served


@dataclass(frozen=True)
class Outside:
    """What the portal talks to; `usage_url` is the writer's, for laying traffic down."""

    double: Double
    stripe_url: str
    usage_url: str

    def traffic_store(self, stream: StreamWriter) -> None:
        """Put a stream's events where the sink would have put them."""
        client = ClickHouse(self.usage_url)
        client.insert_lines("access_log", stream.payload(), token=stream.stream)
        client.close()

    def card_leave(
        self, organization: Organization, *, number: str = "4242424242424242"
    ) -> CustomerAccount:
        """Do what a customer does on the hosted card page, and let the portal look."""
        wall = wall_now()
        account = account_ensure(organization=organization, collector=collector(), now=wall)
        session = collector().checkout_create(
            key=f"{organization.pk}:card:{number}",
            customer_id=account.stripe_customer_id,
            success_url=f"{settings.ENV.portal_url}/",
            cancel_url=f"{settings.ENV.portal_url}/",
        )
        known = cards.card_of(number)
        assert known is not None
        with self.double.store.transaction():
            checkout.complete(
                self.double.world(), session.id, card=known, exp_month=12, exp_year=2034
            )
        return card_refresh(account=account, collector=collector(), now=wall)


@contextmanager
def running() -> Iterator[Outside]:
    """Run both and point the settings at them."""
    store = Store(path=None, salt="Browser")
    double = Double(store, secret_key=KEY)
    with embedded_with_schema() as engine, served(build_app(double)) as url:
        double.public_url = url
        env = settings.ENV.model_copy(
            update={"stripe_api_base": url, "clickhouse_url": engine.url_readonly}
        )
        _collector_of.cache_clear()
        with override_settings(ENV=env):
            yield Outside(double, url, engine.url_writer)
        _collector_of.cache_clear()
    store.close()


def work(now: datetime, *, advance: bool = True) -> None:
    """Do what the worker's scan would do at an instant: advance fees, issue, collect."""
    wall = wall_now()
    if advance:
        for period_id in advance_due_list(now=now):
            invoice_advance(period_id=period_id, now=now)
    for invoice_id in issue_due_list(wall=wall):
        invoice_issue(invoice_id=invoice_id, collector=collector(), now=now, wall=wall)
    for invoice_id in collect_due_list(now=now):
        payment_collect(
            invoice_id=invoice_id,
            collector=collector(),
            dunning_days=settings.ENV.dunning_days,
            now=now,
            wall=wall,
        )
