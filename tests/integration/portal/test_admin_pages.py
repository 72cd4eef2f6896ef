"""The provider's pages: who may open them, that each answers, and the way to a published plan."""

import re
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.urls import URLPattern, reverse
from pytest_django import DjangoAssertNumQueries

from portal import clock
from portal.models import (
    Api,
    Meter,
    Node,
    Organization,
    Plan,
    PlanVersion,
    Route,
    StaffRole,
    Subscription,
    Upstream,
    User,
)
from portal.permissions import access_of
from portal.services.audit import audit_record
from portal.services.nodes import node_poll_record
from portal.services.plans import plan_version_draft
from portal.services.subscriptions import subscription_create
from portal.views.admin_urls import urlpatterns
from tests.factories.provider import (
    NOW,
    make_api,
    make_credential,
    make_organization,
    make_plan_version,
    make_user,
)

pytestmark = pytest.mark.django_db


@dataclass(frozen=True)
class Console:
    """A signed-in person of the provider, and an installation with one of everything."""

    client: Client
    objects: dict[str, str]

    def url(self, name: str) -> str:
        pattern = next(p for p in PATTERNS if p.name == name)
        return reverse(name, kwargs={key: self.objects[key] for key in parameters(pattern)})


PATTERNS = [pattern for pattern in urlpatterns if isinstance(pattern, URLPattern)]
NAMES = [str(pattern.name) for pattern in PATTERNS]
POST_ONLY = {"admin_upstream_check", "admin_archive", "admin_version_new"}
FOR_FINANCE = {
    *("admin_home", "admin_customers", "admin_customer", "admin_subscriptions", "admin_system"),
    "admin_audit",
}


def parameters(pattern: URLPattern) -> list[str]:
    return re.findall(r"<str:(\w+)>", str(pattern.pattern))


def make_installation() -> dict[str, str]:
    api = make_api(slug="maps", routes=2)
    version = make_plan_version(api)
    draft = plan_version_draft(plan=version.plan, actor=None, now=NOW)
    organization = make_organization()
    make_credential(organization)
    subscription = subscription_create(
        organization=organization, version=version, actor=None, now=clock.now()
    )
    node_poll_record(
        node_id="node-a",
        boot="b1",
        worker=0,
        acknowledged_version=1,
        refused_version=None,
        refused_reason="",
        now=NOW,
        wall=NOW,
    )
    meter = Meter.objects.create(slug="tiles", name="Tiles", created_at=NOW)
    return {
        "api_id": api.pk,
        "route_id": Route.objects.all()[0].pk,
        "upstream_id": Upstream.objects.get().pk,
        "meter_id": meter.pk,
        "plan_id": version.plan_id,
        "version_id": draft.pk,
        "organization_id": organization.pk,
        "subscription_id": subscription.pk,
        "node_id": "node-a",
    }


def sign_in(user: User) -> Client:
    client = Client()
    client.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
    return client


@pytest.fixture
def console() -> Console:
    return Console(sign_in(make_user()), make_installation())


