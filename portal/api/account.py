"""Who the token acts for, and the end of the token."""

from typing import ClassVar

from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from portal import clock
from portal.api.base import Answer, ApiView, operation
from portal.api.permissions import SIGNED_IN
from portal.models import ApiToken, Membership
from portal.services.api_tokens import api_token_revoke


class TokenOut(serializers.ModelSerializer[ApiToken]):
    scopes = serializers.ListField(child=serializers.CharField())

    class Meta:
        model = ApiToken
        fields = ("id", "name", "scopes", "created_at", "expires_at", "last_used_at")


class MembershipOut(serializers.ModelSerializer[Membership]):
    organization = serializers.CharField(source="organization.slug")

    class Meta:
        model = Membership
        fields = ("organization", "role")


class MeOut(Answer):
    id = serializers.CharField()
    email = serializers.EmailField()
    staff_role = serializers.CharField(allow_blank=True)
    memberships = MembershipOut(many=True)
    token = TokenOut()


class Me(ApiView):
    access: ClassVar = {"GET": SIGNED_IN}

    @operation("me_show", answer=MeOut)
    def get(self, request: Request) -> Response:
        """Tell who the token acts for and what it may do."""
        person = self.person
        found = {
            "id": person.pk,
            "email": person.email,
            "staff_role": person.staff_role,
            "memberships": person.memberships.select_related("organization").order_by("pk"),
            "token": request.auth,
        }
        return Response(MeOut(found).data)


class MeToken(ApiView):
    access: ClassVar = {"DELETE": SIGNED_IN}

    @operation("me_token_revoke", status=204)
    def delete(self, request: Request) -> Response:
        """End the token that makes this call."""
        assert isinstance(request.auth, ApiToken)  # noqa: S101 - ByAccess has checked
        api_token_revoke(token=request.auth, wall=clock.wall_now(), now=clock.now())
        return Response(status=204)
