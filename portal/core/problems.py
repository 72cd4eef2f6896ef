"""RFC 9457 problem documents: the one shape of every error of the REST API. Pure."""

import re
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Any, Final

MEDIA_TYPE: Final = "application/problem+json"
_STEP: Final = re.compile(r"[^.\[\]]+")


def build_problem(
    *,
    code: str,
    status: int,
    detail: str,
    request_id: str,
    base_url: str = "",
    errors: Iterable[Mapping[str, str]] = (),
) -> dict[str, Any]:
    """Build a problem document; `type` is the page that explains the code.

    >>> found = build_problem(code="in_use", status=409, detail="Used.", request_id="req_1")
    >>> found["type"], found["title"]
    ('/docs/errors#in_use', 'Conflict')
    """
    found: dict[str, Any] = {
        "type": f"{base_url}/docs/errors#{code}",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        "code": code,
        "request_id": request_id,
    }
    listed = [dict(error) for error in errors]
    return found | {"errors": listed} if listed else found


def pointer_of(steps: Iterable[object]) -> str:
    """Write a path as JSON pointer (RFC 6901).

    >>> pointer_of(["targets", "http://a", 0]), pointer_of([])
    ('/targets/http:~1~1a/0', '')
    """
    return "".join(f"/{str(s).replace('~', '~0').replace('/', '~1')}" for s in steps)


def pointer_of_path(path: str) -> str:
    """Turn a service's field path into a JSON pointer.

    >>> pointer_of_path("limits.quotas[0].meter"), pointer_of_path("")
    ('/limits/quotas/0/meter', '')
    """
    return pointer_of(_STEP.findall(path))