@pytest.mark.parametrize("name", [name for name in NAMES if name not in POST_ONLY])
def test_every_page_answers(
    console: Console, name: str, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    with django_assert_max_num_queries(18 if name == "admin_config" else 12):
        response = console.client.get(console.url(name))
    assert response.status_code == 200
    text = response.content.decode()
    assert text.count("<h1") == 1
    assert "style=" not in text
    assert "<script>" not in text


@pytest.mark.parametrize("name", NAMES)
def test_who_may_open_what(console: Console, name: str) -> None:
    """Nobody signed in is sent to the login, a customer is refused, finance reads six pages."""
    url = console.url(name)
    method = "post" if name in POST_ONLY else "get"
    assert getattr(Client(), method)(url).status_code == 302
    customer = sign_in(make_user(staff_role=StaffRole.NONE))
    assert getattr(customer, method)(url).status_code == 403
    finance = sign_in(make_user(staff_role=StaffRole.FINANCE))
    expected = 200 if name in FOR_FINANCE else 403
    assert getattr(finance, method)(url).status_code == expected


def test_every_view_names_its_audience() -> None:
    assert all(access_of(pattern.callback) is not None for pattern in PATTERNS)


def test_a_refused_person_changes_nothing(console: Console) -> None:
    finance = sign_in(make_user(staff_role=StaffRole.FINANCE))
    for name in ("admin_api_delete", "admin_subscription_cancel", "admin_version_publish"):
        assert finance.post(console.url(name), {"reason": "x"}).status_code == 403
    assert Api.objects.exists()
    assert Subscription.objects.get().ends_at is None
    assert PlanVersion.objects.filter(published_at__isnull=True).exists()


def test_from_nothing_to_a_published_plan_and_its_first_customer() -> None:
    """The admin's journey by plain forms, as a browser without scripts sends them."""
    client = sign_in(make_user())
    upstream = {
        "name": "maps",
        "targets": "http://127.0.0.1:9000 3\nhttp://127.0.0.1:9001",
        "connect_timeout_ms": 2000,
        "send_timeout_ms": 30000,
        "read_timeout_ms": 30000,
        "retries": 1,
    }
    client.post(reverse("admin_upstream_new"), upstream)
    targets = {"http://127.0.0.1:9000": 3, "http://127.0.0.1:9001": 1}
    assert Upstream.objects.get().targets == targets
    client.post(reverse("admin_api_new"), {"name": "Maps", "slug": "maps"})
    api = Api.objects.get()
    text = '{"openapi": "3.1.0", "paths": {"/tiles/{z}": {"get": {"operationId": "tile"}}}}'
    imported = {"upstream": Upstream.objects.get().pk, "text": text, "path_prefix": "/maps"}
    client.post(reverse("admin_openapi", args=[api.pk]), imported)
    assert Route.objects.get().path == "/maps/tiles/{z}"
    edit = reverse("admin_api_edit", args=[api.pk])
    client.post(edit, {"name": "Maps", "slug": "maps", "is_published": "on"})
    api.refresh_from_db()
    assert api.is_published
    client.post(
        reverse("admin_plan_new"),
        {"name": "Team", "slug": "team", "apis": [api.pk], "rank": 1, "is_public": "on"},
    )
    plan = Plan.objects.get()
    client.post(reverse("admin_version_new", args=[plan.pk]))
    version = plan.versions.get()
    fill_in(client, version)
    publish = reverse("admin_version_publish", args=[version.pk])
    assert client.post(publish).headers["Location"] == reverse("admin_plan", args=[plan.pk])
    version.refresh_from_db()
    assert version.published_at is not None
    shown = client.get(reverse("admin_version", args=[version.pk])).content.decode()
    assert "49.00" in shown.split('id="examples"')[1]
    organization = make_organization()
    client.post(reverse("admin_subscribe", args=[organization.pk]), {"version": version.pk})
    assert Subscription.objects.get().plan == plan


def fill_in(client: Client, version: PlanVersion) -> None:
    """Press the editor's buttons until the draft says what it should."""
    url = reverse("admin_version", args=[version.pk])
    client.post(url, {"do": "add_price:flat"})
    client.post(
        url, {"do": "add_price:graduated", "prices-0-key": "base", "prices-0-amount": "49"}
    )
    fields = {
        "prices-0-key": "base",
        "prices-0-amount": "49.00",
        "prices-0-timing": "in_advance",
        "prices-1-key": "calls",
        "prices-1-meter": "requests",
        "prices-1-tiers-0-up_to": "1000",
        "prices-1-tiers-0-unit_amount": "0",
        "prices-1-tiers-1-unit_amount": "0.002",
        "currency": "EUR",
        "trial_days": "14",
        "past_due_grace_days": "7",
    }
    client.post(url, fields | {"do": "add_tier:1"})
    fields |= {"prices-1-tiers-1-up_to": "900", "prices-1-tiers-1-unit_amount": "0.01"}
    fields |= {"prices-1-tiers-2-unit_amount": "0.002", "policy-4xx": "free"}
    client.post(url, fields | {"do": "add_quota"})
    fields |= {
        "quotas-0-meter": "requests",
        "quotas-0-quota": "5000",
        "quotas-0-alerts_at": "80, 95",
    }
    client.post(url, fields | {"do": "save"})
    page = client.get(url).content.decode()
    assert 'aria-describedby="id_prices-1-tiers-1-up_to_error"' in page
    fields["prices-1-tiers-1-up_to"] = "10000"
    response = client.post(url, fields | {"do": "publish"})
    assert response.headers["Location"].endswith("/publish")
    version.refresh_from_db()
    assert (version.currency, version.trial_days) == ("EUR", 14)
    assert version.limits["count_policy"] == {"4xx": "free"}
    tiers: list[dict[str, Any]] = version.terms["prices"][1]["tiers"]
    assert [tier.get("up_to") for tier in tiers] == ["1000", "10000", None]


def test_required_scopes_are_typed_shown_and_refused_at_their_field(console: Console) -> None:
    url = console.url("admin_route")
    route = Route.objects.get(pk=console.objects["route_id"])
    fields: dict[str, object] = {
        "name": route.name,
        "path": route.path,
        "upstream": route.upstream_id,
        "priority": 0,
        "max_body_bytes": 1000,
        "read_timeout_ms": 0,
    }
    console.client.post(url, fields | {"scopes": "maps:write,maps:read  maps:read"})
    route.refresh_from_db()
    assert route.scopes == ["maps:read", "maps:write"]
    assert 'value="maps:read maps:write"' in console.client.get(url).content.decode()
    assert '<code class="nowrap">maps:read</code>' in (
        console.client.get(console.url("admin_api")).content.decode()
    )
    for typed in ({"scopes": "maps:read, Maps"}, {"scopes": "maps:read", "is_public": "on"}):
        answer = console.client.post(url, fields | typed)
        page = answer.content.decode()
        assert answer.status_code in {400, 422}
        assert 'id="id_scopes_error"' in page
        assert f'value="{typed["scopes"]}"' in page
    route.refresh_from_db()
    assert (route.scopes, route.is_public) == (["maps:read", "maps:write"], False)
    console.client.post(url, fields | {"scopes": ""})
    route.refresh_from_db()
    assert route.scopes == []


def test_rows_can_be_removed_and_nothing_else_is_lost(console: Console) -> None:
    version = PlanVersion.objects.get(pk=console.objects["version_id"])
    version.terms = {
        "prices": [
            {"key": "a", "model": "flat", "amount": "1"},
            {
                "key": "b",
                "model": "per_unit",
                "meter": "requests",
                "unit_amount": "2",
                "transform": {"op": "divide", "factor": "1000"},
            },
        ],
        "discounts": [{"type": "percent", "value": "10"}],
    }
    version.save(update_fields=["terms"])
    url = console.url("admin_version")
    fields = {"prices-0-key": "a", "prices-0-amount": "1", "prices-1-key": "b"}
    fields |= {"prices-1-unit_amount": "3", "prices-1-meter": "requests"}
    console.client.post(url, fields | {"do": "remove_price:0"})
    version.refresh_from_db()
    assert version.terms["discounts"] == [{"type": "percent", "value": "10"}]
    assert version.terms["prices"] == [
        {
            "key": "b",
            "model": "per_unit",
            "meter": "requests",
            "unit_amount": "3",
            "transform": {"op": "divide", "factor": "1000"},
        }
    ]
    for command in ("remove_price:9", "remove_tier:0:4", "add_price:ghost", "remove_quota:x", "?"):
        assert console.client.post(url, {"do": command}).status_code == 302


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("threshold", "abc"),
        ("threshold", "10.005"),
        ("threshold", "-1"),
        ("threshold", "99999999999999"),
        ("trial_days", "soon"),
        ("past_due_grace_days", "9999"),
        ("currency", "XXX"),
        ("note", "n" * 301),
    ],
)
def test_what_a_version_cannot_take_is_an_error_at_its_field_and_nothing_typed_is_lost(
    console: Console, name: str, text: str
) -> None:
    url = console.url("admin_version")
    console.client.post(url, {"do": "add_quota"})
    before = PlanVersion.objects.filter(pk=console.objects["version_id"]).values().get()
    typed = {"quotas-0-meter": "requests", "quotas-0-quota": "4321", name: text, "do": "publish"}
    answer = console.client.post(url, typed)
    assert answer.status_code == 422
    page = answer.content.decode()
    assert f'id="id_{name}_error"' in page
    assert "Not saved" in page
    assert 'value="4321"' in page
    assert text in page or name == "currency"  # a list can show only what it offers
    assert PlanVersion.objects.filter(pk=before["id"]).values().get() == before


