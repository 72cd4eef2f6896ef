"""API keys: a live secret is in the answer that made it and never again."""

from datetime import timedelta
from typing import Any, ClassVar

from django.shortcuts import get_object_or_404
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from gateway.contracts.snapshot import MAX_CREDENTIAL_SCOPES
from portal import clock
from portal.api.base import Answer, ApiView, Body, operation
from portal.api.pagination import Pages
from portal.api.permissions import members
from portal.core.catalog_input import MAX_NETWORKS, networks_of
from portal.models import Consumer, Credential, Environment
from portal.permissions import KEY_ROLES
from portal.selectors import key_list
from portal.services.credentials import (
    IssuedCredential,
    credential_create,
    credential_reveal_test,
    credential_revoke,
    credential_rotate,
)

MAX_OVERLAP_S = 604_800
ROLES = members(*KEY_ROLES)


class KeyOut(serializers.ModelSerializer[Credential]):
    consumer = serializers.CharField(source="consumer_id")
    scopes = serializers.ListField(child=serializers.CharField())
    ip_allow = serializers.ListField(child=serializers.CharField())
    rotated_to = serializers.CharField(source="rotated_to_id", allow_null=True)

    class Meta:
        model = Credential
        fields = (
            *("id", "name", "environment", "consumer", "prefix", "last4", "scopes", "ip_allow"),
            *("created_at", "expires_at", "revoked_at", "rotated_to"),
        )


class SecretOut(Answer):
    secret = serializers.CharField()


class IssuedKeyOut(Answer):
    """A new key; for a live one `secret` is its only copy."""

    key = KeyOut()
    secret = serializers.CharField()


class KeyIn(Body):
    name = serializers.CharField(max_length=80)
    environment = serializers.ChoiceField(choices=Environment.choices)
    consumer = serializers.CharField(
        required=False, help_text="An application's id; left out: the oldest one."
    )
    expires_at = serializers.DateTimeField(required=False, allow_null=True)
    ip_allow = serializers.ListField(
        child=serializers.CharField(max_length=50), required=False, max_length=MAX_NETWORKS
    )
    scopes = serializers.ListField(
        child=serializers.CharField(max_length=64),
        required=False,
        max_length=MAX_CREDENTIAL_SCOPES,
        help_text="Each as some route requires it; left out: none.",
    )

    def validate_expires_at(self, value: Any) -> Any:
        if value is not None and value <= clock.wall_now():
            raise serializers.ValidationError("Choose an instant in the future.", "in_the_past")
        return value

    def validate_ip_allow(self, value: list[str]) -> tuple[str, ...]:
        try:
            return networks_of(value)
        except ValueError as error:
            raise serializers.ValidationError(str(error), "not_an_address") from error


class RotateIn(Body):
    overlap_s = serializers.IntegerField(
        min_value=0, max_value=MAX_OVERLAP_S, default=86_400, help_text="The old key goes on."
    )


class RevokeIn(Body):
    reason = serializers.CharField(max_length=300, required=False, allow_blank=True)


class KeyView(ApiView):
    """What the views of one key share."""

    def key(self, key_id: str) -> Credential:
        """Return a key of the organization; a foreign id is answered as a missing one."""
        return get_object_or_404(key_list(organization=self.member.organization), pk=key_id)


class Keys(ApiView):
    access: ClassVar = {"GET": ROLES, "POST": ROLES}
    pagination_class = Pages

    @operation("key_list", answer=KeyOut(many=True))
    def get(self, request: Request, org: str) -> Response:
        """List the keys, ended ones included, newest first."""
        return self.page(key_list(organization=self.member.organization), KeyOut)

    @operation("key_create", body=KeyIn, answer=IssuedKeyOut, status=201)
    def post(self, request: Request, org: str) -> Response:
        """Make a key; a live one needs the caller's address to be verified."""
        sent = self.body(KeyIn)
        issued = credential_create(
            consumer=self._consumer(sent.get("consumer", "")),
            name=sent["name"],
            environment=sent["environment"],
            actor=self.person,
            now=clock.now(),
            ip_allow=sent.get("ip_allow", ()),
            scopes=sent.get("scopes", ()),
            expires_at=sent.get("expires_at"),
        )
        return _issued(issued)

    def _consumer(self, consumer_id: str) -> Consumer:
        rows = self.member.organization.consumers.filter(is_active=True).order_by("created_at")
        found = rows.filter(pk=consumer_id).first() if consumer_id else rows.first()
        if found is None:
            wrong = serializers.ErrorDetail("There is no such application.", "does_not_exist")
            raise serializers.ValidationError({"consumer": [wrong]})
        return found


def _issued(issued: IssuedCredential) -> Response:
    found = {"key": issued.credential, "secret": issued.secret}
    return Response(IssuedKeyOut(found).data, status=201)


class KeyDetail(KeyView):
    access: ClassVar = {"GET": ROLES}

    @operation("key_show", answer=KeyOut)
    def get(self, request: Request, org: str, key_id: str) -> Response:
        """Show one key, without its secret."""
        return Response(KeyOut(self.key(key_id)).data)


class KeySecret(KeyView):
    access: ClassVar = {"GET": ROLES}

    @operation("key_secret_show", answer=SecretOut)
    def get(self, request: Request, org: str, key_id: str) -> Response:
        """Show a test key's secret again; nobody can show a live one."""
        secret = credential_reveal_test(credential=self.key(key_id))
        return Response(SecretOut({"secret": secret}).data)


class KeyRotate(KeyView):
    access: ClassVar = {"POST": ROLES}

    @operation("key_rotate", body=RotateIn, answer=IssuedKeyOut, status=201)
    def post(self, request: Request, org: str, key_id: str) -> Response:
        """Make a successor; the old key goes on for the overlap, or ends at once with 0."""
        overlap = timedelta(seconds=self.body(RotateIn)["overlap_s"])
        issued = credential_rotate(
            credential=self.key(key_id),
            overlap=overlap,
            actor=self.person,
            now=clock.now(),
            wall=clock.wall_now(),
        )
        return _issued(issued)


class KeyRevoke(KeyView):
    access: ClassVar = {"POST": ROLES}

    @operation("key_revoke", body=RevokeIn, answer=KeyOut)
    def post(self, request: Request, org: str, key_id: str) -> Response:
        """End a key at once; every gateway refuses it within a second."""
        key, reason = self.key(key_id), self.body(RevokeIn).get("reason", "")
        credential_revoke(credential=key, actor=self.person, now=clock.now(), reason=reason)
        return Response(KeyOut(self.key(key_id)).data)
