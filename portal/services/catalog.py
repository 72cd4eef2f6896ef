"""Writes of what is sold: APIs, upstreams, routes and meters.

Values come as plain mappings and are read by `portal.core.catalog_input`, whoever sends them: a
form, the REST API, an OpenAPI document, the configuration file. Every change is audited and noted
for the next snapshot in the same transaction.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final, TypeVar

from django.db import models, transaction
from django.db.models import ProtectedError, Q

from portal.core.catalog_input import read_api, read_meter, read_route, read_upstream
from portal.core.checked_input import Problem
from portal.errors import InputInvalidError, InUseError
from portal.models import Api, Meter, Plan, Route, Upstream, User
from portal.services.audit import audit_record
from portal.snapshots import snapshot_touch

BUILT_IN_METER: Final = "requests"  # counts calls; there without a row of its own
Entity = TypeVar("Entity", bound=models.Model)


def api_save(
    *, api: Api | None, values: Mapping[str, Any], actor: User | None, now: datetime
) -> Api:
    """Create (`api` None) or change an API.

    :raises InputInvalidError: with every problem.
    """
    problems: list[Problem] = []
    fields = read_api(dict(values), "", problems)
    _check_free(problems, Api.objects.filter(slug=fields["slug"]), api, "slug")
    if fields["is_published"] and (api is None or not api.routes.exists()):
        problems.append(Problem("is_published", "no_route", "needs a route first"))
    return _save(api, Api, "api", fields, problems, actor=actor, now=now)


def upstream_save(
    *, upstream: Upstream | None, values: Mapping[str, Any], actor: User | None, now: datetime
) -> Upstream:
    """Create or change an upstream.

    :raises InputInvalidError: with every problem.
    """
    problems: list[Problem] = []
    fields = read_upstream(dict(values), "", problems)
    _check_free(problems, Upstream.objects.filter(name=fields["name"]), upstream, "name")
    return _save(upstream, Upstream, "upstream", fields, problems, actor=actor, now=now)


def meter_save(
    *, meter: Meter | None, values: Mapping[str, Any], actor: User | None, now: datetime
) -> Meter:
    """Create or change a meter; its slug, the key of all its usage, stays what it is.

    :raises InputInvalidError: with every problem.
    """
    problems: list[Problem] = []
    fields = read_meter(dict(values), "", problems)
    _check_free(problems, Meter.objects.filter(slug=fields["slug"]), meter, "slug")
    if meter is not None and fields["slug"] != meter.slug:
        problems.append(Problem("slug", "fixed", "cannot change: usage is kept under it"))
    return _save(meter, Meter, "meter", fields, problems, actor=actor, now=now)


def route_save(
    *,
    api: Api,
    upstream: Upstream,
    route: Route | None,
    values: Mapping[str, Any],
    actor: User | None,
    now: datetime,
) -> Route:
    """Create or change a route of an API; without `is_public` it asks for a key.

    :raises InputInvalidError: with every problem.
    """
    problems: list[Problem] = []
    fields = read_route(dict(values), "", problems)
    _check_free(problems, Route.objects.filter(api=api, name=fields["name"]), route, "name")
    _check_meters(fields["units"], problems)
    _check_match(fields, route, problems)
    fields |= {"api": api, "upstream": upstream}
    return _save(route, Route, "route", fields, problems, actor=actor, now=now)


def route_delete(*, route: Route, actor: User | None, now: datetime) -> None:
    with transaction.atomic():
        _record_delete("route", route, actor=actor, now=now)
        route.delete()


def upstream_delete(*, upstream: Upstream, actor: User | None, now: datetime) -> None:
    """Delete an upstream.

    :raises InUseError: while a route sends requests there.
    """
    try:
        with transaction.atomic():
            _record_delete("upstream", upstream, actor=actor, now=now)
            upstream.delete()
    except ProtectedError as error:
        raise InUseError from error


def api_delete(*, api: Api, actor: User | None, now: datetime) -> None:
    """Delete an API with its routes.

    :raises InUseError: while a plan covers it.
    """
    with transaction.atomic():
        if Plan.objects.filter(apis=api).exists():
            raise InUseError
        _record_delete("api", api, actor=actor, now=now)
        api.delete()


def _check_free(
    problems: list[Problem], taken: models.QuerySet[Any], own: models.Model | None, field: str
) -> None:
    if taken.exclude(pk=own.pk if own else "").exists():
        problems.append(Problem(field, "taken", "is used already"))


def _check_meters(units: Mapping[str, int], problems: list[Problem]) -> None:
    known = meter_slugs()
    problems.extend(
        Problem(f"units.{meter}", "unknown_meter", "is no meter")
        for meter in units
        if meter not in known
    )


def meter_slugs() -> frozenset[str]:
    """Return every meter that routes, quotas and prices may name."""
    return frozenset(Meter.objects.values_list("slug", flat=True)) | {BUILT_IN_METER}


def _check_match(fields: Mapping[str, Any], own: Route | None, problems: list[Problem]) -> None:
    """Refuse a second route that matches the very same requests at the same priority."""
    rivals = Route.objects.filter(Q(path=fields["path"]), Q(priority=fields["priority"])).exclude(
        pk=own.pk if own else ""
    )
    for rival in rivals.select_related("api"):
        same_host = _meet(fields["hosts"], rival.hosts)
        if same_host and _meet(fields["methods"], rival.methods):
            name = f"{rival.api.slug}/{rival.name}"
            problems.append(Problem("path", "route_taken", f"is matched by {name} already"))


def _meet(first: list[str], second: list[str]) -> bool:
    """Say whether two lists share an entry; an empty one stands for everything."""
    return not first or not second or bool(set(first) & set(second))


def _save(
    own: Entity | None,
    model: type[Entity],
    kind: str,
    fields: dict[str, Any],
    problems: list[Problem],
    *,
    actor: User | None,
    now: datetime,
) -> Entity:
    if problems:
        raise InputInvalidError(problems)
    with transaction.atomic():
        before = None if own is None else {name: _plain(getattr(own, name)) for name in fields}
        after = {name: _plain(value) for name, value in fields.items()}
        if before == after and own is not None:
            return own
        if own is None:
            saved = model._default_manager.create(created_at=now, **fields)
        else:
            saved = own
            for name, value in fields.items():
                setattr(saved, name, value)
            saved.save(update_fields=list(fields))
        audit_record(
            actor=actor,
            action=f"{kind}.{'create' if own is None else 'update'}",
            target=str(saved.pk),
            before=before,
            after=after,
            now=now,
        )
        snapshot_touch()
    return saved


def _plain(value: Any) -> Any:
    return value.pk if isinstance(value, models.Model) else value


def _record_delete(kind: str, entity: models.Model, *, actor: User | None, now: datetime) -> None:
    audit_record(
        actor=actor,
        action=f"{kind}.delete",
        target=str(entity.pk),
        before={"name": str(entity)},
        now=now,
    )
    snapshot_touch()
