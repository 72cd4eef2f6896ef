"""Who may open what: every view names its audience with one decorator from here.

`public_page`, `signed_in`, `member_required(roles)`, `staff_required(roles)`. A person who is not
a member gets 404, so that nobody learns which organizations exist; a member without the role gets
403. Nothing is open by default: a test walks the URL map and asks each view for its `access`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import Concatenate, Final, ParamSpec

from allauth.account.authentication import get_authentication_records
from allauth.core.exceptions import ReauthenticationRequired
from django.conf import settings
from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponseBase

from portal.clock import wall_now
from portal.models import Membership, Role, StaffRole, User

P = ParamSpec("P")
View = Callable[Concatenate[HttpRequest, P], HttpResponseBase]
MemberView = Callable[Concatenate[HttpRequest, Membership, P], HttpResponseBase]

EVERY_ROLE: Final = tuple(Role)
KEY_ROLES: Final = (Role.OWNER, Role.ADMIN, Role.DEVELOPER)
TEAM_ROLES: Final = (Role.OWNER, Role.ADMIN)
BILLING_ROLES: Final = (Role.OWNER, Role.ADMIN, Role.BILLING)


@dataclass(frozen=True, slots=True)
class Access:
    """A view's audience: `public`, `signed_in`, `member` or `staff`, with the roles let in."""

    audience: str
    roles: frozenset[str] = frozenset()

    def admits_member(self, role: str) -> bool:
        return self.audience == "member" and role in self.roles

    def admits_staff(self, role: str) -> bool:
        return self.audience == "staff" and role in self.roles


def access_of(view: Callable[..., object]) -> Access | None:
    """Return what a decorator of this module said about a view; None = nothing was said."""
    found = getattr(view, "access", None)
    return found if isinstance(found, Access) else None


def person_of(request: HttpRequest) -> User:
    """Return who is signed in.

    :raises PermissionDenied: for nobody; views behind a decorator never see that.
    """
    if not isinstance(request.user, User):
        raise PermissionDenied
    return request.user


def membership_of(*, user: User, slug: str) -> Membership | None:
    """Return the person's membership of an organization, the organization loaded with it."""
    rows = Membership.objects.select_related("organization", "user")
    return rows.filter(organization__slug=slug, user=user).first()


def prove_recently(request: HttpRequest) -> None:
    """Ask for the password again unless it was given within the last five minutes.

    :raises ReauthenticationRequired: which allauth answers; the post is resumed afterwards.
    """
    records = get_authentication_records(request, request.user)
    latest = max((record["at"] for record in records), default=0)
    age_s = wall_now().timestamp() - latest
    if age_s >= settings.ACCOUNT_REAUTHENTICATION_TIMEOUT:
        raise ReauthenticationRequired


def public_page(view: View[P]) -> View[P]:
    """Let everybody in."""

    @wraps(view)
    def guarded(request: HttpRequest, /, *args: P.args, **kwargs: P.kwargs) -> HttpResponseBase:
        return view(request, *args, **kwargs)

    guarded.__dict__["access"] = Access("public")
    return guarded


def signed_in(view: View[P]) -> View[P]:
    """Let in who is signed in; others are sent to the login page and come back."""

    @wraps(view)
    def guarded(request: HttpRequest, /, *args: P.args, **kwargs: P.kwargs) -> HttpResponseBase:
        if not request.user.is_authenticated:
            return redirect_to_login(request.get_full_path())
        return view(request, *args, **kwargs)

    guarded.__dict__["access"] = Access("signed_in")
    return guarded


def member_required(*roles: Role) -> Callable[[MemberView[P]], Callable[..., HttpResponseBase]]:
    """Let in members of the URL's organization (`<slug:org>`) who hold one of `roles`.

    The view receives the membership in place of `org`.
    """

    def decorate(view: MemberView[P]) -> Callable[..., HttpResponseBase]:
        @wraps(view)
        def guarded(
            request: HttpRequest, /, org: str, *args: P.args, **kwargs: P.kwargs
        ) -> HttpResponseBase:
            if not request.user.is_authenticated:
                return redirect_to_login(request.get_full_path())
            member = membership_of(user=person_of(request), slug=org)
            if member is None:
                msg = "no such organization"
                raise Http404(msg)
            if member.role not in roles:
                raise PermissionDenied
            return view(request, member, *args, **kwargs)

        guarded.__dict__["access"] = Access("member", frozenset(roles))
        return guarded

    return decorate


def staff_required(*roles: StaffRole) -> Callable[[View[P]], View[P]]:
    """Let in people of the API provider who hold one of `roles`."""

    def decorate(view: View[P]) -> View[P]:
        @wraps(view)
        def guarded(
            request: HttpRequest, /, *args: P.args, **kwargs: P.kwargs
        ) -> HttpResponseBase:
            if not request.user.is_authenticated:
                return redirect_to_login(request.get_full_path())
            if person_of(request).staff_role not in roles:
                raise PermissionDenied
            return view(request, *args, **kwargs)

        guarded.__dict__["access"] = Access("staff", frozenset(roles))
        return guarded

    return decorate
