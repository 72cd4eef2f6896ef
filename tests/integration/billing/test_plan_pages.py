"""The customer's plan pages: who may open them, bad input, stale and doubled posts, undo."""

import re
from collections.abc import Iterator
from datetime import timedelta

import pytest
from django.test import Client
from django.urls import reverse

from billing.models import CustomerAccount, PlanCheckout
from portal import clock
from portal.models import (
    Api,
    Membership,
    Organization,
    Plan,
    PlanVersion,
    Role,
    Segment,
    Subscription,
)
from portal.services.subscriptions import subscription_create
from portal.usage import override
from tests.factories.billing import JAN, plan_version, pro_terms
from tests.factories.portal import api, client_of, member, organization
from tests.fakes.usage import FakeUsageReader

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _usage() -> Iterator[None]:
    with override(FakeUsageReader()):
        yield


def offer(slug: str, base: str, rank: int) -> PlanVersion:
    version = plan_version(slug=slug, terms=pro_terms(base=base), rank=rank)
    version.plan.apis.set(Api.objects.all())
    return version


@pytest.fixture
def offers() -> tuple[PlanVersion, PlanVersion]:
    api()
    return offer("starter", "49.00", 1), offer("scale", "199.00", 2)


@pytest.fixture
def acme(offers: tuple[PlanVersion, PlanVersion]) -> Organization:
    """An organization that began on the small plan ten days ago."""
    row = organization(name="Acme", slug="acme")
    subscription_create(
        organization=row,
        version=offers[0],
        actor=None,
        now=clock.now() - timedelta(days=10),
    )
    return row


def as_role(org: Organization, role: str = Role.OWNER, *, verified: bool = True) -> Client:
    return client_of(member(org, role=role, verified=verified).user)


