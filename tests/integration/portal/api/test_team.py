"""Members, invitations and the organization; too low a role, foreign ids, and the page's cap."""

from datetime import timedelta

import pytest
from django.core import mail

from portal.api.pagination import MAX
from portal.clock import now
from portal.models import AuditEvent, Consumer, Credential, Invitation, Membership, Role
from portal.usage import override
from tests.factories.billing import JAN, customer
from tests.factories.portal import Cast, cast, consumer, key, user
from tests.fakes.request_log import FakeRequestLog
from tests.integration.billing.test_pages import issued_of
from tests.integration.portal.api.described import Caller

pytestmark = pytest.mark.django_db


def of(who: Cast) -> str:
    return f"organizations/{who.organization.slug}"


def test_a_person_is_invited_promoted_and_removed() -> None:
    who = cast()
    alice, org = Caller(who.alice.user), of(who)
    offer = alice.post(f"{org}/invitations", {"email": "dora@example.test", "role": "developer"})
    assert offer["mail_sent"]
    assert mail.outbox[0].to == ["dora@example.test"]
    assert [o["id"] for o in alice.get(f"{org}/invitations")["results"]] == [offer["id"]]
    assert alice.delete(f"{org}/invitations/{offer['id']}").status_code == 204
    assert alice.get(f"{org}/invitations")["count"] == 0
    known = {"email": who.bob.user.email, "role": "admin"}
    assert alice.refused("POST", f"{org}/invitations", known) == (422, "input_invalid")

    bob = f"{org}/members/{who.bob.user_id}"
    assert alice.patch(bob, {"role": "admin"})["role"] == "admin"
    assert alice.refused("PATCH", bob, {"role": "king"}) == (422, "input_invalid")
    assert alice.delete(bob).status_code == 204
    assert [m["email"] for m in alice.get(f"{org}/members")["results"]] == [who.alice.user.email]
    last = f"{org}/members/{who.alice.user_id}"
    assert alice.refused("PATCH", last, {"role": "developer"}) == (409, "last_owner")


def test_an_organization_is_shown_and_changed() -> None:
    who = cast(bob=Role.BILLING)
    alice, bob, org = Caller(who.alice.user), Caller(who.bob.user), of(who)
    assert bob.patch(org, {"country": "DE"})["country"] == "DE"
    assert bob.refused("PATCH", org, {"name": "Mine"}) == (403, "permission_denied")
    assert alice.patch(org, {"name": "Ours"})["name"] == "Ours"
    assert alice.get("organizations")["results"][0]["name"] == "Ours"
    me = bob.get("me")
    assert me["memberships"] == [{"organization": who.organization.slug, "role": "billing"}]


LOW = [
    (Role.DEVELOPER, "GET", ""),
    (Role.DEVELOPER, "PATCH", ""),
    (Role.DEVELOPER, "GET", "/invoices"),
    (Role.DEVELOPER, "POST", "/checkouts"),
    (Role.DEVELOPER, "POST", "/invitations"),
    (Role.DEVELOPER, "DELETE", "/members/{other}"),
    (Role.BILLING, "GET", "/keys"),
    (Role.BILLING, "POST", "/keys"),
    (Role.BILLING, "POST", "/consumers"),
    (Role.BILLING, "GET", "/requests"),
    (Role.BILLING, "PATCH", "/members/{other}"),
]


@pytest.mark.parametrize(("role", "method", "path"), LOW)
def test_too_low_a_role_is_refused_without_effect(role: Role, method: str, path: str) -> None:
    who = cast(bob=role)
    url = of(who) + path.format(other=who.alice.user_id)
    bob = Caller(who.bob.user)
    before = AuditEvent.objects.count()
    assert bob.refused(method, url) == (403, "permission_denied")
    assert AuditEvent.objects.count() == before
    assert Membership.objects.get(pk=who.alice.pk).role == Role.OWNER
    assert Credential.objects.count() == Invitation.objects.count() == 0


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "admin/clock"),
        ("POST", "admin/config"),
        ("POST", "admin/apis"),
        ("POST", "admin/versions/pv_1/publish"),
        ("POST", "admin/subscriptions/sub_1/cancellation"),
    ],
)
def test_finance_is_no_admin(method: str, path: str) -> None:
    finance = Caller(user(staff_role="finance"), "read", "write", "finance")
    assert finance.get("admin/clock")["offset_s"] == 0
    before = AuditEvent.objects.count()
    assert finance.refused(method, path) == (403, "permission_denied")
    assert AuditEvent.objects.count() == before


