"""A lived-in installation for the browser: six customers, eleven weeks of traffic, two closes.

Everything that a service does is done by that service, at the instant it would have been done:
subscriptions, closes, drafts, decisions, issuing over HTTP to the double, payments. What no
service does (organizations that are months old) is written directly.
"""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal

from allauth.account.forms import default_token_generator
from allauth.account.models import EmailAddress, EmailConfirmationHMAC
from allauth.account.utils import user_pk_to_url_str

from billing.models import Finding, Invoice
from billing.payments.stripe_adapter import collector
from billing.services.close import period_close, usage_recheck
from billing.services.reconcile import findings_write, four_totals
from billing.services.review import draft_void, invoice_approve, invoice_hold
from gateway.contracts.access_log import Charge
from metering.queries import UsageFilter
from portal.clock import now, wall_now
from portal.models import (
    BillingPeriod,
    Meter,
    Organization,
    PlanVersion,
    Role,
    Route,
    StaffRole,
    Subscription,
    Upstream,
    User,
)
from portal.services.consumers import consumer_deactivate
from portal.services.credentials import credential_revoke, credential_rotate
from portal.services.nodes import expected_boots, node_poll_record
from portal.services.organizations import invitation_create
from portal.services.plans import plan_version_draft
from portal.services.subscriptions import subscription_create
from portal.snapshots import snapshot_publish
from portal.usage import reader
from tests.e2e.aftermath import dispute_opened, note_issued, note_waiting
from tests.e2e.installation import Outside, work
from tests.e2e.offer import CUSTOMERS, catalog_make
from tests.e2e.traffic import Callers, traffic_write
from tests.factories.access_log import StreamWriter
from tests.factories.portal import consumer, key, member, user


@dataclass
class Scene:
    """What a test opens: `objects` has a value for every parameter of the URL map."""

    organization: Organization
    owner: User
    admin: User
    finance: User
    outside: Outside
    objects: dict[str, str] = field(default_factory=dict)

    def person(self, who: str) -> User | None:
        return {"owner": self.owner, "admin": self.admin, "finance": self.finance}.get(who)


def start_of(at: datetime) -> datetime:
    """Return where the scene's periods begin: the third of them is 12 days old at `at`."""
    day = (at - timedelta(days=12)).replace(hour=0, minute=0, second=0, microsecond=0)
    month = (day.month - 3) % 12 + 1
    return day.replace(year=day.year - (day.month <= 2), month=month, day=min(day.day, 28))


