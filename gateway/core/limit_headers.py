"""The response headers that tell a caller where it stands (`gateway.md` §10).

`X-RateLimit-*` and `RateLimit` report the tightest policy, `RateLimit-Policy` names them all
(draft-ietf-httpapi-ratelimit-headers), `Tollway-Quota-State` the graduated state.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from gateway.contracts.snapshot import Quota
from gateway.core.charges import BucketCharge, ChargeRequest, Level
from gateway.core.quota import QuotaState, quota_state

_ORDER = (QuotaState.INCLUDED, QuotaState.BUFFER, QuotaState.OVERAGE)


@dataclass(frozen=True, slots=True)
class Standing:
    """One policy as reported, everywhere alike: headers and `/me/usage`."""

    name: str
    limit: int
    remaining: int
    reset_s: int


def policy_name(charge: ChargeRequest) -> str:
    """Name a policy: the rate limit's name, or the meter with the kind of its window."""
    if isinstance(charge, BucketCharge):
        return charge.name
    return charge.key.split("|")[1].replace("/", "-")


def policy_limit(charge: ChargeRequest) -> int:
    if isinstance(charge, BucketCharge):
        return charge.burst
    return charge.quota if charge.limit is None else charge.limit


def whole_seconds(duration_us: int) -> int:
    """Round a duration up to whole seconds.

    >>> whole_seconds(1), whole_seconds(1_000_000), whole_seconds(-5)
    (1, 1, 0)
    """
    return max(0, -(-duration_us // 1_000_000))


def standing(charge: ChargeRequest, level: Level) -> Standing:
    return Standing(
        policy_name(charge), policy_limit(charge), level.remaining, whole_seconds(level.reset_us)
    )


def quoted(text: str) -> str:
    """Write a structured-field string (RFC 9651): printable ASCII, quote and backslash escaped.

    >>> quoted('a"b\\u00e9')
    '"a\\\\"b?"'
    """
    safe = "".join(c if " " <= c <= "~" else "?" for c in text)
    return '"' + safe.replace("\\", "\\\\").replace('"', '\\"') + '"'


def policy_line(charges: Sequence[ChargeRequest]) -> bytes:
    """Build the `RateLimit-Policy` line, CRLF included; empty without a charge."""
    if not charges:
        return b""
    items = []
    for charge in charges:
        if isinstance(charge, BucketCharge):
            window_us = charge.burst * charge.per_us // charge.rate
        else:
            window_us = charge.end_us - charge.start_us
        window_s = max(1, whole_seconds(window_us))
        items.append(f"{quoted(policy_name(charge))};q={policy_limit(charge)};w={window_s}")
    return f"RateLimit-Policy: {','.join(items)}\r\n".encode()


def tightest(charges: Sequence[ChargeRequest], levels: Sequence[Level]) -> int:
    """Return the index of the policy with the least left; one that never refuses comes last."""

    def looseness(index: int) -> tuple[bool, int, int]:
        charge, level = charges[index], levels[index]
        never = not isinstance(charge, BucketCharge) and charge.limit is None
        return never, level.remaining, -level.reset_us

    return min(range(len(charges)), key=looseness)


def level_lines(
    charges: Sequence[ChargeRequest], levels: Sequence[Level], quotas: Sequence[Quota | None]
) -> bytes:
    """Build the lines of an admitted request, CRLF included; empty without a charge."""
    if not charges:
        return b""
    index = tightest(charges, levels)
    report = standing(charges[index], levels[index])
    state = worst_state(levels, quotas)
    extra = f"Tollway-Quota-State: {state.value}\r\n" if state is not None else ""
    return (_lines(report) + extra).encode()


def refused_lines(charge: ChargeRequest, *, retry_after_s: int) -> bytes:
    """Build the lines of a 429: nothing is left of the policy that refused."""
    return _lines(Standing(policy_name(charge), policy_limit(charge), 0, retry_after_s)).encode()


def returned_levels(
    charges: Sequence[ChargeRequest], levels: Sequence[Level]
) -> tuple[Level, ...]:
    """Return the levels after the windows' units of a free outcome were given back."""
    return tuple(
        level
        if isinstance(charge, BucketCharge)
        else Level(level.remaining + charge.units, level.used - charge.units, level.reset_us)
        for charge, level in zip(charges, levels, strict=True)
    )


def worst_state(levels: Sequence[Level], quotas: Sequence[Quota | None]) -> QuotaState | None:
    """Return the furthest state over all quotas; None without one."""
    worst = -1
    for level, quota in zip(levels, quotas, strict=True):
        if quota is not None:
            worst = max(worst, _ORDER.index(quota_state(quota, level.used)))
    return _ORDER[worst] if worst >= 0 else None


def _lines(report: Standing) -> str:
    return (
        f"X-RateLimit-Limit: {report.limit}\r\n"
        f"X-RateLimit-Remaining: {report.remaining}\r\n"
        f"X-RateLimit-Reset: {report.reset_s}\r\n"
        f"RateLimit: {quoted(report.name)};r={report.remaining};t={report.reset_s}\r\n"
    )
