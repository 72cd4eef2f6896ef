"""Who may open what: every URL names its audience, and keeps to it."""

from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver, reverse

from portal.models import AuditEvent, Membership, Role
from portal.permissions import Access, access_of
from tests.factories.portal import cast, client_of, consumer, key, member, organization, user
from tests.fakes.request_log import FakeRequestLog

DECLARED = {
    "accounts/": "allauth: its own rules, tested there",
    "admin/": "Django admin: staff and superuser",
    "api/": "REST: tokens, tested in tests/integration/portal/api",
    "webhooks/": "signature, tested with billing",
    "app/<slug:org>/billing": "billing.views.access",
    "admin-console/finance": "billing.views.access",
    "admin-console/plans/versions/": "billing.views.access",
}
"""Folders whose views guard themselves; everything else carries a decorator of ours."""
SELF_GUARDED = {"org_home", "pricing", "org_plan", "org_plan_change", "org_plan_confirm"}


@dataclass(frozen=True)
class Mapped:
    route: str
    name: str
    access: Access | None


def urls(resolver: URLResolver, prefix: str = "") -> Iterator[Mapped]:
    for entry in resolver.url_patterns:
        route = prefix + str(entry.pattern)
        if isinstance(entry, URLResolver):
            yield from urls(entry, route)
        else:
            assert isinstance(entry, URLPattern)
            yield Mapped(route, entry.name or "", access_of(entry.callback))


ALL = list(urls(get_resolver()))
MEMBER = [m for m in ALL if m.access is not None and m.access.audience == "member"]


def test_every_url_names_its_audience() -> None:
    silent = [
        found.route
        for found in ALL
        if found.access is None
        and found.name not in SELF_GUARDED
        and not found.route.startswith(tuple(DECLARED))
    ]
    assert silent == []
    assert len(MEMBER) >= 12


def address(found: Mapped, slug: str, target: dict[str, str]) -> str:
    names = [part.split(":")[1] for part in found.route.replace(">", "<").split("<")[1::2]]
    return reverse(found.name, kwargs={n: slug if n == "org" else target[n] for n in names})


@pytest.mark.parametrize("role", [role.value for role in Role])
@pytest.mark.parametrize("found", MEMBER, ids=lambda m: m.name)
def test_role_by_url(found: Mapped, role: str, log: FakeRequestLog) -> None:
    """A member's GET is answered as the decorator says; 405 is a page that only takes POST."""
    if found.name.startswith(("org_", "billing_")) and found.name != "org_settings":
        pytest.skip("another room's page; its own tests know what it needs")
    org = organization()
    person = member(org, role=role)
    colleague = member(org, role=Role.DEVELOPER)
    issued = key(org)
    row = log.add(org.pk, at=log.now)
    target = {
        "key_id": issued.credential.pk,
        "request_id": row.request_id,
        "consumer_id": issued.credential.consumer_id,
        "person_id": colleague.user.pk,
        "invitation_id": "inv_x",
    }
    status = client_of(person.user).get(address(found, org.slug, target)).status_code
    assert found.access is not None
    assert status in ({200, 405} if found.access.admits_member(role) else {403, 405})


@pytest.mark.parametrize("found", MEMBER, ids=lambda m: m.name)
def test_strangers_and_guests_see_nothing(found: Mapped, log: FakeRequestLog) -> None:
    who = cast()
    target = dict.fromkeys(("key_id", "request_id", "person_id", "invitation_id"), "x_1")
    target["consumer_id"] = "x_1"
    for extra in ("checkout_id", "number", "line_id", "version_id", "subscription_id", "token_id"):
        target[extra] = "x_1"
    url = address(found, who.organization.slug, target)
    for method in ("get", "post"):
        stranger = getattr(client_of(who.charlie.user), method)(url)
        guest = getattr(Client(), method)(url)
        assert stranger.status_code in {404, 405}, method
        assert guest.status_code in {302, 405}, method
    assert AuditEvent.objects.count() == 0


def test_a_foreign_id_under_the_own_organization_is_not_found(log: FakeRequestLog) -> None:
    who = cast()
    foreign_key = key(who.elsewhere).credential
    foreign_row = log.add(who.elsewhere.pk, at=log.now)
    own = who.organization.slug
    alice = client_of(who.alice.user)
    before = AuditEvent.objects.count()
    for name, args in (
        ("key_detail", [own, foreign_key.pk]),
        ("key_rotate", [own, foreign_key.pk]),
        ("key_revoke", [own, foreign_key.pk]),
        ("request_detail", [own, foreign_row.request_id]),
        ("member_change", [own, who.charlie.user.pk]),
        ("member_end", [own, who.charlie.user.pk]),
        ("consumer_edit", [own, foreign_key.consumer_id]),
        ("consumer_deactivate", [own, foreign_key.consumer_id]),
        ("consumer_activate", [own, foreign_key.consumer_id]),
    ):
        url = reverse(name, args=args)
        assert alice.get(url).status_code == 404, name
        assert alice.post(url, {"overlap": "0", "role": "owner"}).status_code in {404, 405}, name
    foreign_key.refresh_from_db()
    assert foreign_key.revoked_at is None
    assert foreign_key.rotated_to is None
    assert foreign_key.consumer.is_active
    assert Membership.objects.filter(pk=who.charlie.pk, role=Role.OWNER).exists()
    assert AuditEvent.objects.count() == before


def test_a_key_is_not_made_for_a_foreign_application(log: FakeRequestLog) -> None:
    who = cast()
    foreign = consumer(who.elsewhere)
    consumer(who.organization)
    url = reverse("key_new", args=[who.organization.slug])
    form = {"name": "x", "environment": "test", "consumer": foreign.pk}
    assert client_of(who.alice.user).post(url, form).status_code == 422
    assert not foreign.credentials.exists()


def test_staff_are_not_members(log: FakeRequestLog) -> None:
    who = cast()
    provider = user(staff_role="admin")
    url = reverse("key_list", args=[who.organization.slug])
    assert client_of(provider).get(url).status_code == 404


@pytest.mark.parametrize("path", ["/", "/styleguide", "/nowhere", "/start", "/accounts/login/"])
def test_every_answer_carries_the_policy(path: str, log: FakeRequestLog) -> None:
    policy = Client().get(path).headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