@dataclass
class Builder:
    """Builds the scene step by step, in the order in which it would have happened."""

    outside: Outside
    at: datetime
    admin: User
    finance: User
    start: datetime
    subscriptions: dict[str, Subscription] = field(default_factory=dict)
    keys: dict[str, list[str]] = field(default_factory=dict)
    owners: dict[str, User] = field(default_factory=dict)
    objects: dict[str, str] = field(default_factory=dict)

    def customers_make(self) -> None:
        for who in CUSTOMERS:
            org = Organization.objects.create(
                name=who.name,
                slug=who.slug,
                billing_email=f"accounts@{who.slug}.example",
                created_at=self.start - timedelta(days=3),
            )
            self.owners[who.slug] = member(
                org, role=Role.OWNER, email=f"ada@{who.slug}.example"
            ).user
            live = key(org, environment="live", name="Production server", now=self.start)
            self.keys[who.slug] = [live.credential.pk]
            if who.card:
                self.outside.card_leave(org, number=who.card)

    def subscribe(self, since: int, at: datetime) -> None:
        for who in CUSTOMERS:
            if who.since == since:
                self.subscriptions[who.slug] = subscription_create(
                    organization=Organization.objects.get(slug=who.slug),
                    version=PlanVersion.objects.get(plan__slug=who.plan),
                    actor=self.owners[who.slug],
                    now=at,
                )

    def period(self, slug: str, number: int) -> BillingPeriod:
        return self.subscriptions[slug].periods.get(number=number)

    def close_all(self, at: datetime) -> None:
        rows = BillingPeriod.objects.filter(ends_at__lte=at, closed_at__isnull=True)
        for period in rows.order_by("starts_at", "subscription__organization__slug"):
            outcome = period_close(
                subscription_id=period.subscription_id,
                period_id=period.pk,
                reader=reader(),
                expected=expected_boots(),
                grace_s=0,
                now=at,
            )
            assert outcome.closed, outcome.blockers

    def decide_all(self, at: datetime) -> None:
        """Approve every draft, issue and collect."""
        for draft in Invoice.objects.filter(state="draft").order_by("organization__slug", "n"):
            invoice_approve(
                invoice_id=draft.pk, content_hash=draft.content_hash, actor=self.finance, now=at
            )
        work(at, advance=False)

    def northwind_people(self) -> None:
        """Give the organization of the scene a team, an invitation and keys in every state."""
        org = Organization.objects.get(slug="northwind")
        owner = org.memberships.get()
        grace = member(org, role=Role.DEVELOPER, email="grace@northwind.example")
        member(org, role=Role.BILLING, email="accounts@northwind.example")
        offer, token = invitation_create(
            actor=owner, email="linus@northwind.example", role=Role.DEVELOPER, now=self.at
        )
        live = key(
            org,
            environment="live",
            name="Nightly export",
            now=self.start,
            scopes=("tools:format",),
        ).credential
        self.keys["northwind"].append(live.pk)
        key(
            org,
            environment="live",
            name="Contractor",
            now=self.start,
            expires_at=self.at + timedelta(days=3),
        )
        test = key(org, name="Test key", now=self.start).credential
        gone = key(org, environment="live", name="Old laptop", now=self.start).credential
        credential_revoke(credential=gone, actor=owner.user, now=self.at)
        credential_rotate(
            credential=live, overlap=timedelta(days=1), actor=None, now=self.at, wall=self.at
        )
        main, stopped = org.consumers.get(), consumer(org, name="Old dashboard")
        consumer(org, name="Mobile app")
        consumer_deactivate(consumer=stopped, actor=owner.user, now=self.at, keep_last_at=self.at)
        self.objects |= {
            "org": org.slug,
            "organization_id": org.pk,
            "key_id": self.keys["northwind"][0],
            "old_key": live.pk,
            "consumer_id": main.pk,
            "stopped_consumer": stopped.pk,
            "test_key": test.pk,
            "person_id": grace.user_id,
            "invitation_id": offer.pk,
            "token": token,
        }

    def traffic(self) -> None:
        """Lay the calls down and let their gateway poll, as one that has run all along."""
        boot = f"{self.at:%Y%m%d%H%M%S}"  # the engine outlives a test; streams must not meet
        callers = Callers(self.subscriptions, self.keys)
        stream = traffic_write(
            callers, boot=boot, start=self.start, until=self.at - timedelta(seconds=4)
        )
        stream.event(
            environment="test",
            organization_id=self.objects["organization_id"],
            credential_id=self.objects["test_key"],
            subscription_id="",
            api="world-data",
            route="countries",
            path_template="/v1/countries/{code}",
            charge=Charge.FREE,
            charge_reason="test:2xx",
        )
        stream.seal()
        self.outside.traffic_store(stream)
        version = snapshot_publish(now=self.at)
        node_poll_record(
            node_id="gateway-1",
            boot=boot,
            worker=0,
            acknowledged_version=version,
            refused_version=None,
            refused_reason="",
            now=self.start,
            wall=wall_now(),
        )

    def late_usage(self, at: datetime) -> None:
        """Let a dead gateway's last calls arrive after the close: a finding and a late draft."""
        period = self.period("blue-heron", 0)
        stream = StreamWriter(
            stream=f"gateway-2.{self.at:%Y%m%d%H%M%S}.0",
            at=period.ends_at - timedelta(minutes=9),
        )
        subscription = self.subscriptions["blue-heron"]
        for _ in range(140):
            stream.event(
                organization_id=subscription.organization_id,
                subscription_id=subscription.pk,
                credential_id=self.keys["blue-heron"][0],
                api="world-data",
                route="countries",
                quantities={"requests": Decimal(1)},
            )
        stream.seal(final=True, open_streams=())
        self.outside.traffic_store(stream)
        closed = Invoice.objects.filter(period=period).order_by("-n")[0]
        totals = four_totals(invoice=closed, reader=reader(), collector=collector())
        findings_write(totals=totals, now=at)
        usage_recheck(period_id=period.pk, reader=reader(), expected=expected_boots(), now=at)
        self.objects["finding_id"] = Finding.objects.get().pk

    def decisions(self, at: datetime) -> None:
        """Hold one draft and void another, as finance would."""
        drafts = Invoice.objects.filter(state="draft")
        held = drafts.get(period=self.period("harbour", 2))
        invoice_hold(
            invoice_id=held.pk,
            reason="No call at all last month: ask whether they left.",
            actor=self.finance,
            now=at,
        )
        void = drafts.get(period=self.period("fjord", 2))
        draft_void(
            invoice_id=void.pk, reason="Starts again in spring.", actor=self.finance, now=at
        )

    def aftermath(self, at: datetime) -> None:
        """Credit one paid invoice, draft a gift on it, and let another's charge be disputed."""
        paid = Invoice.objects.filter(state="paid", total_minor__gt=2000)
        credited = paid.get(period=self.period("northwind", 0), kind="period")
        issued = note_issued(invoice=credited, finance=self.finance, at=at)
        assert issued.state == "issued", issued.alarm
        waiting = note_waiting(invoice=credited, finance=self.finance, at=at)
        questioned = paid.exclude(organization__slug="northwind").exclude(stripe_invoice_id="")
        dispute_opened(outside=self.outside, invoice=questioned.earliest("pk"), at=at)
        self.objects |= {"note_id": waiting.pk, "issued_note": issued.pk}


