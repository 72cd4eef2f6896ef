"""Who may open which money page: members by role, finance by staff role. Else 404 or 403."""

from collections.abc import Callable
from functools import wraps
from typing import Concatenate, Final, ParamSpec, cast

from django.contrib.auth.decorators import login_required
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponseBase

from portal.models import Membership, Organization, Role, StaffRole, User

P = ParamSpec("P")
MONEY_ROLES: Final = (Role.OWNER, Role.ADMIN, Role.BILLING)
View = Callable[Concatenate[HttpRequest, P], HttpResponseBase]


def signed_in(request: HttpRequest) -> User:
    """Return the person; views that call this are behind a login.

    :raises PermissionDenied: for nobody.
    """
    if not isinstance(request.user, User):
        raise PermissionDenied
    return request.user


def organization_of(
    request: HttpRequest, slug: str, *, roles: tuple[Role, ...] = ()
) -> Organization:
    """Return the organization if the person is a member with one of `roles` (any when empty).

    :raises Http404: for another's organization, so that its existence is not told.
    :raises PermissionDenied: for a member without the role.
    """
    membership = (
        Membership.objects.select_related("organization")
        .filter(organization__slug=slug, user=signed_in(request))
        .first()
    )
    if membership is None:
        msg = "no such organization"
        raise Http404(msg)
    if roles and membership.role not in roles:
        raise PermissionDenied
    return membership.organization


def finance_only(view: "View[P]") -> "View[P]":
    """Let in the provider's finance and admin people alone."""

    @wraps(view)
    def guarded(request: HttpRequest, *args: P.args, **kwargs: P.kwargs) -> HttpResponseBase:
        if signed_in(request).staff_role not in {StaffRole.ADMIN, StaffRole.FINANCE}:
            raise PermissionDenied
        return view(request, *args, **kwargs)

    return cast("View[P]", login_required(guarded))
