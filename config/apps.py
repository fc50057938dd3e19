"""The portal itself as a Django application: its checks and its management commands."""

from django.apps import AppConfig


class PortalConfig(AppConfig):
    """Registers the deployment checks and the Celery application."""

    name = "config"
    verbose_name = "互联网医疗医保监管与结算平台"

    def ready(self) -> None:
        from config import celery, health  # when the registry is ready

        celery.app.set_default()  # web processes and commands ring the same broker as the worker
        health.register()
