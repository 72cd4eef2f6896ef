"""What the provider of the scene sells, and to whom: an API, three plans, seven customers."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from portal.models import Api, PlanVersion, User
from portal.services.catalog import api_save, meter_save, route_save, upstream_save
from portal.services.plans import (
    plan_save,
    plan_version_draft,
    plan_version_publish,
    plan_version_save,
)

DECLINED: Final = "4000000000009995"
_GRADUATED: Final = {
    "key": "calls",
    "meter": "requests",
    "model": "graduated",
    "tiers": [
        {"up_to": "500", "unit_amount": "0"},
        {"up_to": "1500", "unit_amount": "11.90", "per": "100"},
        {"up_to": None, "unit_amount": "8.90", "per": "100"},
    ],
}
PLANS: Final[tuple[dict[str, Any], ...]] = (
    {
        "slug": "starter",
        "name": "Starter",
        "description": "For a side project that calls now and then.",
        "prices": [{"key": "base", "model": "flat", "amount": "19.00"}],
        "quota": {"meter": "requests", "quota": 1_000},
    },
    {
        "slug": "growth",
        "name": "Growth",
        "description": "500 calls included, more at falling prices.",
        "prices": [{"key": "base", "model": "flat", "amount": "49.00"}, _GRADUATED],
        "quota": {"meter": "requests", "quota": 500, "block_at_percent": 0},
    },
    {
        "slug": "growth-eu",
        "name": "Growth EU",
        "description": "Growth in euros.",
        "currency": "EUR",
        "prices": [{"key": "base", "model": "flat", "amount": "45.00"}, _GRADUATED],
        "quota": {"meter": "requests", "quota": 500, "block_at_percent": 0},
    },
)


@dataclass(frozen=True)
class Buyer:
    """A customer of the scene: calls a day in each of three periods, and how it pays."""

    name: str
    slug: str
    plan: str
    calls: tuple[int, int, int]
    card: str = "4242424242424242"
    since: int = 0  # the period that it started with


CUSTOMERS: Final = (
    Buyer("Northwind Traders", "northwind", "growth", (60, 64, 78)),
    Buyer("Blue Heron Maps", "blue-heron", "growth", (48, 50, 44)),
    Buyer("Kestrel Air", "kestrel", "growth-eu", (40, 95, 60)),
    Buyer("Lumen Retail", "lumen", "starter", (9, 9, 8)),
    Buyer("Fjord Logistics", "fjord", "starter", (14, 12, 12), DECLINED),
    Buyer("Petit Marché", "petit-marche", "growth", (0, 52, 50), since=1),
    Buyer("Harbour & Sons", "harbour", "growth", (42, 0, 6), ""),
)


def catalog_make(*, actor: User, at: datetime) -> Api:
    """Make the upstream, the API with four routes, a second meter and the published plans."""
    upstream = upstream_save(
        upstream=None,
        values={"name": "world-data", "targets": {"http://127.0.0.1:9000": 1}},
        actor=actor,
        now=at,
    )
    values = {
        "name": "World Data",
        "slug": "world-data",
        "description": "Countries, currencies and languages of the world.",
        "sample_path": "/v1/countries/de",
    }
    api = api_save(api=None, values=values, actor=actor, now=at)
    for name in ("countries", "currencies", "languages", "format"):
        scopes = ["tools:format"] if name == "format" else []
        values_of = {
            "name": name, "path": f"/v1/{name}", "methods": ["GET"], "scopes": scopes,
        }  # fmt: skip
        route_save(api=api, upstream=upstream, route=None, values=values_of, actor=actor, now=at)
    api = api_save(api=api, values={**values, "is_published": True}, actor=actor, now=at)
    meter_save(
        meter=None, values={"slug": "tiles", "name": "Map tiles", "unit": "tiles"},
        actor=actor, now=at,
    )  # fmt: skip
    for rank, plan in enumerate(PLANS):
        plan_make(plan, rank=rank, api=api, actor=actor, at=at)
    return api


def plan_make(
    plan: dict[str, Any], *, rank: int, api: Api, actor: User, at: datetime
) -> PlanVersion:
    shown = {name: plan[name] for name in ("slug", "name", "description")} | {"rank": rank}
    row = plan_save(plan=None, values=shown, apis=[api], actor=actor, now=at)
    draft = plan_version_draft(plan=row, actor=actor, now=at)
    plan_version_save(
        version=draft,
        terms={"prices": plan["prices"]},
        limits={
            "quotas": [plan["quota"]],
            "rate_limits": [{"name": "burst", "rate": 20, "per_s": 1, "burst": 40}],
        },
        currency=plan.get("currency", "USD"),
        trial_days=0,
        past_due_grace_days=30,
        actor=actor,
        now=at,
    )
    return plan_version_publish(version=draft, actor=actor, now=at)
