"""A plan version's terms as sentences, for the plan page, the comparison and the review.

Words only: every number comes from the version, none is computed into money here.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from billing.services.documents import count_policy_text
from billing.services.quota_use import DEFAULT_ALERTS, DEFAULT_BLOCK_PERCENT, FULL_PERCENT
from gateway.contracts.snapshot import WindowKind
from portal.models import PlanVersion
from portal.templatetags.ledger import quantity

_SMALL: Final = Decimal("0.01")
_BLOCK: Final = 1_000


@dataclass(frozen=True, slots=True)
class PriceWords:
    title: str
    rows: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PlanWords:
    """What a customer reads about a plan; each field is a list of sentences."""

    prices: tuple[PriceWords, ...]
    quotas: tuple[str, ...]
    rate_limits: tuple[str, ...]
    count_policy: tuple[str, ...]
    extras: tuple[str, ...]


def plan_words(version: PlanVersion) -> PlanWords:
    """Write a version's terms and limits in words."""
    terms, limits = version.terms, version.limits
    currency = version.currency
    return PlanWords(
        prices=tuple(_price(price, currency) for price in terms.get("prices", [])),
        quotas=tuple(_quota(quota) for quota in limits.get("quotas", [])),
        rate_limits=tuple(_rate_limit(rate) for rate in limits.get("rate_limits", [])),
        count_policy=tuple(count_policy_text(limits.get("count_policy"))),
        extras=tuple(_extras(version, currency)),
    )


def _money(amount: object, currency: str) -> str:
    return f"{quantity_money(Decimal(str(amount)))} {currency}"


def quantity_money(amount: Decimal) -> str:
    """Write a unit price: at least two places, all of its digits.

    >>> quantity_money(Decimal("49")), quantity_money(Decimal("0.0025"))
    ('49.00', '0.0025')
    """
    places = max(2, -int(amount.normalize().as_tuple().exponent))
    return f"{amount:,.{places}f}"


def _price(price: Mapping[str, Any], currency: str) -> PriceWords:
    model = price["model"]
    title = price.get("description") or price.get("meter") or _("Fee")
    if model == "flat":
        rows = [_flat(price, currency)]
    elif price.get("tiers"):
        rows = _tiers(price, currency)
    else:
        rows = [_unit(price, currency)]
    if price.get("included"):
        units = quantity(price["included"])
        rows.insert(0, _("%(units)s included") % {"units": units})
    for name, text in (
        ("minimum", _("at least %(amount)s")),
        ("maximum", _("at most %(amount)s")),
    ):
        if price.get(name):
            rows.append(text % {"amount": _money(price[name], currency)})
    return PriceWords(title, tuple(rows))


def _flat(price: Mapping[str, Any], currency: str) -> str:
    amount = _money(price["amount"], currency)
    if price.get("timing", "in_advance") == "in_advance":
        return _("%(amount)s per month, in advance") % {"amount": amount}
    return _("%(amount)s per month, in arrears") % {"amount": amount}


def _unit(price: Mapping[str, Any], currency: str) -> str:
    model = price["model"]
    if model == "per_unit":
        return _per_unit(price["unit_amount"], currency)
    if model == "package":
        amount = _money(price["package_amount"], currency)
        size = quantity(price["package_size"])
        return _("%(amount)s per %(size)s, any part of them counts whole") % {
            "amount": amount,
            "size": size,
        }
    if model == "percentage":
        rate = _("%(rate)s %% of the value") % {"rate": price["rate"]}
        if price.get("fixed_per_event"):
            fixed = _money(price["fixed_per_event"], currency)
            return _("%(rate)s and %(fixed)s each") % {"rate": rate, "fixed": fixed}
        return rate
    return _("the price that comes with each event")


def _per_unit(unit_amount: object, currency: str, per: object = None) -> str:
    """Write a price per unit; tiny ones per thousand, as people compare them."""
    amount = Decimal(str(unit_amount))
    if per:
        return _("%(amount)s per %(size)s") % {
            "amount": _money(amount, currency),
            "size": quantity(str(per)),
        }
    if 0 < amount < _SMALL:
        return _("%(amount)s per %(size)s") % {
            "amount": _money(amount * _BLOCK, currency),
            "size": quantity(_BLOCK),
        }
    return _("%(amount)s each") % {"amount": _money(amount, currency)}


