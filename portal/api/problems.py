"""Turns whatever a view raises into a problem document (RFC 9457) with a stable code.

Services' errors carry code, status and public text already; the framework's get theirs here. What
nobody anticipated is not answered here: it goes on to the error handler of the site.
"""

from collections.abc import Iterator
from typing import Any, Final, Protocol, runtime_checkable

from django.conf import settings
from django.core.exceptions import PermissionDenied as DjangoPermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.csrf import csrf_exempt
from rest_framework import exceptions, status
from rest_framework.response import Response

from portal.core.problems import MEDIA_TYPE, build_problem, pointer_of, pointer_of_path
from portal.errors import PortalError
from portal.models.fields import new_id
from portal.permissions import public_page

API_CODES: Final[dict[type[exceptions.APIException], str]] = {
    exceptions.NotAuthenticated: "credential_missing",
    exceptions.AuthenticationFailed: "credential_invalid",
    exceptions.NotFound: "not_found",
    exceptions.MethodNotAllowed: "method_not_allowed",
    exceptions.NotAcceptable: "not_acceptable",
    exceptions.UnsupportedMediaType: "unsupported_media_type",
    exceptions.ParseError: "malformed_body",
    exceptions.Throttled: "rate_limited",
}


@runtime_checkable
class Told(Protocol):
    """An error of a package of ours: it says what the caller may know."""

    code: str
    status: int
    public: str


def request_id_of(request: object) -> str:
    """Return the id of a request; it is made at the first question."""
    plain = getattr(request, "_request", request)
    found: str = getattr(plain, "tollway_request_id", "") or new_id("req")
    plain.__dict__["tollway_request_id"] = found
    return found


def exception_handler(error: Exception, context: dict[str, Any]) -> Response | None:
    """Answer an anticipated failure; None lets the others go on."""
    if isinstance(error, Http404):
        error = exceptions.NotFound()
    elif isinstance(error, DjangoPermissionDenied):
        error = exceptions.PermissionDenied()
    if isinstance(error, exceptions.APIException):
        found = _framework_problem(error)
    elif isinstance(error, Told):
        found = _service_problem(error)
    else:
        return None
    body = build_problem(
        **found,
        request_id=request_id_of(context.get("request")),
        base_url=settings.ENV.portal_url.rstrip("/"),
    )
    return Response(body, body["status"], headers=_headers(error), content_type=MEDIA_TYPE)


def _headers(error: Exception) -> dict[str, str]:
    headers = {}
    if challenge := getattr(error, "auth_header", ""):
        headers["WWW-Authenticate"] = challenge
    if wait := getattr(error, "wait", None):
        headers["Retry-After"] = str(max(1, int(wait)))
    return headers


def _service_problem(error: Told) -> dict[str, Any]:
    errors = [
        {"pointer": pointer_of_path(p.path), "code": p.code, "detail": p.message}
        for p in getattr(error, "problems", ())
    ]
    return {
        "code": error.code,
        "status": error.status,
        "detail": str(error.public),
        "errors": errors,
    }


def _framework_problem(error: exceptions.APIException) -> dict[str, Any]:
    if isinstance(error, exceptions.ValidationError):
        return {
            "code": "input_invalid",
            "status": status.HTTP_422_UNPROCESSABLE_ENTITY,
            "detail": "Some values cannot be used.",
            "errors": list(_field_errors(error.detail, [])),
        }
    code = next((c for kind, c in API_CODES.items() if isinstance(error, kind)), "")
    return {
        "code": code or str(error.get_codes()),
        "status": error.status_code,
        "detail": str(error.detail),
    }


def _field_errors(detail: Any, steps: list[object]) -> Iterator[dict[str, str]]:
    """Flatten the framework's nested errors, each with the pointer of its field."""
    if isinstance(detail, dict):
        for name, inner in detail.items():
            yield from _field_errors(
                inner, steps if name == "non_field_errors" else [*steps, name]
            )
    elif isinstance(detail, list):
        for index, inner in enumerate(detail):
            deeper = isinstance(inner, dict | list)
            yield from _field_errors(inner, [*steps, index] if deeper else steps)
    else:
        code = getattr(detail, "code", "invalid")
        yield {"pointer": pointer_of(steps), "code": code, "detail": str(detail)}


@csrf_exempt
@public_page
def nowhere(request: HttpRequest) -> HttpResponse:
    """Answer an address under `/api/` that no operation has."""
    return _plain_problem(
        request, code="not_found", status=404, detail="There is no such operation."
    )


def server_problem(request: HttpRequest) -> HttpResponse:
    """Answer a failure that nobody anticipated; it asks nothing of the database."""
    return _plain_problem(
        request, code=PortalError.code, status=PortalError.status, detail=PortalError.public
    )


def _plain_problem(request: HttpRequest, *, code: str, status: int, detail: str) -> HttpResponse:
    body = build_problem(
        code=code,
        status=status,
        detail=detail,
        request_id=request_id_of(request),
        base_url=settings.ENV.portal_url.rstrip("/"),
    )
    answer = JsonResponse(body, status=status, content_type=MEDIA_TYPE)
    answer["X-Request-Id"], answer["Cache-Control"] = body["request_id"], "no-store"
    return answer
