"""The URL map: a list of includes. Pages that show money are mounted from billing by name."""

from allauth.account.decorators import secure_admin_login
from allauth.account.views import password_reset_from_key
from django.contrib import admin
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.urls import URLPattern, URLResolver, include, path, re_path

from portal.api import urls as api_urls
from portal.api.problems import nowhere, server_problem
from portal.api.reference import reference_page
from portal.permissions import public_page
from portal.views import admin_urls, developer_urls, site, site_urls

handler400 = "portal.views.site.bad_request"
handler403 = "portal.views.site.forbidden"
handler404 = "portal.urls.not_found"
handler500 = "portal.urls.server_error"


def not_found(request: HttpRequest, exception: Exception) -> HttpResponseBase:
    """Let the side that was called say that there is nothing."""
    if request.path.startswith("/api/"):
        return nowhere(request)
    return site.not_found(request, exception)


def server_error(request: HttpRequest) -> HttpResponse:
    """Let the side that was called say that it failed: the REST API or the pages."""
    side = server_problem if request.path.startswith("/api/") else site.server_error
    return side(request)


urlpatterns: list[URLPattern | URLResolver] = [
    path("", include(site_urls)),
    path("", include(developer_urls)),
    path("", include(admin_urls)),
    path("api/v1/", include(api_urls)),
    re_path(  # allauth's own pattern knows no underscore, and our ids have one
        r"^accounts/password/reset/key/(?P<uidb36>[0-9a-z_]+)-(?P<key>.+)/$",
        public_page(password_reset_from_key),
        name="account_reset_password_from_key",
    ),
    path("accounts/", include("allauth.urls")),
    path("", include("billing.urls")),
    # the stock login form knows neither the second factor nor the limits on guessing
    path("admin/login/", secure_admin_login(admin.site.login), name="break_glass"),
    path("admin/", admin.site.urls),
    path("api/docs", reference_page, name="api_docs"),
    re_path(r"^api/", nowhere, name="api_nowhere"),  # after every operation
]
