"""The sandbox's clock moves forward only; nodes are expected until retired or written off."""

from datetime import UTC, datetime, timedelta
from io import StringIO

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from pytest_django import Settings

from gateway.contracts.environment import ClockMode
from portal import clock
from portal.errors import (
    ClockBackwardError,
    ClockRealError,
    InputInvalidError,
    NotFoundError,
)
from portal.models import AuditEvent, Node
from portal.services.clock_control import clock_advance, clock_start
from portal.services.nodes import expected_boots, node_poll_record, node_retire, node_write_off
from portal.services.subscriptions import subscription_create
from portal.snapshots import snapshot_state
from tests.factories.provider import NOW, make_api, make_organization, make_plan_version

pytestmark = pytest.mark.django_db


def test_a_step_moves_everything_and_opens_periods() -> None:
    subscription = subscription_create(
        organization=make_organization(),
        version=make_plan_version(make_api()),
        actor=None,
        now=NOW,
    )
    assert clock_advance(actor=None, wall=NOW, by=timedelta(days=40)) == NOW + timedelta(days=40)
    assert clock.offset() == timedelta(days=40)
    assert subscription.periods.count() == 4
    assert snapshot_state().pending
    wall = NOW + timedelta(hours=1)
    at = datetime(2026, 6, 1, tzinfo=UTC)
    assert clock_advance(actor=None, wall=wall, to=at) == at
    assert AuditEvent.objects.filter(action="clock.advance").count() == 2


@pytest.mark.parametrize("step", [{"by": timedelta(0)}, {"by": timedelta(days=-1)}, {"to": NOW}])
def test_never_backward(step: dict[str, timedelta]) -> None:
    with pytest.raises(ClockBackwardError):
        clock_advance(actor=None, wall=NOW, **step)  # type: ignore[arg-type]
    assert clock.offset() == timedelta(0)


@pytest.mark.parametrize(
    "step",
    [
        {"by": timedelta.max},
        {"by": timedelta(days=80_000)},
        {"to": datetime.max.replace(tzinfo=UTC)},
    ],
)
def test_never_beyond_what_the_log_can_hold(step: dict[str, timedelta]) -> None:
    with pytest.raises(InputInvalidError, match="2200"):
        clock_advance(actor=None, wall=NOW, **step)  # type: ignore[arg-type]
    with pytest.raises(InputInvalidError, match="2200"):
        clock_start(at=datetime(1, 1, 1, tzinfo=UTC), wall=NOW)
    with pytest.raises(CommandError, match="by: must lead"):
        call_command("clock", "advance", "--by", "999999w")
    assert clock.offset() == timedelta(0)


def test_the_first_offset_may_be_negative_and_is_set_once() -> None:
    clock_start(at=NOW - timedelta(days=30), wall=NOW)
    assert clock.offset() == timedelta(days=-30)
    with pytest.raises(ClockBackwardError):
        clock_start(at=NOW, wall=NOW)
    assert clock_advance(actor=None, wall=NOW, to=NOW) == NOW


def test_a_real_clock_is_not_moved(settings: Settings) -> None:
    settings.ENV = settings.ENV.model_copy(update={"clock": ClockMode.REAL})
    with pytest.raises(ClockRealError):
        clock_advance(actor=None, wall=NOW, by=timedelta(days=1))
    with pytest.raises(ClockRealError):
        clock_start(at=NOW, wall=NOW)


def poll(boot: str, *, now: datetime = NOW, acknowledged: int = 1) -> None:
    node_poll_record(
        node_id="node-a",
        boot=boot,
        worker=0,
        acknowledged_version=acknowledged,
        refused_version=None,
        refused_reason="",
        now=now,
        wall=now,
    )


def test_a_node_is_expected_from_its_first_poll_on() -> None:
    poll("one")
    poll("one", now=NOW + timedelta(seconds=9), acknowledged=2)
    (boot,) = expected_boots()
    assert (boot.node, boot.boot, boot.opened_at) == ("node-a", "one", NOW)
    node = Node.objects.get()
    assert node.boots.get().acknowledged_version == 2
    assert node.last_seen_at == NOW + timedelta(seconds=9)


def test_a_later_boot_opens_a_node_again() -> None:
    poll("one")
    node_write_off(node_id="node-a", actor=None, reason="disk lost", now=NOW)
    poll("two", now=NOW + timedelta(hours=1))
    assert [(b.boot, b.written_off) for b in expected_boots()] == [("one", True), ("two", False)]
    node_retire(node_id="node-a", actor=None, now=NOW + timedelta(hours=2))
    assert [b.retired for b in expected_boots()] == [True, True]
    assert list(AuditEvent.objects.order_by("id").values_list("action", "reason")) == [
        ("node.write_off", "disk lost"),
        ("node.retire", ""),
    ]


def test_only_known_nodes_are_written_off() -> None:
    with pytest.raises(NotFoundError):
        node_write_off(node_id="ghost", actor=None, reason="", now=NOW)
    assert not AuditEvent.objects.exists()


def test_the_commands_move_the_clock_and_write_nodes_off() -> None:
    poll("one")
    output = StringIO()
    call_command("clock", "start", "--at", "2026-01-01", stdout=output)
    call_command("clock", "advance", "--by", "1d12h", stdout=output)
    call_command("clock", "advance", "--to", "2030-02-01T10:00:00+02:00", stdout=output)
    call_command("clock", "show", stdout=output)
    shown = [line.split()[0] for line in output.getvalue().splitlines()]
    assert shown[0].startswith("2026-01-01T00:00:0")
    assert shown[1].startswith("2026-01-02T12:00:0")
    assert shown[3].startswith("2030-02-01T08:00:0")
    with pytest.raises(CommandError, match="only moves forward"):
        call_command("clock", "advance", "--to", "2029-01-01")
    call_command("node_write_off", "node-a", "--reason", "disk lost", stdout=output)
    assert expected_boots()[0].written_off
    with pytest.raises(CommandError, match="ghost"):
        call_command("node_write_off", "ghost", "--reason", "x")
    call_command("snapshot_publish", stdout=output)
    assert output.getvalue().endswith("snapshot version 1\n")
