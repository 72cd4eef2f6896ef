"""The team through the browser: invitations by mail, roles, the owner that stays."""

import re

import pytest
from django.core import mail
from django.urls import reverse

from portal.models import AuditEvent, Invitation, Membership, Organization, Role
from tests.factories.portal import PASSWORD, cast, client_of, user
from tests.fakes.request_log import FakeRequestLog
from tests.integration.portal.api.described import Caller

pytestmark = pytest.mark.django_db


def test_an_invitation_goes_by_mail_and_its_link_joins(log: FakeRequestLog) -> None:
    who, guest = cast(), user(email="guest@example.test")
    url = reverse("team", args=[who.organization.slug])
    alice = client_of(who.alice.user)
    assert alice.post(url, {"email": guest.email, "role": "billing"}).status_code == 302
    letter = mail.outbox[-1]
    assert letter.to == ["guest@example.test"]
    found = re.search(r"/invitations/[\w-]+", str(letter.body))
    assert found is not None
    link = found[0]
    assert Invitation.objects.get().token_hash not in str(letter.body)

    stranger = client_of(who.charlie.user)
    assert "sent to guest@example.test" in stranger.get(link).content.decode()
    assert stranger.post(f"{link}/accept").status_code == 403
    assert not who.organization.memberships.filter(user=who.charlie.user).exists()
    left = stranger.post(reverse("account_logout"), {"next": link})
    assert left.headers["Location"] == link
    assert "/accounts/login/" in stranger.get(link).headers["Location"]

    visitor = client_of(guest)
    assert "Join" in visitor.get(link).content.decode()
    assert visitor.get(f"{link}/accept").status_code == 405
    assert visitor.post(f"{link}/accept").status_code == 302
    assert who.organization.memberships.get(user=guest).role == Role.BILLING
    assert visitor.post(f"{link}/accept").status_code == 404


def test_a_member_is_not_invited_again(log: FakeRequestLog) -> None:
    who = cast()
    url = reverse("team", args=[who.organization.slug])
    form = {"email": who.bob.user.email.upper(), "role": "billing"}
    answer = client_of(who.alice.user).post(url, form)
    assert answer.status_code == 422
    assert "This person is a member already." in answer.content.decode()
    sent = Caller(who.alice.user).send(
        "POST", f"organizations/{who.organization.slug}/invitations", form
    )
    assert (sent.status_code, sent.json()["errors"]) == (
        422,
        [{"pointer": "/email", "code": "member", "detail": "This person is a member already."}],
    )
    assert not Invitation.objects.exists()
    assert mail.outbox == []


def test_developers_see_the_team_but_do_not_change_it(log: FakeRequestLog) -> None:
    who = cast()
    bob = client_of(who.bob.user)
    slug = who.organization.slug
    assert "Invite somebody" not in bob.get(reverse("team", args=[slug])).content.decode()
    form = {"email": "x@example.test", "role": "owner"}
    assert bob.post(reverse("team", args=[slug]), form).status_code == 404
    url = reverse("member_change", args=[slug, who.bob.user.pk])
    assert bob.post(url, {"role": "owner"}).status_code == 403
    assert not Invitation.objects.exists()
    assert Membership.objects.get(pk=who.bob.pk).role == Role.DEVELOPER


def test_an_admin_cannot_make_an_owner(log: FakeRequestLog) -> None:
    who = cast(bob=Role.ADMIN)
    url = reverse("member_change", args=[who.organization.slug, who.bob.user.pk])
    assert client_of(who.bob.user).post(url, {"role": "owner"}).status_code == 422
    assert Membership.objects.get(pk=who.bob.pk).role == Role.ADMIN


def test_handing_out_a_role_asks_for_the_password_and_then_goes_on(log: FakeRequestLog) -> None:
    who = cast()
    alice = client_of(who.alice.user)  # a session that proved nothing lately
    team = reverse("team", args=[who.organization.slug])
    invited = alice.post(team, {"email": "guest@example.test", "role": "owner"})
    assert invited.headers["Location"].startswith("/accounts/reauthenticate/")
    assert not Invitation.objects.exists()
    url = reverse("member_change", args=[who.organization.slug, who.bob.user.pk])
    answer = alice.post(url, {"role": "owner"})
    assert answer.headers["Location"].startswith("/accounts/reauthenticate/")
    assert Membership.objects.get(pk=who.bob.pk).role == Role.DEVELOPER
    resumed = alice.post(answer.headers["Location"], {"password": PASSWORD, "next": url})
    assert resumed.headers["Location"] == team
    assert Membership.objects.get(pk=who.bob.pk).role == Role.OWNER


def test_the_last_owner_cannot_leave(log: FakeRequestLog) -> None:
    who = cast()
    url = reverse("member_end", args=[who.organization.slug, who.alice.user.pk])
    answer = client_of(who.alice.user).post(url, follow=True)
    assert "keeps at least one owner" in answer.content.decode()
    assert Membership.objects.filter(pk=who.alice.pk).exists()


def test_removing_a_person_ends_access_at_once(log: FakeRequestLog) -> None:
    who = cast()
    bob = client_of(who.bob.user)
    keys = reverse("key_list", args=[who.organization.slug])
    assert bob.get(keys).status_code == 200
    url = reverse("member_end", args=[who.organization.slug, who.bob.user.pk])
    client_of(who.alice.user).post(url)
    assert bob.get(keys).status_code == 404


def test_billing_changes_billing_details_but_not_the_name(log: FakeRequestLog) -> None:
    who = cast(bob=Role.BILLING)
    url = reverse("org_settings", args=[who.organization.slug])
    bob = client_of(who.bob.user)
    details = {"form": "billing", "billing_email": "b@example.test", "country": "DE"}
    assert bob.post(url, {**details, "address": "Hauptstr. 1", "tax_id": "DE1"}).status_code == 302
    assert bob.post(url, {"form": "name", "name": "Mine now"}).status_code == 422
    wrong = bob.post(url, {**details, "billing_email": "nowhere", "tax_id": "DE2"})
    assert wrong.status_code == 422
    assert 'value="DE2"' in wrong.content.decode()
    row = Organization.objects.get(pk=who.organization.pk)
    assert (row.name, row.country, row.tax_id) == ("Acme", "DE", "DE1")
    assert AuditEvent.objects.filter(action="organization.update").count() == 1
