"""Plans and their versions, for the provider's admins: draft, save, publish."""

from typing import Any, ClassVar

from django.shortcuts import get_object_or_404
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from portal.api.base import Answer, Body, operation
from portal.api.catalog import AdminView, merged
from portal.api.pagination import Pages
from portal.api.permissions import ADMIN
from portal.core.catalog_input import MAX_DAYS, MAX_THRESHOLD_MINOR
from portal.core.money import EXPONENTS
from portal.models import Api, Plan, PlanVersion
from portal.services.config_dump import PLAN_FIELDS, VERSION_FIELDS
from portal.services.plans import (
    plan_archive,
    plan_save,
    plan_version_delete,
    plan_version_draft,
    plan_version_problems,
    plan_version_publish,
    plan_version_save,
)


class AdminPlanOut(serializers.ModelSerializer[Plan]):
    apis: Any = serializers.SlugRelatedField("slug", many=True, read_only=True)

    class Meta:
        model = Plan
        fields = ("id", *PLAN_FIELDS, "apis", "archived_at", "created_at")


class AdminPlanIn(Body):
    slug = serializers.CharField(required=False)
    name = serializers.CharField(required=False)
    description = serializers.CharField(required=False, allow_blank=True)
    is_public = serializers.BooleanField(required=False)
    rank = serializers.IntegerField(required=False)
    apis = serializers.ListField(
        child=serializers.CharField(), required=False, max_length=200, help_text="slugs of APIs"
    )


class ArchiveIn(Body):
    archived = serializers.BooleanField()


class PlanVersionOut(serializers.ModelSerializer[PlanVersion]):
    plan = serializers.CharField(source="plan_id")
    terms = serializers.DictField()
    limits = serializers.DictField()

    class Meta:
        model = PlanVersion
        fields = (
            *("id", "plan", "number", *VERSION_FIELDS),
            *("content_hash", "published_at", "created_at"),
        )


class VersionProblemOut(Answer):
    path = serializers.CharField(allow_blank=True)
    code = serializers.CharField()
    message = serializers.CharField()


class PlanVersionDetailOut(PlanVersionOut):
    """A version; `problems` is what keeps a draft from being published."""

    problems = serializers.SerializerMethodField()

    class Meta(PlanVersionOut.Meta):
        fields = (*PlanVersionOut.Meta.fields, "problems")  # type: ignore[assignment]

    def get_problems(self, row: PlanVersion) -> list[dict[str, str]]:
        found = plan_version_problems(row) if row.published_at is None else ()
        return [problem._asdict() for problem in found]


class PlanVersionIn(Body):
    terms = serializers.DictField(required=False)
    limits = serializers.DictField(required=False)
    currency = serializers.ChoiceField(choices=sorted(EXPONENTS), required=False)
    trial_days = serializers.IntegerField(min_value=0, max_value=MAX_DAYS, required=False)
    past_due_grace_days = serializers.IntegerField(min_value=0, max_value=MAX_DAYS, required=False)
    threshold_minor = serializers.IntegerField(
        min_value=1,
        max_value=MAX_THRESHOLD_MINOR,
        required=False,
        allow_null=True,
        help_text="unbilled usage that is invoiced at once; null: with the period",
    )
    note = serializers.CharField(max_length=300, required=False, allow_blank=True)


def _apis(slugs: list[str]) -> list[Api]:
    rows = {api.slug: api for api in Api.objects.filter(slug__in=slugs)}
    missing = [
        serializers.ErrorDetail(f"There is no API {slug}.", "does_not_exist")
        for slug in slugs
        if slug not in rows
    ]
    if missing:
        raise serializers.ValidationError({"apis": missing})
    return list(rows.values())


class AdminPlans(AdminView):
    access: ClassVar = {"GET": ADMIN, "POST": ADMIN}
    pagination_class = Pages

    @operation("admin_plan_list", answer=AdminPlanOut(many=True))
    def get(self, request: Request) -> Response:
        """List every plan, archived ones included."""
        rows = Plan.objects.prefetch_related("apis").order_by("archived_at", "rank", "name", "pk")
        return self.page(rows, AdminPlanOut)

    @operation("admin_plan_create", body=AdminPlanIn, answer=AdminPlanOut, status=201)
    def post(self, request: Request) -> Response:
        """Create a plan; what it costs and allows is in its versions."""
        sent = self.body(AdminPlanIn)
        made = plan_save(plan=None, apis=_apis(sent.pop("apis", [])), values=sent, **self.who)
        return Response(AdminPlanOut(made).data, status=201)


