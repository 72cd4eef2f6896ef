"""The plan editor's form: rows of prices, tiers and limits, in plain fields that need no script.

A draft is stored as it was typed and drawn from what is stored, so that adding a row, correcting
a tier and coming back tomorrow are the same thing. Field names are paths
(`prices-0-tiers-1-up_to`); problems carry the same paths and land at their fields.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from gateway.contracts.access_log import Charge
from gateway.contracts.snapshot import DEFAULT_COUNT_POLICY, Outcome, WindowKind
from portal.core.checked_input import Problem
from portal.core.plan_limits import RATE_KEYS
from portal.core.plan_terms import MODEL_FIELDS, TIER_FIELDS

Text = str | Promise
Choices = Sequence[tuple[str, Text]]

MODELS: Final[Choices] = (
    ("flat", _("Flat fee")),
    ("per_unit", _("Per unit")),
    ("graduated", _("Graduated tiers")),
    ("volume", _("Volume tiers")),
    ("package", _("Packages")),
    ("stairstep", _("Steps")),
    ("percentage", _("Percentage of values")),
    ("graduated_percentage", _("Graduated percentage")),
    ("dynamic", _("Price in the event")),
)
_LABELS: Final[dict[str, Text]] = {
    "key": _("Key"),
    "meter": _("Meter"),
    "description": _("Description"),
    "amount": _("Amount"),
    "timing": _("Charged"),
    "proration": _("Proration"),
    "unit_amount": _("Unit price"),
    "included": _("Included units"),
    "package_size": _("Units in a package"),
    "package_amount": _("Price of a package"),
    "rate": _("Rate, %"),
    "fixed_per_event": _("Fixed per event"),
    "free_events": _("Free events"),
    "free_amount": _("Free amount"),
    "min_per_event": _("At least per event"),
    "max_per_event": _("At most per event"),
    "multiplier": _("Multiplier"),
    "minimum": _("Minimum"),
    "maximum": _("Maximum"),
    "up_to": _("Up to"),
    "per": _("Per units"),
    "flat_amount": _("Flat amount"),
    "quota": _("Quota"),
    "window": _("Window"),
    "alerts_at": _("Alerts at, %"),
    "soft_limit_percent": _("Soft limit, %"),
    "buffer_percent": _("Buffer up to, %"),
    "block_at_percent": _("Block at, %"),
    "name": _("Name"),
    "burst": _("Burst"),
    "per_s": _("Seconds"),
}
_HELP: Final[dict[str, Text]] = {
    "up_to": _("Empty: no end."),
    "per": _("Empty: each unit."),
    "block_at_percent": _("100 blocks at the quota; 0 never blocks and charges on."),
    "alerts_at": _("Like 80, 95."),
}
_CHOICES: Final[dict[str, Choices]] = {
    "timing": (("in_advance", _("in advance")), ("in_arrears", _("in arrears"))),
    "proration": (("second", _("by the second")), ("day", _("by the day")), ("none", _("none"))),
    "window": (
        (WindowKind.BILLING_PERIOD, _("billing period")),
        (WindowKind.CALENDAR_MONTH, _("calendar month")),
        (WindowKind.DAY, _("day")),
        (WindowKind.HOUR, _("hour")),
    ),
    "limit_key": tuple((key, key) for key in RATE_KEYS),
    "charge": (
        (Charge.BILLED, _("billed")),
        (Charge.COUNTED, _("counted, not billed")),
        (Charge.FREE, _("free")),
    ),
}
_OUTCOMES: Final[dict[Outcome, Text]] = {
    Outcome.SUCCESS: _("2xx answers"),
    Outcome.REDIRECT: _("3xx answers"),
    Outcome.CLIENT_ERROR: _("4xx answers"),
    Outcome.UPSTREAM_429: _("429 of the upstream"),
    Outcome.SERVER_ERROR: _("5xx answers"),
    Outcome.CACHED: _("Cached answers"),
    Outcome.ABORTED: _("Aborted before an answer"),
}
_PRICE_ORDER: Final = (
    *("key", "meter", "amount", "timing", "proration", "unit_amount", "included"),
    *("package_size", "package_amount", "rate", "fixed_per_event", "free_events", "free_amount"),
    *("min_per_event", "max_per_event", "multiplier", "minimum", "maximum", "description"),
)
_TIER_ORDER: Final = ("up_to", "unit_amount", "per", "rate", "flat_amount")
_QUOTA_ORDER: Final = (
    *("meter", "quota", "window", "alerts_at", "soft_limit_percent", "buffer_percent"),
    "block_at_percent",
)
_RATE_ORDER: Final = ("name", "rate", "per_s", "burst", "key")
_DEFAULTS: Final[dict[str, str]] = {
    "alerts_at": "80, 95",
    "soft_limit_percent": "100",
    "buffer_percent": "100",
    "block_at_percent": "100",
}
"""What a limit means where it says nothing: shown, and stored with the next save."""
_KEPT: Final = ("model", "transform", "zero_usage_first_tier_flat")  # no field here, stays stored
_NEW_QUOTA: Final[dict[str, Any]] = {"meter": "requests", "quota": "1000"}
_NEW_RATE: Final[dict[str, Any]] = {"name": "burst", "rate": "10", "per_s": "1", "burst": "20"}
_COMMAND: Final = re.compile(r"(add|remove)_(price|tier|quota|rate)(?::([a-z_0-9]+))?(?::(\d+))?")


@dataclass(frozen=True, slots=True)
class Cell:
    """One field as the template draws it."""

    name: str
    label: Text
    value: str
    errors: tuple[str, ...] = ()
    choices: Choices = ()
    help: Text = ""


@dataclass(slots=True)
class Row:
    """One price, tier or limit; `errors` are those of the row as a whole."""

    index: int
    title: Text
    cells: list[Cell]
    errors: list[str]
    tiers: list["Row"] = field(default_factory=list)
    tiered: bool = False


@dataclass(slots=True)
class Editor:
    prices: list[Row]
    quotas: list[Row]
    rates: list[Row]
    policy: list[Cell]
    commitment: Cell
    errors: list[str]  # what belongs to no field above


class _Errors:
    """Problems by path; what nobody takes is left over for the top of the page."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self._held: dict[str, list[str]] = {}
        for problem in problems:
            self._held.setdefault(problem.path, []).append(problem.message)

    def take(self, path: str) -> tuple[str, ...]:
        return tuple(self._held.pop(path, ()))

    def take_below(self, path: str) -> list[str]:
        """Take what is left at the path or deeper, each with what it speaks of."""
        found = [
            name
            for name in self._held
            if name == path or name.startswith((f"{path}.", f"{path}["))
        ]
        return [
            f"{name[len(path) :].lstrip('.')}: {message}" if name != path else message
            for name in found
            for message in self._held.pop(name)
        ]

    def rest(self) -> list[str]:
        return [f"{path}: {message}" for path, held in self._held.items() for message in held]


