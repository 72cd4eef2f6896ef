"""Usage and requests: the page, the CSV of the same, verdicts, and the state without usage."""

import csv
import io
from datetime import timedelta
from urllib.parse import urlencode

import pytest
from django.test import Client
from django.urls import reverse

from gateway.contracts.access_log import Charge
from tests.factories.portal import Cast, cast, client_of, key
from tests.fakes.request_log import FakeRequestLog

pytestmark = pytest.mark.django_db


@pytest.fixture
def who(log: FakeRequestLog) -> Cast:
    """Four requests of alice's organization in two hours, one test call, one foreign call."""
    found = cast()
    org = found.organization.pk
    row = key(found.organization, environment="live", name='=HYPERLINK("http://evil")').credential
    log.add(org, at=log.now - timedelta(minutes=5), credential_id=row.pk, units=3)
    log.add(org, at=log.now - timedelta(minutes=6), credential_id=row.pk, route="=1+1")
    log.add(org, at=log.now - timedelta(minutes=70), status=404, charge=Charge.COUNTED)
    log.add(
        org, at=log.now - timedelta(minutes=71), status=429, charge=Charge.FREE, reason="refused"
    )
    log.add(org, at=log.now - timedelta(minutes=2), environment="test", reason="test:2xx")
    log.add(found.elsewhere.pk, at=log.now - timedelta(minutes=3), route="foreign")
    return found


def get(who: Cast, name: str, **query: str) -> tuple[Client, str]:
    client = client_of(who.alice.user)
    answer = client.get(f"{reverse(name, args=[who.organization.slug])}?{urlencode(query)}")
    assert answer.status_code == 200
    return client, answer.content.decode()


def table(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_the_csv_is_exactly_what_the_page_shows(who: Cast) -> None:
    for by in ("day", "route", "status", "key"):
        query = {"range": "24h", "by": by}
        _client, page = get(who, "usage", **query)
        _client, text = get(who, "usage_csv", **query)
        rows = table(text)
        assert sum(int(row["requests"]) for row in rows) == 4, by
        assert sum(int(row["errors"]) for row in rows) == 2, by
        assert sum(int(row["units_requests"]) for row in rows) == 5, by
        for row in rows:
            shown = row[by].removeprefix("'").replace('"', "&quot;")
            assert shown in page, by


def test_units_are_those_of_the_quota_and_the_invoice(who: Cast, log: FakeRequestLog) -> None:
    """A failure of the API carries its units, but they were given back."""
    log.add(
        who.organization.pk,
        at=log.now - timedelta(minutes=7),
        status=502,
        charge=Charge.FREE,
        reason="5xx",
        route="faults",
        units=7,
    )
    _client, text = get(who, "usage_csv", range="24h", by="route")
    found = {row["route"]: row for row in table(text)}
    assert (found["faults"]["requests"], found["faults"]["units_requests"]) == ("1", "0")
    assert sum(int(row["units_requests"]) for row in table(text)) == 5
    _client, test = get(who, "usage_csv", range="24h", by="route", env="test")
    assert [row["units_requests"] for row in table(test)] == ["1"]


def test_cells_that_look_like_formulas_are_defused(who: Cast) -> None:
    _client, by_route = get(who, "usage_csv", range="24h", by="route")
    _client, by_key = get(who, "usage_csv", range="24h", by="key")
    assert "'=1+1" in [row["route"] for row in table(by_route)]
    names = [row["key"] for row in table(by_key)]
    assert any(name.startswith("'=HYPERLINK") for name in names)
    assert not any(cell.startswith(("=", "+", "@")) for cell in names)


def test_environments_and_organizations_are_kept_apart(who: Cast) -> None:
    _client, live = get(who, "usage_csv", range="24h", by="route")
    assert "foreign" not in live
    _client, test = get(who, "usage_csv", range="24h", by="route", env="test")
    assert [row["requests"] for row in table(test)] == ["1"]


def test_dates_are_included_at_both_ends(who: Cast, log: FakeRequestLog) -> None:
    today = f"{log.now:%Y-%m-%d}"
    yesterday = f"{log.now - timedelta(days=1):%Y-%m-%d}"
    log.add(who.organization.pk, at=log.now - timedelta(days=3), route="early")
    _client, text = get(who, "usage_csv", **{"from": yesterday, "to": today, "by": "route"})
    rows = table(text)
    assert sum(int(row["requests"]) for row in rows) == 4
    assert "early" not in [row["route"] for row in rows]


def test_nonsense_in_the_query_shows_the_default(who: Cast) -> None:
    _client, page = get(who, "usage", env="prod", by="colour", range="1y", **{"from": "x"})
    assert "Requests by day" in page


@pytest.mark.parametrize("name", ["usage", "request_list"])
def test_pages_say_when_usage_cannot_be_read(name: str, who: Cast, log: FakeRequestLog) -> None:
    log.down = True
    _client, page = get(who, name)
    assert "cannot be read at the moment" in page


def test_the_csv_answers_503_when_usage_cannot_be_read(who: Cast, log: FakeRequestLog) -> None:
    log.down = True
    url = reverse("usage_csv", args=[who.organization.slug])
    assert client_of(who.alice.user).get(url).status_code == 503


def test_requests_are_filtered_and_paged(who: Cast, log: FakeRequestLog) -> None:
    for n in range(60):
        log.add(who.organization.pk, at=log.now - timedelta(hours=5, seconds=n))
    client, page = get(who, "request_list")
    older = page.split('href="?')[-1].split('"')[0].replace("&amp;", "&")
    assert "before=" in older
    base = reverse("request_list", args=[who.organization.slug])
    second = client.get(f"{base}?{older}").content.decode()
    ids = {line.row.request_id for line in log.recorded if line.row.environment == "live"}
    own = {i for i in ids if i in page or i in second}
    assert len(own) == 64
    _client, refused = get(who, "request_list", status="429")
    assert refused.count('class="mono nowrap"') == 1


@pytest.mark.parametrize(
    ("position", "label", "words"),
    [
        (0, "Yes", "Uses quota and is invoiced"),
        (2, "Quota only", "Uses quota, is not invoiced"),
        (3, "No", "Free, its units were given back: the gateway refused it."),
        (4, "No", "Test environment: never billed"),
    ],
)
def test_a_request_says_whether_it_is_billable_and_why(
    position: int, label: str, words: str, who: Cast, log: FakeRequestLog
) -> None:
    row = log.recorded[position].row
    url = reverse("request_detail", args=[who.organization.slug, row.request_id])
    page = client_of(who.alice.user).get(url).content.decode()
    assert f"Billable: {label}" in page
    assert words in page