def fields(page: str) -> dict[str, str]:
    names = ("subscription", "plan", "timing", "at", "digest", "version")
    found = dict(re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', page))
    return {name: found[name] for name in names if name in found}


@pytest.mark.parametrize(
    ("name", "query", "words"),
    [
        ("org_plan", "", "49.00 USD per month, in advance"),
        ("org_plan_change", "", "Preview Scale"),
        ("org_plan_confirm", "?plan=scale", "Credit for unused time on Starter"),
        ("org_plan_cancel", "", "Cancel at the end of the period"),
        ("org_home", "", "Projected for the period"),
    ],
)
def test_pages_open(acme: Organization, name: str, query: str, words: str) -> None:
    answer = as_role(acme).get(reverse(name, args=["acme"]) + query)
    assert answer.status_code == 200
    assert words in answer.content.decode()


MONEY = (
    "org_plan_change",
    "org_plan_confirm",
    "org_plan_cancel",
    "org_plan_undo",
    "org_subscribe",
)


@pytest.mark.parametrize("name", MONEY)
def test_developers_read_but_do_not_decide(acme: Organization, name: str) -> None:
    client, url = as_role(acme, Role.DEVELOPER), reverse(name, args=["acme"])
    assert client.post(url, {"plan": "scale"}).status_code in {403, 405}
    assert client.get(url).status_code in {403, 405}
    assert client.get(reverse("org_plan", args=["acme"])).status_code == 200
    assert Segment.objects.count() == 1
    assert Subscription.objects.filter(ends_at__isnull=True).count() == 1


@pytest.mark.parametrize("name", ["org_plan", *MONEY])
def test_strangers_find_nothing(acme: Organization, name: str) -> None:
    stranger = as_role(organization(name="Other"))
    assert stranger.post(reverse(name, args=["acme"])).status_code in {404, 405}
    assert stranger.get(reverse(name, args=["acme"])).status_code in {404, 405}


def test_a_foreign_subscription_is_not_found(acme: Organization) -> None:
    other = organization(name="Other", slug="other")
    client = as_role(other)
    theirs = Subscription.objects.get().pk
    for name in ("org_plan_change", "org_plan_confirm", "org_plan_cancel"):
        url = reverse(name, args=["other"]) + f"?subscription={theirs}&plan=scale"
        assert client.get(url).status_code == 404, name
    url = reverse("org_plan_cancel", args=["other"])
    assert client.post(url, {"subscription": theirs}).status_code == 404
    assert Subscription.objects.get().ends_at is None


@pytest.mark.parametrize(
    ("case", "plan", "status"),
    [("unknown", "nothing", 404), ("hidden", "hidden", 404), ("the same", "starter", 422)],
)
def test_bad_plans(acme: Organization, case: str, plan: str, status: int) -> None:
    hidden = offer("hidden", "1.00", 3)
    Plan.objects.filter(pk=hidden.plan_id).update(is_public=False)
    url = reverse("org_plan_confirm", args=["acme"])
    client = as_role(acme)
    assert client.get(url, {"plan": plan}).status_code == status, case
    assert client.post(url, {"plan": plan, "timing": "now", "at": ""}).status_code in {404, 422}
    assert Segment.objects.count() == 1


def test_confirm_once_whatever_is_clicked(acme: Organization) -> None:
    client, url = as_role(acme), reverse("org_plan_confirm", args=["acme"])
    posted = fields(client.get(url, {"plan": "scale"}).content.decode())
    for wrong in ({"digest": "x"}, {"at": "yesterday"}, {"at": ""}, {"timing": "later"}):
        stale = client.post(url, posted | wrong)
        assert stale.status_code == 409, wrong
        assert "Please look again" in stale.content.decode()
    assert Segment.objects.count() == 1
    for _ in range(2):
        assert client.post(url, posted).status_code == 302
    assert Segment.objects.count() == 2
    client.post(reverse("org_plan_undo", args=["acme"]))
    assert Segment.objects.count() == 1


def test_cancel_and_take_it_back(acme: Organization) -> None:
    client = as_role(acme)
    client.post(reverse("org_plan_cancel", args=["acme"]))
    held = Subscription.objects.get()
    assert held.ends_at == held.periods.get(number=0).ends_at
    assert "Keep the plan" in client.get(reverse("org_plan", args=["acme"])).content.decode()
    client.post(reverse("org_plan_undo", args=["acme"]))
    assert Subscription.objects.get().ends_at is None


def test_subscribing_with_a_card_that_is_there(offers: tuple[PlanVersion, PlanVersion]) -> None:
    org = organization(name="New", slug="new")
    CustomerAccount.objects.create(
        organization=org, stripe_customer_id="cus_1", payment_method_id="pm_1", updated_at=JAN
    )
    client, url = as_role(org), reverse("org_subscribe", args=["new"])
    review = client.get(url, {"plan": "starter"}).content.decode()
    assert "every month, next on" in review
    posted = fields(review)
    stale = client.post(url, posted | {"version": offers[1].pk})
    assert stale.status_code == 409
    first, second = (client.post(url, posted) for _ in range(2))
    assert first.headers["Location"] == second.headers["Location"]
    assert Subscription.objects.count() == PlanCheckout.objects.count() == 1


def test_an_unconfirmed_address_does_not_pay(offers: tuple[PlanVersion, PlanVersion]) -> None:
    org = organization(name="New", slug="new")
    client = as_role(org, verified=False)
    posted = {"plan": "starter", "version": offers[0].pk}
    assert client.post(reverse("org_subscribe", args=["new"]), posted).status_code == 403
    assert not PlanCheckout.objects.exists()


def test_choosing_leads_to_the_review_or_to_the_change(acme: Organization) -> None:
    new = organization(name="New", slug="new")
    url = reverse("plan_choose") + "?plan=scale"
    assert "/app/acme/plan/change/confirm" in as_role(acme).get(url).headers["Location"]
    assert "/app/new/plan/subscribe" in as_role(new).get(url).headers["Location"]
    assert Client().get(url).status_code == 302
    both = Membership.objects.filter(organization=new).get().user
    Membership.objects.create(organization=acme, user=both, role=Role.ADMIN, created_at=JAN)
    assert "For which organization?" in client_of(both).get(url).content.decode()


def test_a_plan_in_another_currency_is_not_offered_and_refused(acme: Organization) -> None:
    euro = plan_version(slug="scale-eu", terms=pro_terms(base="179.00"), rank=3, published=False)
    euro.plan.apis.set(Api.objects.all())
    PlanVersion.objects.filter(pk=euro.pk).update(currency="EUR", published_at=JAN)
    client = as_role(acme)
    compare = client.get(reverse("org_plan_change", args=[acme.slug])).content.decode()
    assert "Preview Scale" in compare
    assert "Preview Scale-eu" not in compare
    asked = client.get(reverse("org_plan_confirm", args=[acme.slug]), {"plan": "scale-eu"})
    assert asked.status_code == 422
    assert "priced in another currency than yours" in asked.content.decode()
