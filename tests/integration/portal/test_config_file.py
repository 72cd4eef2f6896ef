"""The configuration file: a round trip changes nothing, an apply is all or nothing."""

from datetime import timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import connection

from portal.core.config_diff import Change
from portal.errors import InputInvalidError
from portal.models import (
    Api,
    AuditEvent,
    Consumer,
    Credential,
    Meter,
    Organization,
    Plan,
    PlanVersion,
    Route,
    SnapshotDirty,
    Subscription,
    Upstream,
)
from portal.services.config_dump import config_dump
from portal.services.config_file import config_apply, config_write
from portal.services.subscriptions import subscription_create
from tests.factories.provider import (
    NOW,
    make_api,
    make_credential,
    make_organization,
    make_plan_version,
)
from tests.integration.portal.test_plans import LIMITS, TERMS

pytestmark = pytest.mark.django_db


def document() -> dict[str, Any]:
    """Return a small installation as an admin would write it."""
    return {
        "version": 1,
        "meters": [{"slug": "tiles", "name": "Tiles", "unit": "tile"}],
        "upstreams": [{"name": "maps", "targets": {"http://10.0.0.7:9000": 1}}],
        "apis": [
            {
                "slug": "maps",
                "name": "Maps",
                "is_published": True,
                "routes": [
                    {
                        "name": "tile",
                        "path": "/tiles/{z}",
                        "upstream": "maps",
                        "units": {"tiles": 2},
                    },
                    {
                        "name": "find",
                        "path": "/find",
                        "upstream": "maps",
                        "methods": ["GET"],
                        "scopes": ["maps:find", "maps"],
                    },
                ],
            }
        ],
        "plans": [
            {
                "slug": "team",
                "name": "Team",
                "rank": 1,
                "apis": ["maps"],
                "versions": [
                    {
                        "number": 1,
                        "published": True,
                        "currency": "USD",
                        "terms": TERMS,
                        "limits": LIMITS | {"routes": ["maps/tile"]},
                    },
                    {"number": 2, "currency": "USD", "terms": TERMS},
                ],
            }
        ],
        "organizations": [
            {
                "slug": "acme",
                "name": "Acme",
                "consumers": [
                    {
                        "username": "acme-app",
                        "name": "App",
                        "credentials": [
                            {
                                "name": "ci",
                                "key_hash": "ab" * 32,
                                "prefix": "tw_live_",
                                "last4": "9zZ0",
                                "scopes": ["maps:find"],
                                "expires_at": "2027-01-01T00:00:00Z",
                            }
                        ],
                    }
                ],
                "subscriptions": [{"plan": "team", "version": 1}],
            }
        ],
    }


def apply(content: dict[str, Any], **options: Any) -> tuple[Change, ...]:
    return config_apply(text=config_write(content), actor=None, now=NOW, **options)


def problems_of(content: dict[str, Any]) -> list[tuple[str, str]]:
    with pytest.raises(InputInvalidError) as error:
        apply(content)
    return [(problem.path, problem.code) for problem in error.value.problems]


def test_an_empty_installation_becomes_what_the_file_says() -> None:
    apply(document())
    version = PlanVersion.objects.get(number=1)
    assert version.limits["routes"] == [Route.objects.get(name="tile").pk]
    assert version.published_at == NOW
    assert Credential.objects.get().consumer.organization.slug == "acme"
    assert Subscription.objects.get().segments.get().plan_version == version
    assert Subscription.objects.get().periods.count() == 3


def test_scopes_of_routes_and_keys_travel_by_file() -> None:
    apply(document())
    assert Route.objects.get(name="find").scopes == ["maps", "maps:find"]
    assert Credential.objects.get().scopes == ["maps:find"]
    content = document()
    content["apis"][0]["routes"][1]["scopes"] = ["maps"]
    content["organizations"][0]["consumers"][0]["credentials"][0]["scopes"] = ["gone"]
    assert [(change.before, change.after) for change in apply(content)] == [
        ("maps:find", None),
        ("maps:find", "gone"),  # required by no route: it may be tomorrow
    ]
    assert Route.objects.get(name="find").scopes == ["maps"]
    assert Credential.objects.get().scopes == ["gone"]
    content["apis"][0]["routes"][0] |= {"scopes": ["maps"], "is_public": True}
    content["organizations"][0]["consumers"][0]["credentials"][0]["scopes"] = ["Maps"]
    assert problems_of(content) == [
        ("apis[0].routes[0].scopes", "public_route"),
        ("organizations[0].consumers[0].credentials[0].scopes", "not_a_scope"),
    ]


def test_a_dump_applied_changes_nothing() -> None:
    apply(document())
    events, changes = AuditEvent.objects.count(), SnapshotDirty.objects.get().changes
    dump = config_dump(now=NOW)
    assert apply(dump) == ()
    assert apply(document()) == ()
    assert config_dump(now=NOW) == dump
    assert (AuditEvent.objects.count(), SnapshotDirty.objects.get().changes) == (events, changes)


