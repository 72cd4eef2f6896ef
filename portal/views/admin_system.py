"""The provider's overview: set-up steps, gateways, the sandbox's clock, configuration, audit."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from django.db.models import Count, Q
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_http_methods

from metering.errors import MeteringUnavailableError
from metering.queries import StreamProof, Watermark
from portal import clock
from portal.forms.provider import AuditFilterForm, ClockForm, ReasonForm
from portal.models import (
    Api,
    AuditEvent,
    Node,
    NodeBoot,
    Organization,
    PlanVersion,
    SnapshotVersion,
    Subscription,
    Upstream,
)
from portal.permissions import person_of
from portal.selectors import not_over
from portal.services.clock_control import clock_advance
from portal.services.config_dump import config_dump
from portal.services.config_file import config_write
from portal.services.nodes import expected_boots, node_retire, node_write_off
from portal.usage import reader
from portal.views.admin_pages import (
    Crumb,
    admin_only,
    confirm_page,
    form_page,
    page_of,
    posted,
    query_without_page,
    staff_only,
)

_form_methods = require_http_methods(["GET", "POST"])
CONNECTED_WITHIN: Final = timedelta(seconds=60)  # a poll comes at least every 25 s


@dataclass(frozen=True, slots=True)
class Step:
    """One step of the set-up, as it stands now."""

    title: str
    done: bool
    note: str
    url: str
    action: str


@require_GET
@staff_only
def home(request: HttpRequest) -> HttpResponse:
    """Show which steps to a paid API are done, and the figures of today."""
    now, wall = clock.now(), clock.wall_now()
    apis, customers = _api_counts(), _customer_counts()
    steps = _steps(wall, published=apis["routed"], subscribed=customers["subscribed"])
    context = {
        "steps": steps,
        "done_count": sum(step.done for step in steps),
        "customer_count": customers["all"],
        "subscription_count": Subscription.objects.filter(not_over(now)).count(),
        "api_count": apis["published"],
        "watermark": _watermark(now),
        "now": now,
    }
    return render(request, "portal/admin/home.html", context)


def _api_counts() -> dict[str, int]:
    routed = Q(is_published=True, routes__isnull=False)
    return Api.objects.aggregate(
        published=Count("pk", filter=Q(is_published=True), distinct=True),
        routed=Count("pk", filter=routed, distinct=True),
    )


def _customer_counts() -> dict[str, int]:
    return Organization.objects.aggregate(
        all=Count("pk", distinct=True),
        subscribed=Count("pk", filter=Q(subscriptions__isnull=False), distinct=True),
    )


def _steps(wall: datetime, *, published: int, subscribed: int) -> list[Step]:
    upstreams = Upstream.objects.count()
    versions = PlanVersion.objects.filter(published_at__isnull=False).count()
    connected = _connected(wall)
    count = _("%(count)s so far")
    return [
        Step(
            _("Name an upstream"),
            upstreams > 0,
            count % {"count": upstreams},
            reverse("admin_upstreams"),
            _("Upstreams"),
        ),
        Step(
            _("Publish an API with a route"),
            published > 0,
            count % {"count": published},
            reverse("admin_apis"),
            _("APIs"),
        ),
        Step(
            _("Publish a plan"),
            versions > 0,
            count % {"count": versions},
            reverse("admin_plans"),
            _("Plans"),
        ),
        Step(
            _("Connect a gateway"),
            connected > 0,
            _("workers with the newest configuration: %(count)s") % {"count": connected},
            reverse("admin_system"),
            _("Gateways"),
        ),
        Step(
            _("Win the first customer"),
            subscribed > 0,
            count % {"count": subscribed},
            reverse("admin_customers"),
            _("Customers"),
        ),
    ]


def _newest_version() -> int:
    return (
        SnapshotVersion.objects.order_by("-version").values_list("version", flat=True).first() or 0
    )


def _connected(wall: datetime) -> int:
    """Count workers that polled lately and hold the newest snapshot."""
    newest = _newest_version()
    lately = NodeBoot.objects.filter(last_seen_at__gt=wall - CONNECTED_WITHIN)
    return lately.filter(acknowledged_version=newest).count() if newest else 0


def _watermark(now: datetime) -> Watermark | None:
    try:
        return reader().watermark(expected=expected_boots(), now=now)
    except MeteringUnavailableError:
        return None


def _proofs() -> tuple[StreamProof, ...]:
    try:
        return reader().proofs()
    except MeteringUnavailableError:
        return ()


@require_GET
@staff_only
def system(request: HttpRequest) -> HttpResponse:
    """Show every gateway's boots, what each holds, and what holds the watermark back."""
    now, wall = clock.now(), clock.wall_now()
    newest = SnapshotVersion.objects.order_by("-version").defer("document").first()
    watermark = _watermark(now)
    proofs = _proofs()
    context = {
        "newest": newest,
        "nodes": [_node(node, newest, wall) for node in _node_rows()],
        "watermark": watermark,
        "lag": now - watermark.at if watermark and watermark.at else None,
        "proofs": proofs,
        "missing": sum(proof.missing for proof in proofs),
        "dead_letters": sum(proof.dead_letters for proof in proofs),
        "now": now,
        "may_change": person_of(request).staff_role == "admin",
    }
    return render(request, "portal/admin/system.html", context)


