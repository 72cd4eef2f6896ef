"""Eleven weeks of calls as the gateway would have written them: quiet weekends, some errors."""

import random
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Final

from gateway.contracts.access_log import Charge
from portal.models import Subscription
from tests.e2e.offer import CUSTOMERS, Buyer
from tests.factories.access_log import StreamWriter


@dataclass(frozen=True)
class Callers:
    """Who calls with what: by customer, the subscription and the live keys in use."""

    subscriptions: Mapping[str, Subscription]
    keys: Mapping[str, list[str]]


_FINE: Final = (200, "allow", Charge.BILLED, "2xx")
_OUTCOMES: Final = (
    *[_FINE] * 17,
    (304, "allow", Charge.BILLED, "3xx"),
    (404, "allow", Charge.COUNTED, "4xx"),
    *[_FINE] * 9,
    (429, "rate_limited", Charge.FREE, "rate_limited"),
    *[_FINE] * 5,
    (404, "allow", Charge.COUNTED, "4xx"),
    *[_FINE] * 11,
    (502, "allow", Charge.FREE, "5xx"),
)
_ROUTES: Final = ("countries", "countries", "currencies", "countries", "format", "languages")


def traffic_write(
    callers: Callers, *, boot: str, start: datetime, until: datetime
) -> StreamWriter:
    """Write every customer's calls as one stream, sealed up to `until`."""
    stream = StreamWriter(stream=f"gateway-1.{boot}.0", at=start)
    chance = random.Random(7)
    calls: list[tuple[datetime, Buyer]] = []
    for who in CUSTOMERS:
        for period in callers.subscriptions[who.slug].periods.order_by("number"):
            number = period.number + who.since
            if number < len(who.calls):
                span = (period.starts_at, min(period.ends_at, until - timedelta(seconds=20)))
                calls += [(at, who) for at in _instants(who.calls[number], *span, chance)]
    for index, (at, who) in enumerate(sorted(calls, key=lambda call: call[0])):
        stream.at = at
        _call(stream, callers, who, index)
    stream.at = until
    return stream


def _instants(a_day: int, start: datetime, end: datetime, chance: random.Random) -> list[datetime]:
    found = []
    day = start
    while day < end:
        count = a_day * (3 if day.weekday() >= 5 else 8 + chance.randrange(5)) // 10
        at = [day + timedelta(seconds=chance.randrange(86_400)) for _ in range(count)]
        found += [instant for instant in at if instant < end]
        day += timedelta(days=1)
    return found


def _call(stream: StreamWriter, callers: Callers, who: Buyer, index: int) -> None:
    status, decision, charge, reason = _OUTCOMES[index % len(_OUTCOMES)]
    route = _ROUTES[index * 5 % len(_ROUTES)]
    keys = callers.keys[who.slug]
    subscription = callers.subscriptions[who.slug]
    stream.event(
        request_id=f"01JD{index:022d}",
        organization_id=subscription.organization_id,
        credential_id=keys[index % len(keys)],
        subscription_id=subscription.pk,
        api="world-data",
        route=route,
        path_template=f"/v1/{route}",
        status=status,
        decision=decision,
        charge=charge,
        charge_reason=reason,
        quantities={} if charge is Charge.FREE else {"requests": Decimal(1)},
        latency_us=8_000 + 791 * index % 60_000,
    )
