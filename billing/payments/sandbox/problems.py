"""The double's refusals, shaped as Stripe shapes its errors."""

from typing import Any


class Problem(Exception):
    """An answer that is not 2xx.

    kept      stored under the idempotency key: what a started operation answered. Failed
              validation, a running twin, 401 and 429 are not (`stripe.md` §3)
    commits   what the operation wrote stays, as after a declined card
    """

    def __init__(
        self,
        message: str,
        *,
        status: int = 400,
        kind: str = "invalid_request_error",
        code: str = "",
        param: str = "",
        decline_code: str = "",
        kept: bool = True,
        commits: bool = False,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        self.kind = kind
        self.code = code
        self.param = param
        self.decline_code = decline_code
        self.kept = kept
        self.commits = commits

    def body(self) -> dict[str, Any]:
        """Return `{"error": {...}}` with the fields that apply."""
        fields = {
            "type": self.kind,
            "code": self.code,
            "message": self.message,
            "param": self.param,
            "decline_code": self.decline_code,
        }
        return {"error": {name: value for name, value in fields.items() if value}}


def invalid(message: str, *, param: str = "", code: str = "") -> Problem:
    """Return the 400 of a request that never started; nothing of it is kept."""
    return Problem(message, param=param, code=code, kept=False)


def refused(message: str, *, code: str = "", param: str = "") -> Problem:
    """Return the 400 of a started operation that the object's state does not allow."""
    return Problem(message, code=code, param=param)


def missing(kind: str, object_id: str, *, param: str = "id") -> Problem:
    return Problem(
        f"No such {kind}: '{object_id}'",
        status=404,
        code="resource_missing",
        param=param,
        kept=False,
    )


def unauthorized(message: str) -> Problem:
    return Problem(message, status=401, kept=False)


def declined(*, code: str, decline_code: str, message: str) -> Problem:
    """Return the 402 of a charge that did not go through; the attempt stays on record."""
    return Problem(
        message,
        status=402,
        kind="card_error",
        code=code,
        decline_code=decline_code,
        commits=True,
    )
