"""A customer's way onto a plan, to another one, and off it; money is agreed to by a digest."""

from typing import Any, ClassVar

from django.http import Http404
from django.shortcuts import get_object_or_404
from drf_spectacular.utils import OpenApiParameter
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from billing.models import CheckoutState, PlanCheckout
from billing.payments.stripe_adapter import collector
from billing.services.checkouts import checkout_settle, checkout_start, plan_costs
from billing.services.plan_change import Timing, plan_change_confirm, plan_change_preview
from portal import clock
from portal.api.base import Answer, ApiView, Body, operation, text_query
from portal.api.organizations import SEGMENTS, SubscriptionOut
from portal.api.pagination import Pages
from portal.api.permissions import members
from portal.errors import MailUnverifiedError
from portal.models import PlanVersion, Subscription
from portal.permissions import BILLING_ROLES
from portal.selectors import not_over, offer_list
from portal.services.credentials import has_verified_mail
from portal.services.subscriptions import (
    subscription_cancel,
    subscription_cancel_undo,
    subscription_change_undo,
)
from portal.usage import reader_or_none

MONEY = members(*BILLING_ROLES)
TIMINGS = [timing.value for timing in Timing]


class CheckoutOut(serializers.ModelSerializer[PlanCheckout]):
    """What was agreed to and what came of it.

    Where a card is needed, `card_page_url` leads a person to the hosted page; the subscription
    begins once the card is left there. `problem` is the code of what stood in the way.
    """

    plan_version = serializers.CharField(source="plan_version_id")
    subscription = serializers.CharField(source="subscription_id", allow_null=True)
    card_page_url = serializers.SerializerMethodField()
    problem = serializers.CharField(allow_blank=True)

    class Meta:
        model = PlanCheckout
        fields = (
            *("id", "state", "plan_version", "subscription", "card_page_url", "problem"),
            *("created_at", "finished_at"),
        )

    def get_card_page_url(self, row: PlanCheckout) -> str | None:
        return (row.session_url or None) if row.state == CheckoutState.OPEN else None


class CheckoutIn(Body):
    plan_version = serializers.CharField(
        help_text="the `plan_version` of a plan on offer: exactly the terms that were read"
    )


class ChangeLineOut(Answer):
    line_key = serializers.CharField(source="line.line_key")
    description = serializers.CharField(source="line.description")
    starts_at = serializers.DateTimeField(source="line.starts_at")
    ends_at = serializers.DateTimeField(source="line.ends_at")
    amount_minor = serializers.IntegerField(help_text="negative: credited")
    discount_minor = serializers.IntegerField()
    net_minor = serializers.IntegerField()


class NextInvoiceOut(Answer):
    at = serializers.DateTimeField()
    fee_minor = serializers.IntegerField()
    tax_minor = serializers.IntegerField()
    usage_minor = serializers.IntegerField(allow_null=True, help_text="so far; null: unknown")


class LimitWarningOut(Answer):
    """A quota of the new plan that this period's use exceeds already."""

    meter = serializers.CharField()
    used = serializers.IntegerField()
    quota = serializers.IntegerField()
    blocks = serializers.BooleanField()


class PlanChangeOut(Answer):
    """What a change costs, exactly; confirm it with `effective_at` (as `at`) and `digest`."""

    subscription = serializers.CharField(source="subscription.pk")
    from_version = serializers.CharField(source="from_version.pk")
    to_version = serializers.CharField(source="to_version.pk")
    timing = serializers.ChoiceField(choices=TIMINGS)
    effective_at = serializers.DateTimeField()
    currency = serializers.CharField()
    lines = ChangeLineOut(source="rows", many=True)
    credit_minor = serializers.IntegerField(source="settlement.credit_minor")
    tax_minor = serializers.IntegerField(source="settlement.tax_minor")
    due_minor = serializers.IntegerField(help_text="invoiced at once; negative: credited")
    next_invoice = NextInvoiceOut(allow_null=True)
    warnings = LimitWarningOut(many=True)
    usage_known = serializers.BooleanField()
    trial_ends_at = serializers.DateTimeField(allow_null=True)
    as_of = serializers.DateTimeField()
    digest = serializers.CharField()


class ChangeQuery(serializers.Serializer[Any]):
    plan = serializers.CharField()
    timing = serializers.ChoiceField(choices=TIMINGS, required=False)


class PlanChangeIn(Body):
    """The preview that is agreed to: every field but `plan` from its answer."""

    plan = serializers.CharField(help_text="the slug of a plan on offer")
    timing = serializers.ChoiceField(choices=TIMINGS)
    at = serializers.DateTimeField()
    digest = serializers.CharField(max_length=64)


class CancelOwnIn(Body):
    reason = serializers.CharField(max_length=300, required=False, allow_blank=True)


def _offer(slug: str) -> PlanVersion:
    found = offer_list().filter(plan__slug=slug).first()
    if found is None:
        wrong = serializers.ErrorDetail("There is no such plan on offer.", "does_not_exist")
        raise serializers.ValidationError({"plan": [wrong]})
    return found


