"""How the client is built: every pitfall of the library that has a setting."""

import logging
from typing import Any

import pytest
import stripe

from billing.payments.port import Collector, CollectorBooks
from billing.payments.stripe_adapter import TIMEOUT_S, StripeCollector, client_build, collector


class Recorder(stripe.HTTPClient):
    """Keeps where requests would have gone, and loses each of them."""

    name = "recorder"

    def __init__(self) -> None:
        super().__init__()
        self.urls: list[str] = []
        self.keys: list[str] = []

    def request(self, method: str, url: str, headers: Any, post_data: Any = None, **_: Any) -> Any:
        self.urls.append(url)
        self.keys.append(headers["Idempotency-Key"])
        lost = stripe.APIConnectionError("lost", should_retry=True)  # type: ignore[no-untyped-call]
        raise lost

    def _sleep_time_seconds(self, *_: Any, **__: Any) -> float:
        return 0


@pytest.mark.parametrize(
    ("api_base", "host"),
    [("http://stripe.test:9/", "http://stripe.test:9/v1/"), ("", "https://api.")],
)
def test_requests_go_where_the_setting_says(api_base: str, host: str) -> None:
    recorder = Recorder()
    client = client_build(secret_key="sk_test_x", api_base=api_base, http_client=recorder)
    with pytest.raises(stripe.APIConnectionError):
        client.v1.customers.create({"name": "A"}, {"idempotency_key": "k"})
    assert all(url.startswith(host) for url in recorder.urls)
    assert recorder.keys == ["k", "k", "k"], "two retries of its own, all under the caller's key"


def test_the_meter_stream_moves_along() -> None:
    recorder = Recorder()
    client = client_build(
        secret_key="sk_test_x", api_base="http://stripe.test:9", http_client=recorder, retries=0
    )
    with pytest.raises(stripe.APIConnectionError):
        client.v2.billing.meter_event_stream.create({"events": []}, {"idempotency_key": "k"})
    assert recorder.urls == ["http://stripe.test:9/v2/billing/meter_event_stream"]


def test_nothing_is_told_to_the_side(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stripe, "enable_telemetry", True)
    client_build(secret_key="sk_test_x")
    assert stripe.enable_telemetry is False
    assert logging.getLogger("stripe").level == logging.WARNING
    assert TIMEOUT_S == 10


def test_a_process_has_one_collector_and_a_fork_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    first = collector()
    assert first is collector()
    monkeypatch.setattr("os.getpid", lambda: -1)
    assert collector() is not first


def test_it_is_both_protocols() -> None:
    made = StripeCollector(client=client_build(secret_key="sk_test_x"), webhook_secrets=[])
    steps: Collector = made
    books: CollectorBooks = made
    assert {type(steps), type(books)} == {StripeCollector}
