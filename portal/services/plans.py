"""Writes of the offer: plans, their draft versions, and the publishing that freezes them."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from django.db import transaction
from django.db.models import Max, Q

from portal.core.catalog_input import read_plan
from portal.core.checked_input import Problem
from portal.core.draft_shape import draft_problems
from portal.core.plan_limits import Limits, limits_to_json, parse_limits
from portal.core.plan_terms import Terms, parse_terms, terms_to_json
from portal.errors import InputInvalidError, PlanNotOfferedError, PlanVersionPublishedError
from portal.models import Api, Plan, PlanVersion, Route, Segment, Subscription, User
from portal.selectors import not_over
from portal.services.audit import audit_record
from portal.services.catalog import meter_slugs
from portal.snapshots import snapshot_touch


def plan_save(
    *,
    plan: Plan | None,
    values: Mapping[str, Any],
    apis: Iterable[Api],
    actor: User | None,
    now: datetime,
) -> Plan:
    """Create or change a plan's name, place and covered APIs; prices are in its versions.

    :raises InputInvalidError: with every problem.
    """
    problems: list[Problem] = []
    fields = read_plan(dict(values), "", problems)
    chosen = sorted(apis, key=lambda api: api.pk)
    if not chosen:
        problems.append(Problem("apis", "required", "must cover at least one API"))
    if plan is not None and _overlaps(plan, chosen, now=now):
        text = "are covered for a subscriber by another subscription already"
        problems.append(Problem("apis", "subscription_overlap", text))
    taken = Plan.objects.filter(slug=fields["slug"]).exclude(pk=plan.pk if plan else "")
    if taken.exists():
        problems.append(Problem("slug", "taken", "is used already"))
    if problems:
        raise InputInvalidError(problems)
    after = {**fields, "apis": [api.pk for api in chosen]}
    with transaction.atomic():
        before = None if plan is None else _plan_values(plan, fields)
        if plan is not None and before == after:
            return plan
        saved = Plan(created_at=now) if plan is None else plan
        for name, value in fields.items():
            setattr(saved, name, value)
        saved.save(update_fields=None if plan is None else list(fields))
        saved.apis.set(chosen)
        _record(saved.pk, "plan.update" if plan else "plan.create", actor, now, before, after)
        snapshot_touch()
    return saved


def _overlaps(plan: Plan, apis: list[Api], *, now: datetime) -> bool:
    """Say whether somebody on the plan has one of the added APIs by another subscription."""
    added = [api for api in apis if api not in set(plan.apis.all())]
    live, running = (
        Subscription.objects.filter(not_over(now)),
        Segment.objects.filter(not_over(now)),
    )
    paused = Q(paused_at__isnull=False)
    own = live.filter(
        Q(segments__in=running.filter(plan_version__plan=plan)) | (paused & Q(plan=plan))
    )
    others = live.filter(
        Q(segments__in=running.filter(plan_version__plan__apis__in=added))
        | (paused & Q(plan__apis__in=added))
    )
    return others.filter(organization__subscriptions__in=own).exclude(pk__in=own).exists()


def _plan_values(plan: Plan, fields: Mapping[str, Any]) -> dict[str, Any]:
    held = {name: getattr(plan, name) for name in fields}
    return {**held, "apis": sorted(plan.apis.values_list("pk", flat=True))}


def plan_archive(*, plan: Plan, archived: bool, actor: User | None, now: datetime) -> None:
    """Take a plan off the offer, or bring it back; who is on it stays on it."""
    with transaction.atomic():
        Plan.objects.filter(pk=plan.pk).update(archived_at=now if archived else None)
        _record(plan.pk, "plan.archive" if archived else "plan.restore", actor, now)


def plan_version_draft(
    *, plan: Plan, actor: User | None, now: datetime, source: PlanVersion | None = None
) -> PlanVersion:
    """Return the plan's draft; make one from `source`, or the newest version, if there is none."""
    with transaction.atomic():
        Plan.objects.select_for_update().get(pk=plan.pk)
        draft = plan.versions.filter(published_at__isnull=True).order_by("number").first()
        if draft is not None:
            return draft
        source = source or plan.versions.order_by("-number").first()
        newest = plan.versions.aggregate(newest=Max("number"))["newest"] or 0
        draft = PlanVersion.objects.create(
            plan=plan,
            number=newest + 1,
            currency=source.currency if source else "USD",
            terms=source.terms if source else {"prices": []},
            limits=source.limits if source else {},
            trial_days=source.trial_days if source else 0,
            past_due_grace_days=source.past_due_grace_days if source else 7,
            threshold_minor=source.threshold_minor if source else None,
            created_at=now,
        )
        _record(draft.pk, "plan_version.draft", actor, now)
    return draft