def test_a_dump_moves_to_another_installation() -> None:
    apply(document())
    dump = config_dump(now=NOW)
    Subscription.objects.get().segments.all().delete()
    Subscription.objects.all().delete()
    Organization.objects.all().delete()
    with connection.cursor() as cursor:  # an empty installation, within this test
        cursor.execute("DROP TRIGGER portal_planversion_frozen_delete")
    for model in (Plan, Api, Upstream, Meter):
        model.objects.all().delete()
    apply(dump)
    assert config_dump(now=NOW) == dump


def test_a_diff_is_an_apply_that_is_rolled_back() -> None:
    apply(document())
    changed = document()
    changed["apis"][0]["name"] = "World maps"
    changed["apis"][0]["routes"].pop()
    dump = config_dump(now=NOW)
    expected = apply(changed, dry_run=True)
    assert config_dump(now=NOW) == dump
    assert Change("apis[maps].name", "Maps", "World maps") in expected
    assert "apis[maps].routes[find]" in {change.path for change in expected}
    assert apply(changed) == expected
    assert list(Route.objects.values_list("name", flat=True)) == ["tile"]


def test_what_the_file_does_not_name_stays() -> None:
    apply(document())
    assert apply({"version": 1}) == ()
    assert Plan.objects.exists()


def test_every_problem_is_told_with_its_path_and_nothing_is_kept() -> None:
    content = document()
    content["upstreams"][0]["name"] = "other"
    content["plans"][0]["apis"].append("ghosts")
    content["plans"][0]["versions"][0]["limits"] = {
        "quotas": [{"meter": "ghosts", "quota": 1, "buffer_percent": 50}]
    }
    content["organizations"][0]["subscriptions"][0]["version"] = 9
    assert problems_of(content) == [
        ("apis[0].routes[0].upstream", "unknown_name"),
        ("apis[0].routes[1].upstream", "unknown_name"),
        ("apis[0].is_published", "no_route"),
        ("plans[0].apis[1]", "unknown_name"),
        ("plans[0].versions[0].limits.quotas[0].buffer_percent", "percent_order"),
        ("plans[0].versions[1].number", "version_number"),
        ("organizations[0].subscriptions[0].version", "unknown_name"),
    ]
    assert not Api.objects.exists()
    assert not AuditEvent.objects.exists()


def test_what_cannot_be_read_is_told_before_anything_is_tried() -> None:
    content = document()
    content["apis"][0]["routes"][0]["path"] = "tiles"
    content["meters"].append(content["meters"][0])
    content["surprise"] = 1
    del content["plans"][0]["versions"][1]["number"]
    assert problems_of(content) == [
        ("surprise", "unknown_field"),
        ("apis[0].routes[0].path", "route_path"),
        ("plans[0].versions[1].number", "required"),
        ("meters[1].slug", "duplicate"),
    ]


def test_a_published_version_never_changes_by_file_either() -> None:
    apply(document())
    content = document()
    content["plans"][0]["versions"][0]["trial_days"] = 30
    assert problems_of(content) == [("plans[0].versions[0].trial_days", "plan_version_published")]
    content["plans"][0]["versions"][0]["trial_days"] = 0
    content["plans"][0]["versions"][1] |= {"published": True, "limits": LIMITS}
    apply(content)
    assert PlanVersion.objects.filter(published_at__isnull=False).count() == 2


def test_a_subscription_moves_to_the_version_in_the_file() -> None:
    content = document()
    content["plans"][0]["versions"][1]["published"] = True
    apply(content)
    content["organizations"][0]["subscriptions"][0]["version"] = 2
    apply(content)
    subscription = Subscription.objects.get()
    assert [s.plan_version.number for s in subscription.segments.order_by("starts_at")] == [1, 2]
    content["organizations"][0]["subscriptions"][0]["cancelled"] = True
    apply(content)
    subscription.refresh_from_db()
    assert subscription.ends_at is not None
    content["organizations"][0]["subscriptions"][0]["cancelled"] = False
    apply(content)
    subscription.refresh_from_db()
    assert subscription.ends_at is None


def test_a_key_of_another_customer_is_not_taken_over() -> None:
    apply(document())
    other = Organization.objects.create(name="Other", slug="other", created_at=NOW)
    key = make_credential(other)
    content = document()
    content["organizations"][0]["consumers"][0]["credentials"][0]["key_hash"] = key.key_hash
    place = "organizations[0].consumers[0].credentials[0].key_hash"
    assert problems_of(content) == [(place, "taken")]


