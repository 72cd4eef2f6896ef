"""Checkout sessions in setup mode: a hosted page where a customer leaves a card."""

from typing import Any, Final

from billing.payments.sandbox.cards import KnownCard
from billing.payments.sandbox.customers import method_bind, method_create
from billing.payments.sandbox.problems import invalid, refused
from billing.payments.sandbox.store import Document
from billing.payments.sandbox.world import World, merged_metadata

Params = dict[str, Any]
LIFETIME_S: Final = 86_400
SESSION_MARK: Final = "{CHECKOUT_SESSION_ID}"


def create(world: World, params: Params) -> Document:
    _creatable(params)
    customer = world.find("customer", params["customer"], param="customer")
    intent = _setup_intent(world, customer["id"])
    nothings = (
        "adaptive_pricing after_expiration allow_promotion_codes amount_subtotal amount_total "
        "billing_address_collection client_reference_id client_secret collected_information "
        "consent consent_collection currency_conversion customer_account customer_creation "
        "customer_details customer_email invoice invoice_creation locale origin_context "
        "payment_intent payment_link payment_method_collection "
        "payment_method_configuration_details permissions presentment_details recovered_from "
        "saved_payment_method_options shipping_address_collection shipping_cost submit_type "
        "subscription total_details wallet_options"
    )
    new = world.store.new_id("cs_test")
    made: Document = {
        **dict.fromkeys(nothings.split()),
        "id": new,
        "object": "checkout.session",
        "automatic_tax": {
            "enabled": False,
            "liability": None,
            "provider": None,
            "status": None,
        },
        "cancel_url": params.get("cancel_url"),
        "created": world.now,
        "currency": params.get("currency"),
        "custom_fields": [],
        "custom_text": dict.fromkeys(
            (
                "after_submit",
                "shipping_address",
                "submit",
                "terms_of_service_acceptance",
            )
        ),
        "customer": customer["id"],
        "expires_at": world.now + LIFETIME_S,
        "livemode": False,
        "metadata": merged_metadata({}, params.get("metadata")),
        "mode": "setup",
        "payment_method_options": {},
        "payment_method_types": ["card"],
        "payment_status": "no_payment_required",
        "setup_intent": intent["id"],
        "shipping_options": [],
        "status": "open",
        "success_url": params["success_url"],
        "ui_mode": "hosted_page",
        "url": f"{world.public_url}/c/{new}",
    }
    world.store.add("checkout_session", made, customer=customer["id"])
    return made


def _creatable(params: Params) -> None:
    if params.get("mode") != "setup":
        msg = "This double opens sessions in setup mode."
        raise invalid(msg, param="mode", code="double_unsupported")
    for name in ("customer", "success_url"):
        if not params.get(name):
            msg = f"Missing required param: {name}."
            raise invalid(msg, param=name, code="parameter_missing")
    for name in ("success_url", "cancel_url"):
        if name in params and not params[name].startswith(("http://", "https://")):
            msg = "Not a valid URL"
            raise invalid(msg, param=name, code="url_invalid")
    types = params.get("allowed_payment_method_types")
    if types is None and not params.get("currency"):
        msg = "In setup mode give allowed_payment_method_types or a currency."
        raise invalid(msg, param="currency", code="parameter_missing")
    if types is not None and types != ["card"]:
        msg = "This double knows cards alone."
        raise invalid(msg, param="allowed_payment_method_types", code="double_unsupported")


def _setup_intent(world: World, customer: str) -> Document:
    nothings = (
        "application attach_to_self automatic_payment_methods cancellation_reason "
        "customer_account description flow_directions last_setup_error latest_attempt mandate "
        "next_action on_behalf_of payment_method payment_method_configuration_details "
        "single_use_mandate"
    )
    new = world.store.new_id("seti")
    made: Document = {
        **dict.fromkeys(nothings.split()),
        "id": new,
        "object": "setup_intent",
        "client_secret": f"{new}_secret_double",
        "created": world.now,
        "customer": customer,
        "livemode": False,
        "metadata": {},
        "payment_method_options": {},
        "payment_method_types": ["card"],
        "status": "requires_payment_method",
        "usage": "off_session",
    }
    world.store.add("setup_intent", made, customer=customer)
    world.emit("setup_intent.created", made)
    return made


def complete(
    world: World, session: str, *, card: KnownCard, exp_month: int, exp_year: int, name: str = ""
) -> Document:
    """Take the card that was typed into the page; what the customer's browser does."""
    held = world.find("checkout_session", session)
    if held["status"] != "open" or world.now >= held["expires_at"]:
        msg = "This page is no longer open."
        raise refused(msg)
    method = method_create(world, card=card, exp_month=exp_month, exp_year=exp_year, name=name)
    method_bind(world, method, held["customer"])
    intent = world.find("setup_intent", held["setup_intent"])
    intent["status"], intent["payment_method"] = "succeeded", method["id"]
    world.store.save(intent)
    held["status"], held["url"] = "complete", None
    world.store.save(held)
    world.emit("setup_intent.succeeded", intent)
    world.emit("checkout.session.completed", held)
    return held


def return_url(session: Document) -> str:
    return str(session["success_url"]).replace(SESSION_MARK, session["id"])


def expire(world: World, params: Params, session: str) -> Document:
    held = world.find("checkout_session", session)
    if held["status"] != "open":
        msg = "Only an open session can be expired."
        raise refused(msg)
    held["status"], held["url"] = "expired", None
    world.store.save(held)
    world.emit("checkout.session.expired", held)
    return held


def retrieve(world: World, params: Params, session: str) -> Document:
    return world.find("checkout_session", session)


def listed(world: World, params: Params) -> list[Document]:
    return world.store.newest_first("checkout_session", customer=params.get("customer"))


def setup_retrieve(world: World, params: Params, intent: str) -> Document:
    return world.find("setup_intent", intent)


def setups_listed(world: World, params: Params) -> list[Document]:
    return world.store.newest_first("setup_intent", customer=params.get("customer"))
