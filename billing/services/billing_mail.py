"""Mails about money and limits: who gets them, and the frame that says why they do."""

from datetime import UTC, datetime

from django.conf import settings
from django.core.mail import send_mail

from portal.models import Organization, Role


def billing_mail_send(*, organization: Organization, subject: str, text: str) -> None:
    """Send one text to everybody who is told about money; the sender is `EMAIL_FROM`."""
    send_mail(
        subject=subject,
        message=(
            f"Hello,\n\n{text}\n\n-- \nTollway\n"
            f"This mail goes to the billing address, the owners and the billing members of "
            f"{organization.name}. See who they are: {app_url(organization, 'team')}\n"
        ),
        from_email=None,
        recipient_list=billing_addresses(organization=organization),
    )


def billing_addresses(*, organization: Organization) -> list[str]:
    """Return who is told about money: the billing address, owners and billing members."""
    members = organization.memberships.filter(role__in=(Role.OWNER, Role.BILLING))
    addresses = set(members.values_list("user__email", flat=True))
    if organization.billing_email:
        addresses.add(organization.billing_email)
    return sorted(addresses)


def app_url(organization: Organization, page: str) -> str:
    """Return the whole address of a page of the organization."""
    return f"{settings.ENV.portal_url}/app/{organization.slug}/{page}"


def day_text(at: datetime) -> str:
    """Write a day with its zone.

    >>> day_text(datetime(2026, 3, 1, 9, tzinfo=UTC))
    '2026-03-01 UTC'
    """
    return f"{at.astimezone(UTC):%Y-%m-%d} UTC"


def minute_text(at: datetime) -> str:
    """Write an instant to the minute with its zone.

    >>> minute_text(datetime(2026, 3, 1, 9, 5, tzinfo=UTC))
    '2026-03-01 09:05 UTC'
    """
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