def editor_build(
    *,
    terms: Mapping[str, Any],
    limits: Mapping[str, Any],
    problems: Sequence[Problem],
    meters: Choices,
) -> Editor:
    """Lay a draft out in rows and cells, each problem at its place."""
    errors = _Errors(problems)
    prices = [
        _price_row(index, price, errors, meters)
        for index, price in enumerate(terms.get("prices") or [])
    ]
    quotas = [
        _row(
            f"limits.quotas[{n}]", f"quotas-{n}", n, _("Quota"), item, _QUOTA_ORDER, errors, meters
        )
        for n, item in enumerate(limits.get("quotas") or [])
    ]
    rates = [
        _row(
            f"limits.rate_limits[{n}]",
            f"rates-{n}",
            n,
            _("Rate limit"),
            item,
            _RATE_ORDER,
            errors,
            meters,
        )
        for n, item in enumerate(limits.get("rate_limits") or [])
    ]
    policy = [
        Cell(
            f"policy-{outcome}",
            label,
            (limits.get("count_policy") or {}).get(outcome, DEFAULT_COUNT_POLICY[outcome]),
            errors.take(f"limits.count_policy.{outcome}"),
            _CHOICES["charge"],
        )
        for outcome, label in _OUTCOMES.items()
    ]
    commitment = terms.get("minimum_commitment")
    if isinstance(commitment, dict):
        commitment = commitment.get("amount")
    cell = Cell(
        "minimum_commitment",
        _("Minimum commitment"),
        str(commitment or ""),
        tuple(errors.take_below("terms.minimum_commitment")),
        help=_("Per period; empty: none."),
    )
    return Editor(prices, quotas, rates, policy, cell, errors.rest())