def _tiers(price: Mapping[str, Any], currency: str) -> list[str]:
    """Write a row per tier: where it ends and what a unit of it costs."""
    rows, lower = [], None
    whole = price["model"] in {"volume", "stairstep"}
    for tier in price["tiers"]:
        upper = tier.get("up_to")
        span = _span(lower, upper, whole=whole)
        rows.append(f"{span}: {_tier_price(tier, price['model'], currency)}")
        lower = upper
    return rows


def _span(lower: object, upper: object, *, whole: bool) -> str:
    if upper is None:
        if lower is None:
            return _("all")
        return _("above %(lower)s") % {"lower": quantity(str(lower))}
    end = quantity(str(upper))
    if lower is None:
        return (_("up to %(end)s") if whole else _("first %(end)s")) % {"end": end}
    return _("above %(lower)s, up to %(end)s") % {"lower": quantity(str(lower)), "end": end}


def _tier_price(tier: Mapping[str, Any], model: str, currency: str) -> str:
    flat = Decimal(str(tier.get("flat_amount") or 0))
    if tier.get("rate") is not None:
        words = _("%(rate)s %% of the value") % {"rate": tier["rate"]}
    elif model == "stairstep":
        return _money(flat, currency)
    elif Decimal(str(tier.get("unit_amount") or 0)) == 0:
        words = _("included") if not flat else ""
    else:
        words = _per_unit(tier["unit_amount"], currency, tier.get("per"))
    if not flat:
        return words
    fixed = _money(flat, currency)
    return f"{fixed} + {words}" if words else fixed


def window_name(window: WindowKind) -> str:
    match window:
        case WindowKind.BILLING_PERIOD:
            return _("billing period")
        case WindowKind.CALENDAR_MONTH:
            return _("calendar month")
        case WindowKind.DAY:
            return _("day (UTC)")
        case WindowKind.HOUR:
            return _("hour")


def _quota(quota: Mapping[str, Any]) -> str:
    window = WindowKind(quota.get("window", WindowKind.BILLING_PERIOD))
    head = _("%(units)s %(meter)s per %(window)s") % {
        "units": quantity(quota["quota"]),
        "meter": quota["meter"],
        "window": window_name(window),
    }
    block = int(quota.get("block_at_percent", DEFAULT_BLOCK_PERCENT))
    if not block:
        tail = _("calls beyond it go on, priced as above")
    elif block == FULL_PERCENT:
        tail = _("calls beyond it are refused (429) until the next one")
    else:
        tail = _("calls are refused (429) from %(percent)s %% on") % {"percent": block}
    return f"{head}: {tail}. {_alerts(quota)}".strip()


def _alerts(quota: Mapping[str, Any]) -> str:
    percents = quota.get("alerts_at", DEFAULT_ALERTS)
    if not percents:
        return ""
    shown = _(" and ").join(f"{percent}\xa0%" for percent in percents)
    return _("We write to you at %(percents)s.") % {"percents": shown}


def _rate_limit(rate: Mapping[str, Any]) -> str:
    who = {
        "subscription": _("for all your applications together"),
        "consumer": _("for each application"),
        "credential": _("for each key"),
    }[rate.get("key", "subscription")]
    span = ngettext("second", "%(n)s seconds", int(rate["per_s"])) % {"n": rate["per_s"]}
    words = {
        "rate": quantity(rate["rate"]),
        "span": span,
        "burst": quantity(rate.get("burst") or rate["rate"]),
        "who": who,
    }
    return _("%(rate)s calls per %(span)s, %(burst)s at once, %(who)s") % words


def _extras(version: PlanVersion, currency: str) -> list[str]:
    rows = []
    commitment = version.terms.get("minimum_commitment")
    if commitment:
        amount = commitment["amount"] if isinstance(commitment, Mapping) else commitment
        rows.append(_("At least %(amount)s per month") % {"amount": _money(amount, currency)})
    for discount in version.terms.get("discounts") or ():
        value = discount["value"]
        off = f"{value} %" if discount["type"] == "percent" else _money(value, currency)
        rows.append(_("%(off)s off") % {"off": off})
    rows.extend(
        _("%(amount)s of prepaid credit, once") % {"amount": _money(credit["amount"], currency)}
        for credit in version.terms.get("credits") or ()
    )
    if version.trial_days:
        rows.append(_("The first %(days)s days are free of fees") % {"days": version.trial_days})
    return rows
