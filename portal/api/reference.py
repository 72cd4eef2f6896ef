"""`/api/docs`: every operation of the REST API for people, from the OpenAPI document itself."""

from functools import lru_cache
from typing import Any, Final

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _
from django.views.decorators.http import require_safe
from drf_spectacular.generators import SchemaGenerator

from portal.core.api_reference import Operation, operations
from portal.permissions import public_page

GROUPS: Final[tuple[tuple[str, str | Promise, str | Promise], ...]] = (
    ("me", _("You and your token"), _("Who the token acts for.")),
    ("plans", _("Plans on offer"), _("Public: no token is needed.")),
    (
        "organizations",
        _("Organizations"),
        _("Keys, usage, the plan, invoices, people: what members see, by their role."),
    ),
    (
        "admin",
        _("Provider: catalog, plans, customers, installation"),
        _("For people with the staff role that stands beside each; the token needs it as scope."),
    ),
    (
        "finance",
        _("Provider: finance"),
        _("Review, decisions, corrections, exports. The token needs the scope admin or finance."),
    ),
)


@lru_cache(maxsize=1)
def _operations() -> tuple[Operation, ...]:
    """Read the document once per process: it changes with the code alone."""
    kind: Any = SchemaGenerator
    document = kind().get_schema(request=None, public=True)
    return operations(document, base_url=str(settings.ENV.portal_url).rstrip("/"))


@require_safe
@public_page
def reference_page(request: HttpRequest) -> HttpResponse:
    """Show how to call, then each operation with its fields and a call to copy."""
    rows = _operations()
    sections = [
        (name, title, lead, [row for row in rows if row.path.split("/")[3] == name])
        for name, title, lead in GROUPS
    ]
    base = str(settings.ENV.portal_url).rstrip("/")
    context = {"sections": sections, "count": len(rows), "base_url": f"{base}/api/v1"}
    return render(request, "portal/api_docs.html", context)
