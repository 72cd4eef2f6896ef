"""The profile of the test suite: a database in memory or `DATABASE_URL`, no outside system."""

import os
import tempfile

os.environ.setdefault("TOLLWAY_DATA_DIR", tempfile.mkdtemp(prefix="tollway-test-"))
os.environ.setdefault(
    "TOLLWAY_SECRET_KEY", "test-only-xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
)
os.environ.setdefault("TOLLWAY_GATEWAY_TOKEN", "test-gateway-token")
os.environ.setdefault("TOLLWAY_CLOCK", "simulated")
os.environ.setdefault("STRIPE_SECRET_KEY", "sk_test_double")
os.environ.setdefault("STRIPE_WEBHOOK_SECRETS", "whsec_test")

from portal.settings.base import *  # noqa: F403

PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
EMAIL_BACKEND = "django.core.mail.backends.locmem.EmailBackend"
CELERY_BROKER_URL = "memory://"
CELERY_TASK_ALWAYS_EAGER = False
STATIC_ROOT.mkdir(parents=True, exist_ok=True)  # noqa: F405 - WhiteNoise warns without it
