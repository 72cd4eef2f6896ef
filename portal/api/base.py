"""What every operation of the REST API stands on: access by method, bodies, pages, request id."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, TypeVar

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from portal.api.idempotency import once
from portal.api.pagination import Pages
from portal.api.permissions import ByAccess
from portal.api.problems import request_id_of
from portal.models import Membership, User
from portal.permissions import Access

F = TypeVar("F", bound=Callable[..., Any])


class Body(serializers.Serializer[Any]):
    """A request body: its fields are all that may be sent."""

    def to_internal_value(self, data: Any) -> Any:
        if isinstance(data, Mapping):
            unknown = [name for name in data if name not in self.fields]
            if unknown:
                text = "This is not a field of this object."
                raise serializers.ValidationError(
                    {name: serializers.ErrorDetail(text, "unknown_field") for name in unknown}
                )
        return super().to_internal_value(data)


class Answer(serializers.Serializer[Any]):
    """A part of an answer; nothing of it is ever read from a request."""


class ApiView(APIView):
    """A view that says per method who may call it."""

    permission_classes = (ByAccess,)
    http_method_names = ["get", "head", "post", "put", "patch", "delete"]  # noqa: RUF012 - as the framework declares it
    access: ClassVar[Mapping[str, Access]] = {}
    pagination_class: ClassVar[type[Pages] | None] = None
    member: Membership  # set by ByAccess where the audience is `member`

    @property
    def person(self) -> User:
        """Return who calls; operations that are not public have somebody."""
        assert isinstance(self.request.user, User)  # noqa: S101 - ByAccess has checked
        return self.request.user

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        """Let in who may call, with a query string that the operation declares.

        :raises ValidationError: naming each parameter that is none of its choices.
        """
        super().initial(request, *args, **kwargs)
        handler = getattr(self, (request.method or "").lower(), None)
        _check_query(request.query_params, getattr(handler, "query", ()))

    def body(self, kind: type[Body]) -> dict[str, Any]:
        """Read the request's body.

        :raises ValidationError: with every problem.
        """
        read = kind(data=self.request.data)
        read.is_valid(raise_exception=True)
        found: dict[str, Any] = read.validated_data
        return found

    def page(self, rows: Any, kind: type[serializers.BaseSerializer[Any]]) -> Response:
        """Answer with one page of rows."""
        pages = Pages()
        shown: Any = pages.paginate_queryset(rows, self.request, view=self)
        return pages.get_paginated_response(kind(shown, many=True).data)

    def finalize_response(
        self, request: Request, response: Any, *args: Any, **kwargs: Any
    ) -> Response:
        answer = super().finalize_response(request, response, *args, **kwargs)
        answer["X-Request-Id"] = request_id_of(request)
        answer["Cache-Control"] = "no-store"
        return answer


def operation(
    name: str,
    *,
    answer: Any = None,
    body: type[Body] | None = None,
    status: int = 200,
    query: Sequence[OpenApiParameter] = (),
    outside: bool = False,
) -> Callable[[F], F]:
    """Describe an operation for the schema: its id, what it reads and what it answers.

    The choices and patterns of `query` are kept as well as shown: see `ApiView.initial`. Every
    POST takes an `Idempotency-Key`.

    outside   its service talks to another system in the middle of its work (`idempotency.once`)
    """
    describe = extend_schema(
        operation_id=name,
        request=body,
        responses=answer if isinstance(answer, dict) else {status: answer},
        parameters=list(query),
        tags=[name.split("_")[0]],
    )

    def declare(handler: F) -> F:
        described: F = describe(handler)
        if handler.__name__ == "post":
            described = once(described, outside=outside)
        described.query = tuple(query)  # type: ignore[attr-defined] # read by `ApiView.initial`
        return described

    return declare


def text_query(
    name: str, description: str, choices: Sequence[str] = (), *, pattern: str | None = None
) -> OpenApiParameter:
    return OpenApiParameter(
        name, str, description=description, enum=list(choices) or None, pattern=pattern
    )


def _check_query(sent: Mapping[str, str], declared: Sequence[OpenApiParameter]) -> None:
    """Refuse what is none of the declared choices; an empty parameter is one that is not sent."""
    wrong = {}
    for parameter in declared:
        value = sent.get(parameter.name, "")
        if value and parameter.enum and value not in parameter.enum:
            text = f"This is none of {', '.join(map(str, parameter.enum))}."
            wrong[parameter.name] = [serializers.ErrorDetail(text, "not_a_choice")]
        elif value and parameter.pattern and not re.fullmatch(parameter.pattern, value):
            text = f"This is not {parameter.description}."
            wrong[parameter.name] = [serializers.ErrorDetail(text, "invalid")]
    if wrong:
        raise serializers.ValidationError(wrong)
