"""Our side of the bench: one worker, its real spool, thousands of keys in the snapshot."""

import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from gateway.adapters.spool_files import stream_dirs
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
from tests.bench.report import InvalidRunError
from tests.factories.events import seqs, written_lines
from tests.gateway_process import GatewayProcess

_KEYS_PER_ORGANIZATION = 10
_ENOUGH = 1_000_000_000


def build_keys(count: int) -> list[str]:
    """Build live keys, the same ones each time."""
    return [build_key("live", number.to_bytes(32, "big")) for number in range(count)]


def build_load_snapshot(keys: Sequence[str], *, upstream_url: str) -> dict[str, Any]:
    """Build a snapshot in which every key has a consumer, and ten share a subscription.

    The plan limits calls and their rate, and lets all of them pass.
    """
    now = datetime.fromtimestamp(time.time(), UTC)
    period = Interval(start=now - timedelta(days=1), end=now + timedelta(days=29))
    plan = PlanVersion(
        id="pv_1", plan="pro", version=1, quotas=(Quota(meter="requests", quota=_ENOUGH),),
        rate_limits=(RateLimit(name="burst", rate=1_000_000, per_s=1, burst=1_000_000),),
    )  # fmt: skip
    segment = Segment(id="seg_1", start=period.start, end=None, plan_version_id="pv_1")
    organizations = range((len(keys) - 1) // _KEYS_PER_ORGANIZATION + 1)
    owner = [number // _KEYS_PER_ORGANIZATION for number in range(len(keys))]
    objects: dict[str, list[Any]] = {
        "apis": [Api(id="api_1", name="world")],
        "upstreams": [Upstream(id="ups_1", targets={upstream_url: 1})],
        "routes": [
            Route(id="rte_1", api_id="api_1", name="countries", upstream_id="ups_1",
                  path="/v1/countries/{code}", methods=("GET",)),
        ],
        "plan_versions": [plan],
        "entitlements": [
            Entitlement(id=f"sub_{n}", organization_id=f"org_{n}", environment=Environment.LIVE,
                        subscription_id=f"sub_{n}", periods=(period,), segments=(segment,))
            for n in organizations
        ],
        "consumers": [
            Consumer(id=f"con_{n}", organization_id=f"org_{owner[n]}", username=f"app-{n}")
            for n in range(len(keys))
        ],
        "credentials": [
            Credential(id=f"key_{n}", consumer_id=f"con_{n}", environment=Environment.LIVE,
                       key_hash=key_hash(key))
            for n, key in enumerate(keys)
        ],
        "grants": [
            Grant(id=f"key_{n}:api_1", credential_id=f"key_{n}", api_id="api_1",
                  entitlement_id=f"sub_{owner[n]}")
            for n in range(len(keys))
        ],
    }  # fmt: skip
    return build_document(version=1, clock_offset_us=0, sandbox=False, objects=objects)


class TollwayGateway:
    """`python -m gateway`, one worker; counters in its memory, or in Redis when a URL is given."""

    def __init__(
        self, folder: Path, *, upstream_port: int, keys: Sequence[str], redis_url: str = ""
    ) -> None:
        self.name = "tollway, quota in Redis" if redis_url else "tollway"
        self._process = GatewayProcess(
            folder,
            build_load_snapshot(keys, upstream_url=f"http://127.0.0.1:{upstream_port}"),
            TOLLWAY_SPOOL_DURABILITY="process",
            **({"REDIS_URL": redis_url} if redis_url else {}),
        )
        self.port = self._process.port

    @property
    def pid(self) -> int:
        return self._process.pid

    def start(self) -> None:
        self._process.start()

    def stop(self) -> None:
        if self._process.stop() != 0:
            raise InvalidRunError("the gateway did not stop in order")

    def recorded(self) -> int:
        """Count the billed requests in its spool, once it is stopped; a gap is an invalid run."""
        return sum(map(_billed, stream_dirs(self._process.data / "spool")))


def _billed(stream_dir: Path) -> int:
    lines = written_lines(stream_dir)
    if seqs(lines) != list(range(1, len(lines) + 1)):
        raise InvalidRunError("the spool has gaps")
    return sum(
        b'"kind":"request"' in line and b'"charge":"billed"' in line and b'"status":200' in line
        for line in lines
    )
