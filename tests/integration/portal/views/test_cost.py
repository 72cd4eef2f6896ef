"""A page costs a bounded number of queries, however many keys and members there are."""

import pytest
from django.urls import reverse
from pytest_django import DjangoAssertNumQueries

from portal.models import Role
from tests.factories.portal import api, cast, client_of, consumer, key, member
from tests.fakes.request_log import FakeRequestLog

pytestmark = pytest.mark.django_db
MAX_QUERIES = 12


@pytest.mark.parametrize(
    "name",
    [
        *("key_list", "key_new", "consumer_list", "consumer_new"),
        *("usage", "request_list", "team", "org_settings"),
    ],
)
def test_pages_ask_the_database_at_most_twelve_times(
    name: str, log: FakeRequestLog, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    who = cast()
    api()
    for n in range(25):
        row = key(who.organization, name=f"Key {n}").credential
        member(who.organization, role=Role.DEVELOPER)
        consumer(who.organization, name=f"App {n}")
        log.add(who.organization.pk, at=log.now, credential_id=row.pk)
    client = client_of(who.alice.user)
    url = reverse(name, args=[who.organization.slug])
    with django_assert_max_num_queries(MAX_QUERIES):
        assert client.get(url).status_code == 200


def test_the_first_call_page_too(
    log: FakeRequestLog, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    who = cast()
    api()
    key(who.organization)
    client = client_of(who.alice.user)
    with django_assert_max_num_queries(MAX_QUERIES):
        assert client.get(reverse("start")).status_code == 200
