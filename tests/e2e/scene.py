"""A lively organization for the browser: keys in every state, a fortnight of requests."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from gateway.contracts.access_log import Charge
from portal.clock import now
from portal.models import Organization, Role, User
from portal.services.credentials import credential_revoke, credential_rotate
from portal.services.organizations import invitation_create
from tests.factories.portal import api, key, member, organization
from tests.fakes.request_log import FakeRequestLog


@dataclass(frozen=True)
class Scene:
    organization: Organization
    owner: User
    log: FakeRequestLog
    live_key: str
    old_key: str
    request_id: str


_OUTCOMES = (
    (200, "allow", Charge.BILLED, "2xx"),
    (200, "allow", Charge.BILLED, "2xx"),
    (200, "allow", Charge.BILLED, "2xx"),
    (304, "allow", Charge.BILLED, "3xx"),
    (404, "allow", Charge.COUNTED, "4xx"),
    (200, "allow", Charge.BILLED, "2xx"),
    (429, "rate_limited", Charge.FREE, "refused"),
    (200, "allow", Charge.BILLED, "2xx"),
    (502, "allow", Charge.FREE, "5xx"),
)


def _traffic(log: FakeRequestLog, org: Organization, keys: list[str], at: datetime) -> str:
    """Record some 900 requests over 14 days; weekends are quiet. Return the newest id."""
    newest = ""
    for day in range(14, -1, -1):
        midday = at - timedelta(days=day)
        busy = 12 if midday.weekday() >= 5 else 70
        for n in range(busy):
            status, decision, charge, reason = _OUTCOMES[(n * 7 + day) % len(_OUTCOMES)]
            newest = log.add(
                org.pk,
                at=midday - timedelta(seconds=17 * n + 3),
                credential_id=keys[n % len(keys)],
                status=status,
                decision=decision,
                charge=charge,
                reason=reason,
                route=("countries", "currencies", "format", "languages")[n % 4],
                latency_us=8_000 + 791 * n % 60_000,
            ).request_id
    return newest


def build_scene() -> Scene:
    at = now()
    long_ago = at - timedelta(days=40)
    org = organization(name="Northwind Traders", slug="northwind")
    owner = member(org, role=Role.OWNER, email="ada@northwind.example")
    member(org, role=Role.DEVELOPER, email="grace@northwind.example")
    member(org, role=Role.BILLING, email="accounts@northwind.example")
    invitation_create(actor=owner, email="linus@northwind.example", role=Role.DEVELOPER, now=at)
    api()
    live = key(org, environment="live", name="Production server", now=long_ago).credential
    worker = key(org, environment="live", name="Nightly export", now=long_ago).credential
    key(
        org,
        environment="live",
        name="Contractor",
        now=long_ago,
        expires_at=at + timedelta(days=3),
    )
    test = key(org, name="Test key", now=long_ago).credential
    gone = key(org, environment="live", name="Old laptop", now=long_ago).credential
    credential_revoke(credential=gone, actor=owner.user, now=at)
    credential_rotate(credential=worker, overlap=timedelta(days=1), actor=None, now=at)
    log = FakeRequestLog(now=at)
    request_id = _traffic(log, org, [live.pk, worker.pk], at)
    log.add(
        org.pk,
        at=at - timedelta(seconds=4),
        environment="test",
        credential_id=test.pk,
        charge=Charge.FREE,
        reason="test:2xx",
    )
    return Scene(org, owner.user, log, live.pk, worker.pk, request_id)
