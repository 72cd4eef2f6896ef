"""What every request passes before any view."""

from collections.abc import Callable
from typing import Final

from django.http import Http404, HttpRequest, HttpResponseBase

_WRITTEN: Final = "%00"


def no_nul(
    get_response: Callable[[HttpRequest], HttpResponseBase],
) -> Callable[[HttpRequest], HttpResponseBase]:
    """Answer an address with NUL in its path or query as one that is not there.

    PostgreSQL refuses NUL in a text, so that every look-up by such a value would fail.
    """

    def middleware(request: HttpRequest) -> HttpResponseBase:
        query = request.META.get("QUERY_STRING", "")
        if "\0" not in request.path and _WRITTEN not in query and "\0" not in query:
            return get_response(request)
        msg = "no address holds NUL"
        raise Http404(msg)

    return middleware
