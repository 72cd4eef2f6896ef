"""`/webhooks/stripe`: checks the signature, stores the event once, answers 200.

Nothing is applied here: a worker re-fetches the object and moves our state forward, so order,
duplicates and delay do not matter (`stripe.md` §6).
"""

import hashlib
import hmac
import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from django.conf import settings
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST

from billing.models import WebhookInbox
from portal.clock import wall_now
from portal.queue import enqueue_on_commit

TOLERANCE_S: Final = 300
BODY_MAX: Final = 1_048_576


@csrf_exempt
@require_POST
def stripe_webhook(request: HttpRequest) -> HttpResponse:
    """Take one event in. 400 for anything that Stripe did not sign lately."""
    if int(request.headers.get("Content-Length") or 0) > BODY_MAX:
        return HttpResponse("too large", status=413, content_type="text/plain")
    now = wall_now()
    if not is_signed(
        body=request.body,
        header=request.headers.get("Stripe-Signature", ""),
        secrets=settings.ENV.stripe_webhook_secrets,
        now=now,
    ):
        return HttpResponse("signature check failed", status=400, content_type="text/plain")
    event = _parse(request.body)
    if event is None:
        return HttpResponse("not an event", status=400, content_type="text/plain")
    inbox_store(event=event, now=now)
    return HttpResponse("stored", content_type="text/plain")


def is_signed(*, body: bytes, header: str, secrets: Sequence[str], now: datetime) -> bool:
    """Check `t=…,v1=…` over the raw body with every secret, within five minutes either way."""
    pairs = [part.strip().partition("=")[::2] for part in header.split(",")]
    stamp = next((value for name, value in pairs if name == "t"), "")
    given = [value for name, value in pairs if name == "v1"]
    if not stamp.isascii() or not stamp.isdigit() or len(stamp) > 12:
        return False
    if abs(int(now.timestamp()) - int(stamp)) > TOLERANCE_S:
        return False
    signed = stamp.encode() + b"." + body
    expected = [hmac.new(s.encode(), signed, hashlib.sha256).hexdigest() for s in secrets]
    return any(
        hmac.compare_digest(e.encode(), g.encode("utf-8", "replace"))
        for e in expected
        for g in given
    )


def _parse(body: bytes) -> dict[str, Any] | None:
    try:
        event = json.loads(body)
    except ValueError:
        return None
    if not isinstance(event, dict) or not isinstance(event.get("id"), str):
        return None
    return event if isinstance(event.get("type"), str) else None


def inbox_store(*, event: dict[str, Any], now: datetime) -> bool:
    """Store an event once and enqueue its worker on commit; False for one that was there."""
    data = event.get("data")
    thing = data.get("object", {}) if isinstance(data, dict) else {}
    with transaction.atomic():
        _, created = WebhookInbox.objects.get_or_create(
            pk=event["id"][:120],
            defaults={
                "type": event["type"][:80],
                "object_id": str(thing.get("id") or "")[:120],
                "customer_id": str(thing.get("customer") or "")[:120],
                "payload": event,
                "received_at": now,
            },
        )
        if created:
            enqueue_on_commit("billing.webhook_apply", event_id=event["id"][:120])
    return created
