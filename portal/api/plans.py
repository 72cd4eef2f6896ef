"""The public catalogue of plans; open to everybody, as the pricing page is."""

from typing import Any, ClassVar

from django.shortcuts import get_object_or_404
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from portal.api.base import ApiView, operation
from portal.api.pagination import Pages
from portal.api.permissions import PUBLIC
from portal.models import PlanVersion
from portal.selectors import offer_list


class OfferOut(serializers.ModelSerializer[PlanVersion]):
    """A plan with its newest version: what it costs (`terms`) and allows (`limits`)."""

    slug = serializers.CharField(source="plan.slug")
    name = serializers.CharField(source="plan.name")
    description = serializers.CharField(source="plan.description", allow_blank=True)
    apis: Any = serializers.SlugRelatedField("slug", source="plan.apis", many=True, read_only=True)
    plan_version = serializers.CharField(source="id")
    terms = serializers.DictField()
    limits = serializers.DictField()

    class Meta:
        model = PlanVersion
        fields = (
            *("slug", "name", "description", "apis", "plan_version", "number", "currency"),
            *("trial_days", "terms", "limits", "published_at"),
        )


class Plans(ApiView):
    access: ClassVar = {"GET": PUBLIC}
    pagination_class = Pages

    @operation("plan_list", answer=OfferOut(many=True))
    def get(self, request: Request) -> Response:
        """List the plans on offer."""
        return self.page(offer_list(), OfferOut)


class PlanDetail(ApiView):
    access: ClassVar = {"GET": PUBLIC}

    @operation("plan_show", answer=OfferOut)
    def get(self, request: Request, slug: str) -> Response:
        """Show one plan on offer."""
        return Response(OfferOut(get_object_or_404(offer_list(), plan__slug=slug)).data)