def _price_row(index: int, price: Mapping[str, Any], errors: _Errors, meters: Choices) -> Row:
    model = str(price.get("model", ""))
    names = [name for name in _PRICE_ORDER if name in MODEL_FIELDS.get(model, ())]
    path = f"terms.prices[{index}]"
    tiered = model in TIER_FIELDS
    tiers = []
    if tiered:
        order = [name for name in _TIER_ORDER if name in TIER_FIELDS[model]]
        tiers = [
            _row(
                f"{path}.tiers[{n}]",
                f"prices-{index}-tiers-{n}",
                n,
                _("Tier"),
                tier,
                order,
                errors,
                meters,
            )
            for n, tier in enumerate(price.get("tiers") or [])
        ]
    title = dict(MODELS).get(model, model)
    row = _row(path, f"prices-{index}", index, title, price, names, errors, meters)
    row.tiers, row.tiered = tiers, tiered
    return row


def _row(
    path: str,
    prefix: str,
    index: int,
    title: Text,
    values: Mapping[str, Any],
    names: Sequence[str],
    errors: _Errors,
    meters: Choices,
) -> Row:
    cells = [_cell(path, prefix, name, values.get(name), errors, meters) for name in names]
    return Row(index, title, cells, errors.take_below(path))


def _cell(path: str, prefix: str, name: str, value: Any, errors: _Errors, meters: Choices) -> Cell:
    choices = meters if name == "meter" else _CHOICES.get(name, ())
    label = _LABELS.get(name, name)
    if prefix.startswith("rates-"):
        choices = _CHOICES["limit_key"] if name == "key" else choices
        label = {"key": _("Counted per"), "rate": _("Requests")}.get(name, label)
    if isinstance(value, list | tuple):
        value = ", ".join(str(item) for item in value)
    return Cell(
        f"{prefix}-{name}",
        label,
        _DEFAULTS.get(name, "") if value is None else str(value),
        (*errors.take(f"{path}.{name}"), *errors.take_below(f"{path}.{name}")),
        choices,
        _HELP.get(name, ""),
    )


