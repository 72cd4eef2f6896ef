"""The one rating function: `rate(request) -> Rated`, and its doors for plain JSON values.

Gauge, projection, estimator, plan preview, what-if, draft and invoice all call it. Pure: the same
request gives the same result for ever; `ENGINE_VERSION` moves when a result would.

    parse_request(document) -> Request | tuple[Problem, ...]   billing.rating.document
    rate(request) -> Rated                                     typed in, typed out
    rate_document(document) -> dict                            raises RatingRefusedError
    answer_document(document) -> dict                          a refusal is an answer too
    explain(price, usage) -> list[Part]                        billing.rating.price_models
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any, Final

from billing.errors import RatingRefusedError
from billing.rating.adjustments import (
    apply_credits,
    apply_discounts,
    commitment_line,
    price_bounds,
    tax_minor,
)
from billing.rating.document import Request, Usage, parse_request
from billing.rating.lines import Line, priced_lines, without_free_usage
from portal.core.checked_input import MAX_PLACES, Problem
from portal.core.plan_terms import time_text

ENGINE_VERSION: Final = "1"


@dataclass(frozen=True, slots=True)
class Rated:
    """Lines and totals in minor units; total = subtotal - discount + adjustment - credit + tax."""

    currency: str
    lines: tuple[Line, ...]
    subtotal_minor: int
    discount_minor: int
    adjustment_minor: int
    credit_minor: int
    tax_minor: int
    total_minor: int
    credit_balances_minor: tuple[int, ...]
    pieces_minor: tuple[int, ...] = ()


def _rate_once(request: Request, *, minimums: bool) -> Rated:
    lines = priced_lines(request)
    apply_discounts(request, lines)
    lines += list(price_bounds(request, lines, minimums=minimums))
    true_up = commitment_line(request, lines) if minimums else None
    if true_up is not None:
        lines.append(true_up)
    balances = apply_credits(request, lines)
    tax = tax_minor(request, lines)
    subtotal = sum(line.amount_minor for line in lines if not line.adjustment)
    adjustment = sum(line.amount_minor for line in lines if line.adjustment)
    discount = sum(line.discount_minor for line in lines)
    credit = sum(line.credit_minor for line in lines)
    total = subtotal - discount + adjustment - credit + tax
    return Rated(
        currency=request.currency,
        lines=tuple(lines),
        subtotal_minor=subtotal,
        discount_minor=discount,
        adjustment_minor=adjustment,
        credit_minor=credit,
        tax_minor=tax,
        total_minor=total,
        credit_balances_minor=tuple(balances),
    )


def _up_to_piece(request: Request, index: int) -> Request:
    segment = request.segments[0]
    usage = {m: Usage(u.cumulative[index]) for m, u in segment.usage.items() if u.cumulative}
    return replace(request, segments=(replace(segment, usage=usage),))


def rate(request: Request) -> Rated:
    """Rate a request: lines (each rounded once), discounts, bounds, commitment, credits, tax.

    With cumulative usage, each piece is the difference of the totals rated cumulatively; minimums
    and the commitment count in the last one alone.
    """
    count = request.pieces
    if not count:
        return _rate_once(without_free_usage(request), minimums=True)
    rated = [
        _rate_once(without_free_usage(_up_to_piece(request, index)), minimums=index == count - 1)
        for index in range(count)
    ]
    totals = [0, *(r.total_minor for r in rated)]
    pieces = tuple(after - before for before, after in itertools.pairwise(totals))
    return replace(rated[-1], pieces_minor=pieces)


def decimal_text(value: Fraction) -> str:
    """Write a sum of decimals of up to 12 places plainly, without trailing zeros.

    >>> decimal_text(Fraction(5, 4)), decimal_text(Fraction(-3)), decimal_text(Fraction(-1, 20))
    ('1.25', '-3', '-0.05')
    """
    if value.denominator == 1:
        return str(value.numerator)
    whole, rest = divmod(
        abs(value.numerator) * 10**MAX_PLACES // value.denominator, 10**MAX_PLACES
    )
    sign = "-" if value < 0 else ""
    return f"{sign}{whole}.{rest:0{MAX_PLACES}d}".rstrip("0")


def _line_json(line: Line) -> dict[str, Any]:
    return {
        "line_key": line.line_key,
        "price_key": line.price_key,
        "description": line.description,
        "from": time_text(line.start),
        "to": time_text(line.end),
        "quantity": None if line.quantity is None else decimal_text(line.quantity),
        "unit_amount": None if line.unit_amount is None else format(line.unit_amount, "f"),
        "amount_minor": line.amount_minor,
        "discount_minor": line.discount_minor,
        "credit_minor": line.credit_minor,
    }


def result_to_json(rated: Rated) -> dict[str, Any]:
    """Write a result as `docs/rating.md` describes it."""
    return {
        "currency": rated.currency,
        "lines": [_line_json(line) for line in rated.lines],
        "subtotal_minor": rated.subtotal_minor,
        "discount_minor": rated.discount_minor,
        "adjustment_minor": rated.adjustment_minor,
        "credit_minor": rated.credit_minor,
        "tax_minor": rated.tax_minor,
        "total_minor": rated.total_minor,
        "credit_balances_minor": list(rated.credit_balances_minor),
        "pieces": [{"total_minor": amount} for amount in rated.pieces_minor],
    }


def problems_to_json(problems: Sequence[Problem]) -> dict[str, Any]:
    """Write why a document was refused."""
    return {"errors": [problem._asdict() for problem in problems]}


def answer_document(document: object) -> dict[str, Any]:
    """Rate one document of plain JSON values; a refused one answers `{"errors": [...]}`."""
    request = parse_request(document)
    if isinstance(request, Request):
        return result_to_json(rate(request))
    return problems_to_json(request)


def rate_document(document: object) -> dict[str, Any]:
    """Rate one document of plain JSON values.

    :raises RatingRefusedError: when it is not valid, with every problem at once.
    """
    request = parse_request(document)
    if not isinstance(request, Request):
        raise RatingRefusedError(request)
    return result_to_json(rate(request))