class AdminPlanDetail(AdminView):
    access: ClassVar = {"GET": ADMIN, "PATCH": ADMIN}

    @operation("admin_plan_show", answer=AdminPlanOut)
    def get(self, request: Request, plan_id: str) -> Response:
        """Show a plan."""
        return Response(AdminPlanOut(get_object_or_404(Plan, pk=plan_id)).data)

    @operation("admin_plan_update", body=AdminPlanIn, answer=AdminPlanOut)
    def patch(self, request: Request, plan_id: str) -> Response:
        """Change a plan's name, place or APIs."""
        plan, sent = get_object_or_404(Plan, pk=plan_id), self.body(AdminPlanIn)
        apis = _apis(sent.pop("apis")) if "apis" in sent else list(plan.apis.all())
        values = merged(plan, PLAN_FIELDS, sent)
        saved = plan_save(plan=plan, apis=apis, values=values, **self.who)
        return Response(AdminPlanOut(saved).data)


class AdminPlanArchive(AdminView):
    access: ClassVar = {"POST": ADMIN}

    @operation("admin_plan_archive", body=ArchiveIn, answer=AdminPlanOut)
    def post(self, request: Request, plan_id: str) -> Response:
        """Take a plan off the offer, or bring it back."""
        plan = get_object_or_404(Plan, pk=plan_id)
        plan_archive(plan=plan, archived=self.body(ArchiveIn)["archived"], **self.who)
        plan.refresh_from_db()
        return Response(AdminPlanOut(plan).data)


class PlanVersions(AdminView):
    access: ClassVar = {"GET": ADMIN, "POST": ADMIN}
    pagination_class = Pages

    @operation("admin_version_list", answer=PlanVersionOut(many=True))
    def get(self, request: Request, plan_id: str) -> Response:
        """List a plan's versions, newest first."""
        plan = get_object_or_404(Plan, pk=plan_id)
        return self.page(plan.versions.order_by("-number"), PlanVersionOut)

    @operation("admin_version_draft", answer=PlanVersionDetailOut, status=201)
    def post(self, request: Request, plan_id: str) -> Response:
        """Return the plan's draft; make one like the newest version if there is none."""
        draft = plan_version_draft(plan=get_object_or_404(Plan, pk=plan_id), **self.who)
        return Response(PlanVersionDetailOut(draft).data, status=201)


class PlanVersionView(AdminView):
    def version(self, version_id: str) -> PlanVersion:
        return get_object_or_404(PlanVersion.objects.select_related("plan"), pk=version_id)


class PlanVersionDetail(PlanVersionView):
    access: ClassVar = {"GET": ADMIN, "PATCH": ADMIN, "DELETE": ADMIN}

    @operation("admin_version_show", answer=PlanVersionDetailOut)
    def get(self, request: Request, version_id: str) -> Response:
        """Show a version, a draft with what is wrong with it."""
        return Response(PlanVersionDetailOut(self.version(version_id)).data)

    @operation("admin_version_save", body=PlanVersionIn, answer=PlanVersionDetailOut)
    def patch(self, request: Request, version_id: str) -> Response:
        """Save a draft as it is; its problems are in the answer."""
        version = self.version(version_id)
        values: dict[str, Any] = merged(version, VERSION_FIELDS, self.body(PlanVersionIn))
        saved = plan_version_save(version=version, **values, **self.who)
        return Response(PlanVersionDetailOut(saved).data)

    @operation("admin_version_delete", status=204)
    def delete(self, request: Request, version_id: str) -> Response:
        """Throw a draft away."""
        plan_version_delete(version=self.version(version_id), **self.who)
        return Response(status=204)


class PlanVersionPublish(PlanVersionView):
    access: ClassVar = {"POST": ADMIN}

    @operation("admin_version_publish", answer=PlanVersionDetailOut)
    def post(self, request: Request, version_id: str) -> Response:
        """Freeze a draft; from here on it never changes."""
        published = plan_version_publish(version=self.version(version_id), **self.who)
        return Response(PlanVersionDetailOut(published).data)
