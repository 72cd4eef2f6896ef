"""Accounts: what happens around sign-up, and the door allauth calls it through."""

from datetime import datetime
from typing import Any, Final

from allauth.account.adapter import DefaultAccountAdapter
from django.db import transaction
from django.http import HttpRequest
from django.utils.translation import gettext as _

from portal.clock import now as product_now
from portal.models import Credential, Environment, User
from portal.services.consumers import consumer_create
from portal.services.credentials import IssuedCredential, credential_create
from portal.services.organizations import organization_create

MAX_NAME_CHARS: Final = 120  # of an organization; what stands before an address's @ may be longer


@transaction.atomic
def account_provision(*, user: User, now: datetime) -> IssuedCredential:
    """Give a new person everything a first call needs: organization, consumer, test key."""
    name = (user.name or user.email.partition("@")[0])[:MAX_NAME_CHARS]
    organization = organization_create(name=name, owner=user, now=now, is_personal=True)
    consumer = consumer_create(
        organization=organization, values={"name": _("Default")}, actor=user, now=now
    )
    return credential_create(
        consumer=consumer,
        name=_("Test key"),
        environment=Environment.TEST,
        actor=user,
        now=now,
    )


def first_call_record(*, credential: Credential, now: datetime) -> None:
    """Note when the key's maker first saw a 2xx, for the funnel; later calls change nothing."""
    User.objects.filter(pk=credential.created_by_id, first_2xx_at__isnull=True).update(
        first_2xx_at=now
    )


class AccountAdapter(DefaultAccountAdapter):  # type: ignore[misc]
    """allauth's door into the portal's services; an edge, so it asks the clock."""

    def save_user(self, request: HttpRequest, user: User, form: Any, commit: bool = True) -> User:
        """Save who signed up and provision them, both or neither."""
        with transaction.atomic():
            saved: User = super().save_user(request, user, form, commit=commit)
            if commit:
                account_provision(user=saved, now=product_now())
        return saved
