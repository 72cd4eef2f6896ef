"""One customer's calls through a real gateway process to a real upstream, down to the spool."""

import json
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest

from gateway.contracts.access_log import AccessLogEvent, Charge, Kind
from tests.factories.events import events_of
from tests.gateway_process import KEY, GatewayProcess, one_api_snapshot

pytestmark = pytest.mark.timeout(60)


@pytest.fixture
def gateway(tmp_path: Path, upstream_url: str) -> Iterator[GatewayProcess]:
    process = GatewayProcess(tmp_path / "data", one_api_snapshot(upstream_url, quota=5))
    process.start()
    yield process
    process.stop()


def spooled(gateway: GatewayProcess) -> list[AccessLogEvent]:
    paths = sorted((gateway.data / "spool").glob("*/*.seg"))
    return [event for path in paths for event in events_of(path)]


def test_a_call_is_answered_limited_and_recorded(gateway: GatewayProcess) -> None:
    status, headers, body = gateway.get("/v1/countries/de", key=KEY)
    assert status == 200
    assert json.loads(body)["name"] == "Germany"
    assert headers["x-ratelimit-limit"] == "5"
    assert headers["x-ratelimit-remaining"] == "4"
    (event,) = [e for e in spooled(gateway) if e.kind is Kind.REQUEST]
    assert event.charge is Charge.BILLED
    assert event.quantities == {"requests": Decimal(1)}
    assert event.subscription_id == "sub_1"
    assert event.path_template == "/v1/countries/{code}"


@pytest.mark.parametrize(
    ("path", "key", "status", "code"),
    [
        ("/v1/countries/de", "", 401, "credential_missing"),
        ("/v1/countries/de", KEY[:-1] + "!", 401, "credential_invalid"),
        ("/nowhere", KEY, 404, "route_not_found"),
        ("/v1/countries/../x", KEY, 400, "target_refused"),
        ("/v1/countries/a%2fb", KEY, 400, "target_refused"),
    ],
)
def test_refusals_before_a_credential(
    gateway: GatewayProcess, path: str, key: str, status: int, code: str
) -> None:
    answer, headers, body = gateway.get(path, key=key)
    assert answer == status
    assert headers["content-type"] == "application/problem+json"
    assert json.loads(body)["code"] == code
    assert not [e for e in spooled(gateway) if e.kind is Kind.REQUEST]


def test_the_quota_is_exact_and_free_outcomes_give_back(gateway: GatewayProcess) -> None:
    assert gateway.get("/v1/faults/500", key=KEY)[0] == 500
    statuses = [gateway.get("/v1/countries/fr", key=KEY)[0] for _ in range(7)]
    assert statuses == [200] * 5 + [429] * 2
    status, headers, body = gateway.get("/v1/countries/fr", key=KEY)
    assert status == 429
    assert json.loads(body)["code"] == "quota_exceeded"
    assert int(headers["retry-after"]) >= int(headers["x-ratelimit-reset"])
    thresholds = [e.percent for e in spooled(gateway) if e.kind is Kind.THRESHOLD]
    assert thresholds == [80, 95]


def test_own_usage_equals_the_headers(gateway: GatewayProcess) -> None:
    remaining = gateway.get("/v1/countries/fr", key=KEY)[1]["x-ratelimit-remaining"]
    status, _headers, body = gateway.get("/me/usage", key=KEY)
    assert status == 200
    assert f'"remaining":{remaining}' in body.decode()


def test_identity_headers_of_clients_are_dropped(gateway: GatewayProcess) -> None:
    status, headers, _ = gateway.get(
        "/v1/countries/fr", key=KEY, headers={"X-Consumer-Username": "someone-else"}
    )
    assert status == 200
    assert "x-consumer-username" not in headers


def test_a_clean_stop_seals_the_stream(tmp_path: Path, upstream_url: str) -> None:
    gateway = GatewayProcess(tmp_path / "data", one_api_snapshot(upstream_url))
    gateway.start()
    gateway.get("/v1/countries/fr", key=KEY)
    assert gateway.stop() == 0
    events = spooled(gateway)
    assert events[-1].kind is Kind.SEAL
    assert events[-1].final
    assert [e.seq for e in events] == list(range(1, len(events) + 1))
