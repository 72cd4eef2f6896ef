"""URLs under `/api/v1/`; the money's are in `billing.api.urls`."""

from typing import Final

from django.urls import URLPattern, URLResolver, path
from drf_spectacular.views import SpectacularJSONAPIView

from portal.api import (
    account,
    catalog,
    consumers,
    customers,
    keys,
    offer,
    organizations,
    plans,
    system,
    team,
    usage,
)

ORG: Final = "organizations/<slug:org>"
SUB: Final = "admin/subscriptions/<str:subscription_id>"

urlpatterns: list[URLPattern | URLResolver] = [
    path("schema/", SpectacularJSONAPIView.as_view(), name="api_schema"),
    path("me", account.Me.as_view()),
    path("me/token", account.MeToken.as_view()),
    path("plans", plans.Plans.as_view()),
    path("plans/<slug:slug>", plans.PlanDetail.as_view()),
    path("organizations", organizations.Organizations.as_view()),
    path(ORG, organizations.OrganizationDetail.as_view()),
    path(f"{ORG}/consumers", consumers.Consumers.as_view()),
    path(f"{ORG}/consumers/<str:consumer_id>", consumers.ConsumerDetail.as_view()),
    path(f"{ORG}/consumers/<str:consumer_id>/deactivate", consumers.ConsumerDeactivate.as_view()),
    path(f"{ORG}/consumers/<str:consumer_id>/activate", consumers.ConsumerActivate.as_view()),
    path(f"{ORG}/subscriptions", organizations.Subscriptions.as_view()),
    path(f"{ORG}/members", team.Members.as_view()),
    path(f"{ORG}/members/<str:person_id>", team.MemberDetail.as_view()),
    path(f"{ORG}/invitations", team.Invitations.as_view()),
    path(f"{ORG}/invitations/<str:invitation_id>", team.InvitationDetail.as_view()),
    path(f"{ORG}/keys", keys.Keys.as_view()),
    path(f"{ORG}/keys/<str:key_id>", keys.KeyDetail.as_view()),
    path(f"{ORG}/keys/<str:key_id>/secret", keys.KeySecret.as_view()),
    path(f"{ORG}/keys/<str:key_id>/rotate", keys.KeyRotate.as_view()),
    path(f"{ORG}/keys/<str:key_id>/revoke", keys.KeyRevoke.as_view()),
    path(f"{ORG}/usage", usage.Usage.as_view(), name="api_usage"),
    path(f"{ORG}/requests", usage.Requests.as_view()),
    path(f"{ORG}/requests/<str:request_id>", usage.RequestDetail.as_view()),
    path("admin/apis", catalog.Apis.as_view()),
    path("admin/apis/<str:api_id>", catalog.ApiDetail.as_view()),
    path("admin/apis/<str:api_id>/import", catalog.ApiImport.as_view()),
    path("admin/apis/<str:api_id>/routes", catalog.Routes.as_view()),
    path("admin/routes/<str:route_id>", catalog.RouteDetail.as_view()),
    path("admin/upstreams", catalog.Upstreams.as_view()),
    path("admin/upstreams/<str:upstream_id>", catalog.UpstreamDetail.as_view()),
    path("admin/upstreams/<str:upstream_id>/check", catalog.UpstreamCheck.as_view()),
    path("admin/meters", catalog.Meters.as_view()),
    path("admin/meters/<str:meter_id>", catalog.MeterDetail.as_view()),
    path("admin/plans", offer.AdminPlans.as_view()),
    path("admin/plans/<str:plan_id>", offer.AdminPlanDetail.as_view()),
    path("admin/plans/<str:plan_id>/archive", offer.AdminPlanArchive.as_view()),
    path("admin/plans/<str:plan_id>/versions", offer.PlanVersions.as_view()),
    path("admin/versions/<str:version_id>", offer.PlanVersionDetail.as_view()),
    path("admin/versions/<str:version_id>/publish", offer.PlanVersionPublish.as_view()),
    path("admin/customers", customers.Customers.as_view()),
    path("admin/customers/<str:organization_id>", customers.CustomerDetail.as_view()),
    path(
        "admin/customers/<str:organization_id>/subscriptions",
        customers.CustomerSubscriptions.as_view(),
    ),
    path("admin/subscriptions", customers.AdminSubscriptions.as_view()),
    path(SUB, customers.AdminSubscription.as_view()),
    path(f"{SUB}/change", customers.SubscriptionChange.as_view()),
    path(f"{SUB}/cancellation", customers.SubscriptionCancel.as_view()),
    path(f"{SUB}/pause", customers.SubscriptionPause.as_view()),
    path("admin/nodes", system.Nodes.as_view()),
    path("admin/nodes/<str:node_id>/retire", system.NodeRetire.as_view()),
    path("admin/nodes/<str:node_id>/write-off", system.NodeWriteOff.as_view()),
    path("admin/snapshot", system.Snapshot.as_view()),
    path("admin/clock", system.Clock.as_view()),
    path("admin/audit", system.Audit.as_view()),
    path("admin/config", system.Config.as_view()),
]
