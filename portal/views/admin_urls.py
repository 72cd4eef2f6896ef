"""URLs of the provider's pages, under `/admin-console`."""

from django.conf import settings
from django.urls import URLPattern, URLResolver, path

from portal.views import admin_catalog, admin_customers, admin_plans, admin_system

ROOT = "admin-console"

urlpatterns: list[URLPattern | URLResolver] = [
    path(ROOT, admin_system.home, name="admin_home"),
    path(f"{ROOT}/apis", admin_catalog.api_list, name="admin_apis"),
    path(f"{ROOT}/apis/new", admin_catalog.api_new, name="admin_api_new"),
    path(f"{ROOT}/apis/<str:api_id>/edit", admin_catalog.api_edit, name="admin_api_edit"),
    path(f"{ROOT}/apis/<str:api_id>/delete", admin_catalog.api_remove, name="admin_api_delete"),
    path(f"{ROOT}/apis/<str:api_id>/import", admin_catalog.openapi, name="admin_openapi"),
    path(f"{ROOT}/apis/<str:api_id>/routes/new", admin_catalog.route_new, name="admin_route_new"),
    path(f"{ROOT}/apis/routes/<str:route_id>", admin_catalog.route_edit, name="admin_route"),
    path(
        f"{ROOT}/apis/routes/<str:route_id>/delete",
        admin_catalog.route_remove,
        name="admin_route_delete",
    ),
    path(f"{ROOT}/apis/upstreams", admin_catalog.upstream_list, name="admin_upstreams"),
    path(f"{ROOT}/apis/upstreams/new", admin_catalog.upstream_new, name="admin_upstream_new"),
    path(
        f"{ROOT}/apis/upstreams/<str:upstream_id>",
        admin_catalog.upstream_edit,
        name="admin_upstream",
    ),
    path(
        f"{ROOT}/apis/upstreams/<str:upstream_id>/check",
        admin_catalog.upstream_probe,
        name="admin_upstream_check",
    ),
    path(
        f"{ROOT}/apis/upstreams/<str:upstream_id>/delete",
        admin_catalog.upstream_remove,
        name="admin_upstream_delete",
    ),
    path(f"{ROOT}/apis/<str:api_id>", admin_catalog.api_detail, name="admin_api"),
    path(f"{ROOT}/meters", admin_catalog.meter_list, name="admin_meters"),
    path(f"{ROOT}/meters/new", admin_catalog.meter_new, name="admin_meter_new"),
    path(f"{ROOT}/meters/<str:meter_id>", admin_catalog.meter_edit, name="admin_meter"),
    path(f"{ROOT}/plans", admin_plans.plan_list, name="admin_plans"),
    path(f"{ROOT}/plans/new", admin_plans.plan_new, name="admin_plan_new"),
    path(f"{ROOT}/plans/<str:plan_id>", admin_plans.plan_detail, name="admin_plan"),
    path(f"{ROOT}/plans/<str:plan_id>/edit", admin_plans.plan_edit, name="admin_plan_edit"),
    path(
        f"{ROOT}/plans/<str:plan_id>/archive",
        admin_plans.plan_archive_toggle,
        name="admin_archive",
    ),
    path(
        f"{ROOT}/plans/<str:plan_id>/versions", admin_plans.version_new, name="admin_version_new"
    ),
    path(
        f"{ROOT}/plans/versions/<str:version_id>", admin_plans.version_edit, name="admin_version"
    ),
    path(
        f"{ROOT}/plans/versions/<str:version_id>/publish",
        admin_plans.version_publish,
        name="admin_version_publish",
    ),
    path(
        f"{ROOT}/plans/versions/<str:version_id>/delete",
        admin_plans.version_remove,
        name="admin_version_delete",
    ),
    path(f"{ROOT}/customers", admin_customers.customer_list, name="admin_customers"),
    path(
        f"{ROOT}/customers/<str:organization_id>",
        admin_customers.customer_detail,
        name="admin_customer",
    ),
    path(
        f"{ROOT}/customers/<str:organization_id>/subscribe",
        admin_customers.subscribe,
        name="admin_subscribe",
    ),
    path(f"{ROOT}/subscriptions", admin_customers.subscription_list, name="admin_subscriptions"),
    path(
        f"{ROOT}/subscriptions/<str:subscription_id>/change",
        admin_customers.change,
        name="admin_subscription_change",
    ),
    path(
        f"{ROOT}/subscriptions/<str:subscription_id>/cancel",
        admin_customers.cancel,
        name="admin_subscription_cancel",
    ),
    path(
        f"{ROOT}/subscriptions/<str:subscription_id>/pause",
        admin_customers.pause,
        name="admin_subscription_pause",
    ),
    path(
        f"{ROOT}/subscriptions/<str:subscription_id>/undo",
        admin_customers.undo,
        name="admin_subscription_undo",
    ),
    path(f"{ROOT}/system", admin_system.system, name="admin_system"),
    path(
        f"{ROOT}/system/nodes/<str:node_id>/retire",
        admin_system.node_end,
        {"how": "retire"},
        name="admin_node_retire",
    ),
    path(
        f"{ROOT}/system/nodes/<str:node_id>/write-off",
        admin_system.node_end,
        {"how": "write-off"},
        name="admin_node_write_off",
    ),
    path(f"{ROOT}/config", admin_system.configuration, name="admin_config"),
    path(f"{ROOT}/audit", admin_system.audit, name="admin_audit"),
]

if settings.ENV.sandbox:  # under the real clock there is nothing to move, and no such page
    urlpatterns.append(path(f"{ROOT}/clock", admin_system.clock_page, name="admin_clock"))
