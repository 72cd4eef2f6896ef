"""What is sold, for the provider's admins: APIs, routes, upstreams, meters, OpenAPI import.

The services check every value strictly; the bodies here name what may be written. A PATCH keeps
what it does not send.
"""

from collections.abc import Mapping
from typing import Any, ClassVar, TypeVar

from django.db import models
from django.shortcuts import get_object_or_404
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from portal import clock
from portal.api.base import Answer, ApiView, Body, operation
from portal.api.pagination import Pages
from portal.api.permissions import ADMIN
from portal.core.catalog_input import METHODS
from portal.models import Api, Meter, Route, Upstream
from portal.services.catalog import (
    api_delete,
    api_save,
    meter_save,
    route_delete,
    route_save,
    upstream_delete,
    upstream_save,
)
from portal.services.config_dump import API_FIELDS, ROUTE_FIELDS, UPSTREAM_FIELDS
from portal.services.openapi_import import MAX_DOCUMENT_CHARS, openapi_import
from portal.services.upstream_check import upstream_check

METER_FIELDS = ("slug", "name", "unit")
Row = TypeVar("Row", bound=models.Model)


class ApiOut(serializers.ModelSerializer[Api]):
    class Meta:
        model = Api
        fields = ("id", *API_FIELDS, "created_at")


class ApiIn(Body):
    slug = serializers.CharField(required=False)
    name = serializers.CharField(required=False)
    description = serializers.CharField(required=False, allow_blank=True)
    is_published = serializers.BooleanField(required=False)
    sample_path = serializers.CharField(required=False, allow_blank=True)


class MeterOut(serializers.ModelSerializer[Meter]):
    class Meta:
        model = Meter
        fields = ("id", *METER_FIELDS, "created_at")


class MeterIn(Body):
    slug = serializers.CharField(required=False)
    name = serializers.CharField(required=False)
    unit = serializers.CharField(required=False)


class UpstreamOut(serializers.ModelSerializer[Upstream]):
    targets = serializers.DictField(child=serializers.IntegerField())

    class Meta:
        model = Upstream
        fields = ("id", *UPSTREAM_FIELDS, "created_at")


class UpstreamIn(Body):
    name = serializers.CharField(required=False)
    targets = serializers.DictField(
        child=serializers.IntegerField(), required=False, help_text="weight by http(s)://host:port"
    )
    base_path = serializers.CharField(required=False, allow_blank=True)
    host_header = serializers.CharField(required=False, allow_blank=True)
    connect_timeout_ms = serializers.IntegerField(required=False)
    send_timeout_ms = serializers.IntegerField(required=False)
    read_timeout_ms = serializers.IntegerField(required=False)
    retries = serializers.IntegerField(required=False)


class UpstreamCheckOut(Answer):
    """Per target: empty where it answers, else why not."""

    targets = serializers.DictField(child=serializers.CharField(allow_blank=True))


class RouteOut(serializers.ModelSerializer[Route]):
    api = serializers.CharField(source="api_id")
    upstream = serializers.CharField(source="upstream_id")
    methods = serializers.ListField(child=serializers.CharField())
    hosts = serializers.ListField(child=serializers.CharField())
    units = serializers.DictField(child=serializers.IntegerField())
    scopes = serializers.ListField(child=serializers.CharField())

    class Meta:
        model = Route
        fields = ("id", "api", "upstream", *ROUTE_FIELDS, "created_at")


class RouteIn(Body):
    upstream = serializers.CharField(required=False, help_text="an upstream's id")
    name = serializers.CharField(required=False)
    path = serializers.CharField(required=False)
    methods = serializers.ListField(child=serializers.ChoiceField(METHODS), required=False)
    hosts = serializers.ListField(child=serializers.CharField(), required=False)
    priority = serializers.IntegerField(required=False)
    is_public = serializers.BooleanField(required=False)
    strip_prefix = serializers.CharField(required=False, allow_blank=True)
    units = serializers.DictField(child=serializers.IntegerField(), required=False)
    max_body_bytes = serializers.IntegerField(required=False)
    read_timeout_ms = serializers.IntegerField(required=False)
    query_key = serializers.BooleanField(required=False)
    scopes = serializers.ListField(
        child=serializers.CharField(), required=False, help_text="a key must hold all of them"
    )
    description = serializers.CharField(required=False, allow_blank=True)


