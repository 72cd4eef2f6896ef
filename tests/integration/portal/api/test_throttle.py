"""Who counts as one caller where nobody has signed in: the peer, whatever it says it forwards."""

from django.test import RequestFactory
from rest_framework.request import Request
from rest_framework.views import APIView

from portal.api.throttling import PersonThrottle


def test_a_header_of_the_callers_own_gives_no_fresh_limit() -> None:
    keys = set()
    for address in ("", "203.0.113.1", "203.0.113.2, 198.51.100.3"):
        headers = {"x-forwarded-for": address} if address else {}
        request = Request(RequestFactory().get("/api/v1/plans", headers=headers))
        keys.add(PersonThrottle().get_cache_key(request, APIView()))
    assert len(keys) == 1
