"""`recompute`: person-years and personal accounts that differ from the ledger; written anew from it."""

from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError

from audit import clock
from institutions.access import EVERYTHING, scoped
from institutions.refusals import Refusal
from settlement import conserved


class Command(BaseCommand):
    """Without persons nothing is written: the differing ones are named. Exit status 1 when any is."""

    help = "列出与账目不符的人员年度累计和个人账户；经核对后按账目重算指定参保人的（先逐笔核对账目与留痕）"

    def add_arguments(self, parser):
        parser.add_argument(
            "--person", type=int, nargs="+", default=[], help="参保人的内部编号（person:编号）"
        )
        parser.add_argument("--by", default="", help="操作人（写入留痕）")
        parser.add_argument("--reason", default="", help="理由（写入留痕）")

    def handle(self, *, person, by, reason, **options):
        if not person:
            self.show()
            return
        if not by.strip() or not reason.strip():
            raise CommandError("须写明操作人（--by）和理由（--reason）")
        call_command("check_ledger", stdout=self.stdout)
        try:
            with scoped(EVERYTHING):
                found = conserved.recompute(persons=person, reason=reason, by=by, at=clock.now())
        except Refusal as refusal:
            raise CommandError(refusal.detail[0]) from refusal
        self.write(found)
        self.stdout.write(f"已按账目重算 {len(found)} 处")

    def show(self):
        with scoped(EVERYTHING):
            found = conserved.differing()
        self.write(found)
        if found:
            raise CommandError("以上与账目不符（至多列出 20 处）")
        self.stdout.write("一致")

    def write(self, found):
        for one in found:
            changed = (
                f"{name} {one.was[name]} → {made}"
                for name, made in one.made.items() if one.was[name] != made
            )  # fmt: skip
            self.stdout.write(f"{one.name}：{'，'.join(changed)}")
