"""Lists in pages of at most `MAX` rows, asked for by `page` and `page_size`."""

from typing import Any, Final

from rest_framework.pagination import PageNumberPagination

MAX: Final = 200


class Pages(PageNumberPagination):
    page_size = 50
    page_size_query_param = "page_size"
    max_page_size = MAX

    def get_paginated_response_schema(self, schema: dict[str, Any]) -> dict[str, Any]:
        """Describe a page; the base class says `nullable`, which OpenAPI 3.1 does not know."""
        link = {"type": ["string", "null"], "format": "uri"}
        return {
            "type": "object",
            "required": ["count", "next", "previous", "results"],
            "properties": {
                "count": {"type": "integer"},
                "next": link,
                "previous": dict(link),
                "results": schema,
            },
        }
