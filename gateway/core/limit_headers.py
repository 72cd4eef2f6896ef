"""The response headers that tell a caller where it stands (`gateway.md` §10).

`X-RateLimit-*` and `RateLimit` report the tightest policy, `RateLimit-Policy` names them all
(draft-ietf-httpapi-ratelimit-headers), `Tollway-Quota-State` the graduated state.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from gateway.contracts.snapshot import Quota
from gateway.core.charges import BucketCharge, ChargeRequest, Level, WindowCharge
from gateway.core.quota import QuotaState, buffered_units

_STATE_LINES: Final = (
    "",
    *(
        f"Tollway-Quota-State: {state.value}\r\n"
        for state in (QuotaState.INCLUDED, QuotaState.BUFFER, QuotaState.OVERAGE)
    ),
)


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


@dataclass(frozen=True, slots=True)
class PolicyLines:
    """A policy's header lines, encoded up to the numbers that change from call to call.

    included, buffered   units up to which the quota's state is so called; -1 without a quota
    """

    limit: str  # ends where the remaining number follows
    structured: str  # likewise
    never_refuses: bool
    included: int
    buffered: int


def policy_lines(charge: ChargeRequest, quota: Quota | None) -> PolicyLines:
    """Encode what does not change of a policy, once per admission."""
    report = Standing(policy_name(charge), policy_limit(charge), 0, 0)
    return PolicyLines(
        limit=f"X-RateLimit-Limit: {report.limit}\r\nX-RateLimit-Remaining: ",
        structured=f"RateLimit: {quoted(report.name)};r=",
        never_refuses=not isinstance(charge, BucketCharge) and charge.limit is None,
        included=quota.quota if quota is not None else -1,
        buffered=buffered_units(quota) if quota is not None else -1,
    )


def level_lines(policies: Sequence[PolicyLines], levels: Sequence[Level]) -> bytes:
    """Build the lines of an admitted request, CRLF included; empty without a policy.

    The policy with the least left is reported, of equals the one that is full again last; one
    that never refuses comes behind all others. The state is the furthest over all quotas.
    """
    if not policies:
        return b""
    tightest, least = policies[0], levels[0]
    state = 0
    for policy, level in zip(policies, levels, strict=True):
        if policy.never_refuses is tightest.never_refuses:
            left, others = level.remaining, least.remaining
            if left < others or (left == others and level.reset_us > least.reset_us):
                tightest, least = policy, level
        elif tightest.never_refuses:
            tightest, least = policy, level
        if policy.included >= 0:
            used = level.used
            state = max(state, 1 + (used > policy.included) + (used > policy.buffered))
    return _lines(tightest, least.remaining, whole_seconds(least.reset_us), _STATE_LINES[state])


def refused_lines(charge: ChargeRequest, *, retry_after_s: int) -> bytes:
    """Build the lines of a 429: nothing is left of the policy that refused."""
    return _lines(policy_lines(charge, None), 0, retry_after_s, "")


def _lines(policy: PolicyLines, remaining: int, reset_s: int, state_line: str) -> bytes:
    return (
        f"{policy.limit}{remaining}\r\nX-RateLimit-Reset: {reset_s}\r\n"
        f"{policy.structured}{remaining};t={reset_s}\r\n{state_line}"
    ).encode()


def returned_levels(
    charges: Sequence[ChargeRequest], levels: Sequence[Level]
) -> tuple[Level, ...]:
    """Return the levels after the windows' units of a free outcome were given back."""
    return tuple(
        level if isinstance(charge, BucketCharge) else _returned(charge, level)
        for charge, level in zip(charges, levels, strict=True)
    )


def _returned(charge: WindowCharge, level: Level) -> Level:
    used = level.used - charge.units
    return Level(max(0, policy_limit(charge) - used), used, level.reset_us)
