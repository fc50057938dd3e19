"""`empty_archived 3`: take the bodies of an archive's entries out of the database, as its owner."""

from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError

from audit import archives, clock
from audit.models import Archive


class Command(BaseCommand):
    """Hashes, places, actors, subjects and times stay; searching still finds the entries."""

    help = "Empties the bodies of the entries of one archive."

    def add_arguments(self, parser):
        parser.add_argument("archive", type=int)
        parser.add_argument("--by", required=True)

    def handle(self, *, archive, by, **options):
        found = Archive.objects.filter(pk=archive).first()
        if found is None:
            raise CommandError(f"没有归档 {archive}")
        try:
            emptied = archives.empty(archive=found, by=by, at=clock.now())
        except DatabaseError as fault:
            raise CommandError(str(fault)) from fault
        self.stdout.write(f"已移出 {emptied} 条正文，归档文件 {found.name}")
