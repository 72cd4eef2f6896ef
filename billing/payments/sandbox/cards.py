"""The cards that the double knows; any other number is refused, so no real one is ever taken."""

from dataclasses import dataclass
from typing import Final

SUCCEEDS: Final = "succeeds"
REQUIRES_ACTION: Final = "requires_action"
DECLINES: Final = {
    "generic_decline": "Your card was declined.",
    "insufficient_funds": "Your card has insufficient funds.",
    "expired_card": "Your card has expired.",
    "lost_card": "Your card was declined.",
}
OUTCOMES: Final = frozenset({SUCCEEDS, REQUIRES_ACTION, *DECLINES})


@dataclass(frozen=True, slots=True)
class KnownCard:
    """`outcome` is of a charge; `refused` = the card cannot even be left."""

    brand: str
    last4: str
    outcome: str
    refused: bool = False


TEST_CARDS: Final = {
    "4242424242424242": KnownCard("visa", "4242", SUCCEEDS),
    "5555555555554444": KnownCard("mastercard", "4444", SUCCEEDS),
    "4000000000000002": KnownCard("visa", "0002", "generic_decline"),
    "4000000000009995": KnownCard("visa", "9995", "insufficient_funds"),
    "4000002500003155": KnownCard("visa", "3155", REQUIRES_ACTION),
    "4000000000000069": KnownCard("visa", "0069", "expired_card", refused=True),
}


def card_of(number: str) -> KnownCard | None:
    """Return the test card of a number as people type it, or None.

    >>> card_of("4242 4242 4242 4242").last4
    '4242'
    """
    return TEST_CARDS.get("".join(number.split()).replace("-", ""))
