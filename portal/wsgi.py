"""The WSGI entry point."""

import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "portal.settings.local")
application = get_wsgi_application()

from django.conf import settings  # noqa: E402 - readable only after the line above

settings.ENV.check_serving()
