"""The body of `GET /me/usage`: where a caller stands, in the numbers of the response headers."""

import json
from collections.abc import Sequence
from typing import Any

from gateway.core.charges import BucketCharge, ChargeRequest, Level
from gateway.core.decision import UsageLine, UsageQuery
from gateway.core.instants import InstantText
from gateway.core.limit_headers import standing
from gateway.core.quota import quota_state


def build_usage_report(
    query: UsageQuery, levels: Sequence[tuple[Level, ...]], *, now_us: int
) -> bytes:
    """Write the report as JSON: one entry per subscription, its meters and its rate limits."""
    write = InstantText()
    report = {
        "as_of": write(now_us),
        "environment": query.caller.who.environment,
        "consumer": query.caller.consumer.username,
        "usage": [
            _entry(line, line_levels, write)
            for line, line_levels in zip(query.lines, levels, strict=True)
        ],
    }
    return json.dumps(report, separators=(",", ":")).encode()


def _entry(line: UsageLine, levels: tuple[Level, ...], write: InstantText) -> dict[str, Any]:
    rows = list(zip(line.charges, line.quotas, levels, strict=True))
    meters = []
    for charge, quota, level in rows:
        if isinstance(charge, BucketCharge) or quota is None:
            continue
        meters.append(
            {
                "meter": charge.meter,
                **_numbers(charge, level),
                "used": level.used,
                "quota": charge.quota,
                "blocks": charge.limit is not None,
                "state": quota_state(quota, level.used).value,
                "window": quota.window.value,
                "window_start": write(charge.start_us),
                "window_end": write(charge.end_us),
            }
        )
    return {
        "subscription_id": line.entitlement.subscription_id,
        "plan": line.plan.plan,
        "plan_version": line.plan.version,
        "state": line.entitlement.state.value,
        "apis": list(line.apis),
        "meters": meters,
        "rate_limits": [_numbers(c, level) for c, quota, level in rows if quota is None],
    }


def _numbers(charge: ChargeRequest, level: Level) -> dict[str, Any]:
    report = standing(charge, level)
    return {
        "policy": report.name,
        "limit": report.limit,
        "remaining": report.remaining,
        "reset": report.reset_s,
    }
