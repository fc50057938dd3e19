"""The Celery application. The database is the queue of record; beat rings lost messages again."""

import os

from celery import Celery
from celery.signals import worker_init
from django.core.exceptions import ImproperlyConfigured

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

app = Celery("portal")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()


@worker_init.connect
def refuse_unsafe_databases(**kwargs: object) -> None:
    """Ends the worker before it takes a task; Celery swallows everything but SystemExit here."""
    from config.health import refuse_unsafe_databases

    try:
        refuse_unsafe_databases()
    except ImproperlyConfigured as error:
        raise SystemExit(f"ImproperlyConfigured: {error}") from error
