"""Problem documents (RFC 9457) for every answer that is ours; codes as in `gateway.md` §11.

The codes are in `gateway.contracts.problems`. Callers add detail, instance and request id.
"""

import json
from collections.abc import Mapping
from typing import Any, Final

from gateway.contracts.problems import Problem

CONTENT_TYPE: Final = b"application/problem+json"


def problem_body(
    problem: Problem, *, docs_url: str, request_id: str, instance: str, detail: str = "",
    extra: Mapping[str, Any] | None = None,
) -> bytes:  # fmt: skip
    """Write the document. `docs_url` is the page of all codes; the code is its fragment."""
    page = f"{docs_url}#{problem.code}"
    document: dict[str, Any] = {
        "type": problem.type_url or page,
        "title": problem.title,
        "status": problem.status,
        "detail": detail or problem.title,
        "instance": instance,
        "code": problem.code,
        "request_id": request_id,
        "docs_url": page,
    }
    return json.dumps(document | dict(extra or {}), separators=(",", ":")).encode()
