"""Explains the usage lines of a rating document, by the same functions that priced them.

One calculator: the parts are those of `price_models.explain`, over what the line's chain used; a
line that goes on under new terms ends with the part that was priced before. Exact and unrounded.
"""

from fractions import Fraction

from billing.rating.document import Request, Usage
from billing.rating.lines import Run, joined, line_key, price_runs, without_free_usage
from billing.rating.parts import Part
from billing.rating.price_models import explain, usage_amount
from portal.core.plan_terms import FLAT


def explain_lines(request: Request) -> dict[str, tuple[Part, ...]]:
    """Return the parts of every usage line, by its key; kind `before` = priced under it already.

    >>> from billing.rating.document import parse_request
    >>> price = {"key": "calls", "meter": "m", "model": "per_unit", "unit_amount": "0.5"}
    >>> month = {"start": "2026-01-01T00:00:00Z", "end": "2026-02-01T00:00:00Z"}
    >>> held = parse_request({"currency": "USD", "period": month, "terms": {"prices": [price]},
    ...                       "usage": {"m": {"quantity": "3"}}})
    >>> [(p.kind, str(p.quantity), str(p.amount)) for p in explain_lines(held)["calls"]]
    [('units', '3', '3/2')]
    """
    held = without_free_usage(request)
    return {
        line_key(run, held.segments[run.first].start): tuple(_parts(held, run))
        for run in price_runs(held.segments)
        if run.price.model != FLAT
    }


def _parts(request: Request, run: Run) -> list[Part]:
    price, segments = run.price, request.segments
    chain = max((i for i in range(run.first + 1) if not segments[i].carry_over), default=0)
    parts = explain(price, joined(segments[chain : run.last + 1], price.meter))
    before: Usage = joined(segments[chain : run.first], price.meter)
    if before.is_used:
        amount: Fraction = usage_amount(price, before)
        parts = [*parts, Part("before", before.total, None, -amount)]
    return parts
