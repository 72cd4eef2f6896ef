"""Who calls the REST API: `Authorization: Bearer tw_pat_…`."""

from rest_framework.authentication import BaseAuthentication


class TokenAuthentication(BaseAuthentication):
    """Stands here so that settings resolve; see `portal.api`."""
