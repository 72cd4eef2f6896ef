"""Small snapshots for gateway tests: one API, one organization, one key of each environment."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final

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
    Snapshot,
    Upstream,
    build_document,
    parse_document,
)

NOW: Final = datetime(2026, 3, 10, 12, 0, tzinfo=UTC)
PERIOD: Final = Interval(
    start=datetime(2026, 3, 1, tzinfo=UTC), end=datetime(2026, 4, 1, tzinfo=UTC)
)
LIVE_KEY: Final = build_key("live", bytes(range(16)))
TEST_KEY: Final = build_key("test", bytes(range(1, 17)))
SANDBOX_KEY: Final = build_key("sbx", bytes(range(2, 18)))


def build_route(**changes: Any) -> Route:
    """Build the route that most tests call: `/v1/*`."""
    route = Route(
        id="route-1", api_id="api-1", name="everything", upstream_id="upstream-1", path="/v1/*"
    )
    return replace(route, **changes)


def build_plan(**changes: Any) -> PlanVersion:
    plan = PlanVersion(
        id="plan-1",
        plan="pro",
        version=1,
        quotas=(Quota(meter="requests", quota=1000),),
        rate_limits=(RateLimit(name="burst", rate=10, per_s=1, burst=50),),
    )
    return replace(plan, **changes)


def build_snapshot(
    *, upstream_url: str = "http://127.0.0.1:1", routes: list[Route] | None = None,
    plan: PlanVersion | None = None, upstream: dict[str, Any] | None = None,
    entitlement: dict[str, Any] | None = None, credential: dict[str, Any] | None = None,
    version: int = 1, offset_us: int = 0, sandbox: bool = False, **kinds: list[Any],
) -> Snapshot:  # fmt: skip
    """Build a snapshot through its document, so that every test also checks the contract."""
    plan = plan or build_plan()
    segment = Segment(id="seg-1", start=PERIOD.start, end=None, plan_version_id=plan.id)
    live = Entitlement(
        id="sub-1", organization_id="org-1", environment=Environment.LIVE, segments=(segment,),
        subscription_id="sub-1", periods=(PERIOD,), upgrade_url="https://portal.example/upgrade",
    )  # fmt: skip
    live_credential = Credential(
        id="cred-live", consumer_id="consumer-1", environment=Environment.LIVE,
        key_hash=key_hash(SANDBOX_KEY if sandbox else LIVE_KEY),
    )  # fmt: skip
    objects: dict[str, list[Any]] = {
        "apis": [Api(id="api-1", name="weather")],
        "upstreams": [
            replace(
                Upstream(id="upstream-1", targets={upstream_url: 1}), **(upstream or {})
            )
        ],
        "routes": routes if routes is not None else [build_route()],
        "consumers": [
            Consumer(id="consumer-1", organization_id="org-1", username="acme", custom_id="42")
        ],
        "credentials": [
            replace(live_credential, **(credential or {})),
            Credential(
                id="cred-test", consumer_id="consumer-1", environment=Environment.TEST,
                key_hash=key_hash(TEST_KEY),
            ),
        ],
        "plan_versions": [plan],
        "entitlements": [
            replace(live, **(entitlement or {})),
            Entitlement(
                id="test:org-1", organization_id="org-1", environment=Environment.TEST,
                segments=(replace(segment, id="seg-test"),), periods=(PERIOD,),
            ),
        ],
        "grants": [
            Grant(
                id="cred-live:api-1", credential_id="cred-live", api_id="api-1",
                entitlement_id="sub-1",
            ),
            Grant(
                id="cred-test:api-1", credential_id="cred-test", api_id="api-1",
                entitlement_id="test:org-1",
            ),
        ],
    }  # fmt: skip
    document = build_document(
        version=version, clock_offset_us=offset_us, sandbox=sandbox, objects={**objects, **kinds}
    )
    return parse_document(document)
