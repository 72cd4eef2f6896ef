"""Every URL of the product, and how a browser reaches it: a new one fails until it stands here.

`PAGES` are opened by the sweep in every theme and size; `EXEMPT` names what is no page, with the
reason. Parameters come from the scene's `objects`; `with_` says where a visit needs its own.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from django.urls import URLPattern, URLResolver, get_resolver, reverse


@dataclass(frozen=True)
class Visit:
    """One way to see a page; `who` is a person of the scene, empty = nobody signed in."""

    who: str = ""
    query: str = ""
    with_: Mapping[str, str] = field(default_factory=dict)  # parameter -> key in `objects`
    leads_on: bool = False  # the link of a mail is taken off the address bar


@dataclass(frozen=True)
class Known:
    """A URL of the map: its name and its parameters, in order."""

    name: str
    parameters: tuple[str, ...]

    def path(self, visit: Visit, objects: Mapping[str, str]) -> str:
        kwargs = {p: objects[visit.with_.get(p, p)] for p in self.parameters}
        return reverse(self.name, kwargs=kwargs) + visit.query


def known_urls() -> dict[str, Known]:
    """Walk the URL map; left out are Django's own admin (stock, break-glass) and the REST API.

    The API answers machines: tests/integration/portal/api walks its operations.
    """
    return {known.name: known for known in _walk(get_resolver(), ())}


API: Final = ("api/v1/", "^api/")


def _walk(resolver: URLResolver, above: tuple[str, ...]) -> Iterator[Known]:
    for entry in resolver.url_patterns:
        if str(entry.pattern) in API:
            continue
        own = (*above, *entry.pattern.regex.groupindex)
        if isinstance(entry, URLPattern):
            yield Known(str(entry.name or entry.pattern), own)
        elif entry.namespace != "admin":
            yield from _walk(entry, own)


OWNER: Final = (Visit("owner"),)
ADMIN: Final = (Visit("admin"),)
FINANCE: Final = (Visit("finance"),)
NOBODY: Final = (Visit(),)

_SITE: Final[dict[str, tuple[Visit, ...]]] = {
    "landing": (Visit(), Visit("owner")),
    "pricing": NOBODY,
    "docs_errors": NOBODY,
    "api_docs": NOBODY,
    "styleguide": NOBODY,
    "start": OWNER,
    "invitation": OWNER,
}
_ACCOUNTS: Final[dict[str, tuple[Visit, ...]]] = {
    "account_login": NOBODY,
    "account_signup": NOBODY,
    "account_logout": OWNER,
    "account_inactive": NOBODY,
    "account_reauthenticate": OWNER,
    "account_email": OWNER,
    "account_email_verification_sent": NOBODY,
    "account_change_password": OWNER,
    "account_reset_password": NOBODY,
    "account_reset_password_done": NOBODY,
    "account_reset_password_from_key": (Visit(with_={"key": "reset_key"}, leads_on=True),),
    "account_reset_password_from_key_done": NOBODY,
    "account_confirm_email": NOBODY,
    "mfa_index": OWNER,
}
_DEVELOPER: Final[dict[str, tuple[Visit, ...]]] = {
    "org_home": OWNER,
    "key_list": (Visit("owner"), Visit("owner", "?ended=1")),
    "key_new": OWNER,
    "key_detail": (
        Visit("owner"),
        Visit("owner", with_={"key_id": "old_key"}),
        Visit("owner", with_={"key_id": "test_key"}),
    ),
    "key_rotate": OWNER,
    "key_revoke": OWNER,
    "consumer_list": OWNER,
    "consumer_new": OWNER,
    "consumer_edit": OWNER,
    "consumer_deactivate": OWNER,
    "consumer_activate": (Visit("owner", with_={"consumer_id": "stopped_consumer"}),),
    "usage": (
        Visit("owner"),
        Visit("owner", "?by=key&range=30d"),
        Visit("owner", "?by=route&range=24h"),
        Visit("owner", "?env=test&from=2020-01-01&to=2020-01-02"),
    ),
    "request_list": (Visit("owner"), Visit("owner", "?status=418")),
    "request_detail": OWNER,
    "team": OWNER,
    "member_change": OWNER,
    "member_end": OWNER,
    "org_settings": OWNER,
    "org_plan": OWNER,
    "org_plan_change": OWNER,
    "org_plan_cancel": OWNER,
    "billing_home": OWNER,
    "billing_invoice": OWNER,
    "billing_invoice_line": OWNER,
}
_ADMIN: Final[dict[str, tuple[Visit, ...]]] = {
    "admin_home": ADMIN,
    "admin_apis": ADMIN,
    "admin_api": ADMIN,
    "admin_api_new": ADMIN,
    "admin_api_edit": ADMIN,
    "admin_api_delete": ADMIN,
    "admin_openapi": ADMIN,
    "admin_route_new": ADMIN,
    "admin_route": ADMIN,
    "admin_route_delete": ADMIN,
    "admin_upstreams": ADMIN,
    "admin_upstream_new": ADMIN,
    "admin_upstream": ADMIN,
    "admin_upstream_delete": ADMIN,
    "admin_meters": ADMIN,
    "admin_meter_new": ADMIN,
    "admin_meter": ADMIN,
    "admin_plans": ADMIN,
    "admin_plan_new": ADMIN,
    "admin_plan": ADMIN,
    "admin_plan_edit": ADMIN,
    "admin_version": (Visit("admin"), Visit("admin", with_={"version_id": "published_id"})),
    "admin_version_publish": ADMIN,
    "admin_version_delete": ADMIN,
    "admin_customers": (Visit("admin"), Visit("admin", "?q=nobody")),
    "admin_customer": ADMIN,
    "admin_subscribe": ADMIN,
    "admin_subscriptions": ADMIN,
    "admin_subscription_change": ADMIN,
    "admin_subscription_cancel": ADMIN,
    "admin_subscription_pause": ADMIN,
    "admin_subscription_undo": ADMIN,
    "admin_system": ADMIN,
    "admin_node_retire": ADMIN,
    "admin_node_write_off": ADMIN,
    "admin_config": ADMIN,
    "admin_audit": ADMIN,
    "admin_clock": ADMIN,
}
_FINANCE: Final[dict[str, tuple[Visit, ...]]] = {
    "finance_board": FINANCE,
    "finance_review": FINANCE,
    "finance_invoices": (
        Visit("finance"),
        Visit("finance", "?state=open"),
        Visit("finance", "?q=zz"),
    ),
    "finance_invoice": (
        Visit("finance"),
        Visit("finance", with_={"reference": "paid"}),
        Visit("finance", with_={"reference": "held"}),
    ),
    "finance_reconcile": (
        Visit("finance", with_={"reference": "paid"}),
        Visit("finance", with_={"reference": "found"}),
    ),
    "finance_payments": FINANCE,
    "finance_credits": (Visit("finance"), Visit("finance", "?state=void")),
    "finance_credit": (Visit("finance"), Visit("finance", with_={"note_id": "issued_note"})),
    "finance_credit_new": (Visit("finance", with_={"reference": "paid"}),),
    "finance_disputes": FINANCE,
    "finance_findings": FINANCE,
}
PAGES: Final = {**_SITE, **_ACCOUNTS, **_DEVELOPER, **_ADMIN, **_FINANCE}

_POST: Final = "only takes a POST and answers with a redirect"
_FILE: Final = "answers with a file"
_MACHINE: Final = "answers to a machine"
_PLAN: Final = "a step that needs those before it: test_plan.py walks and sweeps it"
_PART: Final = "a fragment of a page that is listed"
EXEMPT: Final[dict[str, str]] = {
    "theme_set": _POST,
    "livez": _MACHINE,
    "readyz": _MACHINE,
    "start_status": _PART,
    "invitation_take": _POST,
    "invitation_withdraw": _POST,
    "usage_csv": _FILE,
    "admin_upstream_check": _POST,
    "admin_archive": _POST,
    "admin_version_new": _POST,
    "plan_preview": _PART,
    "billing_card": "answers a POST with a link to the card page; a journey opens it",
    "billing_invoice_pdf": _FILE,
    "billing_credit_pdf": _FILE,
    "plan_choose": "redirects to the review of the chosen plan",
    "org_plan_confirm": _PLAN,
    "org_plan_undo": _POST,
    "org_subscribe": _PLAN,
    "org_checkout": _PLAN,
    "finance_credit_decide": _POST,
    "finance_credit_pdf": _FILE,
    "finance_review_approve": _POST,
    "finance_decide": _POST,
    "finance_invoice_pdf": _FILE,
    "finance_finding": _POST,
    "finance_export": _FILE,
    "stripe_webhook": _MACHINE,
    "break_glass": "redirects to the one login page",
    "account_set_password": "redirects: no account is without a password",
    "account_confirm_login_code": "sign-in by code is off: it redirects",
    "mfa_authenticate": "a second step in the middle of a sign-in; without one it redirects",
    "mfa_reauthenticate": "only for people with a second factor; the password's twin is listed",
    "mfa_activate_totp": "leads to the second-factor page until the address is confirmed",
    "mfa_deactivate_totp": "only with a second factor set up: 404 before",
    "mfa_view_recovery_codes": "only with a second factor set up: 404 before",
    "mfa_generate_recovery_codes": "only with a second factor set up: 404 before",
    "mfa_download_recovery_codes": _FILE,
}
