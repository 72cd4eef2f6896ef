"""Organizations and their people: details, invitations, roles."""

import hashlib
import secrets
from datetime import datetime, timedelta
from typing import Any, Final

from django.db import IntegrityError, transaction
from django.utils.text import slugify

from portal.errors import (
    InputInvalidError,
    InvitationElsewhereError,
    InvitationInvalidError,
    LastOwnerError,
    RoleNotAllowedError,
)
from portal.models import Invitation, Membership, Organization, Role, User
from portal.services.audit import audit_record
from portal.snapshots import snapshot_touch

INVITATION_LASTS: Final = timedelta(days=7)
DETAIL_FIELDS: Final = ("name", "billing_email", "address", "country", "tax_id")
MAX_INVITATIONS_PER_HOUR: Final = 50  # each is a mail to an address that somebody typed
_SLUG_TRIES: Final = 8


def build_slug(name: str, suffix: str = "") -> str:
    """Build a URL name from a display name.

    >>> build_slug("Ada's Company"), build_slug("???", "x1")
    ('adas-company', 'team-x1')
    """
    base = slugify(name)[:48] or "team"
    return f"{base}-{suffix}" if suffix else base


def organization_create(
    *, name: str, owner: User, now: datetime, is_personal: bool = False
) -> Organization:
    """Create an organization with its owner; the URL name gets a suffix where it is taken."""
    for attempt in range(_SLUG_TRIES):
        slug = build_slug(name, secrets.token_hex(3) if attempt else "")
        try:
            with transaction.atomic():
                organization = Organization.objects.create(
                    name=name,
                    slug=slug,
                    is_personal=is_personal,
                    billing_email=owner.email,
                    created_at=now,
                )
        except IntegrityError:
            continue
        Membership.objects.create(
            organization=organization, user=owner, role=Role.OWNER, created_at=now
        )
        audit_record(
            actor=owner,
            action="organization.create",
            target=organization.pk,
            now=now,
            organization=organization,
            after={"name": name, "slug": slug},
        )
        return organization
    msg = f"no free URL name for {name!r}"
    raise RuntimeError(msg)


@transaction.atomic
def organization_update(
    *, organization: Organization, details: dict[str, str], actor: User, now: datetime
) -> None:
    """Change name and billing details; fields left out stay. Nothing is written if all stay."""
    before = {f: getattr(organization, f) for f in DETAIL_FIELDS if f in details}
    after = {f: details[f] for f in DETAIL_FIELDS if f in details}
    if before == after:
        return
    for name, value in after.items():
        setattr(organization, name, value)
    organization.save(update_fields=list(after))
    audit_record(
        actor=actor,
        action="organization.update",
        target=organization.pk,
        now=now,
        organization=organization,
        before=before,
        after=after,
    )
    snapshot_touch()


