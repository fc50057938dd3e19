from pathlib import Path

from django.apps import AppConfig


class SupervisionConfig(AppConfig):
    name = "supervision"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self):
        from audit import procedure  # its models are there only now

        procedure.register(Path(__file__).parent / "procedures")
