"""Bodies that the parser reads and nothing can keep."""

import pytest
from django.test import Client

from tests.factories.portal import user
from tests.integration.portal.api.described import bearer

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize(
    "body",
    ['{"\\ud800": 1}', '{"name": "a\\u0000"}', "[" * 100_000, '{"terms": {"a": 1e999}}'],
)
def test_a_body_that_cannot_be_kept_is_malformed(body: str) -> None:
    token = bearer(user(staff_role="admin"), "read", "write", "admin")
    answer = Client().post(
        "/api/v1/admin/apis", body, content_type="application/json", headers=token
    )
    assert answer.status_code == 400
    assert answer.json()["code"] == "malformed_body"