def _token_hash(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def _only_owners_touch_owners(actor: Membership, *roles: str) -> None:
    if Role.OWNER in roles and actor.role != Role.OWNER:
        raise RoleNotAllowedError


@transaction.atomic
def invitation_create(
    *, actor: Membership, email: str, role: str, now: datetime
) -> tuple[Invitation, str]:
    """Offer a membership; the token goes into the mail's link and is stored hashed.

    An open invitation to the same address is replaced.

    :raises RoleNotAllowedError: if somebody who is no owner offers ownership.
    :raises InputInvalidError: for the address of a member, or too many within an hour.
    """
    _only_owners_touch_owners(actor, role)
    organization = actor.organization
    if organization.memberships.filter(user__email__iexact=email).exists():
        raise InputInvalidError([("email", "member", "This person is a member already.")])
    lately = organization.invitations.filter(created_at__gt=now - timedelta(hours=1))
    if lately.count() >= MAX_INVITATIONS_PER_HOUR:
        text = f"At most {MAX_INVITATIONS_PER_HOUR} invitations an hour; try again later."
        raise InputInvalidError([("email", "too_many", text)])
    open_ones = invitations_open(organization=organization, now=now)
    open_ones.filter(email__iexact=email).update(revoked_at=now)
    token = secrets.token_urlsafe(32)
    invitation = Invitation.objects.create(
        organization=organization,
        email=email.lower(),
        role=role,
        token_hash=_token_hash(token),
        invited_by=actor.user,
        created_at=now,
        expires_at=now + INVITATION_LASTS,
    )
    _audit(actor, "invitation.create", invitation.pk, now, after={"email": email, "role": role})
    return invitation, token


def invitations_open(*, organization: Organization, now: datetime) -> Any:
    """Return the offers that can still be taken."""
    return Invitation.objects.filter(
        organization=organization,
        accepted_at__isnull=True,
        revoked_at__isnull=True,
        expires_at__gt=now,
    ).order_by("created_at")


def invitation_find(*, token: str, now: datetime) -> Invitation:
    """Return the open invitation behind a link.

    :raises InvitationInvalidError: for an unknown, used, withdrawn or expired one.
    """
    rows = Invitation.objects.select_related("organization", "invited_by")
    found = rows.filter(
        token_hash=_token_hash(token),
        accepted_at__isnull=True,
        revoked_at__isnull=True,
        expires_at__gt=now,
    ).first()
    if found is None:
        raise InvitationInvalidError
    return found


@transaction.atomic
def invitation_accept(*, token: str, user: User, now: datetime) -> Membership:
    """Make the invited person a member; a member already keeps the role they have.

    :raises InvitationInvalidError: see `invitation_find`.
    :raises InvitationElsewhereError: if it was sent to another address.
    """
    invitation = invitation_find(token=token, now=now)
    if invitation.email.lower() != user.email.lower():
        raise InvitationElsewhereError
    taken = Invitation.objects.filter(pk=invitation.pk, accepted_at__isnull=True)
    if taken.update(accepted_at=now) != 1:
        raise InvitationInvalidError
    membership, created = Membership.objects.get_or_create(
        organization=invitation.organization,
        user=user,
        defaults={"role": invitation.role, "created_at": now},
    )
    if created:
        _audit(membership, "member.join", user.pk, now, after={"role": membership.role})
    return membership


@transaction.atomic
def invitation_revoke(*, invitation: Invitation, actor: Membership, now: datetime) -> None:
    """Withdraw an open offer.

    :raises InvitationInvalidError: if it is no longer open.
    """
    rows = Invitation.objects.filter(
        pk=invitation.pk, accepted_at__isnull=True, revoked_at__isnull=True
    )
    if rows.update(revoked_at=now) != 1:
        raise InvitationInvalidError
    _audit(actor, "invitation.revoke", invitation.pk, now, before={"email": invitation.email})


@transaction.atomic
def member_role_change(*, member: Membership, role: str, actor: Membership, now: datetime) -> None:
    """Give a member another role.

    :raises RoleNotAllowedError: if ownership is touched by somebody who is no owner.
    :raises LastOwnerError: if nobody would own the organization.
    """
    if member.role == role:
        return
    _only_owners_touch_owners(actor, role, member.role)
    before = member.role
    Membership.objects.filter(pk=member.pk).update(role=role)
    _keep_an_owner(member.organization)
    _audit(
        actor, "member.role", member.user_id, now, before={"role": before}, after={"role": role}
    )


@transaction.atomic
def member_remove(*, member: Membership, actor: Membership, now: datetime) -> None:
    """End a membership; keys the person made stay, they belong to the organization.

    :raises RoleNotAllowedError: if an owner is removed by somebody who is no owner.
    :raises LastOwnerError: if nobody would own the organization.
    """
    _only_owners_touch_owners(actor, member.role)
    before = {"role": member.role, "email": member.user.email}
    Membership.objects.filter(pk=member.pk).delete()
    _keep_an_owner(member.organization)
    _audit(actor, "member.remove", member.user_id, now, before=before)


def _keep_an_owner(organization: Organization) -> None:
    """Refuse, and so roll back, a change that leaves no owner.

    Owners' rows are locked in pk order, so that two owners who leave at once cannot both go.
    """
    owners = Membership.objects.select_for_update().filter(
        organization=organization, role=Role.OWNER
    )
    if not list(owners.order_by("pk")):
        raise LastOwnerError


def _audit(
    actor: Membership,
    action: str,
    target: str,
    now: datetime,
    *,
    before: Any = None,
    after: Any = None,
) -> None:
    audit_record(
        actor=actor.user,
        action=action,
        target=target,
        now=now,
        organization=actor.organization,
        before=before,
        after=after,
    )
