"""`Idempotency-Key`: a POST that is sent again with its key is carried out once (docs/api.md).

The work and its kept answer are one transaction, so that a crash leaves neither. An operation that
talks to the collector, a mail server or an upstream in the middle of its work (`outside`) keeps
its own transactions: locks are not held meanwhile, and such services are safe to repeat.

Kept are successes alone: a refusal has changed nothing, and must be asked again to be different.
"""

import json
import re
from collections.abc import Callable
from contextlib import nullcontext
from functools import wraps
from typing import Any, Final, TypeVar, cast

from django.db import transaction
from django.http import HttpResponse
from django.utils.crypto import salted_hmac
from rest_framework.request import Request
from rest_framework.response import Response

from portal import clock
from portal.errors import IdempotencyKeyError
from portal.models import User
from portal.services.idempotent_calls import (
    Claim,
    KeptAnswer,
    call_claim,
    call_keep,
    call_let_go,
)

HEADER: Final = "Idempotency-Key"
REPLAYED: Final = "Idempotency-Replayed"
MAX_CHARS: Final = 255
_KEY: Final = re.compile(rf"[!-~]{{1,{MAX_CHARS}}}")
PARAMETER: Final[dict[str, Any]] = {
    "in": "header",
    "name": HEADER,
    "required": False,
    "schema": {"type": "string", "minLength": 1, "maxLength": MAX_CHARS, "pattern": "^[!-~]+$"},
    "description": "A value of your own, such as a random UUID: sent again with the same body "
    f"within 24 hours, the first success is answered again, with `{REPLAYED}: true`.",
}
"""How the OpenAPI document describes the header."""

F = TypeVar("F", bound=Callable[..., Any])


def once(handler: F, *, outside: bool) -> F:
    """Wrap a POST handler: with a key it is carried out once, without one as ever."""

    @wraps(handler)
    def kept(view: Any, request: Request, *args: Any, **kwargs: Any) -> Any:
        key = request.headers.get(HEADER)
        if key is None or not isinstance(request.user, User):
            return handler(view, request, *args, **kwargs)
        found = _claim(request, request.user, key)
        if isinstance(found, KeptAnswer):
            return _replay(found)
        return _carry_out(
            found, lambda: _rendered(view, handler(view, request, *args, **kwargs)), outside
        )

    return cast(F, kept)


def _claim(request: Request, user: User, key: str) -> Claim | KeptAnswer:
    if not _KEY.fullmatch(key):
        raise IdempotencyKeyError
    return call_claim(
        user=user,
        method=request.method or "",
        path=request.path,
        key=key,
        request_hash=_request_hash(request),
        wall=clock.wall_now(),
    )


def _request_hash(request: Request) -> str:
    """Hash what was asked for, whatever the order of its fields; keyed: bodies may be guessed."""
    asked = [sorted(request.query_params.lists()), request.data]
    text = json.dumps(asked, sort_keys=True)
    return salted_hmac("tollway idempotent call", text, algorithm="sha256").hexdigest()


def _carry_out(claim: Claim, work: Callable[[], HttpResponse], outside: bool) -> HttpResponse:
    """Do the work and keep its answer; whatever is no success lets go of the key."""
    kept = False
    try:
        with nullcontext() if outside else transaction.atomic():
            answer = work()
            if answer.status_code < 300:
                call_keep(claim, _content(answer), wall=clock.wall_now())
        kept = answer.status_code < 300
        return answer
    finally:
        if not kept:
            call_let_go(claim)


def _rendered(view: Any, answer: Response) -> HttpResponse:
    """Render an answer now, as the framework would at the end."""
    answer.accepted_renderer = view.request.accepted_renderer
    answer.accepted_media_type = view.request.accepted_media_type
    answer.renderer_context = view.get_renderer_context()  # type: ignore[attr-defined] # as DRF does
    rendered: HttpResponse = answer.render()
    return rendered


def _content(answer: HttpResponse) -> KeptAnswer:
    media = answer.headers.get("Content-Type", "")
    return KeptAnswer(answer.status_code, media, answer.content.decode())


def _replay(kept: KeptAnswer) -> HttpResponse:
    answer = HttpResponse(kept.body, status=kept.status, content_type=kept.media or None)
    if not kept.media:
        del answer["Content-Type"]
    answer[REPLAYED] = "true"
    return answer
