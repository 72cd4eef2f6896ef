"""The Celery application; tasks register by name, the schedule is code."""

import os

from celery import Celery
from celery.schedules import crontab

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "portal.settings.local")
app = Celery("tollway")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()

_EMBEDDED = str(app.conf.broker_url).startswith("filesystem")
app.conf.beat_schedule = {
    "portal.scan_periods": {"task": "portal.scan_periods", "schedule": 5 if _EMBEDDED else 60},
    "portal.purge_calls": {"task": "portal.purge_calls", "schedule": 3_600},
    "portal.snapshot_publish": {"task": "portal.snapshot_publish", "schedule": 60},
    "billing.scan_due": {"task": "billing.scan_due", "schedule": 3 if _EMBEDDED else 60},
    "billing.scan_alerts": {"task": "billing.scan_alerts", "schedule": 5 if _EMBEDDED else 60},
    "billing.scan_thresholds": {
        "task": "billing.scan_thresholds",
        "schedule": 15 if _EMBEDDED else 300,
    },
    "billing.reconcile_hourly": {
        "task": "billing.reconcile_hourly",
        "schedule": 300 if _EMBEDDED else 3_600,
    },
    "billing.reconcile_nightly": {
        "task": "billing.reconcile_nightly",
        "schedule": 3_600 if _EMBEDDED else crontab(hour=3, minute=17),
    },
    "billing.scan_late": {"task": "billing.scan_late", "schedule": 300 if _EMBEDDED else 900},
}
"""Scans only: a sandbox scans every few seconds, so that a closed month shows at once."""
