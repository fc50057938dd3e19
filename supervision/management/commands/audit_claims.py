"""`audit_claims --pool wenzhou --from 2021-01-01 --to 2021-12-31`: all rules over a period, at once."""

import datetime as dt

from django.core.management.base import BaseCommand, CommandError

from audit import clock
from institutions.access import EVERYTHING, scoped
from institutions.refusals import Refusal
from supervision import audits

BY = "system:command"


class Command(BaseCommand):
    help = "事后审核：对一个统筹区一段服务日期的全部申报运行审核规则，新疑点入库一次"

    def add_arguments(self, parser):
        day = dt.date.fromisoformat
        parser.add_argument("--pool", required=True, help="policy region, e.g. wenzhou")
        parser.add_argument("--from", dest="first", type=day, required=True)
        parser.add_argument("--to", dest="last", type=day, required=True)

    def handle(self, *args, **options):
        try:
            with scoped(EVERYTHING):
                run = audits.ask(
                    pool=options["pool"], first=options["first"], last=options["last"], by=BY,
                    at=clock.now(), wake=False,
                )  # fmt: skip
        except Refusal as refusal:
            raise CommandError(str(refusal.detail[0])) from refusal
        done = audits.execute(run_id=run.pk, by=BY, at=clock.now())
        if done is None:
            raise CommandError(f"审核 {run.pk} 已由其他进程办理")
        self.stdout.write(f"审核 {done.pk}：{done.claims:,} 张申报")
        for rule, counts in sorted(done.found.items()):
            self.stdout.write(f"  {rule:30} 疑点 {counts['found']:>6,}  新增 {counts['new']:>6,}")
