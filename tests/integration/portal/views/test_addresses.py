"""Addresses that no text of the database can be looked up by."""

import pytest
from django.test import Client

from tests.factories.portal import cast, client_of, user
from tests.fakes.request_log import FakeRequestLog
from tests.integration.portal.api.described import bearer

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize("path", ["/start?org=%00", "/start/status?org=a%00b", "/nowhere/%00"])
def test_nul_is_a_page_that_is_not_there(path: str, log: FakeRequestLog) -> None:
    who = cast()
    assert client_of(who.alice.user).get(path).status_code == 404
    assert "Content-Security-Policy" in Client().get(path).headers
    own = f"/app/{who.organization.slug}/keys/a%00b"
    assert client_of(who.alice.user).get(own).status_code == 404


@pytest.mark.parametrize("path", ["customers/%00", "customers?q=%00", "audit?target=a%00"])
def test_nul_is_an_operation_that_is_not_there(path: str) -> None:
    token = bearer(user(staff_role="admin"), "read", "admin")
    answer = Client().get(f"/api/v1/admin/{path}", headers=token)
    assert answer.status_code == 404
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.json()["code"] == "not_found"


def test_a_percent_sign_before_two_noughts_is_none(log: FakeRequestLog) -> None:
    assert client_of(user(staff_role="admin")).get("/admin-console?q=%2500").status_code == 200