def test_the_threshold_is_typed_in_the_currency_and_taken_away_by_an_empty_field(
    console: Console,
) -> None:
    url = console.url("admin_version")
    version = PlanVersion.objects.get(pk=console.objects["version_id"])
    for text, currency, minor in (("12.50", "USD", 1250), ("500", "JPY", 500), ("", "USD", None)):
        console.client.post(url, {"threshold": text, "currency": currency, "do": "save"})
        version.refresh_from_db()
        assert version.threshold_minor == minor
    console.client.post(url, {"threshold": "7", "do": "save"})
    console.client.post(url, {"do": "add_quota"})
    version.refresh_from_db()
    assert version.threshold_minor == 700


def test_a_published_version_is_shown_and_not_changed(console: Console) -> None:
    version = PlanVersion.objects.get(number=1)
    url = reverse("admin_version", args=[version.pk])
    assert "readonly" in console.client.get(url).content.decode()
    console.client.post(url, {"do": "add_quota"})
    before = version.limits
    version.refresh_from_db()
    assert version.limits == before


@pytest.mark.parametrize("by", ["name", "mail", "prefix", "last4", "key", "subscription", "id"])
def test_customers_are_found_by_what_is_at_hand(console: Console, by: str) -> None:
    organization = Organization.objects.get()
    make_organization(name="Other")
    key = organization.consumers.get().credentials.get()
    member = make_user(staff_role="", email="dev@acme.example")
    organization.memberships.create(user=member, role="owner", created_at=NOW)
    text = {
        "name": organization.name.lower(),
        "mail": "dev@acme",
        "prefix": key.prefix,
        "last4": key.last4,
        "key": key.pk,
        "subscription": console.objects["subscription_id"],
        "id": organization.pk,
    }[by]
    page = console.client.get(reverse("admin_customers"), {"q": text})
    assert [row.pk for row in page.context["page"]] == [organization.pk]


