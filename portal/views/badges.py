"""The badge of a state, (kind, word): one word in one case, wherever the state is shown."""

from datetime import datetime

from django.utils.translation import gettext as _

from portal.models import Organization, Subscription
from portal.selectors import subscription_phase

Badge = tuple[str, str]


def subscription_badge(subscription: Subscription, now: datetime) -> Badge:
    """Say where a subscription is, to its customer and to the provider alike."""
    return {
        "ended": ("", _("Ended")),
        "paused": ("warn", _("Paused")),
        "cancelled": ("warn", _("Cancelled")),
        "to_come": ("info", _("Starts later")),
        "in_trial": ("info", _("Trial")),
        "active": ("ok", _("Active")),
    }[subscription_phase(subscription, now=now)]


def organization_badge(organization: Organization, *, has_plan: bool) -> Badge:
    """Say how a customer stands, the worst first."""
    if organization.suspended_at:
        return "bad", _("Suspended")
    if organization.blocked_at:
        return "bad", _("Blocked, past due")
    if organization.past_due_since:
        return "warn", _("Past due")
    return ("ok", _("Active")) if has_plan else ("", _("No plan"))
