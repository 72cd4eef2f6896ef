"""What the generated OpenAPI document needs beside the views: who may call, what errors are."""

import inspect
from typing import Any, Final

from drf_spectacular.openapi import AutoSchema

from portal.api.base import Answer, Body
from portal.api.idempotency import PARAMETER
from portal.permissions import Access

_INHERITED: Final = {inspect.getdoc(Answer), inspect.getdoc(Body)}

PROBLEM: Final[dict[str, Any]] = {
    "type": "object",
    "description": "An error, as RFC 9457 has it.",
    "required": ["type", "title", "status", "detail", "code", "request_id"],
    "properties": {
        "type": {"type": "string", "format": "uri-reference"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "code": {"type": "string"},
        "request_id": {"type": "string"},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["pointer", "code", "detail"],
                "properties": {
                    "pointer": {"type": "string"},
                    "code": {"type": "string"},
                    "detail": {"type": "string"},
                },
                "additionalProperties": False,
            },
        },
    },
    "additionalProperties": False,
}


class Described(AutoSchema):
    """Describes an operation with its audience: `x-audience` and, where it matters, `x-roles`."""

    def get_auth(self) -> Any:
        """Return an empty requirement where no token is needed."""
        return [{}] if self._access().audience == "public" else super().get_auth()

    def get_operation(self, *args: Any, **kwargs: Any) -> Any:
        found: Any = super().get_operation(*args, **kwargs)
        if found is not None:
            access = self._access()
            found["x-audience"] = access.audience
            if self.method == "POST" and access.audience != "public":
                found.setdefault("parameters", []).append(PARAMETER)
            if access.roles:
                found["x-roles"] = sorted(access.roles)
        return found

    def _access(self) -> Access:
        view: Any = self.view  # every described view is an ApiView
        found: Access = view.access[self.method]
        return found


def add_problems(result: dict[str, Any], **_: Any) -> dict[str, Any]:
    """Give every operation its error answer and every request body its closed list of fields."""
    schemas = result.setdefault("components", {}).setdefault("schemas", {})
    for schema in schemas.values():
        if schema.get("description") in _INHERITED:
            del schema["description"]
    schemas["Problem"] = PROBLEM
    reference = {"schema": {"$ref": "#/components/schemas/Problem"}}
    for path in result["paths"].values():
        for operation in path.values():
            operation["responses"]["default"] = {
                "description": "What went wrong.",
                "content": {"application/problem+json": reference},
            }
            for media in operation.get("requestBody", {}).get("content", {}).values():
                name = media["schema"].get("$ref", "").rpartition("/")[2]
                if name in schemas:
                    schemas[name]["additionalProperties"] = False
    return result
