"""Drafts of odd shape: refused where they come in, so that no page breaks over them later."""

from typing import Any

import pytest
from django.test import Client

from portal.errors import InputInvalidError
from portal.models import PlanVersion
from portal.services.config_dump import config_dump
from portal.services.config_file import config_apply, config_write
from tests.factories.portal import client_of, user
from tests.factories.provider import NOW, make_api, make_plan_version
from tests.integration.portal.api.described import bearer

pytestmark = pytest.mark.django_db
ODD: tuple[tuple[str, dict[str, Any], dict[str, Any]], ...] = (
    ("/terms/prices", {"prices": 3}, {}),
    ("/terms/prices/0", {"prices": ["x"]}, {}),
    ("/terms/prices/0/tiers", {"prices": [{"model": "graduated", "tiers": 5}]}, {}),
    ("/terms/prices/0/tiers/0", {"prices": [{"model": "volume", "tiers": ["x"]}]}, {}),
    ("/terms/prices/0/key", {"prices": [{"key": ["x"], "model": "flat"}]}, {}),
    ("/limits/quotas", {}, {"quotas": {"a": 1}}),
    ("/limits/quotas/0", {}, {"quotas": [3]}),
    ("/limits/quotas/0/meter", {}, {"quotas": [{"meter": ["x"]}]}),
    ("/limits/rate_limits", {}, {"rate_limits": "abc"}),
    ("/limits/count_policy", {}, {"count_policy": "x"}),
    ("/limits/routes", {}, {"routes": 5}),
    ("/limits/routes/0", {}, {"routes": [["a"]]}),
)
WRONG: tuple[tuple[dict[str, Any], dict[str, Any]], ...] = (
    ({"minimum_commitment": [1]}, {}),
    ({"prices": [{"key": "a", "model": "flat", "amount": {"a": [1]}}]}, {}),
    ({"prices": [{}], "discounts": 3, "credits": "x", "tax": [1]}, {"fail_open": "x"}),
    ({}, {"quotas": [{"alerts_at": 5}], "count_policy": {"2xx": 7}, "routes": ["x"]}),
)


def admin() -> Client:
    return Client(headers=bearer(user(staff_role="admin"), "read", "write", "admin"))


@pytest.mark.parametrize(("pointer", "terms", "limits"), ODD)
def test_rows_that_are_none(pointer: str, terms: dict[str, Any], limits: dict[str, Any]) -> None:
    version = make_plan_version(make_api(), published=False)
    answer = admin().patch(
        f"/api/v1/admin/versions/{version.pk}",
        {"terms": terms, "limits": limits},
        content_type="application/json",
    )
    assert answer.status_code == 422
    assert [error["pointer"] for error in answer.json()["errors"]] == [pointer]
    document = config_dump(now=NOW)
    document["plans"][0]["versions"][0] |= {"terms": terms, "limits": limits}
    with pytest.raises(InputInvalidError):
        config_apply(text=config_write(document), actor=None, now=NOW)
    assert PlanVersion.objects.get().terms == {"prices": []}


@pytest.mark.parametrize(("terms", "limits"), WRONG)
def test_wrong_values_are_kept_and_shown(terms: dict[str, Any], limits: dict[str, Any]) -> None:
    version = make_plan_version(make_api(), published=False)
    url = f"/api/v1/admin/versions/{version.pk}"
    sent = admin().patch(url, {"terms": terms, "limits": limits}, content_type="application/json")
    assert sent.status_code == 200
    assert sent.json()["problems"]
    page, browser = (
        f"/admin-console/plans/versions/{version.pk}",
        client_of(user(staff_role="admin")),
    )
    assert browser.get(page).status_code == 200
    assert browser.get(f"{page}/preview").status_code == 404
    assert browser.get(f"{page}/publish").status_code == 302
    form = {"do": "save", "currency": "USD", "trial_days": "0", "past_due_grace_days": "7"}
    assert browser.post(page, form).status_code == 302
    assert config_write(config_dump(now=NOW))
