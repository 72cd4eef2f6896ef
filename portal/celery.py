"""The Celery application; tasks register by name, the schedule is code (`billing.tasks`)."""

import os

from celery import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "portal.settings.local")
app = Celery("tollway")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
