"""APIs, routes, upstreams and meters, as the provider edits them."""

from django.contrib import messages
from django.db.models import Count
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from portal import clock
from portal.forms.provider import ApiForm, MeterForm, OpenApiForm, RouteForm, UpstreamForm
from portal.models import Api, Meter, Route, Upstream
from portal.permissions import person_of
from portal.services.catalog import (
    BUILT_IN_METER,
    api_delete,
    api_save,
    meter_save,
    route_delete,
    route_save,
    upstream_delete,
    upstream_save,
)
from portal.services.openapi_import import openapi_import
from portal.services.upstream_check import upstream_check
from portal.views.admin_pages import Crumb, admin_only, confirm_page, form_page, posted

_form_methods = require_http_methods(["GET", "POST"])


def _apis_crumb() -> Crumb:
    return Crumb(_("APIs"), reverse("admin_apis"))


def _api_crumb(api: Api) -> Crumb:
    return Crumb(api.name, reverse("admin_api", args=[api.pk]))


def _upstreams_crumb() -> Crumb:
    return Crumb(_("Upstreams"), reverse("admin_upstreams"))


@require_GET
@admin_only
def api_list(request: HttpRequest) -> HttpResponse:
    apis = Api.objects.annotate(route_count=Count("routes", distinct=True)).order_by("name")
    context = {
        "apis": apis.prefetch_related("plans"),
        "upstream_count": Upstream.objects.count(),
    }
    return render(request, "portal/admin/apis.html", context)


@_form_methods
@admin_only
def api_new(request: HttpRequest) -> HttpResponse:
    form = ApiForm(posted(request))
    form.fields["is_published"].disabled = True

    def save() -> str:
        api = api_save(
            api=None, values=form.cleaned_data, actor=person_of(request), now=clock.now()
        )
        return reverse("admin_api", args=[api.pk])

    return form_page(
        request,
        form,
        title=_("New API"),
        lead=_("Publish it once it has a route."),
        crumbs=[_apis_crumb(), Crumb(_("New API"))],
        submit=_("Create API"),
        save=save,
        done=_("The API is there; add its routes."),
    )


@require_GET
@admin_only
def api_detail(request: HttpRequest, api_id: str) -> HttpResponse:
    api = get_object_or_404(Api, pk=api_id)
    routes = api.routes.select_related("upstream").order_by("path", "name")
    context = {"api": api, "routes": routes, "plans": api.plans.order_by("rank", "name")}
    return render(request, "portal/admin/api.html", context)


@_form_methods
@admin_only
def api_edit(request: HttpRequest, api_id: str) -> HttpResponse:
    api = get_object_or_404(Api, pk=api_id)
    form = ApiForm.of(api, posted(request))

    def save() -> str:
        api_save(api=api, values=form.cleaned_data, actor=person_of(request), now=clock.now())
        return reverse("admin_api", args=[api.pk])

    return form_page(
        request,
        form,
        title=_("Edit %(name)s") % {"name": api.name},
        crumbs=[_apis_crumb(), _api_crumb(api), Crumb(_("Edit"))],
        submit=_("Save"),
        save=save,
        done=_("Saved; gateways have it within a second."),
    )


@_form_methods
@admin_only
def api_remove(request: HttpRequest, api_id: str) -> HttpResponse:
    api = get_object_or_404(Api, pk=api_id)
    routes = api.routes.count()

    def act() -> str:
        api_delete(api=api, actor=person_of(request), now=clock.now())
        return reverse("admin_apis")

    return confirm_page(
        request,
        title=_("Delete %(name)s?") % {"name": api.name},
        effects=[
            ngettext(
                "%(count)s route goes with it; calls to it get 404.",
                "%(count)s routes go with it; calls to them get 404.",
                routes,
            )
            % {"count": routes},
            _("Usage that was recorded stays."),
        ],
        crumbs=[_apis_crumb(), _api_crumb(api), Crumb(_("Delete"))],
        submit=_("Delete API"),
        act=act,
        done=_("The API is gone."),
    )


def _route_page(request: HttpRequest, api: Api, route: Route | None) -> HttpResponse:
    data = posted(request)
    form = RouteForm.of(route, data) if route else RouteForm(data)

    def save() -> str:
        values = dict(form.cleaned_data)
        route_save(
            api=api,
            upstream=values.pop("upstream"),
            route=route,
            values=values,
            actor=person_of(request),
            now=clock.now(),
        )
        return reverse("admin_api", args=[api.pk])

    title = route.name if route else _("New route")
    return form_page(
        request,
        form,
        title=title,
        lead=_("Without “public”, every call needs a key whose plan covers this API."),
        crumbs=[_apis_crumb(), _api_crumb(api), Crumb(title)],
        submit=_("Save route"),
        save=save,
        done=_("Saved; gateways have it within a second."),
    )


@_form_methods
@admin_only
def route_new(request: HttpRequest, api_id: str) -> HttpResponse:
    return _route_page(request, get_object_or_404(Api, pk=api_id), None)


@_form_methods
@admin_only
def route_edit(request: HttpRequest, route_id: str) -> HttpResponse:
    route = get_object_or_404(Route.objects.select_related("api"), pk=route_id)
    return _route_page(request, route.api, route)


