"""An organization's way onto a plan: what was reviewed, the hosted page, what came of it."""

from typing import ClassVar

from django.db import models

from portal.models import Organization, PlanVersion, Subscription, User
from portal.models.fields import IdField


class CheckoutState(models.TextChoices):
    OPEN = "open", "Open"
    DONE = "done", "Done"
    REFUSED = "refused", "Refused"
    EXPIRED = "expired", "Expired"


class PlanCheckout(models.Model):
    """One review that was agreed to; it becomes one subscription, or none.

    session_id   the hosted card page; empty until it is opened, or where no card was needed
    problem      the code of what stood in the way, when the state is `refused`
    opened_at    wall time: a hosted page lives by the wall clock
    due_at       wall time of the next look at an open page, for customers who never came back
    """

    id = IdField(prefix="pco")
    organization = models.ForeignKey(Organization, models.PROTECT, related_name="checkouts")
    plan_version = models.ForeignKey(PlanVersion, models.PROTECT, related_name="checkouts")
    created_by = models.ForeignKey(User, models.SET_NULL, null=True, blank=True)
    state = models.CharField(max_length=10, choices=CheckoutState, default=CheckoutState.OPEN)
    session_id = models.CharField(max_length=200, blank=True, db_index=True)
    session_url = models.CharField(max_length=1000, blank=True)
    subscription = models.OneToOneField(
        Subscription, models.PROTECT, null=True, blank=True, related_name="checkout"
    )
    problem = models.CharField(max_length=60, blank=True)
    created_at = models.DateTimeField()
    opened_at = models.DateTimeField()
    due_at = models.DateTimeField()
    finished_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        indexes: ClassVar[list[models.Index]] = [models.Index(fields=["state", "due_at"])]

    def __str__(self) -> str:
        return self.id
