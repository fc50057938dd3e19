"""The Celery application. The database is the queue of record; beat rings lost messages again."""

import os

from celery import Celery, Task
from celery.signals import task_prerun, worker_init, worker_ready
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


@task_prerun.connect
def leave_dead_connections(sender: Task, **kwargs: object) -> None:
    """A task begins with living connections and outside any transaction.

    After a restart of the database a kept connection is dead: without this every task fails. And who
    was interrupted while a transaction began or ended (a time limit) leaves one that never ends: Django
    then neither closes that connection nor opens another.
    """
    from django.db import connections

    if sender.request.is_eager:  # it runs inside its caller's transaction
        return
    for connection in connections.all(initialized_only=True):
        if connection.in_atomic_block:
            connection.close()
            del connections[connection.alias]
        else:
            connection.close_if_unusable_or_obsolete()


@worker_ready.connect
def sweep_at_once(**kwargs: object) -> None:
    """A worker that came back looks at once for what stood still, whether or not beat runs."""
    from audit.doorbell import ring

    ring("settlement.open_months")
    ring("settlement.sweep")