def plan_version_save(
    *,
    version: PlanVersion,
    terms: Mapping[str, Any],
    limits: Mapping[str, Any],
    currency: str,
    trial_days: int,
    past_due_grace_days: int,
    threshold_minor: int | None = None,
    note: str = "",
    actor: User | None,
    now: datetime,
) -> PlanVersion:
    """Store a draft as it is typed; what is wrong with it is told by `plan_version_problems`.

    threshold_minor   unbilled usage that is invoiced at once; None = with the period alone

    :raises InputInvalidError: for what has not the shape of a draft (`draft_problems`).
    :raises PlanVersionPublishedError: for a version that is published.
    """
    if problems := draft_problems(terms, limits):
        raise InputInvalidError(problems)
    values = {
        "terms": dict(terms),
        "limits": dict(limits),
        "currency": currency,
        "trial_days": trial_days,
        "past_due_grace_days": past_due_grace_days,
        "threshold_minor": threshold_minor,
        "note": note,
    }
    with transaction.atomic():
        drafts = PlanVersion.objects.filter(pk=version.pk, published_at__isnull=True)
        if drafts.update(**values) != 1:
            raise PlanVersionPublishedError
        _record(version.pk, "plan_version.save", actor, now, after=values)
    version.refresh_from_db()
    return version


def plan_version_problems(version: PlanVersion) -> tuple[Problem, ...]:
    """Return everything that keeps a draft from being published."""
    return version_check(
        terms=version.terms,
        limits=version.limits,
        currency=version.currency,
        meters=meter_slugs(),
        routes=frozenset(
            Route.objects.filter(api__plans=version.plan_id).values_list("pk", flat=True)
        ),
    )


def version_check(
    *,
    terms: object,
    limits: object,
    currency: str,
    meters: frozenset[str],
    routes: frozenset[str],
) -> tuple[Problem, ...]:
    """Check terms and limits alone and against each other, the meters and the plan's routes."""
    parsed_terms = parse_terms(terms, currency=currency)
    held = parsed_terms if isinstance(parsed_terms, Terms) else None
    parsed_limits = parse_limits(limits, terms=held)
    problems = [] if isinstance(parsed_terms, Terms) else list(parsed_terms)
    if not isinstance(parsed_limits, Limits):
        return (*problems, *parsed_limits)
    problems += [
        Problem(f"limits.quotas[{index}].meter", "unknown_meter", "is no meter")
        for index, quota in enumerate(parsed_limits.quotas)
        if quota.meter not in meters
    ]
    problems += [
        Problem(f"terms.prices[{index}].meter", "unknown_meter", "is no meter")
        for index, price in enumerate(held.prices if held else ())
        if price.meter and price.meter not in meters
    ]
    problems += [
        Problem(f"limits.routes[{index}]", "unknown_route", "is no route of the plan's APIs")
        for index, route in enumerate(parsed_limits.routes or ())
        if route not in routes
    ]
    return tuple(problems)


def plan_version_publish(
    *, version: PlanVersion, actor: User | None, now: datetime
) -> PlanVersion:
    """Freeze a draft: from here on neither code nor the database lets it change.

    :raises InputInvalidError: with everything that is wrong with it.
    :raises PlanVersionPublishedError: when it is published already.
    :raises PlanNotOfferedError: for a version of an archived plan.
    """
    with transaction.atomic():
        version = PlanVersion.objects.select_for_update(of=("self",)).get(pk=version.pk)
        if version.published_at is not None:
            raise PlanVersionPublishedError
        if version.plan.archived_at is not None:
            raise PlanNotOfferedError
        problems = plan_version_problems(version)
        if problems:
            raise InputInvalidError(problems)
        terms, limits = normal_form(version.terms, version.limits, currency=version.currency)
        PlanVersion.objects.filter(pk=version.pk, published_at__isnull=True).update(
            terms=terms,
            limits=limits,
            content_hash=version_hash(terms, limits, version.currency),
            published_at=now,
        )
        _record(
            version.pk,
            "plan_version.publish",
            actor,
            now,
            after={"terms": terms, "limits": limits},
        )
        snapshot_touch()
    version.refresh_from_db()
    return version


def normal_form(
    terms: object, limits: object, *, currency: str
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return terms and limits as their parsers write them, so that equal ones look equal.

    :raises InputInvalidError: when either cannot be read.
    """
    parsed_terms, parsed_limits = parse_terms(terms, currency=currency), parse_limits(limits)
    if not isinstance(parsed_terms, Terms):
        raise InputInvalidError(parsed_terms)
    if not isinstance(parsed_limits, Limits):
        raise InputInvalidError(parsed_limits)
    return terms_to_json(parsed_terms), limits_to_json(parsed_limits)


def version_hash(terms: Mapping[str, Any], limits: Mapping[str, Any], currency: str) -> str:
    """Hash what a version promises (SHA-256 of canonical JSON)."""
    body = json.dumps([terms, limits, currency], sort_keys=True, separators=(",", ":"))
    return "sha256:" + hashlib.sha256(body.encode()).hexdigest()


def plan_version_delete(*, version: PlanVersion, actor: User | None, now: datetime) -> None:
    """Throw a draft away.

    :raises PlanVersionPublishedError: for a version that is published.
    """
    with transaction.atomic():
        _record(version.pk, "plan_version.delete", actor, now)
        drafts = PlanVersion.objects.filter(pk=version.pk, published_at__isnull=True)
        if drafts.delete()[0] == 0:
            raise PlanVersionPublishedError


def _record(
    target: str,
    action: str,
    actor: User | None,
    now: datetime,
    before: Any = None,
    after: Any = None,
) -> None:
    audit_record(actor=actor, action=action, target=target, before=before, after=after, now=now)
