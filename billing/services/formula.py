"""The arithmetic of a line in rows, for people: the rating engine's own parts, never added up.

The amount of a line comes from rating alone; these rows say where it comes from (`ux.md` §3).
"""

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any, Final

from django.utils.translation import gettext_noop

from billing.rating.document import Request, parse_request
from billing.rating.explain import explain_lines
from billing.rating.parts import Part
from billing.rating.rate import decimal_text
from billing.services.chain import Difference
from billing.services.rated import Stretch
from portal.core.money import round_half_up

Row = dict[str, str]
PLACES: Final = 12
LABELS: Final = {
    "free": gettext_noop("included"),
    "units": gettext_noop("units"),
    "blocks": gettext_noop("blocks"),
    "packages": gettext_noop("packages"),
    "step": gettext_noop("step"),
    "tier_flat": gettext_noop("tier fee"),
    "value": gettext_noop("% of value"),
    "per_event": gettext_noop("events"),
    "bounds": gettext_noop("minimum and maximum per event"),
    "before": gettext_noop("priced under earlier terms"),
}


def formulas_of(document: Mapping[str, Any]) -> dict[str, list[Row]]:
    """Explain the usage lines of a rating document, by line key; a refused one explains nothing.

    >>> tiers = [{"up_to": "1000", "unit_amount": "0"}, {"up_to": None, "unit_amount": "0.01"}]
    >>> price = {"key": "calls", "meter": "m", "model": "graduated", "tiers": tiers}
    >>> month = {"start": "2026-01-01T00:00:00Z", "end": "2026-02-01T00:00:00Z"}
    >>> rows = formulas_of({"currency": "USD", "period": month, "terms": {"prices": [price]},
    ...                     "usage": {"m": {"quantity": "1500"}}})
    >>> [(row["label"], row["quantity"], row["amount"]) for row in rows["calls"]]
    [('0 to 1000', '1000', '0'), ('above 1000', '500', '5')]
    """
    request = parse_request(dict(document))
    if not isinstance(request, Request):
        return {}
    return {key: [_row(part) for part in parts] for key, parts in explain_lines(request).items()}


def formula_of(
    row: Difference, stretches: Sequence[Stretch], formulas: Mapping[str, list[Row]]
) -> list[Row]:
    """Explain a line: one row per part or fee; [] where the description says it all."""
    if row.line.meter:
        return formulas.get(row.line.line_key, [])
    fee = _fee_of(row, stretches)
    return [] if fee is None else [{"label": "fee per period", "rate": fee}]


def _row(part: Part) -> Row:
    row = {"label": _label(part), "quantity": _number(part.quantity)}
    if part.rate is not None:
        row["rate"] = format(part.rate, "f")
    return row | {"amount": _number(part.amount)}


def _label(part: Part) -> str:
    if part.above is None and part.up_to is None:
        return LABELS.get(part.kind, part.kind)
    lower = format(part.above, "f") if part.above else "0"
    bounds = f"above {lower}" if part.up_to is None else f"{lower} to {part.up_to:f}"
    return bounds if part.kind == "units" else f"{LABELS.get(part.kind, part.kind)}, {bounds}"


def _number(value: Fraction) -> str:
    """Write an exact number; a fraction that has no end is cut at twelve places, for reading."""
    return decimal_text(Fraction(round_half_up(value * 10**PLACES), 10**PLACES))


def _fee_of(row: Difference, stretches: Sequence[Stretch]) -> str | None:
    if row.line.is_adjustment:
        return None
    for stretch in stretches:
        if stretch.starts_at <= row.line.starts_at < stretch.ends_at:
            for price in stretch.segment.plan_version.terms.get("prices", []):
                if price["key"] == row.line.price_key and price["model"] == "flat":
                    return str(price["amount"])
    return None
