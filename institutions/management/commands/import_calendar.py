"""Import the national working-day calendar of one or more years."""

from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from institutions.calendar import MissingYear
from institutions.holidays import NATIONAL, import_year, national_year, notice_known, notice_of


class Command(BaseCommand):
    """`import_calendar 2021 2022`: rows of chinesecalendar with the notice they rest on."""

    help = "按年导入全国节假日与调休安排（来源 chinesecalendar，附国务院办公厅通知文号）"

    def add_arguments(self, parser):
        parser.add_argument("years", nargs="+", type=int, metavar="YEAR")
        parser.add_argument("--by", default="import_calendar", help="操作人（写入留痕）")

    def handle(self, *args, **options):
        for year in options["years"]:
            try:
                rows = national_year(year)
            except MissingYear as missing:
                raise CommandError(str(missing)) from missing
            count = import_year(
                year=year, region=NATIONAL, rows=rows, by=options["by"], at=timezone.now()
            )
            self.stdout.write(f"{year}：{count}天，依据：{notice_of(year)}")
            if not notice_known(year):
                self.stderr.write(f"{year}：请补录放假安排通知的文号与网址")
