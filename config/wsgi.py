"""The web process: gunicorn config.wsgi."""

import gc
import os
from importlib import import_module

from django.core.handlers.wsgi import WSGIHandler
from django.core.wsgi import get_wsgi_application

#: Objects made and not freed before Python looks for rings among them; its own number is 700.
YOUNG = 50_000


def serve() -> WSGIHandler:
    """The application, once the database is known to keep what it acknowledges."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    handler = get_wsgi_application()
    from django.urls import get_resolver

    from config.health import refuse_unsafe_databases

    refuse_unsafe_databases()
    get_resolver().check()  # loads every page once, before the fork
    import_module("settlement.folds")  # and what is compiled
    gc.freeze()  # what is loaded stays: no request looks through it for garbage
    gc.set_threshold(YOUNG)  # a claim makes some ten thousand objects, hardly one of them in a ring
    return handler


application = serve()
