"""What can go wrong in rating: nothing, but a document may be refused.

RatingRefusedError   rating_refused   422  the document is not valid; `problems` has every reason
"""

from collections.abc import Sequence
from typing import ClassVar

from portal.core.checked_input import Problem


class RatingRefusedError(Exception):
    """:ivar problems: every problem at once, each with the path of its field."""

    code: ClassVar[str] = "rating_refused"
    status: ClassVar[int] = 422
    public: ClassVar[str] = "These terms cannot be rated; each wrong field is listed."

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("; ".join(f"{p.path or 'document'} {p.message}" for p in problems[:5]))
        self.problems = tuple(problems)
