"""From a plan version's rate limits to bucket charges."""

from collections.abc import Sequence

from gateway.contracts.snapshot import Credential, Entitlement, PlanVersion, RateLimit
from gateway.core.charges import BucketCharge


def bucket_charges(
    plan: PlanVersion, *, entitlement: Entitlement, credential: Credential, units: int = 1
) -> list[BucketCharge]:
    """Build one charge per rate limit of the plan, in its order; units of 0 only ask."""
    return [
        BucketCharge(
            key=f"{entitlement.id}|{limit.name}|{_key_value(limit, entitlement, credential)}",
            name=limit.name,
            rate=limit.rate,
            per_us=limit.per_s * 1_000_000,
            burst=limit.burst,
            units=units,
        )
        for limit in plan.rate_limits
    ]


def _key_value(limit: RateLimit, entitlement: Entitlement, credential: Credential) -> str:
    if limit.key == "consumer":
        return credential.consumer_id
    if limit.key == "credential":
        return credential.id
    return entitlement.id


def check_rate_limits(limits: Sequence[RateLimit]) -> str:
    """Return what is wrong with a plan's rate limits, or an empty string."""
    for limit in limits:
        if limit.rate < 1 or limit.per_s < 1 or limit.burst < 1:
            return f"rate limit {limit.name!r} needs rate, per_s and burst of at least 1"
        if limit.key not in ("subscription", "consumer", "credential"):
            return f"rate limit {limit.name!r} has an unknown key {limit.key!r}"
    if len({limit.name for limit in limits}) != len(limits):
        return "two rate limits share a name"
    return ""
