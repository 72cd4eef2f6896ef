"""Plan terms: prices, minimum commitment, discounts, credits and tax of a plan version.

Owns their types, the strict parser from plain JSON values, and the way back. It computes no
amount: that is `billing.rating`. What every field means is written in `docs/rating.md`. Two
prices compare equal exactly when one goes on as the other: by value, `minimum`, `maximum` and
`description` left out.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final

from portal.core.checked_input import Fields, Problem

FLAT, PER_UNIT, GRADUATED, VOLUME = "flat", "per_unit", "graduated", "volume"
PACKAGE, STAIRSTEP, DYNAMIC = "package", "stairstep", "dynamic"
PERCENTAGE, GRADUATED_PERCENTAGE = "percentage", "graduated_percentage"

COMMITMENT_KEY: Final = "commitment"  # the line key of the true-up, so no price may have it
EVENTS_ONLY: Final = frozenset({PERCENTAGE})
"""Models that read the value of each event."""
EITHER_KIND: Final = frozenset({DYNAMIC, GRADUATED_PERCENTAGE})
"""Models that read events or a quantity; those that are left read a quantity."""
KEY: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")
METER: Final = re.compile(r".{1,200}")
_WORDS: Final = re.compile(r"(?s).{0,500}")
_PRORATIONS: Final = ("second", "day", "none")
_ROUNDINGS: Final = ("up", "down", "half_up")


@dataclass(frozen=True, slots=True)
class Tier:
    """One tier; `up_to` is inclusive, None means no end."""

    up_to: Decimal | None
    unit_amount: Decimal | None = None
    per: Decimal | None = None  # units count in blocks of this size
    flat_amount: Decimal | None = None
    rate: Decimal | None = None  # percent


@dataclass(frozen=True, slots=True)
class Transform:
    """Multiply or divide the quantity, then round it; `rounding` None keeps it exact."""

    op: str
    factor: Decimal
    rounding: str | None = None
    precision: int | None = None  # decimal places, 0 when not stated


@dataclass(frozen=True, slots=True)
class Price:
    """One price; which fields it has follows from its model (`MODEL_FIELDS`)."""

    key: str
    model: str
    meter: str = ""
    amount: Decimal | None = None
    timing: str = "in_advance"
    proration: str = "second"
    unit_amount: Decimal | None = None
    tiers: tuple[Tier, ...] = ()
    package_size: Decimal | None = None
    package_amount: Decimal | None = None
    included: Decimal | None = None
    transform: Transform | None = None
    rate: Decimal | None = None  # percent
    fixed_per_event: Decimal | None = None
    free_events: Decimal | None = None
    free_amount: Decimal | None = None
    min_per_event: Decimal | None = None
    max_per_event: Decimal | None = None
    multiplier: Decimal = Decimal(1)
    zero_usage_first_tier_flat: bool = True
    minimum: Decimal | None = field(default=None, compare=False)
    maximum: Decimal | None = field(default=None, compare=False)
    description: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class Discount:
    type: str  # "percent" or "fixed"
    value: Decimal
    applies_to: tuple[str, ...] | None = None  # price keys, sorted; None = everything


@dataclass(frozen=True, slots=True)
class Credit:
    amount: Decimal
    priority: int = 0
    expires_at: datetime | None = None
    applies_to: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Tax:
    rate: Decimal  # percent
    applies_to: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Commitment:
    amount: Decimal
    proration: str = "second"


@dataclass(frozen=True, slots=True)
class Terms:
    prices: tuple[Price, ...] = ()
    minimum_commitment: Commitment | None = None
    discounts: tuple[Discount, ...] = ()
    credits: tuple[Credit, ...] = ()
    tax: tuple[Tax, ...] = ()


_ANY_MODEL: Final = frozenset({"key", "model", "description", "minimum", "maximum", "currency"})
_USAGE: Final = _ANY_MODEL | {"meter", "included", "transform"}
_TIERED: Final = _USAGE | {"tiers", "zero_usage_first_tier_flat"}
MODEL_FIELDS: Final[dict[str, frozenset[str]]] = {
    FLAT: _ANY_MODEL | {"amount", "timing", "proration"},
    PER_UNIT: _USAGE | {"unit_amount"},
    GRADUATED: _TIERED,
    VOLUME: _TIERED,
    PACKAGE: _USAGE | {"package_size", "package_amount"},
    STAIRSTEP: _TIERED,
    PERCENTAGE: _ANY_MODEL
    | {
        *("meter", "rate", "fixed_per_event", "free_events", "free_amount"),
        *("min_per_event", "max_per_event"),
    },
    GRADUATED_PERCENTAGE: _TIERED,
    DYNAMIC: _USAGE | {"multiplier"},
}
"""The fields that each price model may have."""
_REQUIRED: Final[dict[str, str]] = {
    FLAT: "amount",
    PER_UNIT: "unit_amount",
    PERCENTAGE: "rate",
}
TIER_FIELDS: Final[dict[str, frozenset[str]]] = {
    GRADUATED: frozenset({"up_to", "unit_amount", "per", "flat_amount"}),
    VOLUME: frozenset({"up_to", "unit_amount", "per", "flat_amount"}),
    STAIRSTEP: frozenset({"up_to", "flat_amount"}),
    GRADUATED_PERCENTAGE: frozenset({"up_to", "rate", "flat_amount"}),
}
"""The fields that a tier of each tiered model may have."""
_PRICE_FIELDS: Final = frozenset().union(*MODEL_FIELDS.values())
_ALL_TIER_FIELDS: Final = frozenset().union(*TIER_FIELDS.values())
_TERMS_FIELDS: Final = frozenset(
    {"prices", "minimum_commitment", "discounts", "credits", "tax", "currency"}
)


def parse_terms(
    value: object, *, path: str = "terms", currency: str = ""
) -> Terms | tuple[Problem, ...]:
    """Parse plan terms; return them, or every problem at once. Never raises.

    currency   when given, a `currency` inside the terms must be this one

    >>> parse_terms({"prices": [{"key": "a", "model": "per_unit", "meter": "m"}]})
    (Problem(path='terms.prices[0].unit_amount', code='required', message='is required'),)
    """
    problems: list[Problem] = []
    terms = read_terms(value, path, problems, currency)
    check_applies_to([(path, terms)], problems)
    clashing = clashing_meters((price.meter, price.model) for price in terms.prices)
    problems += [
        Problem(f"{path}.prices[{index}].meter", "usage_kind", "another price reads it otherwise")
        for index, price in enumerate(terms.prices)
        if price.meter in clashing and price.model in EVENTS_ONLY
    ]
    return tuple(problems) or terms


def clashing_meters(prices: Iterable[tuple[str, str]]) -> frozenset[str]:
    """Return the meters of (meter, model) that need both events and a quantity in one period.

    No usage fits both, so that such a period could never be rated.

    >>> sorted(clashing_meters([("a", "percentage"), ("a", "per_unit"), ("b", "percentage")]))
    ['a']
    """
    kinds: dict[str, set[bool]] = {}
    for meter, model in prices:
        if meter and model not in EITHER_KIND:
            kinds.setdefault(meter, set()).add(model in EVENTS_ONLY)
    return frozenset(meter for meter, held in kinds.items() if len(held) > 1)


def read_terms(value: object, path: str, problems: list[Problem], currency: str = "") -> Terms:
    """Read terms into types and append what is wrong; with problems, the result means nothing."""
    source = Fields.read(value, path, problems, _TERMS_FIELDS)
    _check_currency(source, currency)
    prices = tuple(_price(v, p, problems, currency) for p, v in source.items("prices"))
    seen: set[str] = set()
    for index, price in enumerate(prices):
        if price.key and price.key in seen:
            source.refuse(f"prices[{index}].key", "duplicate_key", "is the key of another price")
        seen.add(price.key)
    return Terms(
        prices=prices,
        minimum_commitment=_commitment(source),
        discounts=tuple(_discount(v, p, problems) for p, v in source.items("discounts")),
        credits=tuple(_credit(v, p, problems, currency) for p, v in source.items("credits")),
        tax=tuple(_tax(v, p, problems) for p, v in source.items("tax")),
    )


def check_applies_to(rows: Iterable[tuple[str, Terms]], problems: list[Problem]) -> None:
    """Append a problem for each `applies_to` that names a price of none of these terms."""
    listed = list(rows)
    keys = {price.key for _, terms in listed for price in terms.prices}
    for path, terms in listed:
        named: dict[str, tuple[Discount | Credit | Tax, ...]] = {
            "discounts": terms.discounts,
            "credits": terms.credits,
            "tax": terms.tax,
        }
        for name, entries in named.items():
            for index, entry in enumerate(entries):
                if entry.applies_to and not keys.issuperset(entry.applies_to):
                    missing = ", ".join(sorted(set(entry.applies_to) - keys))
                    at = f"{path}.{name}[{index}].applies_to"
                    problems.append(Problem(at, "unknown_price", f"no price has key {missing}"))


def _check_currency(source: Fields, currency: str) -> None:
    if source.has("currency") and currency and source.values["currency"] != currency:
        source.refuse("currency", "mixed_currency", f"must be {currency}, as in the document")


def _price(value: object, path: str, problems: list[Problem], currency: str) -> Price:
    source = Fields.read(value, path, problems, _PRICE_FIELDS)
    key = source.text("key", pattern=KEY)
    if key == COMMITMENT_KEY:
        source.refuse("key", "reserved_key", "is the key of the commitment's line")
    _check_currency(source, currency)
    model = source.choice("model", MODEL_FIELDS)
    if not model:
        return Price(key, "")
    for name in _PRICE_FIELDS - MODEL_FIELDS[model]:
        if source.has(name):
            source.refuse(name, "field_of_another_model", f"does not belong to model {model}")
    price = Price(
        key,
        model,
        meter=source.text("meter", pattern=METER) if model != FLAT else "",
        minimum=source.optional("minimum"),
        maximum=source.optional("maximum"),
        description=source.text("description", pattern=_WORDS, required=False),
        **_model_fields(source, model),
    )
    if price.free_events is not None and price.free_events != int(price.free_events):
        source.refuse("free_events", "not_an_integer", "must be a whole number")
    _check_bounds(source, "minimum", price.minimum, price.maximum)
    _check_bounds(source, "min_per_event", price.min_per_event, price.max_per_event)
    return price


def _check_bounds(source: Fields, name: str, lower: Decimal | None, upper: Decimal | None) -> None:
    if lower is not None and upper is not None and lower > upper:
        source.refuse(name, "above_maximum", "must not be above the maximum")


def _model_fields(source: Fields, model: str) -> dict[str, Any]:
    """Read what belongs to this model alone."""
    known = MODEL_FIELDS[model]
    values: dict[str, Any] = {
        name: source.optional(name) for name in _OPTIONAL_DECIMALS & known if source.has(name)
    }
    if model in _REQUIRED:
        values[_REQUIRED[model]] = source.decimal(_REQUIRED[model])
    if model == FLAT:
        values["timing"] = source.choice("timing", _TIMINGS, default="in_advance")
        values["proration"] = source.choice("proration", _PRORATIONS, default="second")
    if model == PACKAGE:
        values["package_size"] = source.decimal("package_size", positive=True)
        values["package_amount"] = source.decimal("package_amount")
    if model == DYNAMIC and source.has("multiplier"):
        values["multiplier"] = source.decimal("multiplier")
    if model in TIER_FIELDS:
        flag = "zero_usage_first_tier_flat"
        values[flag] = source.flag(flag, default=True)
        values["tiers"] = _tiers(source, model)
    if "transform" in known and source.has("transform"):
        values["transform"] = _transform(source)
    return values


_TIMINGS: Final = ("in_advance", "in_arrears")
_OPTIONAL_DECIMALS: Final = frozenset(
    {"included", "fixed_per_event", "free_events", "free_amount", "min_per_event", "max_per_event"}
)


def _tiers(source: Fields, model: str) -> tuple[Tier, ...]:
    if not source.has("tiers"):
        source.refuse("tiers", "required", "is required")
        return ()
    before = len(source.problems)
    rows = tuple(_tier(v, p, source.problems, model) for p, v in source.items("tiers"))
    if not rows and len(source.problems) == before:
        source.refuse("tiers", "required", "must hold at least one tier")
    lower: Decimal | None = None
    for index, tier in enumerate(rows):
        at = f"tiers[{index}].up_to"
        if tier.up_to is None and index < len(rows) - 1:
            source.refuse(at, "tier_overlap", "only the last tier may be without an end")
        if tier.up_to is not None and lower is not None and tier.up_to <= lower:
            source.refuse(at, "tier_overlap", "must be above the tier before it")
        lower = lower if tier.up_to is None else tier.up_to
    return rows


def _tier(value: object, path: str, problems: list[Problem], model: str) -> Tier:
    source = Fields.read(value, path, problems, _ALL_TIER_FIELDS)
    known = TIER_FIELDS[model]
    for name in source.values:
        if name in _ALL_TIER_FIELDS and name not in known and source.has(name):
            source.refuse(name, "field_of_another_model", f"does not belong to model {model}")
    return Tier(
        up_to=source.optional("up_to"),
        unit_amount=source.optional("unit_amount") if "unit_amount" in known else None,
        per=source.decimal("per", positive=True) if "per" in known and source.has("per") else None,
        flat_amount=source.optional("flat_amount"),
        rate=source.optional("rate") if "rate" in known else None,
    )


def _transform(source: Fields) -> Transform:
    path = f"{source.path}.transform"
    known = ("op", "factor", "round", "precision")
    inner = Fields.read(source.values["transform"], path, source.problems, known)
    rounding = inner.choice("round", _ROUNDINGS, default="none")
    if inner.has("precision") and not inner.has("round"):
        inner.refuse("round", "required", "is required beside a precision")
    return Transform(
        op=inner.choice("op", ("multiply", "divide")),
        factor=inner.decimal("factor", positive=True),
        rounding=None if rounding == "none" else rounding,
        precision=inner.integer("precision", default=0, low=-18, high=12)
        if inner.has("precision")
        else None,
    )


def _commitment(source: Fields) -> Commitment | None:
    value = source.values.get("minimum_commitment")
    if value is None:
        return None
    if not isinstance(value, dict):
        return Commitment(source.decimal("minimum_commitment"))
    path = f"{source.path}.minimum_commitment"
    inner = Fields.read(value, path, source.problems, ("amount", "proration"))
    proration = inner.choice("proration", _PRORATIONS, default="second")
    return Commitment(inner.decimal("amount"), proration)


def _discount(value: object, path: str, problems: list[Problem]) -> Discount:
    source = Fields.read(value, path, problems, ("type", "value", "applies_to"))
    kind = source.choice("type", ("percent", "fixed"))
    amount = source.decimal("value", at_most=100 if kind == "percent" else 0)
    return Discount(kind, amount, _applies_to(source))


def _credit(value: object, path: str, problems: list[Problem], currency: str) -> Credit:
    known = ("amount", "priority", "expires_at", "applies_to", "currency")
    source = Fields.read(value, path, problems, known)
    _check_currency(source, currency)
    return Credit(
        amount=source.decimal("amount"),
        priority=source.integer("priority", default=0, low=-(10**9), high=10**9),
        expires_at=source.optional_time("expires_at"),
        applies_to=_applies_to(source),
    )


def _tax(value: object, path: str, problems: list[Problem]) -> Tax:
    source = Fields.read(value, path, problems, ("rate", "applies_to"))
    return Tax(source.decimal("rate"), _applies_to(source))


def _applies_to(source: Fields) -> tuple[str, ...] | None:
    if not source.has("applies_to"):
        return None
    keys = set()
    for path, value in source.items("applies_to"):
        if isinstance(value, str):
            keys.add(value)
        else:
            source.problems.append(Problem(path, "not_a_text", "must be the key of a price"))
    return tuple(sorted(keys))


def terms_to_json(terms: Terms) -> dict[str, Any]:
    """Write terms as the plain JSON values that `parse_terms` reads back to equal terms.

    >>> terms_to_json(Terms(tax=(Tax(Decimal("20")),)))
    {'tax': [{'rate': '20'}]}
    """
    row: dict[str, Any] = _plain(terms)
    return row


def _plain(value: Any) -> Any:
    """Write a value, leaving out what is absent or the default."""
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, datetime):
        return time_text(value)
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    if not hasattr(value, "__dataclass_fields__"):
        return value
    row = {}
    for entry in fields(value):
        inner = getattr(value, entry.name)
        if inner is not None and inner != entry.default:  # an empty `applies_to` says: nothing
            row["round" if entry.name == "rounding" else entry.name] = _plain(inner)
    return row


def time_text(instant: datetime) -> str:
    """Write an instant in UTC with `Z`; microseconds only where there are any.

    >>> time_text(datetime(2026, 1, 16, tzinfo=UTC))
    '2026-01-16T00:00:00Z'
    """
    return instant.astimezone(UTC).isoformat().replace("+00:00", "Z")
