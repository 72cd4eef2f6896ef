"""A forgotten password: the mailed link opens the form, and the new password signs in."""

import re

import pytest
from django.core import mail
from django.test import Client
from django.urls import reverse

from tests.factories.portal import user

pytestmark = pytest.mark.django_db


def test_the_mailed_link_sets_a_new_password() -> None:
    person = user(email="ada@example.test")
    client = Client()
    client.post(reverse("account_reset_password"), {"email": person.email})
    found = re.search(r"http://[^/]+(/accounts/password/reset/key/\S+)", str(mail.outbox[-1].body))
    assert found is not None
    page = client.get(found.group(1), follow=True)
    assert page.status_code == 200
    form = page.redirect_chain[-1][0]
    client.post(form, {"password1": "a quiet new horse", "password2": "a quiet new horse"})
    person.refresh_from_db()
    assert person.check_password("a quiet new horse")
