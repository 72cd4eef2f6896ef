"""A killed parent leaves no workers behind: they stop in order, and the next start goes on."""

from pathlib import Path

import psutil
import pytest

from gateway.adapters.spool_files import ENDED_NAME, stream_dirs
from tests.gateway_process import KEY, GatewayProcess, one_api_snapshot
from tests.waiting import eventually_sync


@pytest.mark.timeout(90)
def test_workers_stop_when_their_parent_is_killed(
    request: pytest.FixtureRequest, tmp_path: Path, upstream_url: str, redis_url: str
) -> None:
    gateway = GatewayProcess(
        tmp_path / "data", one_api_snapshot(upstream_url),
        TOLLWAY_GATEWAY_WORKERS="2", REDIS_URL=redis_url,
    )  # fmt: skip
    gateway.start()
    request.addfinalizer(gateway.stop)
    ports = (gateway.private_port, gateway.private_port + 1)
    eventually_sync(lambda: all(is_ready(gateway, port) for port in ports), within_s=20)
    workers = psutil.Process(gateway.pid).children()
    assert len(workers) == 2
    gateway.kill()
    gateway.start()  # at once, as a supervisor does: it waits for the private ports
    eventually_sync(lambda: all(is_ready(gateway, port) for port in ports), within_s=20)
    eventually_sync(lambda: all(is_gone(worker) for worker in workers), within_s=20)
    ended = [path for path in stream_dirs(gateway.data / "spool") if (path / ENDED_NAME).exists()]
    assert len(ended) == 2
    assert gateway.get("/v1/countries/de", key=KEY)[0] == 200


def is_gone(process: psutil.Process) -> bool:
    try:
        return bool(process.status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


def is_ready(gateway: GatewayProcess, port: int) -> bool:
    try:
        return gateway.get("/readyz", port=port)[0] == 200
    except OSError:
        return False