def _node_rows() -> list[Node]:
    return list(Node.objects.prefetch_related("boots").order_by("pk"))


def _node(node: Node, newest: SnapshotVersion | None, wall: datetime) -> dict[str, Any]:
    """Return a node with its boots, newest first, and each one's state."""
    boots = sorted(node.boots.all(), key=lambda boot: boot.first_seen_at, reverse=True)
    return {
        "row": node,
        "boots": [(boot, *_boot_state(boot, node, newest, wall)) for boot in boots],
    }


def _boot_state(
    boot: NodeBoot, node: Node, newest: SnapshotVersion | None, wall: datetime
) -> tuple[str, str]:
    if node.written_off_at and boot.first_seen_at <= node.written_off_at:
        return "", _("Written off")
    if node.retired_at and boot.first_seen_at <= node.retired_at:
        return "", _("Retired")
    if wall - boot.last_seen_at > CONNECTED_WITHIN:
        return "warn", _("Silent")
    if boot.refused_version is not None:
        return "bad", _("Refused version %(version)s") % {"version": boot.refused_version}
    if newest and boot.acknowledged_version != newest.version:
        return "warn", _("Behind")
    return "ok", _("Up to date")


@_form_methods
@admin_only
def node_end(request: HttpRequest, node_id: str, how: str) -> HttpResponse:
    """Retire a node, or write it off, with a reason."""
    node = get_object_or_404(Node, pk=node_id)
    form = ReasonForm(posted(request)) if how == "write-off" else None
    writing_off = how == "write-off"

    def act() -> str:
        who: dict[str, Any] = {"node_id": node.pk, "actor": person_of(request), "now": clock.now()}
        if form is not None:
            node_write_off(reason=form.cleaned_data["reason"], **who)
        else:
            node_retire(**who)
        return reverse("admin_system")

    lost = _("What it has not delivered is given up; if it comes later, it is late usage.")
    kept = _("What it wrote must still arrive; then it no longer holds the watermark back.")
    return confirm_page(
        request,
        title=(_("Write %(node)s off?") if writing_off else _("Retire %(node)s?"))
        % {"node": node.pk},
        effects=[lost if writing_off else kept],
        crumbs=[Crumb(_("Gateways"), reverse("admin_system")), Crumb(node.pk)],
        submit=_("Write off") if writing_off else _("Retire"),
        act=act,
        done=_("Done; the watermark is computed without it."),
        form=form,
    )


@_form_methods
@admin_only
def clock_page(request: HttpRequest) -> HttpResponse:
    """Move the sandbox's time forward."""
    form = ClockForm(posted(request))

    def save() -> str:
        by, to = form.cleaned_data["by"], form.cleaned_data["to"]
        clock_advance(
            actor=person_of(request),
            wall=clock.wall_now(),
            by=timedelta(seconds=int(by)) if by else None,
            to=to.replace(tzinfo=UTC) if to else None,
        )
        return reverse("admin_clock")

    return form_page(
        request,
        form,
        title=_("Clock"),
        lead=_("It is %(now)s UTC here. Quotas, alerts, billing and dunning follow; never back.")
        % {"now": f"{clock.now():%Y-%m-%d %H:%M:%S}"},
        crumbs=[Crumb(_("Clock"))],
        submit=_("Move forward"),
        save=save,
        done=_("Time has moved; gateways follow within a second."),
    )


@require_GET
@admin_only
def configuration(request: HttpRequest) -> HttpResponse:
    """Show the configuration as one file, or give it as a download."""
    text = config_write(config_dump(now=clock.now()))
    if request.GET.get("download") == "1":
        return HttpResponse(
            text,
            content_type="application/yaml",
            headers={"Content-Disposition": 'attachment; filename="tollway.yaml"'},
        )
    return render(request, "portal/admin/config.html", {"text": text})


@require_GET
@staff_only
def audit(request: HttpRequest) -> HttpResponse:
    form = AuditFilterForm(request.GET)
    rows = AuditEvent.objects.select_related("organization").order_by("-id")
    if form.is_valid():
        wanted = form.cleaned_data
        rows = rows.filter(
            action__startswith=wanted["action"],
            actor_label__icontains=wanted["actor"],
            target__startswith=wanted["target"],
        )
        if wanted["organization"]:
            rows = rows.filter(organization=wanted["organization"])
    page = page_of(request, rows)
    context = {"form": form, "page": page, "query": query_without_page(request)}
    return render(request, "portal/admin/audit.html", context)
