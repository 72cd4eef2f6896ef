"""Reads the limits of a plan version strictly: quotas, rate limits, count policy, routes.

Pure. Collects every problem with its path and never raises. The field names are those of
`gateway.contracts.snapshot`; `limits_to_json` writes what `parse_limits` has read.
"""

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

from gateway.contracts.access_log import Charge
from gateway.contracts.snapshot import Outcome, WindowKind
from portal.core.checked_input import Fields, Problem
from portal.core.plan_terms import Terms

SLUG: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,59}")
RATE_KEYS: Final = ("subscription", "consumer", "credential")
MAX_PERCENT: Final = 1_000
MIN_BLOCK_PERCENT: Final = 100  # a quota is never blocked before it is reached
MAX_UNITS: Final = 10**15  # well inside what every counter keeps exactly
_DAY_S: Final = 86_400
_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,80}")
_QUOTA_FIELDS: Final = (
    "meter",
    "quota",
    "window",
    "alerts_at",
    "soft_limit_percent",
    "buffer_percent",
    "block_at_percent",
)
_WINDOW_ORDER: Final = {
    WindowKind.HOUR: 0,
    WindowKind.DAY: 1,
    WindowKind.CALENDAR_MONTH: 2,
    WindowKind.BILLING_PERIOD: 2,
}
_MONTHLY: Final = 2


@dataclass(frozen=True, slots=True)
class QuotaLimit:
    """One meter's allowance in one window; percents are of `quota`, 0 = never block."""

    meter: str
    quota: int
    window: str = WindowKind.BILLING_PERIOD
    alerts_at: tuple[int, ...] = (80, 95)
    soft_limit_percent: int = 100
    buffer_percent: int = 100
    block_at_percent: int = 100


@dataclass(frozen=True, slots=True)
class RateLimitRule:
    name: str
    rate: int
    per_s: int
    burst: int
    key: str = "subscription"


@dataclass(frozen=True, slots=True)
class Limits:
    """What a plan version allows; `routes` None = every route of the APIs it covers."""

    quotas: tuple[QuotaLimit, ...] = ()
    rate_limits: tuple[RateLimitRule, ...] = ()
    count_policy: Mapping[str, str] | None = None  # only what differs from the default
    routes: tuple[str, ...] | None = None
    fail_open: bool = False


def parse_limits(
    value: object, *, terms: Terms | None = None, path: str = "limits"
) -> Limits | tuple[Problem, ...]:
    """Read limits; return them, or every problem at once.

    terms   the version's prices: a monthly `quota` and an `included` amount of a meter must agree

    >>> parse_limits({"quotas": [{"meter": "requests", "quota": 0}]})
    (Problem(path='limits.quotas[0].quota', code='required', message='must be at least 1'),)
    """
    problems: list[Problem] = []
    known = ("quotas", "rate_limits", "count_policy", "routes", "fail_open")
    source = Fields.read(value, path, problems, known)
    quotas = tuple(_quota(item, place, problems) for place, item in source.items("quotas"))
    rates = tuple(_rate(item, place, problems) for place, item in source.items("rate_limits"))
    _check_quotas(source, quotas)
    _check_rates(source, rates)
    if terms is not None:
        _check_included(source, quotas, terms)
    limits = Limits(
        quotas=quotas,
        rate_limits=rates,
        count_policy=_count_policy(source),
        routes=_routes(source),
        fail_open=source.flag("fail_open", default=False),
    )
    return tuple(problems) or limits


def limits_to_json(limits: Limits) -> dict[str, Any]:
    """Write limits as the plain values that are stored and that `parse_limits` reads back."""
    return {
        "quotas": [{**asdict(q), "alerts_at": list(q.alerts_at)} for q in limits.quotas],
        "rate_limits": [asdict(rate) for rate in limits.rate_limits],
        "count_policy": dict(limits.count_policy or {}),
        "routes": None if limits.routes is None else list(limits.routes),
        "fail_open": limits.fail_open,
    }


def _quota(value: object, path: str, problems: list[Problem]) -> QuotaLimit:
    source = Fields.read(value, path, problems, _QUOTA_FIELDS)
    percent = {
        name: source.integer(name, default=100, low=0, high=MAX_PERCENT)
        for name in ("soft_limit_percent", "buffer_percent", "block_at_percent")
    }
    soft, buffer, block = percent.values()
    if soft > buffer:
        source.refuse("buffer_percent", "percent_order", "must not be below the soft limit")
    if 0 < block < MIN_BLOCK_PERCENT:
        source.refuse("block_at_percent", "percent_order", "must be 0 or at least 100")
    if block and buffer > block:
        source.refuse("block_at_percent", "percent_order", "must not be below the buffer, or 0")
    return QuotaLimit(
        meter=source.text("meter", pattern=SLUG),
        quota=_count(source, "quota", MAX_UNITS),
        window=source.choice("window", tuple(WindowKind), default=WindowKind.BILLING_PERIOD),
        alerts_at=_alerts(source),
        **percent,
    )


