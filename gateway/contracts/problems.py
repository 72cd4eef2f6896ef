"""Every code that the gateway answers with: status, title and type (`gateway.md` §11).

A contract, because the portal's page of all codes (`/docs/errors`) is made from this table.
"""

from dataclasses import dataclass
from typing import Final

_IANA: Final = "https://iana.org/assignments/http-problem-types#"


@dataclass(frozen=True, slots=True)
class Problem:
    """One code. `type_url` is empty where the docs page of the code is the type."""

    code: str
    status: int
    title: str
    type_url: str = ""


def _table(*rows: tuple[int, str, str]) -> dict[str, Problem]:
    return {code: Problem(code, status, title) for status, code, title in rows}


PROBLEMS: Final[dict[str, Problem]] = _table(
    (400, "request_malformed", "The request is malformed."),
    (400, "target_refused", "The request target is refused."),
    (400, "validation_failed", "The request does not match its schema."),
    (401, "credential_missing", "A credential is needed."),
    (401, "credential_invalid", "The credential is not valid."),
    (401, "credential_ambiguous", "More than one credential was sent."),
    (401, "authorization_failed", "No authentication method succeeded."),
    (402, "subscription_past_due", "The subscription is past due."),
    (403, "ip_forbidden", "This address may not use the credential."),
    (403, "consumer_forbidden", "This consumer may not call here."),
    (403, "insufficient_scope", "The credential lacks a scope."),
    (403, "not_in_plan", "The plan does not include this route."),
    (403, "policy_denied", "A policy denied the request."),
    (403, "subscription_inactive", "The subscription is not active."),
    (404, "route_not_found", "No route matches."),
    (405, "method_not_allowed", "The method is not allowed here."),
    (408, "request_timeout", "The request took too long to arrive."),
    (413, "body_too_large", "The body is too large."),
    (414, "target_too_long", "The request target is too long."),
    (431, "headers_too_large", "The header fields are too large."),
    (500, "policy_error", "A policy failed."),
    (500, "limiter_unavailable", "The rate limiter is unavailable."),
    (502, "upstream_unreachable", "The upstream cannot be reached."),
    (502, "upstream_protocol_error", "The upstream broke the protocol."),
    (502, "upstream_too_large", "The upstream's answer is too large."),
    (504, "upstream_timeout", "The upstream took too long."),
) | {
    "rate_limited": Problem(
        "rate_limited", 429, "Too many requests.", _IANA + "quota-exceeded"
    ),
    "quota_exceeded": Problem(
        "quota_exceeded", 429, "The plan's quota is used up.", _IANA + "quota-exceeded"
    ),
    "concurrency_limited": Problem(
        "concurrency_limited", 429, "Too many requests at once.", _IANA + "quota-exceeded"
    ),
    "spend_cap_reached": Problem(
        "spend_cap_reached", 429, "The spend cap is reached.", _IANA + "quota-exceeded"
    ),
    "auth_throttled": Problem(
        "auth_throttled", 429, "Too many failed attempts.", _IANA + "abnormal-usage-detected"
    ),
    "no_healthy_upstream": Problem(
        "no_healthy_upstream", 503, "No upstream is available.",
        _IANA + "temporary-reduced-capacity",
    ),
    "circuit_open": Problem(
        "circuit_open", 503, "The upstream is given a rest.", _IANA + "temporary-reduced-capacity"
    ),
    "metering_unavailable": Problem(
        "metering_unavailable", 503, "Usage cannot be recorded now.",
        _IANA + "temporary-reduced-capacity",
    ),
    "quota_unavailable": Problem(
        "quota_unavailable", 503, "The quota cannot be read now.",
        _IANA + "temporary-reduced-capacity",
    ),
}  # fmt: skip
"""Every code that the gateway answers with."""
