"""Worked examples of a plan version: what a month costs, by the rating function itself."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Final

from billing.rating.rate import rate_document
from billing.services.quota_use import monthly_quotas
from gateway.contracts.access_log import format_time
from portal.models import PlanVersion

DEFAULT_INCLUDED: Final = 1_000


@dataclass(frozen=True, slots=True)
class WorkedExample:
    """A month of this plan at one quantity on its main meter."""

    quantity: Decimal
    total_minor: int
    lines: tuple[dict[str, Any], ...]


def main_meter(terms: dict[str, Any]) -> str:
    """Return the meter of the first usage price, or empty."""
    return next((p["meter"] for p in terms.get("prices", []) if p.get("meter")), "")


def included_units(version: PlanVersion, meter: str) -> int:
    """Return what the plan includes a month: its quota, else the price's own free part."""
    for units, _limit in monthly_quotas(version, meter):
        return units
    for price in version.terms.get("prices", []):
        if price.get("meter") != meter:
            continue
        if price.get("included"):
            return int(Decimal(str(price["included"])))
        tiers = price.get("tiers") or []
        if tiers and tiers[0].get("up_to") and Decimal(tiers[0].get("unit_amount") or 0) == 0:
            return int(Decimal(str(tiers[0]["up_to"])))
    return DEFAULT_INCLUDED


def worked_quantities(version: PlanVersion) -> tuple[int, ...]:
    """0, 1k, included, included + 1, ten times included: sorted, each once.

    What the plan's monthly quotas refuse is left out: no month can have it.
    """
    quotas = version.limits.get("quotas", [])
    meter = main_meter(version.terms) or next((q["meter"] for q in quotas), "")
    included = included_units(version, meter)
    limits = [limit for _, limit in monthly_quotas(version, meter) if limit is not None]
    wanted = {0, 1_000, included, included + 1, included * 10}
    return tuple(sorted(q for q in wanted if not limits or q <= min(limits)))


def plan_examples(*, version: PlanVersion, month_start: datetime) -> tuple[WorkedExample, ...]:
    """Rate a month of 30 days at the worked quantities."""
    return tuple(
        plan_example(version=version, quantity=Decimal(q), month_start=month_start)
        for q in worked_quantities(version)
    )


def plan_example(
    *, version: PlanVersion, quantity: Decimal, month_start: datetime
) -> WorkedExample:
    """Rate one month with `quantity` on the main meter.

    :raises RatingRefusedError: for terms that are not valid, with the path of each error.
    """
    result = rate_document(
        example_document(version=version, quantity=quantity, month_start=month_start)
    )
    return WorkedExample(quantity, result["total_minor"], tuple(result["lines"]))


def example_document(
    *, version: PlanVersion, quantity: Decimal, month_start: datetime
) -> dict[str, Any]:
    """Write the month as a rating document; credits are left out, they end."""
    meter = main_meter(version.terms)
    model = next(
        (p["model"] for p in version.terms.get("prices", []) if p.get("meter") == meter), ""
    )
    text = format(quantity, "f")
    amount = {"events": [text]} if model == "percentage" else {"quantity": text}
    return {
        "currency": version.currency,
        "period": {
            "start": format_time(month_start),
            "end": format_time(month_start + timedelta(days=30)),
        },
        "terms": {k: v for k, v in version.terms.items() if k != "credits"},
        "usage": {meter: amount} if meter else {},
    }
