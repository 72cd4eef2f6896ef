"""The collector that the operations reach in these tests: Stripe's, on the double, in process."""

from collections.abc import Iterator

import pytest

from billing.api import corrections, finance, subscriptions
from billing.payments.sandbox.double import Double
from billing.payments.sandbox.store import Store
from tests.integration.stripe_double.conftest import KEY, Bench, in_process


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    store = Store(path=None, salt="Test")
    try:
        found = in_process(Double(store, secret_key=KEY))
        for module in (corrections, finance, subscriptions):
            monkeypatch.setattr(module, "collector", lambda: found.collector)
        yield found
    finally:
        store.close()
