"""Members and invitations of an organization."""

from typing import Any, ClassVar

from django.shortcuts import get_object_or_404
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from portal import clock
from portal.api.base import ApiView, Body, operation
from portal.api.pagination import Pages
from portal.api.permissions import members
from portal.core.checked_input import MAX_MAIL_CHARS
from portal.models import Invitation, Membership, Role
from portal.permissions import EVERY_ROLE, TEAM_ROLES
from portal.services.invitation_mail import invitation_mail_send
from portal.services.organizations import (
    invitation_create,
    invitation_revoke,
    invitations_open,
    member_remove,
    member_role_change,
)


class MemberOut(serializers.ModelSerializer[Membership]):
    id = serializers.CharField(source="user_id")
    email = serializers.EmailField(source="user.email")
    name = serializers.CharField(source="user.name", allow_blank=True)

    class Meta:
        model = Membership
        fields = ("id", "email", "name", "role", "created_at")


class RoleIn(Body):
    role = serializers.ChoiceField(choices=Role.choices)


class InvitationOut(serializers.ModelSerializer[Invitation]):
    class Meta:
        model = Invitation
        fields = ("id", "email", "role", "created_at", "expires_at")


class InvitationSentOut(InvitationOut):
    mail_sent = serializers.BooleanField()

    class Meta(InvitationOut.Meta):
        fields = (*InvitationOut.Meta.fields, "mail_sent")  # type: ignore[assignment]


class InvitationIn(Body):
    email = serializers.EmailField(max_length=MAX_MAIL_CHARS)
    role = serializers.ChoiceField(choices=Role.choices)


class Members(ApiView):
    access: ClassVar = {"GET": members(*EVERY_ROLE)}
    pagination_class = Pages

    @operation("member_list", answer=MemberOut(many=True))
    def get(self, request: Request, org: str) -> Response:
        """List the people of the organization."""
        rows = self.member.organization.memberships.select_related("user")
        return self.page(rows.order_by("created_at", "pk"), MemberOut)


class MemberDetail(ApiView):
    access: ClassVar = {"PATCH": members(*TEAM_ROLES), "DELETE": members(*TEAM_ROLES)}

    def _colleague(self, person_id: str) -> Membership:
        rows = self.member.organization.memberships.select_related("user", "organization")
        return get_object_or_404(rows, user_id=person_id)

    @operation("member_role_change", body=RoleIn, answer=MemberOut)
    def patch(self, request: Request, org: str, person_id: str) -> Response:
        """Give a person another role."""
        other, role = self._colleague(person_id), self.body(RoleIn)["role"]
        member_role_change(member=other, role=role, actor=self.member, now=clock.now())
        other.refresh_from_db()
        return Response(MemberOut(other).data)

    @operation("member_remove", status=204)
    def delete(self, request: Request, org: str, person_id: str) -> Response:
        """Remove a person; keys they made stay."""
        member_remove(member=self._colleague(person_id), actor=self.member, now=clock.now())
        return Response(status=204)


class Invitations(ApiView):
    access: ClassVar = {"GET": members(*TEAM_ROLES), "POST": members(*TEAM_ROLES)}
    pagination_class = Pages

    @operation("invitation_list", answer=InvitationOut(many=True))
    def get(self, request: Request, org: str) -> Response:
        """List the invitations that can still be taken."""
        rows = invitations_open(organization=self.member.organization, now=clock.now())
        return self.page(rows, InvitationOut)

    @operation(
        "invitation_create", body=InvitationIn, answer=InvitationSentOut, status=201, outside=True
    )
    def post(self, request: Request, org: str) -> Response:
        """Invite a person by mail; an open invitation to the same address is replaced."""
        offer, token = invitation_create(
            actor=self.member, now=clock.now(), **self.body(InvitationIn)
        )
        found: Any = InvitationOut(offer).data
        mailed = invitation_mail_send(invitation=offer, token=token)
        return Response({**found, "mail_sent": mailed}, status=201)


class InvitationDetail(ApiView):
    access: ClassVar = {"DELETE": members(*TEAM_ROLES)}

    @operation("invitation_withdraw", status=204)
    def delete(self, request: Request, org: str, invitation_id: str) -> Response:
        """Withdraw an open invitation."""
        offer = get_object_or_404(
            Invitation, pk=invitation_id, organization=self.member.organization
        )
        invitation_revoke(invitation=offer, actor=self.member, now=clock.now())
        return Response(status=204)
