"""`check_ledger`: the ledger against the trail: chunks, single claims, every later posting."""

import datetime as dt
from collections import Counter

from django.core.management.base import BaseCommand, CommandError
from django.db import connections

from settlement.batch import later, recheck
from settlement.batch.parts import SETTLER

SHOWN = 20  #: chunks and claims that are named


def month(text: str) -> dt.date:
    """The first day of `2021-11`."""
    return dt.date.fromisoformat(f"{text}-01")


class Command(BaseCommand):
    """Exit status 1 when anything differs; the first one is named. Without arguments: everything."""

    help = "由入库账目逐片重算批量结算的摘要、逐笔核对单笔结算、冲正、重结、复核和凭证，与留痕中封存的比对"

    def add_arguments(self, parser):
        parser.add_argument("--batch", type=int, nargs="*", default=[], help="只核对这些批次")
        parser.add_argument("--month", type=month, help="入账月份，如 2021-11")

    def handle(self, *, batch, month, **options):
        batches = batch or (recheck.batches_of(month) if month else None)
        wrong, counts = [], []
        bare: Counter[str] = Counter()
        with connections[SETTLER].cursor() as cursor:
            for found in (
                recheck.chunks(cursor, batches),
                () if batch else recheck.alone(cursor, month),
                () if batch else later.postings(cursor, month),
            ):
                count = 0
                for one in found:
                    count += one.agrees
                    bare += Counter() if one.comparable else Counter([one.fault])
                    wrong += [one] if one.differs else []
                counts.append(count)
        for one in wrong[:SHOWN]:
            self.stdout.write(f"{one.subject} {one.fault}")
        if wrong:
            raise CommandError(f"不符 {len(wrong)} 处，第一处：{wrong[0].subject} {wrong[0].fault}")
        told = "".join(f"；{number} 处{why}" for why, number in sorted(bare.items()))
        self.stdout.write(
            f"一致：{counts[0]} 片，单笔 {counts[1]} 笔，其后入账 {counts[2]} 次{told}"
        )
