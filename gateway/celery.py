"""The Celery application; tasks live in each app's `tasks.py` and are idempotent sweeps."""

import os

from celery import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "gateway.settings")

app = Celery("comptroller")
# Celery makes a new application current in its own thread only; requests and readiness checks run in other threads.
app.set_default()
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
