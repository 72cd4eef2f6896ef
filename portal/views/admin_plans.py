"""Plans, their versions and the editor of a draft."""

from django.contrib import messages
from django.db.models import Count, Q
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import NoReverseMatch, Resolver404, resolve, reverse
from django.utils.safestring import mark_safe
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from portal import clock
from portal.errors import PlanVersionPublishedError
from portal.forms.plan_editor import MODELS, editor_build, editor_command, editor_read
from portal.forms.provider import PlanForm, VersionForm, meter_choices
from portal.models import Plan, PlanVersion, Subscription
from portal.permissions import person_of
from portal.services.plans import (
    plan_archive,
    plan_save,
    plan_version_delete,
    plan_version_draft,
    plan_version_problems,
    plan_version_publish,
    plan_version_save,
)
from portal.views.admin_pages import Crumb, admin_only, confirm_page, form_page, posted

_form_methods = require_http_methods(["GET", "POST"])


def _plans_crumb() -> Crumb:
    return Crumb(_("Plans"), reverse("admin_plans"))


def _plan_crumb(plan: Plan) -> Crumb:
    return Crumb(plan.name, reverse("admin_plan", args=[plan.pk]))


def _version(version_id: str) -> PlanVersion:
    return get_object_or_404(PlanVersion.objects.select_related("plan"), pk=version_id)


@require_GET
@admin_only
def plan_list(request: HttpRequest) -> HttpResponse:
    running = Q(subscriptions__ends_at__isnull=True) | Q(subscriptions__ends_at__gt=clock.now())
    plans = (
        Plan.objects.annotate(subscription_count=Count("subscriptions", filter=running))
        .prefetch_related("apis", "versions")
        .order_by("archived_at", "rank", "name")
    )
    return render(request, "portal/admin/plans.html", {"plans": plans})


def _plan_page(request: HttpRequest, plan: Plan | None) -> HttpResponse:
    data = posted(request)
    form = PlanForm.of(plan, data) if plan else PlanForm(data)

    def save() -> str:
        saved = plan_save(
            plan=plan,
            values=form.values(),
            apis=form.cleaned_data["apis"],
            actor=person_of(request),
            now=clock.now(),
        )
        return reverse("admin_plan", args=[saved.pk])

    crumbs = [_plans_crumb(), *([_plan_crumb(plan)] if plan else [])]
    title = _("Edit plan") if plan else _("New plan")
    return form_page(
        request,
        form,
        title=title,
        lead=_("Name, place and APIs. What it costs and allows is in its versions."),
        crumbs=[*crumbs, Crumb(title)],
        submit=_("Save plan"),
        save=save,
        done=_("Saved."),
    )


@_form_methods
@admin_only
def plan_new(request: HttpRequest) -> HttpResponse:
    return _plan_page(request, None)


@_form_methods
@admin_only
def plan_edit(request: HttpRequest, plan_id: str) -> HttpResponse:
    return _plan_page(request, get_object_or_404(Plan, pk=plan_id))


@require_GET
@admin_only
def plan_detail(request: HttpRequest, plan_id: str) -> HttpResponse:
    plan = get_object_or_404(Plan.objects.prefetch_related("apis"), pk=plan_id)
    now = clock.now()
    in_force = Q(segments__starts_at__lte=now) & (
        Q(segments__ends_at__isnull=True) | Q(segments__ends_at__gt=now)
    )
    versions = plan.versions.annotate(
        subscription_count=Count("segments__subscription", filter=in_force, distinct=True)
    ).order_by("-number")
    context = {
        "plan": plan,
        "versions": versions,
        "has_draft": any(v.published_at is None for v in versions),
    }
    return render(request, "portal/admin/plan.html", context)


@require_POST
@admin_only
def plan_archive_toggle(request: HttpRequest, plan_id: str) -> HttpResponse:
    plan = get_object_or_404(Plan, pk=plan_id)
    plan_archive(
        plan=plan,
        archived=plan.archived_at is None,
        actor=person_of(request),
        now=clock.now(),
    )
    messages.success(request, _("Saved. Who is on the plan stays on it."))
    return redirect("admin_plan", plan.pk)


@require_POST
@admin_only
def version_new(request: HttpRequest, plan_id: str) -> HttpResponse:
    plan = get_object_or_404(Plan, pk=plan_id)
    draft = plan_version_draft(plan=plan, actor=person_of(request), now=clock.now())
    return redirect("admin_version", draft.pk)


