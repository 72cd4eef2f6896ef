"""The break-glass admin is entered through the one login page, with its factors and limits."""

import pytest
from allauth.mfa.totp.internal.auth import TOTP, generate_totp_secret
from django.test import Client

from portal.models import User
from tests.factories.portal import PASSWORD, client_of, user

pytestmark = pytest.mark.django_db


@pytest.fixture
def root() -> User:
    person = user(staff_role="admin")
    User.objects.filter(pk=person.pk).update(is_staff=True, is_superuser=True)
    person.refresh_from_db()
    return person


def test_a_password_alone_does_not_pass_the_second_factor(root: User) -> None:
    TOTP.activate(root, generate_totp_secret())
    client = Client()
    answer = client.post(
        "/admin/login/?next=/admin/", {"username": root.email, "password": PASSWORD}
    )
    assert answer.status_code == 302
    assert answer.headers["Location"] == "/accounts/login/?next=%2Fadmin%2F"
    assert client.get("/admin/").status_code == 302
    assert client.get("/admin-console").status_code == 302


def test_staff_who_are_signed_in_get_in_and_customers_do_not(root: User) -> None:
    assert client_of(root).get("/admin/").status_code == 200
    assert client_of(root).get("/admin/login/").status_code == 302
    customer = client_of(user())
    assert customer.get("/admin/", follow=True).status_code == 403
