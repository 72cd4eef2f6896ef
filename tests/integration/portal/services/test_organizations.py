"""Organizations: invitations, roles, and the owner that must remain."""

import pytest

from portal.errors import (
    InputInvalidError,
    InvitationElsewhereError,
    InvitationInvalidError,
    LastOwnerError,
    RoleNotAllowedError,
)
from portal.models import AuditEvent, Invitation, Membership, Role
from portal.services.organizations import (
    MAX_INVITATIONS_PER_HOUR,
    invitation_accept,
    invitation_create,
    invitation_revoke,
    member_remove,
    member_role_change,
    organization_create,
    organization_update,
)
from tests.factories.portal import NOW, cast, later, member, organization, user

pytestmark = pytest.mark.django_db


def test_two_organizations_may_share_a_name_but_not_a_url() -> None:
    first = organization_create(name="Acme", owner=user(), now=NOW)
    second = organization_create(name="Acme", owner=user(), now=NOW)
    assert first.slug == "acme"
    assert second.slug.startswith("acme-")


def test_details_are_audited_with_both_states() -> None:
    who = cast()
    details = {"name": "Acme Ltd", "tax_id": "GB123"}
    organization_update(
        organization=who.organization, details=details, actor=who.alice.user, now=NOW
    )
    event = AuditEvent.objects.get(action="organization.update")
    assert event.before == {"name": "Acme", "tax_id": ""}
    assert event.after == details
    organization_update(
        organization=who.organization, details=details, actor=who.alice.user, now=NOW
    )
    assert AuditEvent.objects.filter(action="organization.update").count() == 1


def test_an_invited_person_joins_with_the_offered_role() -> None:
    who = cast()
    guest = user(email="guest@example.test")
    _offer, token = invitation_create(
        actor=who.alice, email="Guest@example.test", role=Role.BILLING, now=NOW
    )
    joined = invitation_accept(token=token, user=guest, now=later(days=1))
    assert (joined.organization, joined.role) == (who.organization, Role.BILLING)
    with pytest.raises(InvitationInvalidError):
        invitation_accept(token=token, user=guest, now=later(days=1))


def test_an_invitation_is_for_its_address_only() -> None:
    who = cast()
    _offer, token = invitation_create(
        actor=who.alice, email="guest@example.test", role=Role.ADMIN, now=NOW
    )
    with pytest.raises(InvitationElsewhereError):
        invitation_accept(token=token, user=who.charlie.user, now=NOW)
    assert not Membership.objects.filter(
        organization=who.organization, user=who.charlie.user
    ).exists()


def test_an_invitation_ends_by_time_by_withdrawal_and_by_a_newer_one() -> None:
    who, guest = cast(), user(email="guest@example.test")

    def offer() -> tuple[Invitation, str]:
        return invitation_create(actor=who.alice, email=guest.email, role=Role.ADMIN, now=NOW)

    _replaced, first = offer()
    withdrawn, second = offer()
    invitation_revoke(invitation=withdrawn, actor=who.alice, now=NOW)
    _expired, third = offer()
    for token, at in ((first, NOW), (second, NOW), (third, later(days=7))):
        with pytest.raises(InvitationInvalidError):
            invitation_accept(token=token, user=guest, now=at)
    assert not Membership.objects.filter(user=guest).exists()


def test_the_last_owner_stays() -> None:
    who = cast()
    with pytest.raises(LastOwnerError):
        member_remove(member=who.alice, actor=who.alice, now=NOW)
    with pytest.raises(LastOwnerError):
        member_role_change(member=who.alice, role=Role.DEVELOPER, actor=who.alice, now=NOW)
    assert Membership.objects.get(pk=who.alice.pk).role == Role.OWNER
    second = member(who.organization, role=Role.OWNER)
    member_remove(member=who.alice, actor=second, now=NOW)
    assert not Membership.objects.filter(pk=who.alice.pk).exists()


def test_only_owners_touch_ownership() -> None:
    who = cast(bob=Role.ADMIN)
    with pytest.raises(RoleNotAllowedError):
        member_role_change(member=who.bob, role=Role.OWNER, actor=who.bob, now=NOW)
    with pytest.raises(RoleNotAllowedError):
        member_remove(member=who.alice, actor=who.bob, now=NOW)
    with pytest.raises(RoleNotAllowedError):
        invitation_create(actor=who.bob, email="x@example.test", role=Role.OWNER, now=NOW)
    assert Membership.objects.get(pk=who.bob.pk).role == Role.ADMIN
    assert organization().memberships.count() == 0


def test_mail_to_strangers_has_a_limit() -> None:
    who = cast()
    for _ in range(MAX_INVITATIONS_PER_HOUR):  # each replaces the one before, and sends a mail
        invitation_create(actor=who.alice, email="one@example.test", role=Role.BILLING, now=NOW)
    with pytest.raises(InputInvalidError, match="an hour"):
        invitation_create(actor=who.alice, email="two@example.test", role=Role.BILLING, now=NOW)
    invitation_create(
        actor=who.alice, email="two@example.test", role=Role.BILLING, now=later(hours=1)
    )
    assert Invitation.objects.count() == MAX_INVITATIONS_PER_HOUR + 1
