"""A customer's money over the API: onto a plan, to another one, the running bill, invoices."""

from datetime import timedelta

import pytest

from billing.models import Invoice, PlanCheckout
from billing.payments.sandbox import cards, checkout
from billing.services.issue import invoice_issue
from billing.services.review import invoice_approve
from portal.clock import now, wall_now
from portal.models import Api, PlanVersion, Role, Segment, Subscription
from portal.services.subscriptions import subscription_create
from portal.usage import override
from tests.factories.billing import JAN, customer, finance_user, plan_version, pro_terms
from tests.factories.portal import Cast, api, cast, member
from tests.fakes.request_log import FakeRequestLog
from tests.fakes.usage import FakeUsageReader
from tests.integration.billing.test_pages import draft_of
from tests.integration.portal.api.described import Caller
from tests.integration.stripe_double.conftest import Bench

pytestmark = pytest.mark.django_db


def offer(slug: str, base: str, rank: int) -> PlanVersion:
    if not Api.objects.exists():
        api()
    version = plan_version(slug=slug, terms=pro_terms(base=base), rank=rank)
    version.plan.apis.set(Api.objects.all())
    return version


def org_of(who: Cast) -> str:
    return f"organizations/{who.organization.slug}"


def test_a_free_plan_begins_at_once(bench: Bench) -> None:
    free = plan_version(slug="free", terms={"prices": []})
    who = cast()
    alice = Caller(who.alice.user)
    terms = {"plan_version": alice.get("plans/free")["plan_version"]}
    done = alice.post(f"{org_of(who)}/checkouts", terms)
    assert (done["state"], done["card_page_url"]) == ("done", None)
    (row,) = alice.get(f"{org_of(who)}/subscriptions")["results"]
    assert (row["id"], row["plan"]) == (done["subscription"], "free")
    assert bench.counts().get("customer", 0) == 0
    assert alice.refused("POST", f"{org_of(who)}/checkouts", {"plan_version": "pv_x"})[0] == 422
    newer = plan_version(slug="free", terms={"prices": []})
    old = alice.send("POST", f"{org_of(who)}/checkouts", {"plan_version": free.pk}).json()
    assert old["errors"][0]["code"] == "not_offered"
    assert newer.number == free.number + 1


def test_a_paid_plan_begins_with_the_card(bench: Bench) -> None:
    version, who = offer("starter", "49.00", 1), cast()
    alice, url = Caller(who.alice.user), f"{org_of(who)}/checkouts"
    sent = [
        alice.send("POST", url, {"plan_version": version.pk}, idempotency_key="k")
        for _ in range(2)
    ]
    opened = sent[0].json()
    assert (sent[1].content, PlanCheckout.objects.count()) == (sent[0].content, 1)
    assert (opened["state"], opened["subscription"]) == ("open", None)
    assert opened["card_page_url"].startswith("http")
    one = f"{url}/{opened['id']}"
    assert alice.post(f"{one}/settle")["state"] == "open"
    assert Subscription.objects.count() == 0
    session = PlanCheckout.objects.get().session_id
    card = cards.card_of("4242424242424242")
    assert card is not None
    with bench.double.store.transaction():
        checkout.complete(bench.double.world(), session, card=card, exp_month=12, exp_year=2034)
    settled = alice.post(f"{one}/settle")
    assert (settled["state"], settled["card_page_url"]) == ("done", None)
    assert Subscription.objects.get().pk == settled["subscription"]
    assert alice.post(f"{one}/settle") == settled == alice.get(one)
    again = alice.refused("POST", url, {"plan_version": version.pk})
    assert again == (409, "subscription_overlap")
    assert alice.get(url)["count"] == 1


def test_a_paid_plan_needs_a_verified_address(bench: Bench) -> None:
    version, who = offer("starter", "49.00", 1), cast()
    eve = member(who.organization, role=Role.BILLING, verified=False)
    sent = {"plan_version": version.pk}
    refused = Caller(eve.user).refused("POST", f"{org_of(who)}/checkouts", sent)
    assert refused == (403, "mail_unverified")
    assert PlanCheckout.objects.count() == 0


