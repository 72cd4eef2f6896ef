"""Organizations of the caller: details, subscriptions."""

from typing import Any, ClassVar

from django.db.models import Prefetch
from rest_framework import serializers
from rest_framework.exceptions import PermissionDenied
from rest_framework.request import Request
from rest_framework.response import Response

from portal import clock
from portal.api.base import ApiView, Body, operation
from portal.api.pagination import Pages
from portal.api.permissions import SIGNED_IN, members
from portal.core.checked_input import MAX_MAIL_CHARS
from portal.models import Organization, Segment, Subscription
from portal.permissions import BILLING_ROLES, EVERY_ROLE, TEAM_ROLES
from portal.selectors import subscription_phase
from portal.services.organizations import organization_update

SEGMENTS = Prefetch("segments", Segment.objects.select_related("plan_version__plan"))


class OrganizationOut(serializers.ModelSerializer[Organization]):
    class Meta:
        model = Organization
        fields = ("id", "slug", "name", "is_personal", "currency", "created_at")


class OrganizationDetailOut(serializers.ModelSerializer[Organization]):
    class Meta:
        model = Organization
        fields = (
            *OrganizationOut.Meta.fields,
            *("billing_email", "address", "country", "tax_id"),
        )


class OrganizationIn(Body):
    """What a member may change; the billing role changes no name."""

    name = serializers.CharField(max_length=120, required=False)
    billing_email = serializers.EmailField(
        max_length=MAX_MAIL_CHARS, required=False, allow_blank=True
    )
    address = serializers.CharField(max_length=1000, required=False, allow_blank=True)
    country = serializers.RegexField(r"^([A-Z]{2})?$", required=False, allow_blank=True)
    tax_id = serializers.CharField(max_length=40, required=False, allow_blank=True)


class SegmentOut(serializers.ModelSerializer[Segment]):
    plan = serializers.CharField(source="plan_version.plan.slug")
    plan_version = serializers.CharField(source="plan_version_id")
    version = serializers.IntegerField(source="plan_version.number")

    class Meta:
        model = Segment
        fields = ("id", "plan", "plan_version", "version", "starts_at", "ends_at")


class SubscriptionOut(serializers.ModelSerializer[Subscription]):
    """A subscription with its segments; `state` is as of now."""

    organization = serializers.CharField(source="organization_id")
    plan = serializers.CharField(source="plan.slug")
    state = serializers.SerializerMethodField()
    segments = SegmentOut(many=True)

    class Meta:
        model = Subscription
        fields = (
            *("id", "organization", "plan", "state", "starts_at", "ends_at", "billing_anchor"),
            *("trial_ends_at", "paused_at", "segments"),
        )

    def get_state(self, row: Subscription) -> str:
        return subscription_phase(row, now=clock.now())


class Organizations(ApiView):
    access: ClassVar = {"GET": SIGNED_IN}
    pagination_class = Pages

    @operation("organization_list", answer=OrganizationOut(many=True))
    def get(self, request: Request) -> Response:
        """List the organizations that the caller is a member of."""
        rows = Organization.objects.filter(memberships__user=self.person).order_by("name", "pk")
        return self.page(rows, OrganizationOut)


class OrganizationDetail(ApiView):
    access: ClassVar = {"GET": members(*BILLING_ROLES), "PATCH": members(*BILLING_ROLES)}

    @operation("organization_show", answer=OrganizationDetailOut)
    def get(self, request: Request, org: str) -> Response:
        """Show an organization with its billing details."""
        return Response(OrganizationDetailOut(self.member.organization).data)

    @operation("organization_update", body=OrganizationIn, answer=OrganizationDetailOut)
    def patch(self, request: Request, org: str) -> Response:
        """Change name or billing details; fields left out stay."""
        details = self.body(OrganizationIn)
        if "name" in details and self.member.role not in TEAM_ROLES:
            raise PermissionDenied
        organization = self.member.organization
        organization_update(
            organization=organization, details=details, actor=self.person, now=clock.now()
        )
        return Response(OrganizationDetailOut(organization).data)


class Subscriptions(ApiView):
    access: ClassVar = {"GET": members(*EVERY_ROLE)}
    pagination_class = Pages

    @operation("subscription_list", answer=SubscriptionOut(many=True))
    def get(self, request: Request, org: str) -> Response:
        """List the organization's subscriptions, ended ones included, newest first."""
        rows: Any = self.member.organization.subscriptions.select_related("plan")
        rows = rows.prefetch_related(SEGMENTS).order_by("-starts_at", "pk")
        return self.page(rows, SubscriptionOut)
