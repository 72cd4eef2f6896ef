"""Bodies of the REST API: JSON in UTF-8 whose values can be stored, whatever the field."""

from collections.abc import Mapping
from typing import IO, Any

from rest_framework.exceptions import ParseError
from rest_framework.parsers import JSONParser

from portal.core.plain_values import TOO_DEEP, plain_problem


class PlainJSONParser(JSONParser):
    """Refuses what the parser reads and nothing can keep, before any view sees it."""

    def parse(
        self,
        stream: IO[Any],
        media_type: str | None = None,
        parser_context: Mapping[str, Any] | None = None,
    ) -> Any:
        try:
            value = super().parse(stream, media_type, parser_context)
        except RecursionError as error:
            raise _refused(TOO_DEEP) from error
        if problem := plain_problem(value):
            raise _refused(problem)
        return value


def _refused(problem: str) -> ParseError:
    return ParseError(f"JSON parse error - it {problem}.")
