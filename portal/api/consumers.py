"""Applications of an organization (consumers): what its keys belong to, and what upstreams see."""

from typing import ClassVar

from django.shortcuts import get_object_or_404
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from portal import clock
from portal.api.base import ApiView, Body, operation
from portal.api.pagination import Pages
from portal.api.permissions import members
from portal.models import Consumer
from portal.permissions import KEY_ROLES
from portal.services.consumers import (
    consumer_activate,
    consumer_create,
    consumer_deactivate,
    consumer_update,
)

ROLES = members(*KEY_ROLES)


class ConsumerOut(serializers.ModelSerializer[Consumer]):
    class Meta:
        model = Consumer
        fields = ("id", "name", "username", "custom_id", "is_active", "created_at")


class ConsumerIn(Body):
    name = serializers.CharField()
    username = serializers.CharField(
        required=False,
        help_text="X-Consumer-Username: unique, never changed; left out: one is made",
    )
    custom_id = serializers.CharField(
        required=False, allow_blank=True, help_text="your own id for it: X-Consumer-Custom-ID"
    )


class ConsumerPatchIn(Body):
    name = serializers.CharField(required=False)
    custom_id = serializers.CharField(required=False, allow_blank=True)


class DeactivateIn(Body):
    reason = serializers.CharField(max_length=300, required=False, allow_blank=True)
    even_last = serializers.BooleanField(
        default=False, help_text="stop it although no other application is active"
    )


class ActivateIn(Body):
    reason = serializers.CharField(max_length=300, required=False, allow_blank=True)


class Consumers(ApiView):
    access: ClassVar = {"GET": ROLES, "POST": ROLES}
    pagination_class = Pages

    @operation("consumer_list", answer=ConsumerOut(many=True))
    def get(self, request: Request, org: str) -> Response:
        """List the organization's applications, deactivated ones included, oldest first."""
        rows = self.member.organization.consumers.order_by("created_at", "pk")
        return self.page(rows, ConsumerOut)

    @operation("consumer_create", body=ConsumerIn, answer=ConsumerOut, status=201)
    def post(self, request: Request, org: str) -> Response:
        """Add an application; its keys are made with it as `consumer`."""
        made = consumer_create(
            organization=self.member.organization,
            values=self.body(ConsumerIn),
            actor=self.person,
            now=clock.now(),
        )
        return Response(ConsumerOut(made).data, status=201)


class ConsumerView(ApiView):
    """What the views of one application share."""

    def consumer(self, consumer_id: str) -> Consumer:
        """Return one of the organization; a foreign id is answered as a missing one."""
        rows = self.member.organization.consumers.select_related("organization")
        return get_object_or_404(rows, pk=consumer_id)


class ConsumerDetail(ConsumerView):
    access: ClassVar = {"GET": ROLES, "PATCH": ROLES}

    @operation("consumer_show", answer=ConsumerOut)
    def get(self, request: Request, org: str, consumer_id: str) -> Response:
        """Show one application."""
        return Response(ConsumerOut(self.consumer(consumer_id)).data)

    @operation("consumer_update", body=ConsumerPatchIn, answer=ConsumerOut)
    def patch(self, request: Request, org: str, consumer_id: str) -> Response:
        """Change name or custom id; fields left out stay."""
        row, sent = self.consumer(consumer_id), self.body(ConsumerPatchIn)
        consumer_update(consumer=row, values=sent, actor=self.person, now=clock.now())
        return Response(ConsumerOut(row).data)


class ConsumerDeactivate(ConsumerView):
    access: ClassVar = {"POST": ROLES}

    @operation("consumer_deactivate", body=DeactivateIn, answer=ConsumerOut)
    def post(self, request: Request, org: str, consumer_id: str) -> Response:
        """Let every gateway refuse its keys within a second; again changes nothing."""
        row, sent = self.consumer(consumer_id), self.body(DeactivateIn)
        consumer_deactivate(
            consumer=row,
            actor=self.person,
            now=clock.now(),
            keep_last_at=None if sent["even_last"] else clock.wall_now(),
            reason=sent.get("reason", ""),
        )
        return Response(ConsumerOut(row).data)


class ConsumerActivate(ConsumerView):
    access: ClassVar = {"POST": ROLES}

    @operation("consumer_activate", body=ActivateIn, answer=ConsumerOut)
    def post(self, request: Request, org: str, consumer_id: str) -> Response:
        """Let its keys work again, those that have not ended; again changes nothing."""
        row, sent = self.consumer(consumer_id), self.body(ActivateIn)
        consumer_activate(consumer=row, actor=self.person, now=clock.now(), **sent)
        return Response(ConsumerOut(row).data)
