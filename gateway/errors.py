"""What can go wrong in the gateway's own machinery (a denial is a value, not an error).

GatewayError
├─ SpoolFullError     no room for one more record, reserve included
├─ SpoolFailedError   a write or fdatasync failed; nothing may be acknowledged, the process exits
└─ UpstreamError      the upstream could not be reached or broke the protocol (see `code`)
"""


class GatewayError(Exception):
    """Base of the gateway's own failures."""


class SpoolFullError(GatewayError):
    """No room in the spool; answer 503 `metering_unavailable`."""


class SpoolFailedError(GatewayError):
    """The disk failed us; acknowledge nothing more and exit."""


class UpstreamError(GatewayError):
    """The upstream failed before a whole answer head arrived.

    code       `upstream_unreachable`, `upstream_protocol_error`, `upstream_timeout`
    sent       whether any byte of the request may have reached it
    """

    def __init__(self, code: str, detail: str, *, sent: bool) -> None:
        super().__init__(detail)
        self.code = code
        self.sent = sent