def build_scene(outside: Outside) -> Scene:
    """Build it all; takes some seconds."""
    at = now()
    builder = Builder(
        outside,
        at,
        admin=user(email="maria@provider.example", staff_role=StaffRole.ADMIN),
        finance=user(email="felix@provider.example", staff_role=StaffRole.FINANCE),
        start=start_of(at),
    )
    catalog_make(actor=builder.admin, at=builder.start - timedelta(days=5))
    builder.customers_make()
    builder.northwind_people()
    builder.subscribe(0, builder.start)
    work(builder.start)
    builder.decide_all(builder.start)
    second, third = (builder.period("northwind", number).starts_at for number in (1, 2))
    builder.subscribe(1, second)
    builder.traffic()
    builder.close_all(second)
    builder.decide_all(second)
    work(second)
    builder.decide_all(second)
    builder.close_all(third)
    builder.late_usage(third)
    work(third)
    builder.decisions(third)
    builder.aftermath(third)
    return _scene(builder)


def _scene(builder: Builder) -> Scene:
    plan_version_draft(
        plan=PlanVersion.objects.get(plan__slug="growth").plan, actor=builder.admin, now=builder.at
    )
    org = Organization.objects.get(slug="northwind")
    draft = Invoice.objects.get(period=builder.period("northwind", 1), state="draft")
    paid = Invoice.objects.get(period=builder.period("northwind", 0), kind="period")
    version = PlanVersion.objects.get(plan__slug="growth", published_at__isnull=True)
    newest = reader().requests(_ever(org, builder), limit=1)[0]
    forgetful = org.memberships.get(user__email="grace@northwind.example").user
    builder.objects |= {
        "request_id": newest.request_id,
        "api_id": version.plan.apis.get().pk,
        "route_id": Route.objects.earliest("name").pk,
        "upstream_id": Upstream.objects.get().pk,
        "meter_id": Meter.objects.get().pk,
        "plan_id": version.plan_id,
        "version_id": version.pk,
        "subscription_id": builder.subscriptions["northwind"].pk,
        "node_id": "gateway-1",
        "reference": draft.pk,
        "paid": paid.pk,
        "held": Invoice.objects.get(state="held").pk,
        "found": str(Finding.objects.get().invoice_id),
        **_mailed(builder.owners["northwind"], forgetful=forgetful),
        "published_id": PlanVersion.objects.get(plan__slug="growth", number=1).pk,
        "number": str(paid.number),
        "line_id": paid.lines.exclude(meter="")[0].pk,
    }
    return Scene(
        organization=org,
        owner=builder.owners["northwind"],
        admin=builder.admin,
        finance=builder.finance,
        outside=builder.outside,
        objects=builder.objects,
    )


def _mailed(owner: User, *, forgetful: User) -> dict[str, str]:
    """Make what stands in the links of mails: a password reset, a new address to confirm.

    forgetful   signs in nowhere in the scene: a sign-in ends the link
    """
    address = EmailAddress.objects.create(user=owner, email="ada@new.example")
    return {
        "uidb36": user_pk_to_url_str(forgetful),
        "reset_key": default_token_generator.make_token(forgetful),
        "key": EmailConfirmationHMAC(address).key,
    }


def _ever(org: Organization, builder: Builder) -> UsageFilter:
    return UsageFilter(start=builder.start, end=builder.at, organization_id=org.pk)
