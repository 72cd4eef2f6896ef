"""What can go wrong in metering, as callers see it.

MeteringError
├─ MeteringUnavailableError   metering_unavailable   503  ClickHouse does not answer
└─ QueryInvalidError          usage_query_invalid    422  reversed or naive interval, no owner
"""

from typing import ClassVar


class MeteringError(Exception):
    code: ClassVar[str] = "metering_error"
    status: ClassVar[int] = 500
    public: ClassVar[str] = "Usage could not be read."


class MeteringUnavailableError(MeteringError):
    code = "metering_unavailable"
    status = 503
    public = "Usage cannot be read at the moment; it is being recorded. Try again."


class QueryInvalidError(MeteringError):
    code = "usage_query_invalid"
    status = 422
    public = "The usage query is not valid."
