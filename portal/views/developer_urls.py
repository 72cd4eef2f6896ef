"""URLs of the developer's pages."""

from typing import Final

from django.urls import URLPattern, URLResolver, path

from portal.views import applications, keys, organization, request_log, start, team, usage

ORG: Final = "app/<slug:org>"
APPS: Final = f"{ORG}/applications"

urlpatterns: list[URLPattern | URLResolver] = [
    path("", start.landing, name="landing"),
    path("start", start.start, name="start"),
    path("start/status", start.start_status, name="start_status"),
    path("invitations/<str:token>", team.invitation, name="invitation"),
    path("invitations/<str:token>/accept", team.invitation_take, name="invitation_take"),
    path(f"{ORG}/keys", keys.key_list, name="key_list"),
    path(f"{ORG}/keys/new", keys.key_new, name="key_new"),
    path(f"{ORG}/keys/<str:key_id>", keys.key_detail, name="key_detail"),
    path(f"{ORG}/keys/<str:key_id>/rotate", keys.key_rotate, name="key_rotate"),
    path(f"{ORG}/keys/<str:key_id>/revoke", keys.key_revoke, name="key_revoke"),
    path(APPS, applications.consumer_list, name="consumer_list"),
    path(f"{APPS}/new", applications.consumer_new, name="consumer_new"),
    path(f"{APPS}/<str:consumer_id>", applications.consumer_edit, name="consumer_edit"),
    path(
        f"{APPS}/<str:consumer_id>/deactivate",
        applications.consumer_stop,
        name="consumer_deactivate",
    ),
    path(
        f"{APPS}/<str:consumer_id>/activate", applications.consumer_start, name="consumer_activate"
    ),
    path(f"{ORG}/usage", usage.usage, name="usage"),
    path(f"{ORG}/usage.csv", usage.usage_csv, name="usage_csv"),
    path(f"{ORG}/requests", request_log.request_list, name="request_list"),
    path(f"{ORG}/requests/<str:request_id>", request_log.request_detail, name="request_detail"),
    path(f"{ORG}/team", team.team, name="team"),
    path(f"{ORG}/team/<str:person_id>", team.member_change, name="member_change"),
    path(f"{ORG}/team/<str:person_id>/remove", team.member_end, name="member_end"),
    path(
        f"{ORG}/team/invitations/<str:invitation_id>/withdraw",
        team.invitation_withdraw,
        name="invitation_withdraw",
    ),
    path(f"{ORG}/settings", organization.org_settings, name="org_settings"),
]