class Checkouts(ApiView):
    access: ClassVar = {"GET": MONEY, "POST": MONEY}
    pagination_class = Pages

    @operation("checkout_list", answer=CheckoutOut(many=True))
    def get(self, request: Request, org: str) -> Response:
        """List what was agreed to, newest first."""
        rows = self.member.organization.checkouts.order_by("-created_at", "pk")
        return self.page(rows, CheckoutOut)

    @operation("checkout_start", body=CheckoutIn, answer=CheckoutOut, status=201, outside=True)
    def post(self, request: Request, org: str) -> Response:
        """Agree to a plan's terms: subscribed at once, or after a card is left on a page."""
        version = self._version(self.body(CheckoutIn)["plan_version"])
        if plan_costs(version) and not has_verified_mail(self.person):
            raise MailUnverifiedError
        checkout = checkout_start(
            organization=self.member.organization,
            version=version,
            actor=self.person,
            collector=collector(),
            now=clock.now(),
            wall=clock.wall_now(),
        )
        return Response(CheckoutOut(checkout).data, status=201)

    def _version(self, version_id: str) -> PlanVersion:
        """Return the newest version of a public plan; older terms cannot be agreed to."""
        found = offer_list().filter(pk=version_id).first()
        if found is None:
            wrong = serializers.ErrorDetail("These terms are not on offer.", "not_offered")
            raise serializers.ValidationError({"plan_version": [wrong]})
        return found


class CheckoutView(ApiView):
    def checkout(self, checkout_id: str) -> PlanCheckout:
        rows = self.member.organization.checkouts.select_related(
            "organization", "plan_version__plan", "created_by"
        )
        return get_object_or_404(rows, pk=checkout_id)


class CheckoutDetail(CheckoutView):
    access: ClassVar = {"GET": MONEY}

    @operation("checkout_show", answer=CheckoutOut)
    def get(self, request: Request, org: str, checkout_id: str) -> Response:
        """Show where a checkout stands."""
        return Response(CheckoutOut(self.checkout(checkout_id)).data)


class CheckoutSettle(CheckoutView):
    access: ClassVar = {"POST": MONEY}

    @operation("checkout_settle", answer=CheckoutOut, outside=True)
    def post(self, request: Request, org: str, checkout_id: str) -> Response:
        """Look at once whether the card was left, and subscribe if so; again changes nothing."""
        settled = checkout_settle(
            checkout=self.checkout(checkout_id),
            collector=collector(),
            now=clock.now(),
            wall=clock.wall_now(),
        )
        return Response(CheckoutOut(settled).data)


class OwnSubscriptionView(ApiView):
    def subscription(self, subscription_id: str) -> Subscription:
        """Return a subscription of the organization that is not over.

        :raises Http404: for any other.
        """
        rows = self.member.organization.subscriptions.select_related("plan", "organization")
        found = rows.filter(not_over(clock.now()))
        return get_object_or_404(found.prefetch_related(SEGMENTS), pk=subscription_id)

    def shown(self, subscription_id: str) -> Response:
        rows = self.member.organization.subscriptions.select_related("plan")
        found = rows.prefetch_related(SEGMENTS).filter(pk=subscription_id).first()
        if found is None:
            raise Http404
        return Response(SubscriptionOut(found).data)


class OwnSubscriptionChange(OwnSubscriptionView):
    access: ClassVar = {"GET": MONEY, "POST": MONEY, "DELETE": MONEY}

    @operation(
        "subscription_change_preview",
        answer=PlanChangeOut,
        query=[
            OpenApiParameter("plan", str, required=True, description="a plan's slug"),
            text_query("timing", "left out: upgrades at once, else at the period's end", TIMINGS),
        ],
    )
    def get(self, request: Request, org: str, subscription_id: str) -> Response:
        """Work out what a change of plan costs; nothing is changed."""
        asked = ChangeQuery(data=request.query_params)
        asked.is_valid(raise_exception=True)
        timing = asked.validated_data.get("timing")
        preview = plan_change_preview(
            subscription=self.subscription(subscription_id),
            version=_offer(asked.validated_data["plan"]),
            reader=reader_or_none(),
            now=clock.now(),
            timing=Timing(timing) if timing else None,
        )
        return Response(PlanChangeOut(preview).data)

    @operation("subscription_change", body=PlanChangeIn, answer=SubscriptionOut)
    def post(self, request: Request, org: str, subscription_id: str) -> Response:
        """Confirm a previewed change; refused when a figure of it no longer holds."""
        sent = self.body(PlanChangeIn)
        plan_change_confirm(
            subscription=self.subscription(subscription_id),
            version=_offer(sent["plan"]),
            timing=Timing(sent["timing"]),
            at=sent["at"],
            digest=sent["digest"],
            actor=self.person,
            reader=reader_or_none(),
            now=clock.now(),
        )
        return self.shown(subscription_id)

    @operation("subscription_change_undo", answer=SubscriptionOut)
    def delete(self, request: Request, org: str, subscription_id: str) -> Response:
        """Forget a planned change, while it is not in force."""
        row = self.subscription(subscription_id)
        subscription_change_undo(subscription=row, actor=self.person, now=clock.now())
        return self.shown(subscription_id)


class OwnSubscriptionCancel(OwnSubscriptionView):
    access: ClassVar = {"POST": MONEY, "DELETE": MONEY}

    @operation("subscription_cancel", body=CancelOwnIn, answer=SubscriptionOut)
    def post(self, request: Request, org: str, subscription_id: str) -> Response:
        """End it with its period."""
        row, reason = self.subscription(subscription_id), self.body(CancelOwnIn).get("reason", "")
        subscription_cancel(subscription=row, actor=self.person, now=clock.now(), reason=reason)
        return self.shown(subscription_id)

    @operation("subscription_cancel_undo", answer=SubscriptionOut)
    def delete(self, request: Request, org: str, subscription_id: str) -> Response:
        """Let a cancelled one go on, while it has not ended."""
        row = self.subscription(subscription_id)
        subscription_cancel_undo(subscription=row, actor=self.person, now=clock.now())
        return self.shown(subscription_id)
