"""What is longer than its column is refused in words: SQLite would keep it, PostgreSQL fails."""

from typing import Any

import pytest
from django.test import Client

from portal.errors import InputInvalidError
from portal.models import AuditEvent, Organization, Role, User
from portal.services.catalog import meter_save, route_save, upstream_save
from portal.services.config_file import config_apply
from tests.factories.portal import PASSWORD, api, client_of, member, organization
from tests.factories.provider import NOW
from tests.integration.portal.api.described import bearer

pytestmark = pytest.mark.django_db
LONG = "/" + "a/" * 100 + "a"  # 202 characters
MAIL = "y" * 60 + "@" + "a." * 100 + "test"  # 265
HASH = "0" * 64


@pytest.mark.parametrize(
    ("field", "value"), [("base_path", LONG), ("host_header", "a." * 100 + "a")]
)
def test_upstream(field: str, value: str) -> None:
    values = {"name": "u", "targets": {"http://127.0.0.1:9000": 1}, field: value}
    with pytest.raises(InputInvalidError, match="at most 200"):
        upstream_save(upstream=None, values=values, actor=None, now=NOW)


def test_route_and_meter() -> None:
    row = api()
    values = {"name": "r", "path": "/r", "strip_prefix": LONG}
    upstream = row.routes.get().upstream
    with pytest.raises(InputInvalidError, match="at most 200"):
        route_save(api=row, upstream=upstream, route=None, values=values, actor=None, now=NOW)
    values = {"slug": "m", "name": "M", "unit": "u" * 41}
    with pytest.raises(InputInvalidError, match="40 characters"):
        meter_save(meter=None, values=values, actor=None, now=NOW)


@pytest.mark.parametrize(
    ("field", "part"),
    [
        ("billing_email", f"billing_email: '{'m' * 255}'"),
        ("custom_id", f"consumers: [{{username: c, name: C, custom_id: '{'i' * 121}'}}]"),
        (
            "name",
            "consumers: [{username: c, name: C, credentials: [{environment: live, "
            f"name: '{'n' * 81}', key_hash: '{HASH}', prefix: tw_live_ab, last4: abcd}}]}}]",
        ),
    ],
)
def test_configuration(field: str, part: str) -> None:
    text = f"{{version: 1, organizations: [{{slug: o, name: O, {part}}}]}}"
    with pytest.raises(InputInvalidError) as caught:
        config_apply(text=text, actor=None, now=NOW)
    assert [problem.path.split(".")[-1] for problem in caught.value.problems] == [field]


def test_addresses_of_people() -> None:
    owner = member(organization(), role=Role.OWNER)
    slug = owner.organization.slug
    browser, token = client_of(owner.user), bearer(owner.user)
    shown: Any = browser.post(f"/app/{slug}/team", {"email": MAIL, "role": "billing"})
    assert "at most 254" in shown.content.decode()
    form = {"form": "billing", "billing_email": MAIL}
    assert "at most 254" in browser.post(f"/app/{slug}/settings", form).content.decode()
    for method, path, body in (
        ("patch", "", {"billing_email": MAIL}),
        ("post", "/invitations", {"email": MAIL, "role": "billing"}),
    ):
        url = f"/api/v1/organizations/{slug}{path}"
        sent = getattr(Client(), method)(url, body, content_type="application/json", headers=token)
        assert [e["code"] for e in sent.json()["errors"]] == ["max_length"]


def test_the_longest_address_signs_up() -> None:
    address = f"{'y' * 230}@example.test"
    form = {"email": address, "password1": PASSWORD}
    assert Client().post("/accounts/signup/", form).status_code == 302
    person = User.objects.get(email=address)
    assert Organization.objects.get(memberships__user=person).name == "y" * 120
    assert {event.actor_label for event in AuditEvent.objects.all()} == {address[:160]}
