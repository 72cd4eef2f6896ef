"""Members of an organization: list, invite, change a role, remove, accept an invitation."""

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from portal.clock import now
from portal.errors import InputInvalidError, PortalError
from portal.forms.organization import InviteForm, RoleForm
from portal.forms.problems import problems_show
from portal.models import Invitation, Membership
from portal.permissions import (
    EVERY_ROLE,
    TEAM_ROLES,
    member_required,
    person_of,
    prove_recently,
    signed_in,
)
from portal.services.invitation_mail import invitation_mail_send
from portal.services.organizations import (
    invitation_accept,
    invitation_create,
    invitation_find,
    invitation_revoke,
    invitations_open,
    member_remove,
    member_role_change,
)
from portal.views.context import organization_url


@require_http_methods(["GET", "POST"])
@member_required(*EVERY_ROLE)
def team(request: HttpRequest, member: Membership) -> HttpResponse:
    """List the people; who may, invites another."""
    may_change = member.role in TEAM_ROLES
    form = InviteForm(request.POST or None, actor=member) if may_change else None
    if request.method == "POST":
        if form is None:
            raise Http404
        if form.is_valid() and _invite(request, member, form):
            return redirect("team", member.organization.slug)
    people = member.organization.memberships.select_related("user").order_by("created_at", "pk")
    context = {
        "organization": member.organization,
        "people": people,
        "invitations": invitations_open(organization=member.organization, now=now()),
        "form": form,
        "may_change": may_change,
        "me": member,
    }
    return render(
        request, "portal/app/team.html", context, status=422 if form and form.is_bound else 200
    )


def _invite(request: HttpRequest, member: Membership, form: InviteForm) -> bool:
    """Store the invitation, then send its link; a mail that cannot be sent is said.

    False   it was refused, as the form says now
    """
    email, role = form.cleaned_data["email"], form.cleaned_data["role"]
    if role in TEAM_ROLES:
        prove_recently(request)  # as before a role that may hand out roles
    try:
        offer, token = invitation_create(actor=member, email=email, role=role, now=now())
    except InputInvalidError as error:
        problems_show(form, error)
        return False
    except PortalError as error:
        form.add_error("role", error.public)
        return False
    if invitation_mail_send(invitation=offer, token=token):
        messages.success(request, _("An invitation is on its way to %s.") % email)
    else:
        text = _("The mail to %(email)s could not be sent. Withdraw the invitation and try again.")
        messages.error(request, text % {"email": email})
    return True


def _colleague(member: Membership, person_id: str) -> Membership:
    """Return a membership of the same organization.

    :raises Http404: for a foreign or unknown person alike.
    """
    rows = member.organization.memberships.select_related("user", "organization")
    return get_object_or_404(rows, user_id=person_id)


@require_http_methods(["GET", "POST"])
@member_required(*TEAM_ROLES)
def member_change(request: HttpRequest, member: Membership, person_id: str) -> HttpResponse:
    """Give a person another role."""
    other = _colleague(member, person_id)
    form = RoleForm(request.POST or None, actor=member, initial={"role": other.role})
    if request.method == "POST" and form.is_valid():
        prove_recently(request)
        try:
            member_role_change(
                member=other, role=form.cleaned_data["role"], actor=member, now=now()
            )
        except PortalError as error:
            form.add_error("role", error.public)
        else:
            messages.success(request, _("The role is changed."))
            return redirect("team", member.organization.slug)
    context = {"organization": member.organization, "other": other, "form": form}
    status = 422 if form.is_bound else 200
    return render(request, "portal/app/member_change.html", context, status=status)


@require_http_methods(["GET", "POST"])
@member_required(*TEAM_ROLES)
def member_end(request: HttpRequest, member: Membership, person_id: str) -> HttpResponse:
    """Remove a person, or leave, after saying what that means."""
    other = _colleague(member, person_id)
    if request.method == "POST":
        try:
            member_remove(member=other, actor=member, now=now())
        except PortalError as error:
            messages.error(request, error.public)
            return redirect("team", member.organization.slug)
        messages.success(request, _("%s is no longer a member.") % other.user.email)
        return redirect("start" if other.pk == member.pk else "team", *_team_args(member, other))
    keys = member.organization.consumers.filter(credentials__created_by=other.user)
    context = {"organization": member.organization, "other": other, "keys": keys.count()}
    return render(request, "portal/app/member_end.html", context)


def _team_args(member: Membership, other: Membership) -> list[str]:
    return [] if other.pk == member.pk else [member.organization.slug]


@require_POST
@member_required(*TEAM_ROLES)
def invitation_withdraw(
    request: HttpRequest, member: Membership, invitation_id: str
) -> HttpResponse:
    """Withdraw an open invitation."""
    offer = get_object_or_404(Invitation, pk=invitation_id, organization=member.organization)
    try:
        invitation_revoke(invitation=offer, actor=member, now=now())
    except PortalError as error:
        messages.error(request, error.public)
    else:
        messages.success(request, _("The invitation is withdrawn."))
    return redirect("team", member.organization.slug)


@never_cache
@require_GET
@signed_in
def invitation(request: HttpRequest, token: str) -> HttpResponse:
    """Show who invites to what."""
    try:
        offer = invitation_find(token=token, now=now())
    except PortalError as error:
        return render(request, "portal/invitation.html", {"problem": error.public}, status=404)
    person = person_of(request)
    context = {
        "offer": offer,
        "token": token,
        "mine": offer.email.lower() == person.email.lower(),
        "person": person,
    }
    return render(request, "portal/invitation.html", context)


@require_POST
@signed_in
def invitation_take(request: HttpRequest, token: str) -> HttpResponse:
    """Join the organization."""
    try:
        joined = invitation_accept(token=token, user=person_of(request), now=now())
    except PortalError as error:
        context = {"problem": error.public}
        return render(request, "portal/invitation.html", context, status=error.status)
    messages.success(request, _("Welcome to %s.") % joined.organization.name)
    return redirect(organization_url(joined.organization.slug))
