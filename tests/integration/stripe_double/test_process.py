"""The double as a process: starts alone, takes orders, survives `kill -9` with its state."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from billing.errors import CollectorUnavailableError
from billing.payments.sandbox.double import Double
from billing.payments.sandbox.store import Store
from billing.payments.stripe_adapter import StripeCollector, client_build
from tests.integration.stripe_double.conftest import KEY, SECRET, bench_on, line

ROOT = Path(__file__).parents[3]
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def started(data: Path, port: int) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    url = f"http://127.0.0.1:{port}"
    secrets = data / "given_key"
    secrets.write_text(KEY)
    environ = {**os.environ, "STRIPE_SECRET_KEY_FILE": str(secrets)}
    environ.pop("STRIPE_SECRET_KEY", None)
    process = subprocess.Popen(  # noqa: S603 - our own interpreter
        [
            *(sys.executable, "-m", "billing.payments.sandbox"),
            *("--port", str(port), "--data", str(data), "--webhook-secret", SECRET),
        ],
        cwd=ROOT,
        env=environ,
    )
    try:
        for _ in range(100):
            try:
                urllib.request.urlopen(f"{url}/healthz", timeout=1).close()  # noqa: S310
                break
            except OSError:
                assert process.poll() is None
                time.sleep(0.1)
        yield process, url
    finally:
        process.kill()
        process.wait(10)


def order(url: str, verb: str, path: str, body: Any = None, key: str = KEY) -> Any:
    request = urllib.request.Request(  # noqa: S310
        f"{url}/_double/{path}",
        method=verb,
        data=None if body is None else json.dumps(body).encode(),
        headers={"Authorization": f"Bearer {key}"},
    )
    with urllib.request.urlopen(request, timeout=5) as answer:  # noqa: S310
        return json.load(answer)


def collector_at(url: str) -> StripeCollector:
    client = client_build(secret_key=KEY, api_base=url, retries=0)
    return StripeCollector(client=client, webhook_secrets=[SECRET])


def test_state_survives_a_kill_and_a_killed_writer_goes_on(tmp_path: Path) -> None:
    port = free_port()
    with started(tmp_path, port) as (process, url):
        collector = collector_at(url)
        bench = bench_on(Double(Store(path=None)), client_build(secret_key=KEY, api_base=url))
        customer = bench.customer()
        draft = bench.draft(customer, 100, 200)
        order(url, "POST", "faults", {"route": "POST /v1/invoiceitems", "kind": "answer_lost"})
        with pytest.raises(CollectorUnavailableError):
            collector.line_create(
                key="late", customer_id=customer, remote_id=draft.id, line=line("late", 300)
            )
        process.send_signal(signal.SIGKILL)
        process.wait(10)
        with pytest.raises(CollectorUnavailableError):
            collector.invoice_read(remote_id=draft.id)
    with started(tmp_path, port) as (_, url):
        collector.line_create(
            key="late", customer_id=customer, remote_id=draft.id, line=line("late", 300)
        )
        found = collector.invoice_find(customer_id=customer, invoice_id="inv_1")
        assert found is not None
        assert (found.id, found.total_minor) == (draft.id, 600)
        assert order(url, "GET", "state")["objects"]["invoiceitem"] == 3


def test_orders_are_taken_with_the_key_alone(tmp_path: Path) -> None:
    with started(tmp_path, free_port()) as (_, url):
        with pytest.raises(urllib.error.HTTPError) as caught:
            order(url, "GET", "state", key="sk_test_other")
        assert caught.value.code == 401
        caught.value.close()
        collector = collector_at(url)
        order(url, "POST", "clock", {"now": 1_900_000_000})
        assert order(url, "GET", "state")["now"] == 1_900_000_000
        order(url, "POST", "clock", {"now": None})
        order(url, "POST", "webhooks", {"url": "http://127.0.0.1:9/hook", "duplicates": 1})
        customer = collector.customer_create(
            key="k", organization_id="o", name="A", email="a@example.test"
        )
        session = collector.checkout_create(
            key="s",
            customer_id=customer,
            success_url="https://a.test/",
            cancel_url="https://a.test/no",
        )
        order(url, "POST", f"checkout/{session.id}", {"number": "4242424242424242"})
        card = collector.card_read(customer_id=customer)
        assert card is not None
        order(url, "POST", "cards", {"outcomes": ["lost_card"]})
        order(
            url,
            "POST",
            "cards",
            {"payment_method": card.payment_method_id, "outcome": "expired_card"},
        )
        state = order(url, "GET", "state")
        assert (state["webhooks"]["duplicates"], state["webhooks"]["secret"]) == (1, "")
        event = collector.event_list(created_from=LONG_AGO)[0]
        order(url, "POST", f"events/{event.id}/replay", {})
        order(url, "POST", "keys/forget", {})
        paths = [r["path"] for r in order(url, "GET", "requests")["requests"]]
        assert "/v1/checkout/sessions" in paths
        for verb, path, body in (
            ("POST", "faults", {"route": "POST /v1/nothing", "kind": "error"}),
            ("POST", "faults", {"route": "*", "kind": "error", "count": 0}),
            ("POST", "cards", {"outcomes": ["maybe"]}),
            ("POST", "webhooks", {"colour": "red"}),
            ("POST", "nothing", {}),
        ):
            with pytest.raises(urllib.error.HTTPError) as caught:
                order(url, verb, path, body)
            assert caught.value.code in (400, 404)
            caught.value.close()


def test_a_live_key_is_refused_at_start_in_one_sentence(tmp_path: Path) -> None:
    environ = {**os.environ, "STRIPE_SECRET_KEY": "sk_live_x"}
    run = subprocess.run(  # noqa: S603 - our own interpreter
        [sys.executable, "-m", "billing.payments.sandbox", "--data", tmp_path],
        cwd=ROOT,
        env=environ,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 1
    assert run.stderr.strip() == (
        "STRIPE_SECRET_KEY is a live key: the double takes test keys alone."
    )


def test_it_starts_without_django() -> None:
    code = (
        "import sys, billing.payments.sandbox.__main__;"
        "print([n for n in ('django', 'celery') if n in sys.modules])"
    )
    run = subprocess.run(  # noqa: S603 - our own interpreter
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert run.stdout.strip() == "[]"


def test_secrets_that_nobody_gave_are_made_once_for_the_owner_alone(tmp_path: Path) -> None:
    environ = {k: v for k, v in os.environ.items() if not k.startswith("STRIPE_")}
    for _ in range(2):
        code = (
            "import sys, os; from billing.payments.sandbox.__main__ import _arguments, build;"
            "d = build(_arguments(['--data', sys.argv[1]]), dict(os.environ));"
            "print(d.secret_key); d.store.close()"
        )
        run = subprocess.run(  # noqa: S603 - our own interpreter
            [sys.executable, "-c", code, tmp_path],
            cwd=ROOT,
            env=environ,
            capture_output=True,
            text=True,
            check=True,
        )
        key = (tmp_path / "secret_key").read_text()
        assert run.stdout.strip() == key
        assert key.startswith("sk_test_")
    for name in ("secret_key", "webhook_secret"):
        assert (tmp_path / name).stat().st_mode & 0o777 == 0o600
