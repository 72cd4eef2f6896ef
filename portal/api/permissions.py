"""Who may call which operation: every view names audience and roles per method, else nobody.

The audiences are those of the pages (`portal.permissions.Access`). Beside the person's role the
token needs a scope: `read` to look, `write` to change, and `admin` or `finance` on the provider's
side. A foreign organization is answered as a missing one.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from rest_framework.exceptions import MethodNotAllowed, NotFound, PermissionDenied
from rest_framework.permissions import SAFE_METHODS, BasePermission
from rest_framework.request import Request

from portal.models import ApiToken, Role, StaffRole, User
from portal.permissions import Access, membership_of

if TYPE_CHECKING:  # the framework imports this module while it imports its views
    from rest_framework.views import APIView

    from portal.api.base import ApiView

PUBLIC: Final = Access("public")
SIGNED_IN: Final = Access("signed_in")
ADMIN: Final = Access("staff", frozenset({StaffRole.ADMIN.value}))
STAFF: Final = Access("staff", frozenset({StaffRole.ADMIN.value, StaffRole.FINANCE.value}))


def members(*roles: Role) -> Access:
    """Name the roles of the URL's organization that may call."""
    return Access("member", frozenset(role.value for role in roles))


class DenyAll(BasePermission):
    """The default: a view that names nothing is open to nobody."""

    def has_permission(self, request: Request, view: "APIView") -> bool:
        return False


class InsufficientScope(PermissionDenied):
    default_code = "insufficient_scope"
    default_detail = "The token lacks the scope for this."


class ByAccess(BasePermission):
    """Let in whom the view's `access` names for the method."""

    def has_permission(self, request: Request, view: "ApiView") -> bool:  # type: ignore[override]
        method = "GET" if request.method == "HEAD" else request.method or ""
        access = access_for(view.access, method)
        if access.audience == "public":
            return True
        person, token = request.user, request.auth
        if not isinstance(person, User) or not isinstance(token, ApiToken):
            return False
        if not _role_admits(access, person, view):
            return False
        return _scope_admits(access, token, method)


def access_for(access: Mapping[str, Access], method: str) -> Access:
    if method not in access:
        raise MethodNotAllowed(method)
    return access[method]


def _role_admits(access: Access, person: User, view: "ApiView") -> bool:
    if access.audience == "member":
        member = membership_of(user=person, slug=view.kwargs["org"])
        if member is None:
            raise NotFound
        view.member = member
        return access.admits_member(member.role)
    return access.audience == "signed_in" or access.admits_staff(person.staff_role)


def _scope_admits(access: Access, token: ApiToken, method: str) -> bool:
    held = set(token.scopes)
    side = access.audience != "staff" or bool(held & access.roles)
    if not side or ("read" if method in SAFE_METHODS else "write") not in held:
        raise InsufficientScope
    return True
