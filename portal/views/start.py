"""The way in: landing page and the first-call page, which watches for the call and explains it."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import NoReverseMatch, reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET

from metering.errors import MeteringUnavailableError
from metering.queries import RequestRow, UsageFilter
from portal.clock import now, wall_now
from portal.core.snippets import build_snippets
from portal.errors import PortalError
from portal.models import Api, Credential, Membership, User
from portal.permissions import KEY_ROLES, person_of, public_page, signed_in
from portal.selectors import key_for_first_call, sample_api
from portal.services.accounts import first_call_record
from portal.services.credentials import credential_reveal_test
from portal.usage import reader
from portal.views.verdicts import remedy_of, verdict_of

LOOK_BACK: Final = timedelta(hours=24)
AHEAD: Final = timedelta(minutes=1)  # a gateway's clock may be a little ahead of ours
PLACEHOLDER_KEY: Final = "YOUR_TEST_KEY"


def sample_url(api: Api | None) -> str:
    """Return the gateway address of an API's sample call."""
    base = str(settings.ENV.gateway_url).rstrip("/")
    return base + (api.sample_path if api else "/")


@require_GET
@public_page
def landing(request: HttpRequest) -> HttpResponse:
    """Say what this is, show the call, lead to a key."""
    api = sample_api()
    snippets = build_snippets(url=sample_url(api), key=PLACEHOLDER_KEY)
    return render(request, "portal/landing.html", {"api": api, "curl": snippets[0]})


@dataclass(frozen=True, slots=True)
class Sighting:
    """What has been seen of the first call: `waiting`, `ok`, `refused` or `unavailable`."""

    state: str
    row: RequestRow | None = None
    as_of: datetime | None = None


def _membership(user: User, slug: str) -> Membership | None:
    """Return the membership asked for, else the first that may hold keys."""
    rows = Membership.objects.select_related("organization").filter(user=user, role__in=KEY_ROLES)
    ordered = rows.order_by("created_at", "pk")
    return ordered.filter(organization__slug=slug).first() or ordered.first()


def sighting_of(credential: Credential, *, at: datetime) -> Sighting:
    """Look for the key's calls: a success decides, else the newest refusal is explained."""
    where = UsageFilter(
        start=max(credential.created_at, at - LOOK_BACK),
        end=at + AHEAD,
        environment=credential.environment,
        organization_id=credential.consumer.organization_id,
        credential_id=credential.pk,
    )
    try:
        rows = reader().requests(where, limit=50)
    except MeteringUnavailableError:
        return Sighting("unavailable", as_of=at)
    success = next((row for row in rows if 200 <= row.status < 300), None)
    if success is not None:
        return Sighting("ok", success, at)
    return Sighting("refused", rows[0], at) if rows else Sighting("waiting", as_of=at)


def _sighting_context(member: Membership, credential: Credential) -> dict[str, Any]:
    at = now()
    sighting = sighting_of(credential, at=at)
    context: dict[str, Any] = {
        "sighting": sighting,
        "as_of": at,
        "organization": member.organization,
    }
    row = sighting.row
    if row is not None and sighting.state == "ok":
        first_call_record(credential=credential, now=row.admitted_at)
        context["verdict"] = verdict_of(row)
    elif row is not None:
        remedy = remedy_of(row)
        context["remedy"] = remedy
        context["remedy_url"] = page_url(remedy.url_name, member.organization.slug)
    return context


def page_url(url_name: str, slug: str) -> str:
    """Return a page's address, of the organization or public; empty if it is not mounted."""
    for args in ([slug], []):
        try:
            return reverse(url_name, args=args)
        except NoReverseMatch:
            continue
    return ""


@never_cache
@require_GET
@signed_in
def start(request: HttpRequest) -> HttpResponse:
    """Show the call with the person's own test key and what has been seen of it."""
    member = _membership(person_of(request), request.GET.get("org", ""))
    context: dict[str, Any] = {"member": member, "api": sample_api()}
    credential = secret = None
    if member is not None:
        credential = key_for_first_call(organization=member.organization, wall=wall_now())
    if member is not None and credential is not None:
        try:
            secret = credential_reveal_test(credential=credential)
        except PortalError as error:
            context["problem"] = error.public
        context |= _sighting_context(member, credential)
    context["credential"] = credential
    context["snippets"] = build_snippets(
        url=sample_url(context["api"]), key=secret or PLACEHOLDER_KEY
    )
    return render(request, "portal/start.html", context)


@never_cache
@require_GET
@signed_in
def start_status(request: HttpRequest) -> HttpResponse:
    """Answer with the fragment that the page polls for."""
    member = _membership(person_of(request), request.GET.get("org", ""))
    if member is None:
        return HttpResponse(status=204)
    credential = key_for_first_call(organization=member.organization, wall=wall_now())
    if credential is None:
        return HttpResponse(status=204)
    return render(request, "portal/start_status.html", _sighting_context(member, credential))