@_form_methods
@admin_only
def version_edit(request: HttpRequest, version_id: str) -> HttpResponse:
    """Show a version; a draft as a form whose every button saves what is typed."""
    version = _version(version_id)
    if request.method == "POST":
        return _version_post(request, version)
    return _version_page(request, version, VersionForm.of(version))


def _version_page(request: HttpRequest, version: PlanVersion, form: VersionForm) -> HttpResponse:
    """Draw a version, of which terms and limits may be typed and not stored."""
    problems = plan_version_problems(version) if version.published_at is None else ()
    context = {
        "version": version,
        "form": form,
        "plan": version.plan,
        "editor": editor_build(
            terms=version.terms, limits=version.limits, problems=problems, meters=meter_choices()
        ),
        "models": MODELS,
        "problem_count": len(problems),
        "examples": "" if problems else _examples(request, version),
    }
    status = 422 if form.errors else 200
    return render(request, "portal/admin/version.html", context, status=status)


def _examples(request: HttpRequest, version: PlanVersion) -> str:
    """Return the worked examples that the money pages draw; portal itself prices nothing.

    The view is found by its URL name, as a link would find it; where money pages are not mounted
    or say no, there are none.
    """
    try:
        match = resolve(reverse("plan_preview", args=[version.pk]))
    except (NoReverseMatch, Resolver404):
        return ""
    response = match.func(request, *match.args, **match.kwargs)
    return mark_safe(response.content.decode()) if response.status_code == 200 else ""  # noqa: S308 - rendered by our own template


def _version_post(request: HttpRequest, version: PlanVersion) -> HttpResponse:
    command = request.POST.get("do", "save")
    form = VersionForm.of(version, request.POST)
    terms, limits = editor_read(request.POST, terms=version.terms, limits=version.limits)
    if not form.is_valid():
        version.terms, version.limits = terms, limits
        return _version_page(request, version, form)
    editor_command(terms, limits, command)
    try:
        plan_version_save(
            version=version,
            terms=terms,
            limits=limits,
            **form.values(),
            actor=person_of(request),
            now=clock.now(),
        )
    except PlanVersionPublishedError as error:
        messages.error(request, error.public)
        return redirect("admin_version", version.pk)
    if command == "publish":
        return redirect("admin_version_publish", version.pk)
    if command == "save":
        messages.success(request, _("The draft is saved."))
    return redirect(reverse("admin_version", args=[version.pk]) + _anchor(command))


def _anchor(command: str) -> str:
    """Return to the part of the page whose button was pressed."""
    parts = {"price": "#prices", "tier": "#prices", "quota": "#quotas", "rate": "#rates"}
    return next((anchor for word, anchor in parts.items() if f"_{word}" in command), "")


@_form_methods
@admin_only
def version_publish(request: HttpRequest, version_id: str) -> HttpResponse:
    version = _version(version_id)
    plan = version.plan
    problems = plan_version_problems(version)
    if problems or version.published_at is not None:
        if problems:
            messages.error(request, _("The draft has problems; they are marked below."))
        return redirect("admin_version", version.pk)

    def act() -> str:
        plan_version_publish(version=version, actor=person_of(request), now=clock.now())
        return reverse("admin_plan", args=[plan.pk])

    on_it = Subscription.objects.filter(plan=plan, ends_at__isnull=True).count()
    return confirm_page(
        request,
        title=_("Publish version %(number)s of %(plan)s?")
        % {"number": version.number, "plan": plan.name},
        effects=[
            _("From now on nobody can change this version; a change is a new version."),
            _("New subscriptions get it at once."),
            ngettext(
                "%(count)s subscription stays on its version until you move it.",
                "%(count)s subscriptions stay on their version until you move them.",
                on_it,
            )
            % {"count": on_it},
        ],
        crumbs=[
            _plans_crumb(),
            Crumb(plan.name, reverse("admin_version", args=[version.pk])),
            Crumb(_("Publish")),
        ],
        submit=_("Publish"),
        act=act,
        done=_("The version is published."),
        kind="",
    )


@_form_methods
@admin_only
def version_remove(request: HttpRequest, version_id: str) -> HttpResponse:
    version = _version(version_id)

    def act() -> str:
        plan_version_delete(version=version, actor=person_of(request), now=clock.now())
        return reverse("admin_plan", args=[version.plan_id])

    return confirm_page(
        request,
        title=_("Throw draft %(number)s away?") % {"number": version.number},
        effects=[_("Nobody is on it; published versions stay.")],
        crumbs=[_plans_crumb(), _plan_crumb(version.plan), Crumb(_("Delete draft"))],
        submit=_("Delete draft"),
        act=act,
        done=_("The draft is gone."),
    )
