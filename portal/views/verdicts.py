"""Words for what the gateway decided: what a request cost and why, what a refusal means.

The codes are the gateway's (`/docs/errors` lists them); the person reading is the key's owner, so
the true reason may be said. An unknown code is shown as it is.
"""

from dataclasses import dataclass
from typing import Final

from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from gateway.contracts.access_log import Charge
from metering.queries import RequestRow

Text = str | Promise
TEST_PREFIX: Final = "test:"

_OUTCOMES: Final[dict[str, Text]] = {
    "2xx": gettext_lazy("the API answered with success"),
    "3xx": gettext_lazy("the API answered with a redirect"),
    "4xx": gettext_lazy("the API refused the request (4xx)"),
    "429": gettext_lazy("the API answered 429"),
    "5xx": gettext_lazy("the API failed (5xx)"),
    "cached": gettext_lazy("it was answered from the cache"),
    "aborted": gettext_lazy("it was aborted before the API answered"),
    "refused": gettext_lazy("the gateway refused it"),
}


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a request costs: the answer in a word, its colour, and the reason."""

    billable: bool
    label: str
    kind: str
    reason: str


def verdict_of(row: RequestRow) -> Verdict:
    """Say whether a request is billable and why."""
    outcome = row.charge_reason.removeprefix(TEST_PREFIX)
    why = str(_OUTCOMES.get(outcome, row.charge_reason))
    if row.environment == "test":
        return Verdict(False, _("No"), "info", _("Test environment: never billed; %s.") % why)
    if row.charge == Charge.BILLED:
        text = _("Uses quota and is invoiced: %s.")
        return Verdict(True, _("Yes"), "ok", text % why)
    if row.charge == Charge.COUNTED:
        text = _("Uses quota, is not invoiced: %s.")
        return Verdict(False, _("Quota only"), "warn", text % why)
    return Verdict(False, _("No"), "", _("Free, its units were given back: %s.") % why)


@dataclass(frozen=True, slots=True)
class Remedy:
    """What a refusal means and what to do; `url_name` is the page that fixes it."""

    meaning: Text
    advice: Text
    url_name: str = ""


_REMEDIES: Final[dict[str, Remedy]] = {
    "credential_invalid": Remedy(
        gettext_lazy("The key is revoked, expired or not yet valid."),
        gettext_lazy("Use a key that is active, or make a new one."),
        "key_list",
    ),
    "ip_forbidden": Remedy(
        gettext_lazy("The call came from an address that the key does not allow."),
        gettext_lazy("Call from an allowed address, or make a key without that list."),
        "key_list",
    ),
    "insufficient_scope": Remedy(
        gettext_lazy("The key lacks a scope that this route requires."),
        gettext_lazy("Make a key that holds it; the answer's detail names what is missing."),
        "key_list",
    ),
    "not_in_plan": Remedy(
        gettext_lazy("Your plan does not include this route."),
        gettext_lazy("Change to a plan that does."),
        "pricing",
    ),
    "subscription_inactive": Remedy(
        gettext_lazy("There is no active subscription for this API."),
        gettext_lazy("Choose a plan; live keys work from then on."),
        "pricing",
    ),
    "subscription_past_due": Remedy(
        gettext_lazy("An invoice is overdue and its grace has ended."),
        gettext_lazy("Pay the open invoice."),
        "billing_home",
    ),
    "route_not_found": Remedy(
        gettext_lazy("No route matches this host, path and method."),
        gettext_lazy("Check the path against the reference."),
    ),
    "method_not_allowed": Remedy(
        gettext_lazy("The path exists, but not with this method."),
        gettext_lazy("The answer's Allow header lists the methods."),
    ),
    "rate_limited": Remedy(
        gettext_lazy("Too many calls in a short time."),
        gettext_lazy("Wait as long as Retry-After says."),
    ),
    "quota_exceeded": Remedy(
        gettext_lazy("The plan's quota for this period is used up."),
        gettext_lazy("Change to a larger plan, or wait for the next period."),
        "pricing",
    ),
    "spend_cap_reached": Remedy(
        gettext_lazy("Your own spend cap is reached."),
        gettext_lazy("Raise the cap to go on."),
        "org_alerts",
    ),
    "concurrency_limited": Remedy(
        gettext_lazy("Too many calls at the same time."),
        gettext_lazy("Wait for running calls to end."),
    ),
}


def remedy_of(row: RequestRow) -> Remedy:
    """Explain a refusal or an error: by the gateway's code, else by the API's status."""
    found = _REMEDIES.get(row.decision)
    if found is not None:
        return found
    if row.decision not in ("", "allow"):
        return Remedy(row.decision, gettext_lazy("See the answer's body for details."))
    if row.status >= 500:
        return Remedy(
            gettext_lazy("The API itself failed."), gettext_lazy("Try again in a moment.")
        )
    return Remedy(
        gettext_lazy("The API refused the request."),
        gettext_lazy("The answer's body says what it expects."),
    )