def test_foreign_ids_under_the_own_organization_are_missing() -> None:
    who, other = cast(), customer(name="Other")
    foreign_key = key(who.elsewhere).credential
    offer = Invitation.objects.create(
        organization=who.elsewhere,
        email="x@example.test",
        role=Role.OWNER,
        token_hash="x",
        created_at=now(),
        expires_at=now() + timedelta(days=1),
        invited_by=who.charlie.user,
    )
    number = issued_of(other).number
    log = FakeRequestLog(now=now())
    row = log.add(who.elsewhere.pk, at=log.now - timedelta(minutes=1))
    alice, org = Caller(who.alice.user), of(who)
    with override(log):
        for method, path in (
            ("GET", f"keys/{foreign_key.pk}"),
            ("GET", f"keys/{foreign_key.pk}/secret"),
            ("POST", f"keys/{foreign_key.pk}/rotate"),
            ("POST", f"keys/{foreign_key.pk}/revoke"),
            ("GET", f"consumers/{foreign_key.consumer_id}"),
            ("PATCH", f"consumers/{foreign_key.consumer_id}"),
            ("POST", f"consumers/{foreign_key.consumer_id}/deactivate"),
            ("POST", f"consumers/{foreign_key.consumer_id}/activate"),
            ("PATCH", f"members/{who.charlie.user_id}"),
            ("DELETE", f"members/{who.charlie.user_id}"),
            ("DELETE", f"invitations/{offer.pk}"),
            ("GET", f"invoices/{number}"),
            ("GET", f"invoices/{number}/lines"),
            ("GET", f"invoices/{number}/pdf"),
            ("GET", f"requests/{row.request_id}"),
            ("GET", f"subscriptions/{other.subscription.pk}/change"),
            ("POST", f"subscriptions/{other.subscription.pk}/cancellation"),
            ("DELETE", f"subscriptions/{other.subscription.pk}/cancellation"),
        ):
            body = {"role": "owner"} if method == "PATCH" else {}
            query = {"plan": "pro"} if path.endswith("/change") else {}
            answer = alice.send(method, f"{org}/{path}", body, **query)
            assert (path, answer.status_code) == (path, 404)
    other.subscription.refresh_from_db()
    foreign_key.refresh_from_db()
    assert (other.subscription.ends_at, foreign_key.revoked_at) == (None, None)
    assert foreign_key.consumer.is_active
    assert Membership.objects.filter(pk=who.charlie.pk, role=Role.OWNER).exists()
    assert Invitation.objects.filter(pk=offer.pk).exists()
    stranger = consumer(who.elsewhere)
    body = {"name": "a", "environment": "test", "consumer": stranger.pk}
    assert alice.refused("POST", f"{org}/keys", body) == (422, "input_invalid")


def test_a_page_holds_200_rows_at_most() -> None:
    who = cast()
    Consumer.objects.bulk_create(
        Consumer(organization=who.organization, name=f"a{n}", username=f"u{n}", created_at=JAN)
        for n in range(MAX + 3)
    )
    alice, url = Caller(who.alice.user), f"{of(who)}/consumers"
    first = alice.get(url, page_size=10_000)
    assert (first["count"], len(first["results"])) == (203, 200)
    second = alice.get(url, page_size=10_000, page=2)
    assert (len(second["results"]), second["next"]) == (3, None)
    ids = {row["id"] for row in first["results"] + second["results"]}
    assert len(ids) == 203
    assert len(alice.get(url)["results"]) == 50
    assert alice.send("GET", url, page=99).status_code == 404
