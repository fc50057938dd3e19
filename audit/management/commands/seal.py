"""`seal`: seal what has committed and sign a checkpoint; `--check` only tells whether the sealer works."""

from django.core.management.base import BaseCommand, CommandError

from audit import clock, sealer, watch


class Command(BaseCommand):
    """Exit status 1 when the sealer stands still: for a watchdog outside."""

    help = "Seals the trail and prints the newest checkpoint."

    def add_arguments(self, parser):
        parser.add_argument(
            "--check", action="store_true", help="only tell whether the sealer works"
        )
        parser.add_argument(
            "--everything", action="store_true", help="look at every event, not behind the cursor"
        )

    def handle(self, *, check, everything, **options):
        if check:
            found = watch.health(at=clock.machine())
            if found.still:
                raise CommandError(found.sentence)
            self.stdout.write("封存正常")
            return
        run = sealer.seal(at=clock.now, machine=clock.machine(), everything=everything)
        self.stdout.write(f"封存 {run.sealed} 条，日志共 {run.size} 条")
        if run.faulty:
            raise CommandError(f"正文与叶哈希不符：{'、'.join(run.faulty)}")
