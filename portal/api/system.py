"""The installation, for the provider: gateways, snapshot, clock, audit log, configuration."""

from typing import Any, ClassVar

from rest_framework import serializers
from rest_framework.exceptions import NotFound
from rest_framework.request import Request
from rest_framework.response import Response

from portal import clock
from portal.api.base import Answer, Body, operation, text_query
from portal.api.catalog import AdminView
from portal.api.pagination import Pages
from portal.api.permissions import ADMIN, STAFF
from portal.models import AuditEvent, Node, NodeBoot, SnapshotVersion
from portal.services.clock_control import clock_advance
from portal.services.config_dump import config_dump
from portal.services.config_file import config_apply, config_write
from portal.services.nodes import node_retire, node_write_off

MAX_CONFIG_CHARS = 2_000_000


class BootOut(serializers.ModelSerializer[NodeBoot]):
    class Meta:
        model = NodeBoot
        fields = (
            *("boot", "worker", "first_seen_at", "last_seen_at", "acknowledged_version"),
            *("refused_version", "refused_reason"),
        )


class NodeOut(serializers.ModelSerializer[Node]):
    boots = BootOut(many=True)

    class Meta:
        model = Node
        fields = ("id", "first_seen_at", "last_seen_at", "retired_at", "written_off_at", "boots")


class WriteOffIn(Body):
    reason = serializers.CharField(max_length=300)


class SnapshotOut(serializers.ModelSerializer[SnapshotVersion]):
    """The newest snapshot; gateways hold it once their boots acknowledge its version."""

    class Meta:
        model = SnapshotVersion
        fields = ("version", "content_hash", "created_at")


class ClockOut(Answer):
    now = serializers.DateTimeField()
    offset_s = serializers.IntegerField(help_text="ahead of the machine's time")


class ClockIn(Body):
    """Where to move the sandbox's time: an instant, or a length; one of them."""

    to = serializers.DateTimeField(required=False)
    by = serializers.DurationField(required=False, help_text="like 3 04:00:00 (days, time)")

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if len(attrs) != 1:
            raise serializers.ValidationError("Send `to` or `by`, one of them.", "one_of")
        return attrs


class AuditOut(serializers.ModelSerializer[AuditEvent]):
    organization = serializers.CharField(source="organization_id", allow_null=True)
    before = serializers.JSONField(help_text="null where there was nothing")
    after = serializers.JSONField(help_text="null where nothing is left")

    class Meta:
        model = AuditEvent
        fields = (
            *("id", "at", "actor_label", "organization", "action", "target", "before", "after"),
            *("reason", "hash"),
        )


class ConfigOut(Answer):
    document = serializers.CharField(help_text="YAML")


class ConfigIn(Body):
    document = serializers.CharField(max_length=MAX_CONFIG_CHARS, help_text="YAML")
    dry_run = serializers.BooleanField(default=False, help_text="tell what would change")


class ChangeOut(Answer):
    path = serializers.CharField()
    before = serializers.JSONField()
    after = serializers.JSONField()


class ConfigChangesOut(Answer):
    dry_run = serializers.BooleanField()
    changes = ChangeOut(many=True)


class Nodes(AdminView):
    access: ClassVar = {"GET": STAFF}
    pagination_class = Pages

    @operation("node_list", answer=NodeOut(many=True))
    def get(self, request: Request) -> Response:
        """List the gateways with every start of theirs and the snapshot each holds."""
        return self.page(Node.objects.prefetch_related("boots").order_by("pk"), NodeOut)


class NodeRetire(AdminView):
    access: ClassVar = {"POST": ADMIN}

    @operation("node_retire", status=204)
    def post(self, request: Request, node_id: str) -> Response:
        """Say that a gateway is gone for good; what it wrote must still arrive."""
        node_retire(node_id=node_id, **self.who)
        return Response(status=204)


class NodeWriteOff(AdminView):
    access: ClassVar = {"POST": ADMIN}

    @operation("node_write_off", body=WriteOffIn, status=204)
    def post(self, request: Request, node_id: str) -> Response:
        """Give up what a lost gateway has not delivered."""
        node_write_off(node_id=node_id, **self.body(WriteOffIn), **self.who)
        return Response(status=204)


class Snapshot(AdminView):
    access: ClassVar = {"GET": STAFF}

    @operation("snapshot_show", answer=SnapshotOut)
    def get(self, request: Request) -> Response:
        """Show which snapshot is the newest."""
        newest = SnapshotVersion.objects.order_by("-version").defer("document").first()
        if newest is None:
            raise NotFound
        return Response(SnapshotOut(newest).data)


class Clock(AdminView):
    access: ClassVar = {"GET": STAFF, "POST": ADMIN}

    @operation("clock_show", answer=ClockOut)
    def get(self, request: Request) -> Response:
        """Tell the product's time."""
        return Response(_clock())

    @operation("clock_advance", body=ClockIn, answer=ClockOut)
    def post(self, request: Request) -> Response:
        """Move a sandbox's time forward; quotas, billing and dunning follow."""
        clock_advance(actor=self.person, wall=clock.wall_now(), **self.body(ClockIn))
        return Response(_clock())


def _clock() -> Any:
    return ClockOut({"now": clock.now(), "offset_s": clock.offset().total_seconds()}).data


class Audit(AdminView):
    access: ClassVar = {"GET": STAFF}
    pagination_class = Pages

    @operation(
        "audit_list",
        answer=AuditOut(many=True),
        query=[
            text_query("action", "the start of an action, like key."),
            text_query("target", "the start of an id"),
            text_query("organization", "an organization's id"),
        ],
    )
    def get(self, request: Request) -> Response:
        """List who did what, newest first."""
        params = request.query_params
        rows = AuditEvent.objects.order_by("-id").filter(
            action__startswith=params.get("action", ""),
            target__startswith=params.get("target", ""),
        )
        if params.get("organization"):
            rows = rows.filter(organization=params["organization"])
        return self.page(rows, AuditOut)


class Config(AdminView):
    access: ClassVar = {"GET": ADMIN, "POST": ADMIN}

    @operation("config_dump", answer=ConfigOut)
    def get(self, request: Request) -> Response:
        """Return everything an admin defines as one YAML document."""
        return Response(ConfigOut({"document": config_write(config_dump(now=clock.now()))}).data)

    @operation("config_apply", body=ConfigIn, answer=ConfigChangesOut)
    def post(self, request: Request) -> Response:
        """Bring the installation to what a document says, all or nothing; or only compare."""
        sent = self.body(ConfigIn)
        dry_run = sent["dry_run"]
        changes = config_apply(text=sent["document"], dry_run=dry_run, **self.who)
        rows = [{"path": c.path, "before": c.before, "after": c.after} for c in changes]
        return Response(ConfigChangesOut({"dry_run": dry_run, "changes": rows}).data)
