from pathlib import Path

from django.core.management.base import BaseCommand

from config.docs import pages


class Command(BaseCommand):
    help = "Writes the generated pages of docs/ (rule book, role matrix)."

    def handle(self, **options) -> None:
        folder = Path(__file__).parents[3] / "docs"
        for name, text in pages().items():
            (folder / name).write_text(text)
            self.stdout.write(f"docs/{name}")
