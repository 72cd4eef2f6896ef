"""Checks that a webhook was signed by the collector, lately (`stripe.md` §6).

Pure: the body, the header, the secrets and the wall time come in, an event or an error goes out.
The library refuses only stamps that are too old; one from the future is refused here, so that a
signature with a stamp far ahead cannot be kept for later.
"""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final

import stripe

from billing.errors import SignatureInvalidError
from billing.payments.port import RemoteEvent

TOLERANCE_S: Final = 300
HEADER_MAX: Final = 4_096


def event_verify(
    *, payload: bytes, header: str, secrets: Sequence[str], now: datetime
) -> RemoteEvent:
    """Return the event in a body that one of `secrets` signed within five minutes of `now`.

    secrets   newest first; two while one is being rolled

    :raises SignatureInvalidError: for everything else.
    """
    _check_stamp(header, now)
    if not any(_is_signed(payload, header, secret) for secret in secrets):
        msg = "no secret of ours signed this body"
        raise SignatureInvalidError(msg)
    return event_parse(_json_object(payload))


def _check_stamp(header: str, now: datetime) -> None:
    """Refuse a stamp that is missing, repeated, or more than the tolerance away on either side."""
    stamps = [p[2:] for p in (q.strip() for q in header.split(",")) if p.startswith("t=")]
    if len(header) > HEADER_MAX or not header.isascii() or len(stamps) != 1:
        msg = "the signature header is missing or malformed"
        raise SignatureInvalidError(msg)
    stamp = stamps[0]
    if not (stamp.isascii() and stamp.isdigit() and len(stamp) <= 12):
        msg = "the signature's time is not a number"
        raise SignatureInvalidError(msg)
    if abs(int(now.timestamp()) - int(stamp)) > TOLERANCE_S:
        msg = "the signature's time is too far from ours"
        raise SignatureInvalidError(msg)


def _is_signed(payload: bytes, header: str, secret: str) -> bool:
    try:
        stripe.WebhookSignature.verify_header(payload, header, secret)
    except (stripe.SignatureVerificationError, ValueError):
        return False
    return True


def _json_object(payload: bytes) -> dict[str, Any]:
    try:
        body = json.loads(payload)
    except ValueError:
        body = None
    if not isinstance(body, dict) or body.get("object") != "event":
        msg = "signed, but no event"
        raise SignatureInvalidError(msg)
    return body


def event_parse(body: dict[str, Any]) -> RemoteEvent:
    """Keep of an event what tells which object to read again.

    >>> made = {"id": "evt_1", "type": "invoice.paid", "created": 0,
    ...         "data": {"object": {"id": "in_1", "object": "invoice", "customer": "cus_1"}}}
    >>> event_parse(made).object_id, event_parse(made).customer_id
    ('in_1', 'cus_1')
    """
    try:
        thing = body["data"]["object"]
        created_at = datetime.fromtimestamp(int(body["created"]), UTC)
        event_id, event_type = str(body["id"]), str(body["type"])
        customer = thing["id"] if thing.get("object") == "customer" else thing.get("customer")
    except (KeyError, TypeError, AttributeError, ValueError, OverflowError) as error:
        msg = "signed, but not shaped like an event"
        raise SignatureInvalidError(msg) from error
    return RemoteEvent(
        id=event_id,
        type=event_type,
        object_id=str(thing.get("id") or ""),
        customer_id=_text(customer),
        created_at=created_at,
        invoice_id=_text(thing.get("invoice")),
        charge_id=_text(thing.get("charge")),
    )


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
