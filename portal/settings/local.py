"""The profile of `make up`, `make stack` and a developer's shell."""

from portal.settings.base import *  # noqa: F403
