"""What every page's shell needs: theme, navigation, the organizations of the person.

Navigation has one home, here: `APP_NAV`, `ADMIN_NAV` and `PUBLIC_NAV` name URL names; an entry
whose name does not resolve (yet) is left out, and so is one that the person's role may not open.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from django.conf import settings
from django.http import HttpRequest
from django.urls import NoReverseMatch, reverse
from django.utils.functional import SimpleLazyObject
from django.utils.translation import gettext_lazy as _

from gateway.contracts.environment import Mode
from portal.models import Membership, Role, StaffRole, User

THEMES: Final = ("system", "light", "dark")


@dataclass(frozen=True, slots=True)
class NavEntry:
    """One link: `roles` empty = every member; `section` starts a heading when it changes."""

    url_name: str
    label: object
    icon: str
    roles: tuple[str, ...] = ()
    section: object = ""


@dataclass(frozen=True, slots=True)
class NavLink:
    url: str
    label: object
    icon: str
    current: bool


@dataclass(frozen=True, slots=True)
class NavSection:
    heading: object
    links: tuple[NavLink, ...]


_KEY_ROLES: Final = (Role.OWNER, Role.ADMIN, Role.DEVELOPER)
_MONEY_ROLES: Final = (Role.OWNER, Role.ADMIN, Role.BILLING)
_ADMIN: Final = (StaffRole.ADMIN,)
_FINANCE: Final = (StaffRole.ADMIN, StaffRole.FINANCE)

APP_NAV: Final = (
    NavEntry("org_home", _("Home"), "house"),
    NavEntry("key_list", _("Keys"), "key-round", _KEY_ROLES),
    NavEntry("consumer_list", _("Applications"), "boxes", _KEY_ROLES),
    NavEntry("usage", _("Usage"), "chart-column"),
    NavEntry("request_list", _("Requests"), "list", _KEY_ROLES),
    NavEntry("org_plan", _("Plan"), "layers", section=_("Money")),
    NavEntry("billing_home", _("Billing"), "credit-card", _MONEY_ROLES, section=_("Money")),
    NavEntry("org_alerts", _("Alerts"), "bell", section=_("Money")),
    NavEntry("team", _("Team"), "users", section=_("Organization")),
    NavEntry("org_audit", _("Audit log"), "shield", (Role.OWNER, Role.ADMIN), _("Organization")),
    NavEntry("org_settings", _("Settings"), "settings", _MONEY_ROLES, _("Organization")),
)
ADMIN_NAV: Final = (
    NavEntry("admin_home", _("Overview"), "gauge"),
    NavEntry("admin_apis", _("APIs"), "route", _ADMIN, _("Product")),
    NavEntry("admin_meters", _("Meters"), "scale", _ADMIN, _("Product")),
    NavEntry("admin_plans", _("Plans"), "layers", _ADMIN, _("Product")),
    NavEntry("admin_customers", _("Customers"), "building-2", section=_("Customers")),
    NavEntry("admin_subscriptions", _("Subscriptions"), "boxes", section=_("Customers")),
    NavEntry("finance_board", _("Close board"), "list-checks", _FINANCE, _("Finance")),
    NavEntry("finance_review", _("Review queue"), "inbox", _FINANCE, _("Finance")),
    NavEntry("finance_invoices", _("Invoices"), "receipt", _FINANCE, _("Finance")),
    NavEntry("finance_credits", _("Credit notes"), "file-text", _FINANCE, _("Finance")),
    NavEntry("finance_payments", _("Payments"), "credit-card", _FINANCE, _("Finance")),
    NavEntry("finance_disputes", _("Disputes"), "shield", _FINANCE, _("Finance")),
    NavEntry("finance_findings", _("Reconcile"), "scale", _FINANCE, _("Finance")),
    NavEntry("admin_system", _("Gateways"), "server", section=_("System")),
    NavEntry("admin_clock", _("Clock"), "clock", _ADMIN, _("System")),
    NavEntry("admin_config", _("Configuration"), "file-text", _ADMIN, _("System")),
    NavEntry("admin_audit", _("Audit log"), "shield", section=_("System")),
)
PUBLIC_NAV: Final = (
    NavEntry("catalogue", _("APIs"), "route"),
    NavEntry("pricing", _("Pricing"), "scale"),
    NavEntry("docs_home", _("Docs"), "book-open"),
)


def _resolve(url_name: str, args: list[str]) -> str:
    try:
        return reverse(url_name, args=args)
    except NoReverseMatch:
        return ""


def _current_url(path: str, urls: Iterable[str]) -> str:
    """Return the longest URL that is the path or a folder above it."""
    here = path.rstrip("/")
    above = [u for u in urls if here == u.rstrip("/") or here.startswith(u.rstrip("/") + "/")]
    return max(above, key=len, default="")


def build_nav(
    entries: Iterable[NavEntry], *, args: list[str], role: str, path: str
) -> tuple[NavSection, ...]:
    """Build the sections that `role` may see, the current page marked."""
    open_to_role = [e for e in entries if not e.roles or role in e.roles]
    resolved = [(e, url) for e in open_to_role if (url := _resolve(e.url_name, args))]
    current = _current_url(path, [url for _entry, url in resolved])
    sections: dict[object, list[NavLink]] = {}
    for entry, url in resolved:
        link = NavLink(url, entry.label, entry.icon, url == current)
        sections.setdefault(entry.section, []).append(link)
    return tuple(NavSection(heading, tuple(links)) for heading, links in sections.items())


class Shell:
    """The navigation of one request; computed when a layout first asks for it."""

    def __init__(self, request: HttpRequest) -> None:
        user = getattr(request, "user", None)
        self.person: User | None = user if isinstance(user, User) else None
        self.path = request.path
        match = request.resolver_match
        self.slug: str = match.kwargs.get("org", "") if match else ""
        rows = Membership.objects.select_related("organization").order_by("organization__name")
        self.memberships: list[Membership] = (
            list(rows.filter(user=self.person)) if self.person else []
        )

    @property
    def membership(self) -> Membership | None:
        """The membership of the organization in the URL."""
        found = (m for m in self.memberships if m.organization.slug == self.slug)
        return next(found, None)

    @property
    def app_sections(self) -> tuple[NavSection, ...]:
        if self.membership is None:
            return ()
        return build_nav(APP_NAV, args=[self.slug], role=self.membership.role, path=self.path)

    @property
    def admin_sections(self) -> tuple[NavSection, ...]:
        role = self.person.staff_role if self.person else ""
        return build_nav(ADMIN_NAV, args=[], role=role, path=self.path) if role else ()

    @property
    def public_links(self) -> tuple[NavLink, ...]:
        sections = build_nav(PUBLIC_NAV, args=[], role="", path=self.path)
        return tuple(link for section in sections for link in section.links)

    @property
    def switcher(self) -> Iterator[tuple[Membership, str]]:
        """Every organization of the person with the page it opens on."""
        for membership in self.memberships:
            yield membership, organization_url(membership.organization.slug)

    @property
    def console_url(self) -> str:
        """Where a person of the provider works; empty for customers."""
        links = [link for section in self.admin_sections for link in section.links]
        return links[0].url if links else ""


def organization_url(slug: str) -> str:
    """Return an organization's first page: its home, or its keys until there is a home."""
    return _resolve("org_home", [slug]) or reverse("key_list", args=[slug])


def shell(request: HttpRequest) -> dict[str, object]:
    """Give templates the theme from its cookie, the navigation and the installation's nature."""
    theme = request.COOKIES.get("theme", "system")
    return {
        "theme": theme if theme in THEMES else "system",
        "themes": THEMES,
        "shell": SimpleLazyObject(lambda: Shell(request)),
        "sandbox": settings.ENV.sandbox,
        "styleguide_on": settings.ENV.mode is not Mode.PRODUCTION,
    }
