"""What an event of the spool means for the quota counters, so that a restart can count again.

Pure: the spool's owner reads the lines, sums what this returns per key and sets the counters
(`architecture.md` §4.9: after any crash counter = billed + counted).
"""

from contextlib import suppress

from gateway.contracts.access_log import AccessLogEvent, Charge, Kind
from gateway.contracts.snapshot import Entitlement, Environment, Outcome, PlanVersion, Snapshot
from gateway.core.charges import WindowCharge
from gateway.core.compile import segment_at
from gateway.core.instants import to_us
from gateway.core.quota import NoWindow, window_charge
from gateway.core.settle import TEST_REASON, policy_charge

_COUNTING = (Kind.REQUEST, Kind.BUSINESS)


def counted_charges(event: AccessLogEvent, snapshot: Snapshot) -> list[WindowCharge]:
    """Return the window charges that an event keeps in the counters; empty = none.

    Units, entitlement and instant are the event's. The windows are today's snapshot's: an event
    of a window that it no longer holds counts nowhere, and nothing asks for that window again.
    """
    if event.kind not in _COUNTING or not event.quantities:
        return []
    entitlement = _entitlement(event, snapshot)
    if entitlement is None:
        return []
    admitted_us = to_us(event.admitted_at)
    current = segment_at(entitlement, admitted_us)
    if current is None:
        return []
    plan = snapshot.plan_versions[current[0].plan_version_id]
    if not _keeps_units(event, plan):
        return []
    charges = []
    for quota in plan.quotas:
        units = int(event.quantities.get(quota.meter, 0))
        with suppress(NoWindow):
            if units:
                charges.append(window_charge(quota, entitlement, units, admitted_us))
    return charges


def _entitlement(event: AccessLogEvent, snapshot: Snapshot) -> Entitlement | None:
    """Find by subscription, for test calls by organization; the id is the subscription's."""
    if event.environment == Environment.TEST:
        return snapshot.entitlements.get(f"test:{event.organization_id}")
    return snapshot.entitlements.get(event.subscription_id)


def _keeps_units(event: AccessLogEvent, plan: PlanVersion) -> bool:
    if event.environment != Environment.TEST:
        return event.charge is not Charge.FREE
    reason = event.charge_reason
    if not reason.startswith(TEST_REASON):
        return False
    outcome = Outcome(reason.removeprefix(TEST_REASON))
    return policy_charge(plan, outcome) is not Charge.FREE
