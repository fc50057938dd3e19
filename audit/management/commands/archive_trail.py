"""`archive_trail --before 2021-06-01`: bodies of old sealed entries into an archive that verifies."""

import datetime as dt

from django.core.management.base import BaseCommand, CommandError

from audit import archives, clock


class Command(BaseCommand):
    """The bodies stay in the database until `empty_archived` takes them out."""

    help = "Writes the sealed entries before a day to an archive bundle."

    def add_arguments(self, parser):
        parser.add_argument("--before", type=dt.date.fromisoformat, required=True)
        parser.add_argument("--by", required=True)

    def handle(self, *, before, by, **options):
        try:
            archive = archives.write(before=before, by=by, at=clock.now())
        except archives.ArchiveError as fault:
            raise CommandError(str(fault)) from fault
        self.stdout.write(
            f"归档 {archive.pk}：{archives.folder() / archive.name}，SM3 {archive.sm3}"
        )
