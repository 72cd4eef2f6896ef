"""The configuration file: `dump`, `diff` and an `apply` that is all or nothing, and idempotent.

Applying goes through the same services as the pages, in one transaction; a dry run and a diff are
an apply that is rolled back, so that they cannot promise something else. What changed is the
difference of the dumps before and after. The routes of a listed API become exactly those of the
file; everything else that the file does not name stays as it is.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from io import StringIO
from typing import Any

from django.db import transaction
from ruamel.yaml import YAML

from portal.core.checked_input import Problem
from portal.core.config_diff import Change, diff_list
from portal.core.config_schema import (
    ApiEntry,
    Config,
    ConsumerEntry,
    Entry,
    OrganizationEntry,
    PlanEntry,
    SubscriptionEntry,
    VersionEntry,
    read_config,
)
from portal.core.plain_values import yaml_values
from portal.errors import InputInvalidError, PortalError
from portal.models import (
    Api,
    Consumer,
    Credential,
    Meter,
    Organization,
    Plan,
    PlanVersion,
    Route,
    Subscription,
    Upstream,
    User,
)
from portal.services import consumers, plans, subscriptions
from portal.services.audit import audit_record
from portal.services.catalog import api_save, meter_save, route_delete, route_save, upstream_save
from portal.services.config_dump import config_dump, route_name
from portal.snapshots import snapshot_touch


class _RollBack(Exception):
    """Ends a dry run's transaction."""


@dataclass(slots=True)
class _Run:
    """An apply under way: who and when, and what has gone wrong so far."""

    actor: User | None
    now: datetime
    problems: list[Problem] = field(default_factory=list)

    def attempt(self, path: str, step: Callable[[], Any]) -> Any:
        """Run one service call; note its refusal at the entry's path and go on."""
        try:
            with transaction.atomic():
                return step()
        except InputInvalidError as error:
            self.problems += [
                Problem(f"{path}.{p.path}" if p.path else path, p.code, p.message)
                for p in error.problems
            ]
        except PortalError as error:
            self.problems.append(Problem(path, error.code, error.public))
        return None

    def missing(self, path: str, what: str) -> None:
        self.problems.append(Problem(path, "unknown_name", f"there is no {what}"))


def config_write(document: Mapping[str, Any]) -> str:
    """Write a dump as YAML."""
    yaml = YAML(typ="safe", pure=True)
    yaml.default_flow_style = False
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment] # our order
    stream = StringIO()
    yaml.dump(dict(document), stream)
    return stream.getvalue()


def config_read(text: str) -> Config:
    """Parse and check a file.

    :raises InputInvalidError: with every problem.
    """
    try:
        document = yaml_values(text)
    except ValueError as error:
        raise InputInvalidError([("", "not_yaml", str(error))]) from error
    config = read_config(document)
    if not isinstance(config, Config):
        raise InputInvalidError(config)
    return config


def config_apply(
    *, text: str, actor: User | None, now: datetime, dry_run: bool = False
) -> tuple[Change, ...]:
    """Bring the installation to what the file says; return what changed (or would).

    :raises InputInvalidError: with every problem and its path; then nothing has changed.
    """
    config = config_read(text)
    run = _Run(actor, now)
    changes: tuple[Change, ...] = ()
    try:
        with transaction.atomic():
            before = config_dump(now=now)
            _apply(config, run)
            if run.problems:
                raise InputInvalidError(run.problems)
            changes = tuple(diff_list(before, config_dump(now=now)))
            if dry_run:
                raise _RollBack
            if changes:
                audit_record(
                    actor=actor,
                    actor_label="" if actor else "config apply",
                    action="config.apply",
                    target="config",
                    after={"changes": len(changes)},
                    now=now,
                )
                snapshot_touch()
    except _RollBack:
        pass
    return changes


def _apply(config: Config, run: _Run) -> None:
    """Apply every part in the order in which they refer to each other."""
    for entry in config.meters:
        held = Meter.objects.filter(slug=entry.values["slug"]).first()
        _save(run, entry, meter_save, meter=held)
    for entry in config.upstreams:
        own = Upstream.objects.filter(name=entry.values["name"]).first()
        _save(run, entry, upstream_save, upstream=own)
    for api in config.apis:
        _apply_api(api, run)
    for plan in config.plans:
        _apply_plan(plan, run)
    for organization in config.organizations:
        _apply_organization(organization, run)
    for plan in (entry for entry in config.plans if entry.archived):
        _archive(plan, run)  # last: who is on it is put on it while it is on offer


def _save(run: _Run, entry: Entry, service: Callable[..., Any], **own: Any) -> Any:
    return run.attempt(
        entry.path, lambda: service(values=entry.values, actor=run.actor, now=run.now, **own)
    )


