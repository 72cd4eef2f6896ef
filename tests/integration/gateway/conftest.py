"""The demo upstream for every test here."""

from tests.upstream import upstream_url

__all__ = ["upstream_url"]
