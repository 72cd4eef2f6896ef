"""Two workers on Redis, and the shipper on Kafka: the production topology of one node."""

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
from redis import Redis

from deploy.servers import start_redis
from gateway.adapters.spool_files import stream_dirs
from gateway.contracts.access_log import Charge, Kind
from tests.factories.events import events, synced_lines
from tests.gateway_process import KEY, ROOT, GatewayProcess, one_api_snapshot
from tests.integration.gateway.shipper.topic import Topic
from tests.servers import start_or_skip
from tests.waiting import eventually_sync

LIMIT = 100


@pytest.fixture
def own_redis_url(tmp_path: Path) -> Iterator[str]:
    """An empty Redis: the gateway's keys have no prefix of this test's own."""
    server = start_or_skip("redis", start_redis, tmp_path / "redis")
    yield server.url
    server.stop()


@contextmanager
def shipper(gateway: GatewayProcess) -> Iterator[None]:
    command = [sys.executable, "-m", "gateway", "shipper"]
    process = subprocess.Popen(command, cwd=ROOT, env=gateway.environment)  # noqa: S603 - our own
    try:
        yield
    finally:
        process.terminate()
        assert process.wait(timeout=30) == 0


@pytest.mark.timeout(90)
def test_dead_streams_are_settled_again_when_redis_has_lost_its_data(
    tmp_path: Path, upstream_url: str, own_redis_url: str
) -> None:
    gateway = GatewayProcess(
        tmp_path / "data", one_api_snapshot(upstream_url, quota=LIMIT), REDIS_URL=own_redis_url
    )
    gateway.start()
    for _ in range(3):
        gateway.get("/v1/countries/de", key=KEY)
    gateway.kill()
    gateway.start()
    try:
        with Redis.from_url(own_redis_url) as client:
            client.flushall()
        eventually_sync(lambda: used(gateway) == 3, within_s=20)
        gateway.get("/v1/countries/de", key=KEY)
        assert used(gateway) == 4
    finally:
        gateway.stop()


def used(gateway: GatewayProcess) -> int:
    report = json.loads(gateway.get("/me/usage", key=KEY)[2])
    return int(report["usage"][0]["meters"][0]["used"])


def both_workers_ready(gateway: GatewayProcess) -> bool:
    try:
        ports = (gateway.private_port, gateway.private_port + 1)
        return all(gateway.get("/readyz", port=port)[0] == 200 for port in ports)
    except OSError:
        return False


@pytest.mark.timeout(120)
def test_two_workers_share_one_quota_and_ship_every_event(
    tmp_path: Path, upstream_url: str, own_redis_url: str, kafka: str
) -> None:
    gateway = GatewayProcess(
        tmp_path / "data", one_api_snapshot(upstream_url, quota=LIMIT),
        TOLLWAY_GATEWAY_WORKERS="2", REDIS_URL=own_redis_url, KAFKA_BOOTSTRAP_SERVERS=kafka,
    )  # fmt: skip
    gateway.start()
    eventually_sync(lambda: both_workers_ready(gateway), within_s=20)
    with ThreadPoolExecutor(16) as clients:
        answers = clients.map(
            lambda _: gateway.get("/v1/countries/de", key=KEY)[0], range(2 * LIMIT)
        )
        assert Counter(answers) == {200: LIMIT, 429: LIMIT}
    assert gateway.stop() == 0

    spool_dir = tmp_path / "data" / "spool"
    streams = [path.name for path in stream_dirs(spool_dir)]
    topic = Topic(kafka, "tollway.access-log.v1")
    with shipper(gateway):
        topic.read_until(lambda: topic.has_all_of(spool_dir, *streams))
    shipped = [event for stream in streams for event in events(topic.lines[stream])]
    billed = [e for e in shipped if e.kind is Kind.REQUEST and e.charge is Charge.BILLED]
    assert len(streams) == 2
    assert len(billed) == LIMIT
    for stream in streams:
        assert topic.lines[stream] == synced_lines(spool_dir / stream)

    gateway.start()  # settles the two streams: nothing is counted twice, nothing is lost
    status, headers, _ = gateway.get("/v1/countries/de", key=KEY)
    assert (status, headers["x-ratelimit-remaining"]) == (429, "0")
    assert gateway.stop() == 0