def _apply_api(entry: ApiEntry, run: _Run) -> None:
    """Save the API, then its routes, and publish it last: publishing needs a route."""
    api = Api.objects.filter(slug=entry.values["slug"]).first()
    if api is None:
        hidden = Entry(entry.path, entry.values | {"is_published": False})
        api = _save(run, hidden, api_save, api=None)
        if api is None:
            return
    upstreams = {upstream.name: upstream for upstream in Upstream.objects.all()}
    held = {route.name: route for route in api.routes.all()}
    named = {route.values["name"] for route in entry.routes}
    for name in sorted(held.keys() - named):
        route_delete(route=held[name], actor=run.actor, now=run.now)
    for route in entry.routes:
        upstream = upstreams.get(route.upstream)
        if upstream is None:
            run.missing(f"{route.path}.upstream", f"upstream {route.upstream}")
            continue
        own = held.get(route.values["name"])
        _save(run, route, route_save, api=api, upstream=upstream, route=own)
    _save(run, entry, api_save, api=api)


def _apply_plan(entry: PlanEntry, run: _Run) -> None:
    apis = {api.slug: api for api in Api.objects.filter(slug__in=entry.apis)}
    for index, slug in enumerate(entry.apis):
        if slug not in apis:
            run.missing(f"{entry.path}.apis[{index}]", f"API {slug}")
    own = Plan.objects.filter(slug=entry.values["slug"]).first()
    plan = _save(run, entry, plans.plan_save, plan=own, apis=apis.values())
    if plan is None:
        return
    routes = {
        route_name(route): route.pk
        for route in Route.objects.filter(api__in=apis.values()).select_related("api")
    }
    if not entry.archived:  # first: its versions are published while it is on offer
        _archive(entry, run)
    for version in entry.versions:
        _apply_version(version, plan, routes, run)


def _archive(entry: PlanEntry, run: _Run) -> None:
    """Take a plan off the offer or bring it back, as the file says."""
    slug, archived = entry.values["slug"], entry.archived
    for plan in Plan.objects.filter(slug=slug, archived_at__isnull=archived):
        plans.plan_archive(plan=plan, archived=archived, actor=run.actor, now=run.now)


def _apply_version(entry: VersionEntry, plan: Plan, routes: Mapping[str, str], run: _Run) -> None:
    values = dict(entry.values)
    granted = values["limits"].get("routes")
    if isinstance(granted, list):
        values["limits"] = {**values["limits"], "routes": [routes.get(str(n), n) for n in granted]}
    held = plan.versions.filter(number=entry.number).first()
    if held is not None and held.published_at is not None:
        run.attempt(entry.path, lambda: _check_same(held, values, published=entry.published))
        return
    run.attempt(entry.path, lambda: _draft(plan, entry, values, run))


def _check_same(held: PlanVersion, values: Mapping[str, Any], *, published: bool) -> None:
    """Refuse another content under the number of a published version."""
    terms, limits = plans.normal_form(
        values["terms"], values["limits"], currency=values["currency"]
    )
    wanted = {**values, "terms": terms, "limits": limits}
    stored = {name: getattr(held, name) for name in wanted}
    stored["terms"], stored["limits"] = plans.normal_form(
        held.terms, held.limits, currency=held.currency
    )
    different = [name for name in wanted if stored[name] != wanted[name]]
    if not published:
        different.append("published")
    if different:
        message = f"version {held.number} is published and never changes; add a new version"
        raise InputInvalidError((name, "plan_version_published", message) for name in different)


def _draft(plan: Plan, entry: VersionEntry, values: dict[str, Any], run: _Run) -> None:
    version = plans.plan_version_draft(plan=plan, actor=run.actor, now=run.now)
    if version.number != entry.number:
        message = f"must be {version.number}, the next one of this plan"
        raise InputInvalidError([("number", "version_number", message)])
    if any(getattr(version, name) != value for name, value in values.items()):
        plans.plan_version_save(version=version, actor=run.actor, now=run.now, **values)
    if entry.published:
        plans.plan_version_publish(version=version, actor=run.actor, now=run.now)


def _apply_organization(entry: OrganizationEntry, run: _Run) -> None:
    held = Organization.objects.filter(slug=entry.values["slug"]).first()
    organization = _store(run, Organization, held, entry, "organization")
    for consumer in entry.consumers:
        _apply_consumer(consumer, organization, run)
    _apply_subscriptions(entry, organization, run)


