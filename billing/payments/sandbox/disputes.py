"""Disputes: a cardholder objects at the bank. The double opens and decides them on order alone."""

from typing import Any, Final

from billing.payments.sandbox.problems import invalid, refused
from billing.payments.sandbox.store import Document
from billing.payments.sandbox.world import World

Params = dict[str, Any]
ANSWER_S: Final = 9 * 86_400
_MOVES: Final = {
    "needs_response": ("under_review", "won", "lost"),
    "under_review": ("won", "lost"),
    "won": (),
    "lost": (),
}
_ENHANCED: Final = ("mastercard_compliance", "visa_compelling_evidence_3", "visa_compliance")
_EVIDENCE: Final = (
    "access_activity_log appeal billing_address cancellation_policy "
    "cancellation_policy_disclosure cancellation_rebuttal customer_communication "
    "customer_email_address customer_name "
    "customer_purchase_ip customer_signature duplicate_charge_documentation "
    "duplicate_charge_explanation duplicate_charge_id product_description receipt refund_policy "
    "refund_policy_disclosure refund_refusal_explanation service_date service_documentation "
    "shipping_address shipping_carrier shipping_date shipping_documentation "
    "shipping_tracking_number uncategorized_file uncategorized_text"
)


def open_(world: World, *, charge: str, reason: str, amount: int | None) -> Document:
    """Object to a charge: its money is withdrawn until the bank has decided.

    :raises Problem: 400 for a charge that did not succeed, or more than it took.
    """
    held = world.find("charge", charge, param="charge")
    wanted = held["amount_captured"] if amount is None else amount
    if not held["paid"] or not 0 < wanted <= held["amount_captured"]:
        msg = "Only what a successful charge took can be disputed."
        raise refused(msg, param="amount")
    enhanced = dict.fromkeys(_ENHANCED)
    made: Document = {
        "id": world.store.new_id("du"),
        "object": "dispute",
        "amount": wanted,
        "balance_transactions": [],
        "charge": charge,
        "created": world.now,
        "currency": held["currency"],
        "enhanced_eligibility_types": [],
        "evidence": {**dict.fromkeys(_EVIDENCE.split()), "enhanced_evidence": enhanced},
        "evidence_details": {
            "due_by": world.now + ANSWER_S,
            "enhanced_eligibility": enhanced,
            "has_evidence": False,
            "past_due": False,
            "submission_count": 0,
            "submission_method": "not_submitted",
        },
        "intended_submission_method": None,
        "is_charge_refundable": False,
        "livemode": False,
        "metadata": {},
        "network_reason_code": None,
        "payment_intent": held["payment_intent"],
        "payment_method_details": None,
        "reason": reason,
        "status": "needs_response",
    }
    world.store.add("dispute", made, customer=held["customer"], parent=charge)
    held["disputed"] = True
    world.store.save(held)
    world.emit_all(("charge.dispute.created", "charge.dispute.funds_withdrawn"), made)
    return made


def decide(world: World, dispute: str, *, status: str) -> Document:
    """Move a dispute on as the bank does; a decided one stays decided."""
    held = world.find("dispute", dispute)
    if status not in _MOVES[held["status"]]:
        msg = f"A dispute that is {held['status']} cannot become {status}."
        raise invalid(msg, param="status")
    held["status"] = status
    world.store.save(held)
    names = ["charge.dispute.updated"]
    if status in ("won", "lost"):
        names.append("charge.dispute.closed")
    if status == "won":
        names.append("charge.dispute.funds_reinstated")
    world.emit_all(names, held)
    return held


def retrieve(world: World, params: Params, dispute: str) -> Document:
    return world.find("dispute", dispute)


def listed(world: World, params: Params) -> list[Document]:
    rows = world.store.newest_first("dispute", parent=params.get("charge"))
    if "payment_intent" in params:
        rows = [row for row in rows if row["payment_intent"] == params["payment_intent"]]
    return rows