def test_a_change_is_previewed_confirmed_and_undone(bench: Bench) -> None:
    offer("starter", "49.00", 1)
    offer("scale", "199.00", 2)
    who = cast()
    alice, org = Caller(who.alice.user), org_of(who)
    one = f"{org}/subscriptions/{_subscribed(who)}"
    with override(FakeUsageReader()):
        shown = alice.get(f"{one}/change", plan="scale", timing="period_end")
        assert (shown["timing"], shown["due_minor"], shown["lines"]) == ("period_end", 0, [])
        at_once = alice.get(f"{one}/change", plan="scale")
        assert at_once["timing"] == "now"
        assert [x["net_minor"] < 0 for x in at_once["lines"]] == [True, False]
        assert at_once["due_minor"] == sum(x["net_minor"] for x in at_once["lines"]) > 0
        agreed = {
            "plan": "scale",
            "timing": shown["timing"],
            "at": shown["effective_at"],
            "digest": shown["digest"],
        }
        stale = agreed | {"digest": "0" * 64}
        assert alice.refused("POST", f"{one}/change", stale) == (409, "stale_preview")
        assert Segment.objects.count() == 1
        changed = alice.post(f"{one}/change", agreed)
        assert [s["plan"] for s in changed["segments"]] == ["starter", "scale"]
        assert alice.post(f"{one}/change", agreed) == changed
        assert [s["plan"] for s in alice.delete(f"{one}/change")["segments"]] == ["starter"]
        unknown = alice.send("GET", f"{one}/change", plan="gone")
        assert unknown.json()["errors"][0]["pointer"] == "/plan"
    cancelled = alice.post(f"{one}/cancellation", {"reason": "too dear"})
    assert cancelled["ends_at"]
    assert alice.delete(f"{one}/cancellation")["ends_at"] is None
    assert alice.refused("DELETE", f"{one}/cancellation") == (409, "subscription_state")


def _subscribed(who: Cast) -> str:
    version = PlanVersion.objects.get(plan__slug="starter")
    made = subscription_create(
        organization=who.organization,
        version=version,
        actor=who.alice.user,
        now=now() - timedelta(days=10),
    )
    return str(made.pk)


def test_the_estimate_is_the_running_bill(bench: Bench) -> None:
    offer("starter", "49.00", 1)
    who = cast()
    held, url = _subscribed(who), f"{org_of(who)}/estimate"
    reader = FakeUsageReader()
    reader.add(held, now() - timedelta(days=1), 61_250)
    bob = Caller(who.bob.user)
    with override(reader):
        (item,) = bob.get(url)["items"]
    assert (item["subscription"], item["usage_known"]) == (held, True)
    assert item["so_far_minor"] == 4900 + 1440
    (quota,) = item["quotas"]
    assert (quota["used"], quota["quota"], quota["limit"]) == (61_250, 50_000, 50_000)
    assert (quota["remaining"], quota["percent"]) == (0, 122)
    assert quota["resets_at"] == item["period_end"]
    log = FakeRequestLog(now=now(), down=True)
    with override(log):
        (item,) = bob.get(url)["items"]
    assert (item["usage_known"], item["so_far_minor"], item["quotas"]) == (False, None, [])
    priced = bob.get("plans/starter/estimate", quantity=61_250)
    assert (priced["total_minor"], priced["total"]) == (6340, "63.40")


def test_an_issued_invoice_with_lines_and_pdf(bench: Bench) -> None:
    who = customer(tax="20")
    draft = draft_of(who)
    owner, org = Caller(who.owner), f"organizations/{who.organization.slug}"
    assert owner.get(f"{org}/invoices")["count"] == 0
    invoice_approve(
        invoice_id=draft.pk, content_hash=draft.content_hash, actor=finance_user(), now=JAN
    )
    invoice_issue(invoice_id=draft.pk, collector=bench.collector, now=JAN, wall=wall_now())
    (row,) = owner.get(f"{org}/invoices")["results"]
    number = Invoice.objects.get().number
    assert (row["number"], row["total"], row["tax_minor"]) == (number, "58.80", 980)
    assert owner.get(f"{org}/invoices/{number}") == row
    (line,) = owner.get(f"{org}/invoices/{number}/lines")["results"]
    assert (line["line_key"], line["net_minor"]) == ("base", 4900)
    assert owner.get(f"{org}/invoices/{number}/pdf").content.startswith(b"%PDF")


def test_the_request_log_goes_back_in_time() -> None:
    who = cast()
    log = FakeRequestLog(now=now())
    rows = [
        log.add(who.organization.pk, at=log.now - timedelta(minutes=n + 1)) for n in range(203)
    ]
    log.add(who.organization.pk, at=log.now - timedelta(minutes=1), status=404)
    bob, url = Caller(who.bob.user), f"{org_of(who)}/requests"
    with override(log):
        first = bob.get(url, status=200)
        assert len(first["items"]) == 200
        rest = bob.get(url, status=200, before=first["before"])
        assert (len(rest["items"]), rest["before"]) == (3, None)
        assert len(bob.get(url, status=404)["items"]) == 1
        one = bob.get(f"{url}/{rows[0].request_id}")
        assert (one["charge"], one["quantities"]) == ("billed", {"requests": "1"})
        assert bob.send("GET", url, before="yesterday").status_code == 422
        usage = bob.get(f"{org_of(who)}/usage", range="24h", by="status")
        assert {r["name"]: r["requests"] for r in usage["rows"]} == {"200": 203, "404": 1}
