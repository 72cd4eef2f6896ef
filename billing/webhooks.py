"""`/webhooks/stripe`: checks the signature, stores the event once, answers 200.

Nothing is applied here: a worker re-fetches the object and moves our state forward, so order,
duplicates and delay do not matter (`stripe.md` §6).
"""

from typing import Final

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST

from billing.errors import SignatureInvalidError
from billing.payments.signature import event_verify
from billing.services.inbox import event_store
from portal.clock import wall_now

BODY_MAX: Final = 1_048_576


@csrf_exempt
@require_POST
def stripe_webhook(request: HttpRequest) -> HttpResponse:
    """Take one event in. 400 for anything that Stripe did not sign lately."""
    if int(request.headers.get("Content-Length") or 0) > BODY_MAX:
        return HttpResponse("too large", status=413, content_type="text/plain")
    now = wall_now()
    try:
        event = event_verify(
            payload=request.body,
            header=request.headers.get("Stripe-Signature", ""),
            secrets=settings.ENV.stripe_webhook_secrets,
            now=now,
        )
    except SignatureInvalidError as error:
        return HttpResponse(error.public, status=error.status, content_type="text/plain")
    event_store(event=event, now=now)
    return HttpResponse("stored", content_type="text/plain")
