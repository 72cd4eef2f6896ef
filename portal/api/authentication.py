"""Who calls the REST API: `Authorization: Bearer tw_pat_…`. Cookies open nothing here."""

from typing import Any

from drf_spectacular.extensions import OpenApiAuthenticationExtension
from rest_framework.authentication import BaseAuthentication, get_authorization_header
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.request import Request

from portal.clock import wall_now
from portal.models import ApiToken, User
from portal.services.api_tokens import api_token_find


class TokenAuthentication(BaseAuthentication):
    """Find the person behind a bearer token; one answer for unknown, expired and revoked."""

    def authenticate(self, request: Request) -> tuple[User, ApiToken] | None:
        scheme, _, secret = get_authorization_header(request).decode("latin-1").partition(" ")
        if not scheme:
            return None
        token = None
        if scheme.lower() == "bearer" and secret:
            token = api_token_find(secret=secret.strip(), wall=wall_now())
        if token is None:
            raise AuthenticationFailed
        return token.user, token

    def authenticate_header(self, request: Request) -> str:
        return 'Bearer realm="tollway"'


class TokenScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    """How the schema describes the token."""

    target_class = TokenAuthentication
    name = "token"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        return {"type": "http", "scheme": "bearer"}
