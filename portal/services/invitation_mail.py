"""The mail that carries an invitation's link."""

from smtplib import SMTPException
from typing import Final

from django.conf import settings
from django.core.mail import send_mail
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils.translation import gettext as _

from portal.models import Invitation

_MAIL_FAILURES: Final = (SMTPException, OSError)


def invitation_mail_send(*, invitation: Invitation, token: str) -> bool:
    """Send the link; return whether the mail went out. The invitation is stored either way."""
    link = settings.ENV.portal_url.rstrip("/") + reverse("invitation", args=[token])
    context = {
        "organization": invitation.organization,
        "inviter": invitation.invited_by,
        "link": link,
        "role": invitation.get_role_display(),
    }
    body = render_to_string("emails/invitation.txt", context)
    subject = _("%(inviter)s invites you to %(organization)s") % {
        "inviter": invitation.invited_by,
        "organization": invitation.organization.name,
    }
    try:
        send_mail(" ".join(subject.split()), body, None, [invitation.email])
    except _MAIL_FAILURES:
        return False
    return True