class ImportIn(Body):
    upstream = serializers.CharField(help_text="an upstream's id")
    document = serializers.CharField(
        max_length=MAX_DOCUMENT_CHARS, help_text="OpenAPI 3.0 or 3.1, JSON or YAML, as text"
    )
    prefix = serializers.CharField(required=False, allow_blank=True, default="")


class ImportOut(Answer):
    routes = RouteOut(many=True)


def merged(row: models.Model, names: tuple[str, ...], sent: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a row holds, with what was sent in its place."""
    return {name: getattr(row, name) for name in names} | dict(sent)


def named(model: type[Row], field: str, pk: str) -> Row:
    """Return the row that a body names by id.

    :raises ValidationError: naming the body's field, when there is none.
    """
    found = model._default_manager.filter(pk=pk).first()
    if found is None:
        wrong = serializers.ErrorDetail("There is no such object.", "does_not_exist")
        raise serializers.ValidationError({field: [wrong]})
    return found


class AdminView(ApiView):
    @property
    def who(self) -> dict[str, Any]:
        return {"actor": self.person, "now": clock.now()}


class Apis(AdminView):
    access: ClassVar = {"GET": ADMIN, "POST": ADMIN}
    pagination_class = Pages

    @operation("api_list", answer=ApiOut(many=True))
    def get(self, request: Request) -> Response:
        """List the APIs."""
        return self.page(Api.objects.order_by("name", "pk"), ApiOut)

    @operation("api_create", body=ApiIn, answer=ApiOut, status=201)
    def post(self, request: Request) -> Response:
        """Create an API; publish it once it has a route."""
        made = api_save(api=None, values=self.body(ApiIn), **self.who)
        return Response(ApiOut(made).data, status=201)


class ApiDetail(AdminView):
    access: ClassVar = {"GET": ADMIN, "PATCH": ADMIN, "DELETE": ADMIN}

    @operation("api_show", answer=ApiOut)
    def get(self, request: Request, api_id: str) -> Response:
        """Show an API."""
        return Response(ApiOut(get_object_or_404(Api, pk=api_id)).data)

    @operation("api_update", body=ApiIn, answer=ApiOut)
    def patch(self, request: Request, api_id: str) -> Response:
        """Change an API."""
        api = get_object_or_404(Api, pk=api_id)
        values = merged(api, API_FIELDS, self.body(ApiIn))
        return Response(ApiOut(api_save(api=api, values=values, **self.who)).data)

    @operation("api_delete", status=204)
    def delete(self, request: Request, api_id: str) -> Response:
        """Delete an API with its routes, unless a plan covers it."""
        api_delete(api=get_object_or_404(Api, pk=api_id), **self.who)
        return Response(status=204)


class ApiImport(AdminView):
    access: ClassVar = {"POST": ADMIN}

    @operation("api_import", body=ImportIn, answer=ImportOut)
    def post(self, request: Request, api_id: str) -> Response:
        """Turn an OpenAPI document into routes; with one problem nothing is imported."""
        api, sent = get_object_or_404(Api, pk=api_id), self.body(ImportIn)
        routes = openapi_import(
            api=api,
            upstream=named(Upstream, "upstream", sent["upstream"]),
            text=sent["document"],
            prefix=sent["prefix"],
            **self.who,
        )
        return Response(ImportOut({"routes": routes}).data)


class Routes(AdminView):
    access: ClassVar = {"GET": ADMIN, "POST": ADMIN}
    pagination_class = Pages

    @operation("route_list", answer=RouteOut(many=True))
    def get(self, request: Request, api_id: str) -> Response:
        """List an API's routes."""
        api = get_object_or_404(Api, pk=api_id)
        return self.page(api.routes.order_by("path", "name", "pk"), RouteOut)

    @operation("route_create", body=RouteIn, answer=RouteOut, status=201)
    def post(self, request: Request, api_id: str) -> Response:
        """Add a route to an API."""
        api, sent = get_object_or_404(Api, pk=api_id), self.body(RouteIn)
        upstream = named(Upstream, "upstream", sent.pop("upstream", ""))
        made = route_save(api=api, upstream=upstream, route=None, values=sent, **self.who)
        return Response(RouteOut(made).data, status=201)


class RouteDetail(AdminView):
    access: ClassVar = {"GET": ADMIN, "PATCH": ADMIN, "DELETE": ADMIN}

    def _route(self, route_id: str) -> Route:
        return get_object_or_404(Route.objects.select_related("api", "upstream"), pk=route_id)

    @operation("route_show", answer=RouteOut)
    def get(self, request: Request, route_id: str) -> Response:
        """Show a route."""
        return Response(RouteOut(self._route(route_id)).data)

    @operation("route_update", body=RouteIn, answer=RouteOut)
    def patch(self, request: Request, route_id: str) -> Response:
        """Change a route."""
        route, sent = self._route(route_id), self.body(RouteIn)
        upstream = named(Upstream, "upstream", sent.pop("upstream", route.upstream_id))
        values = merged(route, ROUTE_FIELDS, sent)
        saved = route_save(
            api=route.api, upstream=upstream, route=route, values=values, **self.who
        )
        return Response(RouteOut(saved).data)

    @operation("route_delete", status=204)
    def delete(self, request: Request, route_id: str) -> Response:
        """Delete a route; calls to it get 404."""
        route_delete(route=self._route(route_id), **self.who)
        return Response(status=204)


class Upstreams(AdminView):
    access: ClassVar = {"GET": ADMIN, "POST": ADMIN}
    pagination_class = Pages

    @operation("upstream_list", answer=UpstreamOut(many=True))
    def get(self, request: Request) -> Response:
        """List the upstreams."""
        return self.page(Upstream.objects.order_by("name"), UpstreamOut)

    @operation("upstream_create", body=UpstreamIn, answer=UpstreamOut, status=201)
    def post(self, request: Request) -> Response:
        """Add an upstream."""
        made = upstream_save(upstream=None, values=self.body(UpstreamIn), **self.who)
        return Response(UpstreamOut(made).data, status=201)


class UpstreamDetail(AdminView):
    access: ClassVar = {"GET": ADMIN, "PATCH": ADMIN, "DELETE": ADMIN}

    @operation("upstream_show", answer=UpstreamOut)
    def get(self, request: Request, upstream_id: str) -> Response:
        """Show an upstream."""
        return Response(UpstreamOut(get_object_or_404(Upstream, pk=upstream_id)).data)

    @operation("upstream_update", body=UpstreamIn, answer=UpstreamOut)
    def patch(self, request: Request, upstream_id: str) -> Response:
        """Change an upstream."""
        upstream = get_object_or_404(Upstream, pk=upstream_id)
        values = merged(upstream, UPSTREAM_FIELDS, self.body(UpstreamIn))
        saved = upstream_save(upstream=upstream, values=values, **self.who)
        return Response(UpstreamOut(saved).data)

    @operation("upstream_delete", status=204)
    def delete(self, request: Request, upstream_id: str) -> Response:
        """Delete an upstream that no route uses."""
        upstream_delete(upstream=get_object_or_404(Upstream, pk=upstream_id), **self.who)
        return Response(status=204)


class UpstreamCheck(AdminView):
    access: ClassVar = {"POST": ADMIN}

    @operation("upstream_check", answer=UpstreamCheckOut, outside=True)
    def post(self, request: Request, upstream_id: str) -> Response:
        """Connect to each target once and say what happened."""
        found = upstream_check(get_object_or_404(Upstream, pk=upstream_id))
        return Response(UpstreamCheckOut({"targets": found}).data)


class Meters(AdminView):
    access: ClassVar = {"GET": ADMIN, "POST": ADMIN}
    pagination_class = Pages

    @operation("meter_list", answer=MeterOut(many=True))
    def get(self, request: Request) -> Response:
        """List the meters beside the built-in `requests`."""
        return self.page(Meter.objects.order_by("slug"), MeterOut)

    @operation("meter_create", body=MeterIn, answer=MeterOut, status=201)
    def post(self, request: Request) -> Response:
        """Add a meter."""
        made = meter_save(meter=None, values=self.body(MeterIn), **self.who)
        return Response(MeterOut(made).data, status=201)


class MeterDetail(AdminView):
    access: ClassVar = {"PATCH": ADMIN}

    @operation("meter_update", body=MeterIn, answer=MeterOut)
    def patch(self, request: Request, meter_id: str) -> Response:
        """Change a meter's name or unit; its slug stays."""
        meter = get_object_or_404(Meter, pk=meter_id)
        values = merged(meter, METER_FIELDS, self.body(MeterIn))
        return Response(MeterOut(meter_save(meter=meter, values=values, **self.who)).data)