def editor_read(
    post: Mapping[str, Any], *, terms: Mapping[str, Any], limits: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Read the posted fields back into terms and limits; what has no field stays as stored."""
    post = {
        name: str(text).replace("\0", "") for name, text in post.items()
    }  # no text of JSON may hold it
    prices = [
        _posted_price(post, index, price) for index, price in enumerate(terms.get("prices") or [])
    ]
    quotas = [
        _posted(post, f"quotas-{index}", _QUOTA_ORDER)
        for index in range(len(limits.get("quotas") or []))
    ]
    for quota in quotas:
        if "alerts_at" in quota:
            quota["alerts_at"] = [v.strip() for v in quota["alerts_at"].split(",") if v.strip()]
        else:
            quota["alerts_at"] = []
    rates = [
        _posted(post, f"rates-{index}", _RATE_ORDER)
        for index in range(len(limits.get("rate_limits") or []))
    ]
    policy = {
        str(outcome): post[f"policy-{outcome}"]
        for outcome in _OUTCOMES
        if post.get(f"policy-{outcome}", DEFAULT_COUNT_POLICY[outcome])
        != DEFAULT_COUNT_POLICY[outcome]
    }
    new_terms = {**terms, "prices": prices}
    new_terms["minimum_commitment"] = _commitment(post, terms.get("minimum_commitment"))
    return new_terms, {**limits, "quotas": quotas, "rate_limits": rates, "count_policy": policy}


def _commitment(post: Mapping[str, Any], held: Any) -> Any:
    text = str(post.get("minimum_commitment", "")).strip()
    if text and isinstance(held, dict):
        return {**held, "amount": text}
    return text or None


def _posted(post: Mapping[str, Any], prefix: str, names: Sequence[str]) -> dict[str, Any]:
    """Take the fields that were filled; an empty one is absent."""
    found = {name: str(post.get(f"{prefix}-{name}", "")).strip() for name in names}
    return {name: value for name, value in found.items() if value}


def _posted_price(post: Mapping[str, Any], index: int, held: Mapping[str, Any]) -> dict[str, Any]:
    model = str(held.get("model", ""))
    names = [name for name in _PRICE_ORDER if name in MODEL_FIELDS.get(model, ())]
    price = {name: held[name] for name in _KEPT if name in held}
    price |= _posted(post, f"prices-{index}", names)
    if model in TIER_FIELDS:
        order = [name for name in _TIER_ORDER if name in TIER_FIELDS[model]]
        price["tiers"] = [
            _posted(post, f"prices-{index}-tiers-{n}", order)
            for n in range(len(held.get("tiers") or []))
        ]
    return price


def editor_command(terms: dict[str, Any], limits: dict[str, Any], command: str) -> bool:
    """Add or remove a row in place; False = the command is none of these.

    `add_price:MODEL`, `add_tier:PRICE`, `add_quota`, `add_rate`, `remove_price:N`,
    `remove_tier:PRICE:N`, `remove_quota:N`, `remove_rate:N`
    """
    found = _COMMAND.fullmatch(command)
    if found is None:
        return False
    verb, kind, first, second = found.groups()
    if (verb, kind) == ("add", "price"):
        _add_price(terms, first or "")
        return True
    rows = _rows_of(terms, limits, kind, first)
    if verb == "add":
        rows.insert(_place(rows, kind), dict(_new_row(kind)))
        return True
    index = (
        int(second if kind == "tier" else first or 0) if (second or first or "0").isdigit() else -1
    )
    if 0 <= index < len(rows):
        del rows[index]
    return True


def _new_row(kind: str) -> Mapping[str, Any]:
    return {"quota": _NEW_QUOTA, "rate": _NEW_RATE}.get(kind, {})


def _place(rows: list[Any], kind: str) -> int:
    """Return where a new row goes: a tier before the endless last one."""
    endless = kind == "tier" and rows and not rows[-1].get("up_to")
    return len(rows) - 1 if endless else len(rows)


def _rows_of(
    terms: dict[str, Any], limits: dict[str, Any], kind: str, first: str | None
) -> list[Any]:
    if kind == "price":
        rows: list[Any] = terms.setdefault("prices", [])
        return rows
    if kind == "tier":
        prices = terms.setdefault("prices", [])
        index = int(first) if first and first.isdigit() else -1
        found: list[Any] = (
            prices[index].setdefault("tiers", []) if 0 <= index < len(prices) else []
        )
        return found
    name = "quotas" if kind == "quota" else "rate_limits"
    limit_rows: list[Any] = limits.setdefault(name, [])
    return limit_rows


def _add_price(terms: dict[str, Any], model: str) -> None:
    if model not in MODEL_FIELDS:
        return
    prices = terms.setdefault("prices", [])
    taken = {price.get("key") for price in prices}
    stem = "base" if model == "flat" else "calls"
    key = next(k for k in (stem, *(f"{stem}-{n}" for n in range(2, 1000))) if k not in taken)
    price: dict[str, Any] = {"key": key, "model": model}
    if "meter" in MODEL_FIELDS[model]:
        price["meter"] = "requests"
    if model in TIER_FIELDS:
        price["tiers"] = [{"up_to": "1000"}, {}]
    prices.append(price)
