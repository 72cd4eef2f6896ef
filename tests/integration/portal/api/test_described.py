"""The OpenAPI document itself: it names every operation, and the check of answers can fail."""

from types import SimpleNamespace
from typing import Any

import pytest

from portal.usage import override
from tests.factories.portal import cast
from tests.integration.portal.api.described import Caller, check, document


def answer(status: int, body: Any, media: str = "application/json") -> Any:
    headers = {"Content-Type": media}
    return SimpleNamespace(status_code=status, headers=headers, json=lambda: body, content=b"{}")


GOOD = {"now": "2026-01-01T00:00:00Z", "offset_s": 0}


@pytest.mark.parametrize(
    ("case", "status", "body"),
    [
        ("a field is missing", 200, {"now": GOOD["now"]}),
        ("a field is undescribed", 200, GOOD | {"more": 1}),
        ("a field has another type", 200, GOOD | {"offset_s": "0"}),
        ("the status is undescribed", 201, GOOD),
        ("an error is no problem document", 404, {"detail": "Not found."}),
    ],
)
def test_the_check_refuses(case: str, status: int, body: Any) -> None:
    check("GET", "/api/v1/admin/clock", answer(200, GOOD))
    with pytest.raises(AssertionError):
        check("GET", "/api/v1/admin/clock", answer(status, body))


def test_names_of_operations_are_given_once() -> None:
    ids = [
        op["operationId"]
        for path in document()["paths"].values()
        for op in path.values()
        if isinstance(op, dict)
    ]
    assert len(ids) == len(set(ids)) > 100


@pytest.mark.django_db
def test_an_unforeseen_failure_is_a_problem_document() -> None:
    class Broken:
        def requests(self, *_: object, **__: object) -> Any:
            msg = "a secret of ours"
            raise RuntimeError(msg)

    who = cast()
    caller = Caller(who.alice.user)
    caller.client.raise_request_exception = False
    with override(Broken()):  # type: ignore[arg-type] # a reader that breaks its promise
        found = caller.send("GET", f"organizations/{who.organization.slug}/requests")
    assert (found.status_code, found.json()["code"]) == (500, "portal_error")
    assert "secret" not in found.content.decode()
    assert found.headers["X-Request-Id"] == found.json()["request_id"]
