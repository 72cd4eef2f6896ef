"""The arithmetic of a line in rows, for people: unrounded, explanatory, never added up to money.

The amount of a line comes from rating alone; these rows say where it comes from (`ux.md` §3).
"""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from billing.services.chain import Difference
from billing.services.rated import Stretch

Row = dict[str, str]


def formula_of(row: Difference, stretches: Sequence[Stretch]) -> list[Row]:
    """Explain a line: one row per tier, block or fee; [] where the description says it all."""
    price = _price_of(row, stretches)
    if price is None:
        return []
    if price["model"] == "flat":
        return [{"label": "fee per period", "rate": str(price["amount"])}]
    quantity = row.line.quantity or Decimal(0)
    return price_formula(price, quantity)


def price_formula(price: Mapping[str, Any], quantity: Decimal) -> list[Row]:
    """Explain a usage price at a quantity.

    >>> tiers = [{"up_to": "1000", "unit_amount": "0"}, {"up_to": None, "unit_amount": "0.01"}]
    >>> [r["label"] for r in price_formula({"model": "graduated", "tiers": tiers}, Decimal(1500))]
    ['0 to 1000', 'above 1000']
    """
    rows: list[Row] = []
    if price.get("included"):
        rows.append({"label": "included", "quantity": str(price["included"])})
    if price.get("tiers"):
        return rows + _tiers(price, quantity)
    if price.get("package_size"):
        label = f"blocks of {price['package_size']}"
        return [*rows, {"label": label, "rate": str(price["package_amount"])}]
    if price.get("rate") is not None:
        fixed = price.get("fixed_per_event", "0")
        return [*rows, {"label": f"{price['rate']} % of value", "rate": f"+ {fixed} each"}]
    if price.get("unit_amount") is not None:
        used = format(quantity, "f")
        return [*rows, {"label": "units", "quantity": used, "rate": str(price["unit_amount"])}]
    return rows


def _tiers(price: Mapping[str, Any], quantity: Decimal) -> list[Row]:
    rows, lower = [], Decimal(0)
    graduated = price["model"].startswith("graduated")
    for tier in price["tiers"]:
        upper = None if tier.get("up_to") is None else Decimal(str(tier["up_to"]))
        if lower and quantity <= lower:
            break
        here = quantity if upper is None else min(quantity, upper)
        label = f"above {lower:f}" if upper is None else f"{lower:f} to {upper:f}"
        row = {"label": label, "quantity": format(here - lower, "f"), **_rates(tier)}
        inside = upper is None or quantity <= upper
        if graduated or inside:
            rows.append(row if graduated else row | {"quantity": format(quantity, "f")})
        if inside:
            break
        lower = upper if upper is not None else lower
    return rows


def _rates(tier: Mapping[str, Any]) -> Row:
    rates = {}
    if tier.get("unit_amount") is not None:
        per = f" per {tier['per']}" if tier.get("per") else ""
        rates["rate"] = f"{tier['unit_amount']}{per}"
    if tier.get("rate") is not None:
        rates["rate"] = f"{tier['rate']} %"
    if tier.get("flat_amount") is not None:
        rates["flat"] = str(tier["flat_amount"])
    return rates


def _price_of(row: Difference, stretches: Sequence[Stretch]) -> Mapping[str, Any] | None:
    if row.line.is_adjustment:
        return None
    for stretch in stretches:
        if stretch.starts_at <= row.line.starts_at < stretch.ends_at:
            for price in stretch.segment.plan_version.terms.get("prices", []):
                if price["key"] == row.line.price_key:
                    return dict(price)
    return None
