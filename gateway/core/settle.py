"""What a finished request costs: the outcome, and the count policy's word on it."""

from dataclasses import dataclass
from typing import Final

from gateway.contracts.access_log import Charge
from gateway.contracts.snapshot import DEFAULT_COUNT_POLICY, Environment, Outcome, PlanVersion

TEST_REASON: Final = "test:"
"""Test calls are free; the rest of the reason is the outcome, which their own counters go by."""


@dataclass(frozen=True, slots=True)
class Settlement:
    """charge, reason   as the event says; `returned` = the units go back to the quota."""

    charge: Charge
    reason: str
    returned: bool


def outcome_of(status: int) -> Outcome:
    """Sort an upstream's status.

    >>> [outcome_of(status).value for status in (204, 302, 404, 429, 503)]
    ['2xx', '3xx', '4xx', '429', '5xx']
    """
    if status < 300:
        return Outcome.SUCCESS
    if status < 400:
        return Outcome.REDIRECT
    if status < 500:
        return Outcome.UPSTREAM_429 if status == 429 else Outcome.CLIENT_ERROR
    return Outcome.SERVER_ERROR


def policy_charge(plan: PlanVersion, outcome: Outcome) -> Charge:
    """Return the plan's charge for an outcome; what it leaves out has the default."""
    return plan.count_policy.get(outcome, DEFAULT_COUNT_POLICY[outcome])


def settle(plan: PlanVersion, outcome: Outcome, *, environment: Environment) -> Settlement:
    """Apply the count policy. A test call is free whatever happens, its counters still move."""
    charge = policy_charge(plan, outcome)
    returned = charge is Charge.FREE
    if environment is Environment.TEST:
        return Settlement(Charge.FREE, TEST_REASON + outcome.value, returned)
    return Settlement(charge, outcome.value, returned)


PUBLIC: Final = Settlement(Charge.FREE, "public", returned=True)
"""A public route has no plan and no counters."""
