"""A real gateway process for tests: a data directory, a snapshot on disk, free loopback ports."""

import http.client
import json
import os
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from deploy.servers import free_port
from gateway.contracts.api_keys import build_key, key_hash
from gateway.contracts.snapshot import (
    Api,
    Consumer,
    Credential,
    Entitlement,
    Environment,
    Grant,
    Interval,
    PlanVersion,
    Quota,
    RateLimit,
    Route,
    Segment,
    Upstream,
    build_document,
)

ROOT = Path(__file__).resolve().parents[1]
KEY = build_key("live", bytes(range(32)))


def one_api_snapshot(
    upstream_url: str, *, quota: int = 1_000_000, burst: int = 1_000_000, version: int = 1
) -> dict[str, Any]:
    """Build a snapshot with one API, one customer and one live key (`KEY`)."""
    now = datetime.fromtimestamp(time.time(), UTC)
    period = Interval(start=now - timedelta(days=1), end=now + timedelta(days=29))
    objects: dict[str, list[Any]] = {
        "apis": [Api(id="api_1", name="world")],
        "upstreams": [Upstream(id="ups_1", targets={upstream_url: 1})],
        "routes": [
            Route(id="rte_1", api_id="api_1", name="countries", upstream_id="ups_1",
                  path="/v1/countries/{code}", methods=("GET",)),
            Route(id="rte_2", api_id="api_1", name="faults", upstream_id="ups_1",
                  path="/v1/faults/{status}", methods=("GET",)),
        ],
        "consumers": [Consumer(id="con_1", organization_id="org_1", username="app")],
        "credentials": [
            Credential(id="key_1", consumer_id="con_1", environment=Environment.LIVE,
                       key_hash=key_hash(KEY)),
        ],
        "plan_versions": [
            PlanVersion(
                id="pv_1", plan="starter", version=1,
                quotas=(Quota(meter="requests", quota=quota),),
                rate_limits=(RateLimit(name="burst", rate=1, per_s=60, burst=burst),),
            )
        ],
        "entitlements": [
            Entitlement(
                id="sub_1", organization_id="org_1", environment=Environment.LIVE,
                subscription_id="sub_1", periods=(period,),
                segments=(Segment(id="seg_1", start=period.start, end=None,
                                  plan_version_id="pv_1"),),
            )
        ],
        "grants": [
            Grant(id="key_1:api_1", credential_id="key_1", api_id="api_1", entitlement_id="sub_1")
        ],
    }  # fmt: skip
    return build_document(version=version, clock_offset_us=0, sandbox=False, objects=objects)


class GatewayProcess:
    """Starts, kills and stops a gateway on one data directory; the port stays the same."""

    def __init__(self, data: Path, snapshot: dict[str, Any], **environment: str) -> None:
        self.data, self.port, self.private_port = data, free_port(), free_port()
        folder = data / "gateway"
        folder.mkdir(parents=True)
        (folder / "snapshot.json").write_text(json.dumps(snapshot))
        self.environment = {
            **os.environ,
            "TOLLWAY_MODE": "embedded",
            "TOLLWAY_DATA_DIR": str(data),
            "TOLLWAY_GATEWAY_TOKEN": "token",
            "TOLLWAY_PORTAL_URL": f"http://127.0.0.1:{free_port()}",  # away: starts from disk
            "TOLLWAY_GATEWAY_PORT": str(self.port),
            "TOLLWAY_GATEWAY_PRIVATE_PORT": str(self.private_port),
            **environment,
        }
        self._process: subprocess.Popen[bytes] | None = None

    def launch(self) -> subprocess.Popen[bytes]:
        """Start it, and do not wait until it serves."""
        with (self.data / "gateway.log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "gateway"], cwd=ROOT, env=self.environment,
                stdout=log, stderr=log,
            )  # fmt: skip
        return self._process

    def start(self) -> None:
        process = self.launch()
        deadline = time.monotonic() + 20
        while not self._ready():
            if process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError((self.data / "gateway.log").read_text()[-3000:])
            time.sleep(0.05)

    def _ready(self) -> bool:
        try:
            return self.get("/readyz", port=self.private_port)[0] == 200
        except (OSError, http.client.HTTPException):
            return False

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def stop(self) -> int:
        """Ask it to stop and return its exit code."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(timeout=40)

    def get(
        self, path: str, *, key: str = "", port: int = 0, headers: dict[str, str] | None = None
    ) -> tuple[int, dict[str, str], bytes]:
        """Send one request on a connection of its own."""
        connection = http.client.HTTPConnection("127.0.0.1", port or self.port, timeout=10)
        try:
            sent = {**(headers or {}), **({"X-API-Key": key} if key else {})}
            connection.request("GET", path, headers=sent)
            response = connection.getresponse()
            body = response.read()
            found = {name.lower(): value for name, value in response.getheaders()}
            return response.status, found, body
        finally:
            connection.close()
