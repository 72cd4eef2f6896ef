"""What can go wrong in the portal.

PortalError
└─ NotFoundError   not_found   404  also for an object of another organization
"""

from typing import ClassVar


class PortalError(Exception):
    code: ClassVar[str] = "portal_error"
    status: ClassVar[int] = 500
    public: ClassVar[str] = "Something went wrong on our side."


class NotFoundError(PortalError):
    code = "not_found"
    status = 404
    public = "There is no such object."
