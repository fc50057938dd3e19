"""`bundle`: the whole trail, or what a query finds, as a file that verifies elsewhere (audit/verify.py)."""

from django.core.management.base import BaseCommand, CommandError

from audit import bundles, clock, trail
from audit.forms import TrailQuery
from audit.models import Event

ASKED = ("actor", "action", "subject", "since", "until", "institution", "person")


class Command(BaseCommand):
    """Without a query: every entry of the newest checkpoint, replayed by the verifier."""

    help = "Writes a bundle of the trail."

    def add_arguments(self, parser):
        parser.add_argument("file")
        parser.add_argument("--by", required=True, help="who exports: it is an event")
        parser.add_argument("--region", default="", help="beginning of the area code")
        parser.add_argument(
            "--older", type=int, nargs="*", default=[], help="sizes of kept checkpoints"
        )
        for name in ASKED:
            parser.add_argument(f"--{name}", default="")

    def handle(self, *, file, by, region, older, **options):
        asked = {name: options[name] for name in ASKED if options[name]}
        form = TrailQuery(asked)
        top = trail.checkpoint()
        if not form.is_valid() or top is None or not (region or "0").isdecimal():
            raise CommandError("查询条件有误，或还没有检查点")
        at = clock.now()
        chosen = bool(asked or region)
        if chosen:
            rows = form.narrow(Event.objects.filter(region_code__within=region))
            lines = bundles.selection(
                seqs=bundles.seqs_of(rows), top=top, by=by, at=at, older=older
            )
        else:
            lines = bundles.stretch(first=0, top=top, by=by, at=at, older=older)
        with open(file, "w", encoding="utf-8") as stream:
            stream.writelines(lines)
        trail.record(
            by=by, at=at, action="trail.bundle", subject="trail", region_code=region[:6],
            person_hash=form.person_hash(),
            detail={"query": form.told(), "region": region, "checkpoint": top.size},
        )  # fmt: skip
        self.stdout.write(f"{file}：检查点 {top.size} 条；验证：python audit/verify.py {file}")