def _apply_consumer(entry: ConsumerEntry, organization: Organization, run: _Run) -> None:
    held = organization.consumers.filter(username=entry.values["username"]).first()
    consumer = run.attempt(entry.path, lambda: _bring_consumer(held, organization, entry, run))
    if consumer is None:
        return
    for credential in entry.credentials:
        key = Credential.objects.filter(key_hash=credential.values["key_hash"]).first()
        if key is not None and key.consumer_id != consumer.pk:
            message = "belongs to another consumer"
            run.problems.append(Problem(f"{credential.path}.key_hash", "taken", message))
            continue
        _store(run, Credential, key, credential, "key", consumer=consumer)


def _bring_consumer(
    held: Consumer | None, organization: Organization, entry: ConsumerEntry, run: _Run
) -> Consumer:
    """Create or change an application; the file says itself that the last one is to stop."""
    who: dict[str, Any] = {"actor": run.actor, "now": run.now}
    values = dict(entry.values)
    active = values.pop("is_active")
    if held is None:
        held = consumers.consumer_create(organization=organization, values=values, **who)
    else:
        del values["username"]
        consumers.consumer_update(consumer=held, values=values, **who)
    if active:
        consumers.consumer_activate(consumer=held, reason="config apply", **who)
    else:
        consumers.consumer_deactivate(
            consumer=held, reason="config apply", keep_last_at=None, **who
        )
    return held


def _store(run: _Run, model: Any, held: Any, entry: Entry, kind: str, **owner: Any) -> Any:
    """Create or change a row that has no rules beyond its shape."""
    if held is None:
        held = model.objects.create(created_at=run.now, **owner, **entry.values)
        action = f"{kind}.create"
    else:
        changed = {n: v for n, v in entry.values.items() if getattr(held, n) != v}
        if not changed:
            return held
        for name, value in changed.items():
            setattr(held, name, value)
        held.save(update_fields=list(changed))
        action = f"{kind}.update"
    audit_record(
        actor=run.actor,
        actor_label="" if run.actor else "config apply",
        action=action,
        target=held.pk,
        now=run.now,
    )
    snapshot_touch()
    return held


def _apply_subscriptions(entry: OrganizationEntry, organization: Organization, run: _Run) -> None:
    wanted = {}
    versions = PlanVersion.objects.select_related("plan")
    for item in entry.subscriptions:
        version = versions.filter(plan__slug=item.plan, number=item.version).first()
        if version is None:
            run.missing(f"{item.path}.version", f"version {item.version} of plan {item.plan}")
        else:
            wanted[item.path] = (item, version)
    held = _held_subscriptions(wanted, organization, now=run.now)
    for path, (item, version) in wanted.items():
        run.attempt(path, partial(_bring, held.get(path), item, organization, version, run))


def _held_subscriptions(
    wanted: Mapping[str, tuple[SubscriptionEntry, PlanVersion]],
    organization: Organization,
    *,
    now: datetime,
) -> dict[str, Subscription]:
    """Find what each entry means: by start and plan, else by start, else by the plan's APIs.

    No two entries mean the same subscription: several may have begun at one instant.
    """
    free = list(organization.subscriptions.exclude(ends_at__lte=now).order_by("starts_at", "pk"))
    found: dict[str, Subscription] = {}

    def same_start(row: Subscription, entry: SubscriptionEntry, version: PlanVersion) -> bool:
        return entry.starts_at == row.starts_at

    def same_plan(row: Subscription, entry: SubscriptionEntry, version: PlanVersion) -> bool:
        last = row.segments.select_related("plan_version").latest("starts_at")
        return same_start(row, entry, version) and last.plan_version.plan_id == version.plan_id

    def same_apis(row: Subscription, entry: SubscriptionEntry, version: PlanVersion) -> bool:
        return version.plan.apis.filter(plans=row.plan_id).exists()

    for means in (same_plan, same_start, same_apis):
        for path, (entry, version) in wanted.items():
            if path in found:
                continue
            own = next((row for row in free if means(row, entry, version)), None)
            if own is not None:
                found[path] = own
                free.remove(own)
    return found


def _bring(
    held: Subscription | None,
    entry: SubscriptionEntry,
    organization: Organization,
    version: PlanVersion,
    run: _Run,
) -> None:
    who: dict[str, Any] = {"actor": run.actor, "now": run.now}
    if held is None:
        later = entry.starts_at if entry.starts_at and entry.starts_at > run.now else None
        held = subscriptions.subscription_create(
            organization=organization, version=version, starts_at=later, **who
        )
    if held.ends_at is not None and not entry.cancelled:
        subscriptions.subscription_cancel_undo(subscription=held, **who)
    if held.segments.latest("starts_at").plan_version_id != version.pk:
        subscriptions.subscription_change(subscription=held, version=version, **who)
    if held.ends_at is None and entry.cancelled:
        subscriptions.subscription_cancel(subscription=held, reason="config apply", **who)
