from django.apps import AppConfig
from django.db.models import CharField

from audit.lookups import Within


class AuditConfig(AppConfig):
    name = "audit"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """`region_code__within`, for every app."""
        CharField.register_lookup(Within)
