"""Template components that stand in sentences leave no blank before the punctuation."""

from datetime import UTC, datetime

import pytest
from django.contrib.auth.models import AnonymousUser
from django.test import RequestFactory
from django_cotton import render_component

AT = datetime(2026, 3, 14, 9, 26, tzinfo=UTC)


@pytest.mark.parametrize(
    ("name", "values", "text"),
    [
        ("time", {"at": AT}, ">2026-03-14 09:26 UTC</time>"),
        ("time", {"at": None}, "—"),
        ("money", {"minor": 1250, "currency": "USD"}, ">12.50\N{NO-BREAK SPACE}USD</data>"),
    ],
)
def test_a_component_in_a_sentence_ends_with_its_text(
    name: str, values: dict[str, object], text: str
) -> None:
    request = RequestFactory().get("/")
    request.user = AnonymousUser()
    assert render_component(request, name, values).endswith(text)
