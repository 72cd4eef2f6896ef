"""Settings of an organization: its name and what invoices say."""

from typing import Any

from django.contrib import messages
from django.forms import model_to_dict
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods

from portal.clock import now
from portal.forms.organization import BillingDetailsForm, NameForm
from portal.models import Membership
from portal.permissions import BILLING_ROLES, TEAM_ROLES, member_required, person_of
from portal.services.organizations import DETAIL_FIELDS, organization_update


@require_http_methods(["GET", "POST"])
@member_required(*BILLING_ROLES)
def org_settings(request: HttpRequest, member: Membership) -> HttpResponse:
    """Show and save the two forms; the billing role changes billing details only."""
    organization = member.organization
    may_rename = member.role in TEAM_ROLES
    sent = request.POST.get("form", "")
    saved = model_to_dict(organization, fields=DETAIL_FIELDS)
    forms: dict[str, Any] = {
        "name": NameForm(request.POST if sent == "name" else None, initial=saved),
        "billing": BillingDetailsForm(request.POST if sent == "billing" else None, initial=saved),
    }
    form = forms.get(sent)
    allowed = sent == "billing" or may_rename
    if request.method == "POST" and form is not None and allowed and form.is_valid():
        organization_update(
            organization=organization,
            details=form.cleaned_data,
            actor=person_of(request),
            now=now(),
        )
        messages.success(request, _("Saved."))
        return redirect("org_settings", organization.slug)
    context = {"organization": organization, "forms": forms, "may_rename": may_rename}
    status = 422 if request.method == "POST" else 200
    return render(request, "portal/app/settings.html", context, status=status)
