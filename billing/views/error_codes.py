"""`/docs/errors`: every stable code, made from the registries that the answers come from.

Problem documents link here, their code is the fragment. It lives in billing, the one room that
may read every other's errors.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _
from django.views.decorators.http import require_safe

from billing.errors import BillingError
from billing.views.error_remedies import REMEDIES
from gateway.contracts.problems import PROBLEMS
from metering.errors import MeteringError
from portal.api.problems import API_CODES
from portal.errors import PortalError
from portal.permissions import public_page
from portal.views.internal import POLL_PROBLEMS

_MEANINGS: Final[dict[str, str | Promise]] = {
    "unsupported_media_type": _("The body is of another media type."),  # theirs has a blank
}
Coded = type[PortalError] | type[BillingError] | type[MeteringError]


@dataclass(frozen=True, slots=True)
class Entry:
    """One row: several statuses where the same code is answered by two sides."""

    code: str
    status: int
    meaning: str | Promise
    remedy: str | Promise


@dataclass(frozen=True, slots=True)
class Section:
    name: str | Promise
    entries: tuple[Entry, ...]


def _family(base: Coded) -> Iterator[Coded]:
    yield base
    for child in base.__subclasses__():
        yield from _family(child)


def _classes(base: Coded) -> Iterator[Entry]:
    for kind in _family(base):
        yield Entry(kind.code, kind.status, kind.public, REMEDIES.get(kind.code, ""))


def error_sections() -> tuple[Section, ...]:
    """Collect every code once, in the section of the side that answers with it first."""
    gateway = [
        Entry(p.code, p.status, p.title, REMEDIES.get(p.code, "")) for p in PROBLEMS.values()
    ]
    api = [
        Entry(
            code,
            kind.status_code,
            _MEANINGS.get(code) or str(kind.default_detail),
            REMEDIES.get(code, ""),
        )
        for kind, code in API_CODES.items()
    ]
    polls = [Entry(c, s, text, REMEDIES.get(c, "")) for s, (c, text) in POLL_PROBLEMS.items()]
    groups: tuple[tuple[str | Promise, list[Entry]], ...] = (
        (_("Gateway"), gateway),
        (_("Portal"), list(_classes(PortalError))),
        (_("REST API"), api),
        (_("Usage"), list(_classes(MeteringError))),
        (_("Billing"), list(_classes(BillingError))),
        (_("Gateways to the portal"), polls),
    )
    seen: set[str] = set()
    sections = []
    for name, entries in groups:
        fresh = {e.code: e for e in reversed(entries) if e.code not in seen}
        seen |= fresh.keys()
        rows = sorted(fresh.values(), key=lambda entry: (entry.status, entry.code))
        sections.append(Section(name, tuple(rows)))
    return tuple(sections)


@require_safe
@public_page
def errors_page(request: HttpRequest) -> HttpResponse:
    """Show every code with its status, its meaning and its remedy."""
    return render(request, "billing/error_codes.html", {"sections": error_sections()})
