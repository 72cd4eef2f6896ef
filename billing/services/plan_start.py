"""What a subscription costs from its first second: shown in the review, before anybody agrees.

The figures are those that `invoice_advance` drafts for the first period.
"""

from dataclasses import dataclass
from datetime import datetime

from billing.models import InvoiceKind
from billing.services.chain import Difference, differences
from billing.services.drafts import tax_terms
from billing.services.kinds import takes
from billing.services.rated import Settlement, Stretch, period_rate, settle
from billing.services.wallet import credit_terms, credit_terms_ahead, grant_list
from portal.core.periods import period_of
from portal.models import BillingPeriod, Organization, PlanVersion, Segment, Subscription
from portal.services.subscriptions import trial_end


@dataclass(frozen=True, slots=True)
class PlanStartPreview:
    """The first period of a subscription that would start now.

    rows            the fees in advance; none while a trial runs
    recurring_minor the fees of a whole period, before tax
    """

    version: PlanVersion
    starts_at: datetime
    renews_at: datetime
    trial_ends_at: datetime | None
    rows: tuple[Difference, ...]
    settlement: Settlement
    recurring_minor: int

    @property
    def due_minor(self) -> int:
        return self.settlement.total_minor


def plan_start_preview(
    *, organization: Organization, version: PlanVersion, now: datetime
) -> PlanStartPreview:
    """Rate the first period of a subscription to `version` that starts now; nothing is changed."""
    start = now.replace(microsecond=0)
    bounds = period_of(0, anchor=start)
    trial = trial_end(organization=organization, version=version, start=start)
    subscription = Subscription(
        organization=organization, plan=version.plan, starts_at=start, billing_anchor=start
    )
    period = BillingPeriod(
        subscription=subscription, number=0, starts_at=bounds.start, ends_at=bounds.end
    )
    segment = Segment(subscription=subscription, plan_version=version, starts_at=start)
    stretches = (Stretch(segment, bounds.start, bounds.end),)
    fees = _fees(subscription, period, stretches)
    due = fees if trial is None else ()
    credits = [
        *credit_terms(grant_list(subscription=subscription, currency=version.currency)),
        *credit_terms_ahead(subscription=subscription, versions=[version]),
    ]
    settled = settle(
        currency=version.currency,
        lines=due,
        credits=credits,
        tax=tax_terms(organization, stretches),
        at=bounds.start,
        until=bounds.end,
    )
    return PlanStartPreview(
        version=version,
        starts_at=start,
        renews_at=bounds.end,
        trial_ends_at=trial,
        rows=due,
        settlement=settled,
        recurring_minor=sum(row.net_minor for row in fees),
    )


def _fees(
    subscription: Subscription, period: BillingPeriod, stretches: tuple[Stretch, ...]
) -> tuple[Difference, ...]:
    """Rate the fees in advance of the whole period, as if there were no trial."""
    wanted = takes(InvoiceKind.ADVANCE, stretches)
    rating = period_rate(subscription=subscription, period=period, stretches=stretches, usage={})
    return differences([line for line in rating.lines if wanted(line)], {})