def _count(source: Fields, name: str, high: int) -> int:
    """Read a required whole number of at least 1."""
    number = source.integer(name, default=0, low=0, high=high)
    known = {problem.path for problem in source.problems}
    if number == 0 and f"{source.path}.{name}" not in known:
        source.refuse(name, "required", "must be at least 1")
    return number


def _alerts(source: Fields) -> tuple[int, ...]:
    if not source.has("alerts_at"):
        return (80, 95)
    found = []
    for index, (_, item) in enumerate(source.items("alerts_at")):
        entry = Fields({"percent": item}, source.path, [])
        percent = entry.integer("percent", default=0, low=1, high=MAX_PERCENT)
        if entry.problems or percent == 0:
            source.refuse(
                f"alerts_at[{index}]", "not_a_percent", f"must be 1 to {MAX_PERCENT} percent"
            )
        found.append(percent)
    if found != sorted(set(found)):
        source.refuse("alerts_at", "percent_order", "must ascend without repetition")
    return tuple(found)


def _rate(value: object, path: str, problems: list[Problem]) -> RateLimitRule:
    source = Fields.read(value, path, problems, ("name", "rate", "per_s", "burst", "key"))
    rate = _count(source, "rate", MAX_UNITS)
    return RateLimitRule(
        name=source.text("name", pattern=SLUG),
        rate=rate,
        per_s=_count(source, "per_s", _DAY_S),
        burst=_count(source, "burst", MAX_UNITS) if source.has("burst") else rate,
        key=source.choice("key", RATE_KEYS, default="subscription"),
    )


def _check_quotas(source: Fields, quotas: tuple[QuotaLimit, ...]) -> None:
    """Refuse a second quota for a meter and window, and a long window below a shorter one."""
    for index, quota in enumerate(quotas):
        for earlier in quotas[:index]:
            if earlier.meter == quota.meter:
                _check_pair(source, index, earlier, quota)


def _check_pair(source: Fields, index: int, first: QuotaLimit, second: QuotaLimit) -> None:
    if first.window == second.window:
        source.refuse(
            f"quotas[{index}].window", "duplicate_window", "has a quota for this meter already"
        )
        return
    order = [_WINDOW_ORDER[WindowKind(quota.window)] for quota in (first, second)]
    short, long = (first, second) if order[0] < order[1] else (second, first)
    if order[0] != order[1] and long.quota < short.quota:
        source.refuse(
            f"quotas[{index}].quota", "window_order", "a longer window must not allow less"
        )


def _check_rates(source: Fields, rates: tuple[RateLimitRule, ...]) -> None:
    for index, rate in enumerate(rates):
        if rate.name and rate.name in {earlier.name for earlier in rates[:index]}:
            source.refuse(f"rate_limits[{index}].name", "duplicate_name", "is used twice")


def _check_included(source: Fields, quotas: tuple[QuotaLimit, ...], terms: Terms) -> None:
    """Refuse a monthly quota that differs from what a price of its meter includes."""
    for index, quota in enumerate(quotas):
        if _WINDOW_ORDER[WindowKind(quota.window)] != _MONTHLY:
            continue
        for price in terms.prices:
            differs = price.included is not None and price.included != quota.quota
            if price.meter == quota.meter and differs:
                source.refuse(
                    f"quotas[{index}].quota",
                    "included_differs",
                    f"must equal the {price.included} units that price {price.key} includes",
                )


def _count_policy(source: Fields) -> dict[str, str]:
    if not source.has("count_policy"):
        return {}
    inner = Fields.read(
        source.values["count_policy"],
        f"{source.path}.count_policy",
        source.problems,
        [str(outcome) for outcome in Outcome],
    )
    policy = {
        str(outcome): str(inner.choice(outcome, [str(charge) for charge in Charge]))
        for outcome in Outcome
        if inner.has(outcome)
    }
    if policy.get(Outcome.REFUSED, Charge.FREE) != Charge.FREE:
        inner.refuse(Outcome.REFUSED, "refusal_free", "a refusal consumes nothing: must be free")
    return policy


def _routes(source: Fields) -> tuple[str, ...] | None:
    if not source.has("routes"):
        return None
    found = []
    for index, (place, item) in enumerate(source.items("routes")):
        if not (isinstance(item, str) and _ID.fullmatch(item)):
            source.refuse(f"routes[{index}]", "not_an_id", "must be the id of a route")
            continue
        if item in found:
            source.problems.append(Problem(place, "duplicate_route", "is listed twice"))
        found.append(item)
    return tuple(found)
