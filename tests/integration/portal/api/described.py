"""A client of the REST API that holds every answer to the OpenAPI document of the product.

An answer with a status, a media type or a field that the document does not name fails the test.
"""

import json
import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

import jsonschema
from django.test import Client

from portal.clock import now, wall_now
from portal.models import User
from portal.services.api_tokens import api_token_create

ALL_SCOPES = ("read", "write", "admin", "finance")


def bearer(person: User, *scopes: str) -> dict[str, str]:
    """Return the header of a fresh token; without scopes it may read and write."""
    issued = api_token_create(
        user=person, name="t", scopes=scopes, expires_at=None, wall=wall_now(), now=now()
    )
    return {"Authorization": f"Bearer {issued.secret}"}


@lru_cache(maxsize=1)
def document() -> dict[str, Any]:
    """Fetch the OpenAPI document and close its objects: undescribed fields are refused."""
    found: dict[str, Any] = json.loads(Client().get("/api/v1/schema/").content)
    for schema in found["components"]["schemas"].values():
        if "properties" in schema:
            schema.setdefault("additionalProperties", False)
    return found


@lru_cache(maxsize=1)
def _templates() -> list[tuple[re.Pattern[str], str]]:
    """Return a pattern per path; literal paths come first, as in the URL map."""
    paths = sorted(document()["paths"], key=lambda path: (path.count("{"), path))
    return [(re.compile(re.sub(r"\\{\w+\\}", "[^/]+", re.escape(p)) + "$"), p) for p in paths]


def operation_of(method: str, path: str) -> dict[str, Any]:
    for pattern, template in _templates():
        if pattern.match(path):
            found: dict[str, Any] = document()["paths"][template][method.lower()]
            return found
    msg = f"no operation is described for {path}"
    raise AssertionError(msg)


def problems_of(schema: Mapping[str, Any], body: object) -> Iterator[str]:
    whole = {**schema, "components": document()["components"]}
    kind = jsonschema.Draft202012Validator
    for error in kind(whole, format_checker=kind.FORMAT_CHECKER).iter_errors(body):
        yield f"{error.json_path}: {error.message[:300]}"


def check(method: str, path: str, answer: Any) -> None:
    """Compare an answer with what the document says of its operation.

    :raises AssertionError: naming the first field that differs.
    """
    responses = operation_of(method, path)["responses"]
    described = responses.get(str(answer.status_code))
    if described is None:
        assert answer.status_code >= 400, f"{method} {path}: {answer.status_code} is undescribed"
        described = responses["default"]
    media = answer.headers.get("Content-Type", "").partition(";")[0]
    content = described.get("content", {})
    if not content:
        assert answer.content == b"", f"{method} {path} answers a body that is not described"
        return
    assert media in content, f"{method} {path}: {media!r}, described are {list(content)}"
    if media.endswith("json"):
        found = list(problems_of(content[media]["schema"], answer.json()))
        assert not found, f"{method} {path}: {found[0]}"


class Caller:
    """Calls operations as one person, under `/api/v1/`."""

    def __init__(self, person: User, *scopes: str) -> None:
        self.client = Client(headers=bearer(person, *scopes))

    def send(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        idempotency_key: str | None = None,
        **query: object,
    ) -> Any:
        """Call, check the answer against the document and return it, whatever its status."""
        url = f"/api/v1/{path}"
        answer = self.client.generic(
            method,
            url,
            b"" if body is None else _json(body),
            "application/json",
            query_params={name: str(value) for name, value in query.items()},
            headers={} if idempotency_key is None else {"Idempotency-Key": idempotency_key},
        )
        check(method, url, answer)
        return answer

    def get(self, path: str, **query: Any) -> Any:
        return self._wanted(self.send("GET", path, **query))

    def post(self, path: str, body: object = None) -> Any:
        return self._wanted(self.send("POST", path, {} if body is None else body))

    def patch(self, path: str, body: object) -> Any:
        return self._wanted(self.send("PATCH", path, body))

    def delete(self, path: str) -> Any:
        return self._wanted(self.send("DELETE", path))

    def refused(self, method: str, path: str, body: object = None) -> tuple[int, str]:
        """Return status and code of a call that is to be refused."""
        answer = self.send(method, path, {} if body is None else body)
        return answer.status_code, answer.json()["code"]

    @staticmethod
    def _wanted(answer: Any) -> Any:
        assert answer.status_code < 300, answer.content
        is_json = answer.headers.get("Content-Type", "").startswith("application/json")
        return answer.json() if is_json else answer


def _json(body: object) -> bytes:
    return json.dumps(body).encode()