@_form_methods
@admin_only
def route_remove(request: HttpRequest, route_id: str) -> HttpResponse:
    route = get_object_or_404(Route.objects.select_related("api"), pk=route_id)
    api = route.api

    def act() -> str:
        route_delete(route=route, actor=person_of(request), now=clock.now())
        return reverse("admin_api", args=[api.pk])

    return confirm_page(
        request,
        title=_("Delete route %(name)s?") % {"name": route.name},
        effects=[_("Calls to %(path)s get 404 from now on.") % {"path": route.path}],
        crumbs=[_apis_crumb(), _api_crumb(api), Crumb(_("Delete route"))],
        submit=_("Delete route"),
        act=act,
        done=_("The route is gone."),
    )


@_form_methods
@admin_only
def openapi(request: HttpRequest, api_id: str) -> HttpResponse:
    api = get_object_or_404(Api, pk=api_id)
    form = OpenApiForm(posted(request), request.FILES or None)

    def save() -> str:
        values = form.cleaned_data
        openapi_import(
            api=api,
            upstream=values["upstream"],
            text=values["text"],
            prefix=values["path_prefix"],
            actor=person_of(request),
            now=clock.now(),
        )
        return reverse("admin_api", args=[api.pk])

    return form_page(
        request,
        form,
        title=_("Import OpenAPI"),
        lead=_(
            "Every operation becomes a route; with one problem, nothing is imported. Its security "
            "is not read: set required scopes on the route, where they stay."
        ),
        crumbs=[_apis_crumb(), _api_crumb(api), Crumb(_("Import OpenAPI"))],
        submit=_("Import"),
        save=save,
        done=_("The routes are there."),
        multipart=True,
    )


@require_GET
@admin_only
def upstream_list(request: HttpRequest) -> HttpResponse:
    upstreams = Upstream.objects.annotate(route_count=Count("routes")).order_by("name")
    return render(request, "portal/admin/upstreams.html", {"upstreams": upstreams})


def _upstream_page(request: HttpRequest, upstream: Upstream | None) -> HttpResponse:
    data = posted(request)
    form = UpstreamForm.of(upstream, data) if upstream else UpstreamForm(data)

    def save() -> str:
        upstream_save(
            upstream=upstream,
            values=form.cleaned_data,
            actor=person_of(request),
            now=clock.now(),
        )
        return reverse("admin_upstreams")

    title = upstream.name if upstream else _("New upstream")
    return form_page(
        request,
        form,
        title=title,
        lead=_("Where requests go: your own servers, private addresses included."),
        crumbs=[_apis_crumb(), _upstreams_crumb(), Crumb(title)],
        submit=_("Save upstream"),
        save=save,
        done=_("Saved; gateways have it within a second."),
    )


@_form_methods
@admin_only
def upstream_new(request: HttpRequest) -> HttpResponse:
    return _upstream_page(request, None)


@_form_methods
@admin_only
def upstream_edit(request: HttpRequest, upstream_id: str) -> HttpResponse:
    return _upstream_page(request, get_object_or_404(Upstream, pk=upstream_id))


@_form_methods
@admin_only
def upstream_remove(request: HttpRequest, upstream_id: str) -> HttpResponse:
    upstream = get_object_or_404(Upstream, pk=upstream_id)

    def act() -> str:
        upstream_delete(upstream=upstream, actor=person_of(request), now=clock.now())
        return reverse("admin_upstreams")

    return confirm_page(
        request,
        title=_("Delete upstream %(name)s?") % {"name": upstream.name},
        effects=[_upstream_effect(upstream.routes.count())],
        crumbs=[_apis_crumb(), _upstreams_crumb(), Crumb(_("Delete"))],
        submit=_("Delete upstream"),
        act=act,
        done=_("The upstream is gone."),
    )


def _upstream_effect(routes: int) -> str:
    if not routes:
        return _("No route uses it.")
    return ngettext(
        "%(count)s route uses it: give that route another upstream first.",
        "%(count)s routes use it: give them another upstream first.",
        routes,
    ) % {"count": routes}


@require_POST
@admin_only
def upstream_probe(request: HttpRequest, upstream_id: str) -> HttpResponse:
    """Connect to each target now and say what happened."""
    upstream = get_object_or_404(Upstream, pk=upstream_id)
    for target, reason in upstream_check(upstream).items():
        if reason:
            messages.error(
                request, _("%(target)s: %(reason)s") % {"target": target, "reason": reason}
            )
        else:
            messages.success(request, _("%(target)s answers.") % {"target": target})
    return redirect("admin_upstreams")


@require_GET
@admin_only
def meter_list(request: HttpRequest) -> HttpResponse:
    context = {"meters": Meter.objects.order_by("slug"), "built_in": BUILT_IN_METER}
    return render(request, "portal/admin/meters.html", context)


def _meter_page(request: HttpRequest, meter: Meter | None) -> HttpResponse:
    data = posted(request)
    form = MeterForm.of(meter, data) if meter else MeterForm(data)

    def save() -> str:
        meter_save(
            meter=meter, values=form.cleaned_data, actor=person_of(request), now=clock.now()
        )
        return reverse("admin_meters")

    title = meter.name if meter else _("New meter")
    return form_page(
        request,
        form,
        title=title,
        lead=_("A counted quantity: routes give units of it, quotas and prices read them."),
        crumbs=[Crumb(_("Meters"), reverse("admin_meters")), Crumb(title)],
        submit=_("Save meter"),
        save=save,
        done=_("Saved."),
    )


@_form_methods
@admin_only
def meter_new(request: HttpRequest) -> HttpResponse:
    return _meter_page(request, None)


@_form_methods
@admin_only
def meter_edit(request: HttpRequest, meter_id: str) -> HttpResponse:
    return _meter_page(request, get_object_or_404(Meter, pk=meter_id))