def test_the_timeline_tells_the_newest_first_whenever_it_was_recorded(console: Console) -> None:
    organization = Organization.objects.get()
    for action, hours in (("a.second", 2), ("a.fourth", 4), ("a.first", 1), ("a.third", 3)):
        at = NOW + timedelta(hours=hours)
        audit_record(actor=None, action=action, target="t", now=at, organization=organization)
    audit_record(
        actor=None,
        action="a.third_too",
        target="t",
        now=NOW + timedelta(hours=3),
        organization=organization,
    )
    page = console.client.get(console.url("admin_customer"))
    told = [e.action for e in page.context["events"] if e.action.startswith("a.")]
    assert told == ["a.fourth", "a.third_too", "a.third", "a.second", "a.first"]
    assert "A: third too" in page.content.decode()


def test_a_state_has_one_word_for_the_customer_and_the_provider(console: Console) -> None:
    subscription = Subscription.objects.select_related("organization").get()
    console.client.post(console.url("admin_subscription_pause"), {"reason": "holiday"})
    owner = make_user(staff_role="", email="dev@acme.example")
    subscription.organization.memberships.create(user=owner, role="owner", created_at=NOW)
    client = Client()
    client.force_login(owner, backend="django.contrib.auth.backends.ModelBackend")
    own = client.get(reverse("org_plan", args=[subscription.organization.slug]))
    badge = '<span class="badge badge--warn">Paused</span>'
    assert badge in own.content.decode()
    assert badge in console.client.get(console.url("admin_customer")).content.decode()


def test_a_change_a_pause_and_a_cancellation_on_behalf(console: Console) -> None:
    subscription = Subscription.objects.get()
    larger = make_plan_version(Api.objects.get())
    form = {"version": larger.pk, "when": "period_end", "carry_over": "on"}
    console.client.post(console.url("admin_subscription_change"), form)
    assert subscription.segments.count() == 2
    console.client.post(console.url("admin_subscription_undo"))
    assert subscription.segments.count() == 1
    console.client.post(console.url("admin_subscription_cancel"), {"reason": "asked for it"})
    subscription.refresh_from_db()
    assert subscription.ends_at is not None
    console.client.post(console.url("admin_subscription_undo"))
    console.client.post(console.url("admin_subscription_pause"), {"reason": "holiday"})
    subscription.refresh_from_db()
    assert subscription.ends_at is None
    assert subscription.paused_at is not None
    refused = console.client.post(console.url("admin_subscription_pause"), {"reason": "again"})
    assert refused.status_code == 409


def test_the_clock_moves_by_form(console: Console) -> None:
    url = console.url("admin_clock")
    before = clock.offset()
    assert console.client.post(url, {}).status_code == 422
    assert console.client.post(url, {"by": "3600", "to": "2030-01-01T00:00"}).status_code == 422
    console.client.post(url, {"by": "86400"})
    assert clock.offset() - before == timedelta(days=1)
    assert console.client.post(url, {"to": "2001-01-01T00:00"}).status_code == 422


def test_a_lost_gateway_is_written_off_with_a_reason(console: Console) -> None:
    url = console.url("admin_node_write_off")
    refused = console.client.post(url, {"reason": ""})
    assert refused.status_code == 422
    assert "This field is required" in refused.content.decode()
    assert Node.objects.get().written_off_at is None
    console.client.post(url, {"reason": "disk lost"})
    assert Node.objects.get().written_off_at is not None
    events = console.client.get(reverse("admin_audit"), {"action": "node."}).content.decode()
    assert "disk lost" in events


def test_the_configuration_can_be_downloaded(console: Console) -> None:
    response = console.client.get(console.url("admin_config"), {"download": "1"})
    assert response.headers["Content-Type"] == "application/yaml"
    assert response.content.startswith(b"version: 1\n")
