"""Webhook signatures: which are taken, and every way in which one is not."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import stripe

from billing.errors import SignatureInvalidError
from billing.payments.signature import TOLERANCE_S, event_verify

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
OLD, NEW = "whsec_old", "whsec_new"
EVENT = {
    "id": "evt_1",
    "object": "event",
    "type": "invoice.paid",
    "created": 1_795_000_000,
    "data": {"object": {"id": "in_1", "object": "invoice", "customer": "cus_1"}},
}
BODY = json.dumps(EVENT, indent=2)


def signed(secret: str = NEW, *, body: str = BODY, at: datetime = NOW) -> str:
    stamp = int(at.timestamp())
    return str(stripe.WebhookSignature.generate_signature_header(body, secret, stamp))


def verify(header: str, body: str = BODY, secrets: tuple[str, ...] = (NEW, OLD)) -> Any:
    return event_verify(payload=body.encode(), header=header, secrets=secrets, now=NOW)


@pytest.mark.parametrize("secret", [NEW, OLD])
def test_each_secret_is_tried_while_one_is_rolled(secret: str) -> None:
    event = verify(signed(secret))
    assert (event.id, event.type, event.object_id, event.customer_id) == (
        "evt_1",
        "invoice.paid",
        "in_1",
        "cus_1",
    )


def test_once_rolled_the_old_secret_is_refused() -> None:
    with pytest.raises(SignatureInvalidError):
        verify(signed(OLD), secrets=(NEW,))


def test_two_signatures_in_one_header_are_taken_if_one_is_ours() -> None:
    stamp, _, mine = signed().partition(",")
    assert verify(f"{stamp},v1={'0' * 64},{mine}").id == "evt_1"


@pytest.mark.parametrize("seconds", [-TOLERANCE_S, 0, TOLERANCE_S])
def test_a_stamp_on_the_bound_is_taken(seconds: int) -> None:
    assert verify(signed(at=NOW + timedelta(seconds=seconds))).id == "evt_1"


@pytest.mark.parametrize("seconds", [-TOLERANCE_S - 1, TOLERANCE_S + 1, 10**9])
def test_a_stale_stamp_and_one_from_the_future_are_refused(seconds: int) -> None:
    with pytest.raises(SignatureInvalidError, match="too far"):
        verify(signed(at=NOW + timedelta(seconds=seconds)))


def test_a_body_written_anew_is_refused() -> None:
    with pytest.raises(SignatureInvalidError):
        verify(signed(), body=json.dumps(EVENT))


@pytest.mark.parametrize(
    "header",
    [
        "",
        "nonsense",
        f"v1={'0' * 64}",
        f"t={int(NOW.timestamp())}",
        "t=now,v1=0",
        f"t={int(NOW.timestamp())},t={int(NOW.timestamp())},v1=0",
        f"t={int(NOW.timestamp())},v0={'0' * 64}",
        f"t={int(NOW.timestamp())},v1=é",
        f"t={int(NOW.timestamp())},=,v1",
        f"t={'9' * 5_000},v1=0",
    ],
)
def test_a_header_that_is_missing_or_malformed_is_refused(header: str) -> None:
    with pytest.raises(SignatureInvalidError):
        verify(header)


@pytest.mark.parametrize(
    "body",
    [
        "not json",
        "[]",
        "null",
        json.dumps({**EVENT, "object": "v2.core.event"}),
        json.dumps({**EVENT, "data": {}}),
        json.dumps({**EVENT, "data": {"object": "in_1"}}),
        json.dumps({**EVENT, "created": "soon"}),
        json.dumps({name: value for name, value in EVENT.items() if name != "id"}),
    ],
)
def test_what_is_signed_but_no_event_is_refused(body: str) -> None:
    with pytest.raises(SignatureInvalidError):
        verify(signed(body=body), body=body)


def test_bytes_that_are_no_text_are_refused() -> None:
    with pytest.raises(SignatureInvalidError):
        event_verify(payload=b"\xff\xfe", header=signed(), secrets=(NEW,), now=NOW)


def test_without_secrets_nothing_is_taken() -> None:
    with pytest.raises(SignatureInvalidError):
        verify(signed(), secrets=())