def test_a_consumer_is_changed_and_stopped_by_the_same_rules() -> None:
    apply(document())
    content = document()
    consumer = content["organizations"][0]["consumers"][0]
    consumer |= {"name": "Renamed", "custom_id": "7", "is_active": False}
    assert len(apply(content)) == 3
    row = Consumer.objects.get()
    assert (row.name, row.custom_id, row.is_active) == ("Renamed", "7", False)
    assert apply(content) == ()
    assert apply(config_dump(now=NOW)) == ()
    actions = AuditEvent.objects.filter(target=row.pk).order_by("id")
    assert [event.action for event in actions] == [
        "consumer.create",
        "consumer.update",
        "consumer.deactivate",
    ]
    Organization.objects.create(name="Other", slug="other", created_at=NOW)
    content["organizations"][0]["slug"] = "other"
    del consumer["credentials"]
    assert ("organizations[0].consumers[0].username", "taken") in problems_of(content)
    consumer["custom_id"] = "x" * 121
    place = "organizations[0].consumers[0].custom_id"
    assert (place, "not_a_text") in problems_of(content)


def test_an_ended_subscription_is_history_and_not_configuration() -> None:
    apply(document())
    subscription = Subscription.objects.get()
    Subscription.objects.update(ends_at=NOW)
    dump = config_dump(now=NOW)
    assert dump["organizations"][0]["subscriptions"] == []
    subscription.segments.update(ends_at=NOW)
    again = subscription_create(
        organization=subscription.organization,
        version=PlanVersion.objects.get(number=1),
        actor=None,
        now=NOW + timedelta(seconds=5),
    )
    assert again.pk != subscription.pk


def test_the_command_dumps_diffs_and_applies(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(config_write(document()))
    output = StringIO()
    call_command("config", "apply", str(file), "--dry-run", stdout=output)
    assert not Api.objects.exists()
    call_command("config", "apply", str(file), stdout=output)
    assert Api.objects.exists()
    dumped = StringIO()
    call_command("config", "dump", stdout=dumped)
    file.write_text(dumped.getvalue())
    difference = StringIO()
    call_command("config", "diff", str(file), stdout=difference)
    assert difference.getvalue() == "0 values would change.\n"
    file.write_text("version: 2\nmeters: 7\n")
    with pytest.raises(CommandError, match=r"version: must be 1 .*\n?meters: must be a list"):
        call_command("config", "apply", str(file))
    with pytest.raises(CommandError, match="cannot be read"):
        call_command("config", "diff", str(tmp_path / "ghost.yaml"))


def test_subscriptions_that_began_together_are_told_apart() -> None:
    organization = make_organization()
    versions = [make_plan_version(make_api()) for _ in range(3)]
    for version in versions[:2]:
        subscription_create(organization=organization, version=version, actor=None, now=NOW)
    later = NOW + timedelta(minutes=1)
    assert config_apply(text=config_write(config_dump(now=NOW)), actor=None, now=later) == ()
    document = config_dump(now=NOW)
    third = {"plan": versions[2].plan.slug, "version": 1}
    document["organizations"][0]["subscriptions"].insert(0, third)
    config_apply(text=config_write(document), actor=None, now=later)
    on = organization.subscriptions.order_by("starts_at", "pk").values_list("plan", flat=True)
    assert set(on) == {version.plan_id for version in versions}


def test_an_archived_plan_keeps_its_subscribers_and_comes_back_with_a_version() -> None:
    data = document()
    plan = data["plans"][0]
    plan["archived"] = True
    config_apply(text=config_write(data), actor=None, now=NOW)
    assert Subscription.objects.get().plan.archived_at == NOW
    plan["archived"], plan["versions"][1]["published"] = False, True
    config_apply(text=config_write(data), actor=None, now=NOW)
    assert PlanVersion.objects.filter(published_at__isnull=False).count() == 2


def test_an_address_that_is_none_is_refused_before_gateways_do() -> None:
    key = "environment: live, name: k, prefix: tw_live_ab, last4: abcd, ip_allow: [office]"
    consumer = f"{{username: c, name: C, credentials: [{{{key}, key_hash: '{'0' * 64}'}}]}}"
    text = f"{{version: 1, organizations: [{{slug: o, name: O, consumers: [{consumer}]}}]}}"
    with pytest.raises(InputInvalidError, match="office"):
        config_apply(text=text, actor=None, now=NOW)
    assert not Credential.objects.exists()


@pytest.mark.parametrize(
    ("case", "text", "code"),
    [
        ("a nest beyond the stack", "[" * 400, "not_yaml"),
        ("an alias of itself", "&a [*a]", "not_yaml"),
        ("a day that does not exist", "version: 2026-02-30", "not_yaml"),
        ("a date in terms", "terms: {prices: [], from: 2026-02-01}", "not_plain"),
    ],
)
def test_yaml_that_cannot_be_kept_is_told(case: str, text: str, code: str) -> None:
    if code == "not_plain":
        version = f"{{number: 1, currency: USD, {text}}}"
        text = f"{{version: 1, plans: [{{slug: p, name: P, versions: [{version}]}}]}}"
    with pytest.raises(InputInvalidError) as caught:
        config_apply(text=text, actor=None, now=NOW)
    assert [problem.code for problem in caught.value.problems] == [code], case
