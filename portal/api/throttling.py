"""How often one person may call, so that nobody starves the others."""

from rest_framework.throttling import UserRateThrottle


class PersonThrottle(UserRateThrottle):
    """Counted per person, or per address on the public operations; per portal process."""

    rate = "600/min"
