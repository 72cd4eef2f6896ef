"""`/api/docs`: every operation stands there once, with who may call it and a call to copy."""

import re
import shlex

import pytest
from django.test import Client

from tests.integration.portal.api.described import document, operation_of

pytestmark = pytest.mark.django_db


@pytest.fixture
def page() -> str:
    answer = Client().get("/api/docs")
    assert answer.status_code == 200
    return answer.content.decode()


def test_every_operation_stands_on_the_page_once(page: str) -> None:
    ids = [op["operationId"] for path in document()["paths"].values() for op in path.values()]
    found = re.findall(r'<details class="card" id="(\w+)"', page)
    assert sorted(found) == sorted(ids)


def test_who_may_call_is_said(page: str) -> None:
    assert operation_of("GET", "/api/v1/plans")["security"] == [{}]
    assert operation_of("GET", "/api/v1/me")["security"] == [{"token": []}]
    draft = operation_of("POST", "/api/v1/finance/invoices/inv_1/credit-notes")
    assert draft["x-roles"] == ["admin", "finance"]
    block = page.split('id="key_create"')[1].split("</details>")[0]
    assert "admin, developer, owner" in block
    assert "Required." in block


def test_the_calls_are_commands_with_the_token_and_a_body(page: str) -> None:
    text = page.split('<code id="curl-key_create">')[1].split("</code>")[0]
    plain = text.replace("&quot;", '"').replace("&#x27;", "'")
    words = shlex.split(plain)
    assert words[:3] == ["curl", "-X", "POST"]
    assert "Authorization: Bearer $TOKEN" in words
    assert words[words.index("-d") + 1] == '{"environment": "live", "name": "…"}'
    assert words[-1].endswith("/api/v1/organizations/$org/keys")
    public = page.split('<code id="curl-plan_list">')[1].split("</code>")[0]
    assert "Authorization" not in public
