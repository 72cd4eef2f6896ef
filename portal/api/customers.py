"""Customers and their subscriptions, for the provider's people; admins change them."""

from typing import Any, ClassVar

from django.shortcuts import get_object_or_404
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from portal import clock
from portal.api.base import Body, operation, text_query
from portal.api.catalog import AdminView, named
from portal.api.organizations import SEGMENTS, OrganizationDetailOut, SubscriptionOut
from portal.api.pagination import Pages
from portal.api.permissions import ADMIN, STAFF
from portal.models import Organization, PlanVersion, Subscription
from portal.selectors import customer_search, not_over
from portal.services.subscriptions import (
    subscription_cancel,
    subscription_cancel_undo,
    subscription_change,
    subscription_change_undo,
    subscription_create,
    subscription_pause,
    subscription_resume,
)


class CustomerOut(OrganizationDetailOut):
    class Meta(OrganizationDetailOut.Meta):
        fields = (  # type: ignore[assignment]
            *OrganizationDetailOut.Meta.fields,
            *("past_due_since", "blocked_at", "suspended_at"),
        )


class SubscribeIn(Body):
    plan_version = serializers.CharField()


class ChangeIn(Body):
    plan_version = serializers.CharField()
    at = serializers.DateTimeField(
        required=False, help_text="left out: an upgrade at once, else at the period's end"
    )
    carry_over = serializers.BooleanField(default=True)


class CancelIn(Body):
    reason = serializers.CharField(max_length=300)
    at_once = serializers.BooleanField(default=False)


class ReasonIn(Body):
    reason = serializers.CharField(max_length=300)


class Customers(AdminView):
    access: ClassVar = {"GET": STAFF}
    pagination_class = Pages

    @operation(
        "customer_list",
        answer=CustomerOut(many=True),
        query=[text_query("q", "name, mail, key prefix or any id of theirs")],
    )
    def get(self, request: Request) -> Response:
        """Find customers."""
        return self.page(customer_search(request.query_params.get("q", "").strip()), CustomerOut)


class CustomerDetail(AdminView):
    access: ClassVar = {"GET": STAFF}

    @operation("customer_show", answer=CustomerOut)
    def get(self, request: Request, organization_id: str) -> Response:
        """Show a customer."""
        return Response(CustomerOut(get_object_or_404(Organization, pk=organization_id)).data)


class CustomerSubscriptions(AdminView):
    access: ClassVar = {"POST": ADMIN}

    @operation("customer_subscribe", body=SubscribeIn, answer=SubscriptionOut, status=201)
    def post(self, request: Request, organization_id: str) -> Response:
        """Put a customer on a published plan version, from now on."""
        organization = get_object_or_404(Organization, pk=organization_id)
        version = named(PlanVersion, "plan_version", self.body(SubscribeIn)["plan_version"])
        made = subscription_create(organization=organization, version=version, **self.who)
        return Response(SubscriptionOut(made).data, status=201)


class AdminSubscriptions(AdminView):
    access: ClassVar = {"GET": STAFF}
    pagination_class = Pages

    @operation(
        "admin_subscription_list",
        answer=SubscriptionOut(many=True),
        query=[text_query("all", "1: ended ones too", ["1"])],
    )
    def get(self, request: Request) -> Response:
        """List subscriptions, newest first."""
        rows = Subscription.objects.select_related("plan").prefetch_related(SEGMENTS)
        if request.query_params.get("all") != "1":
            rows = rows.filter(not_over(clock.now()))
        return self.page(rows.order_by("-starts_at", "pk"), SubscriptionOut)


class SubscriptionView(AdminView):
    def found(self, subscription_id: str) -> Subscription:
        rows = Subscription.objects.select_related("plan", "organization")
        return get_object_or_404(rows.prefetch_related(SEGMENTS), pk=subscription_id)

    def changed(self, service: Any, subscription_id: str, **values: Any) -> Response:
        """Call one service and answer with the subscription as it is then."""
        service(subscription=self.found(subscription_id), **values, **self.who)
        return Response(SubscriptionOut(self.found(subscription_id)).data)


class AdminSubscription(SubscriptionView):
    access: ClassVar = {"GET": STAFF}

    @operation("admin_subscription_show", answer=SubscriptionOut)
    def get(self, request: Request, subscription_id: str) -> Response:
        """Show a subscription."""
        return Response(SubscriptionOut(self.found(subscription_id)).data)


class SubscriptionChange(SubscriptionView):
    access: ClassVar = {"POST": ADMIN, "DELETE": ADMIN}

    @operation("admin_subscription_change", body=ChangeIn, answer=SubscriptionOut)
    def post(self, request: Request, subscription_id: str) -> Response:
        """Move it to another plan version; a change planned before is replaced."""
        sent = self.body(ChangeIn)
        version = named(PlanVersion, "plan_version", sent.pop("plan_version"))
        return self.changed(subscription_change, subscription_id, version=version, **sent)

    @operation("admin_subscription_change_undo", answer=SubscriptionOut)
    def delete(self, request: Request, subscription_id: str) -> Response:
        """Forget a planned change."""
        return self.changed(subscription_change_undo, subscription_id)


class SubscriptionCancel(SubscriptionView):
    access: ClassVar = {"POST": ADMIN, "DELETE": ADMIN}

    @operation("admin_subscription_cancel", body=CancelIn, answer=SubscriptionOut)
    def post(self, request: Request, subscription_id: str) -> Response:
        """End it with its period, or at once."""
        return self.changed(subscription_cancel, subscription_id, **self.body(CancelIn))

    @operation("admin_subscription_cancel_undo", answer=SubscriptionOut)
    def delete(self, request: Request, subscription_id: str) -> Response:
        """Let a cancelled one go on, while it has not ended."""
        return self.changed(subscription_cancel_undo, subscription_id)


class SubscriptionPause(SubscriptionView):
    access: ClassVar = {"POST": ADMIN, "DELETE": ADMIN}

    @operation("admin_subscription_pause", body=ReasonIn, answer=SubscriptionOut)
    def post(self, request: Request, subscription_id: str) -> Response:
        """Pause it: every call gets 403 within two seconds, nothing is due."""
        return self.changed(subscription_pause, subscription_id, **self.body(ReasonIn))

    @operation("admin_subscription_resume", answer=SubscriptionOut)
    def delete(self, request: Request, subscription_id: str) -> Response:
        """Let it go on."""
        return self.changed(subscription_resume, subscription_id)
