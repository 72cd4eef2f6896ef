"""Lists in pages of at most `MAX` rows, asked for by `page` and `page_size`."""

from typing import Final

from rest_framework.pagination import PageNumberPagination

MAX: Final = 200


class Pages(PageNumberPagination):
    page_size = 50
    page_size_query_param = "page_size"
    max_page_size = MAX
