"""Make a migrated database ready: regions, published law, months to post to, calendars."""

from django.core.management import call_command
from django.core.management.base import BaseCommand
from django.utils import timezone

from audit import clock
from institutions.calendar import MissingYear
from institutions.holidays import NATIONAL, import_year, national_year
from institutions.models import CalendarDay
from institutions.regions import load_regions
from settlement.periods import open_months

BY = "系统初始化"  #: who acts in the trail
FIRST_YEAR = 2019  #: the year before the first policy document


class Command(BaseCommand):
    """`prepare`: loads the shipped regions and policies, opens months, imports missing calendar years."""

    help = "载入随系统提供的行政区划和政策文件、开设账目的本月和下月、导入缺少的工作日历年份（可重复执行）"
    requires_system_checks: list[str] = []

    def handle(self, *args, **options):
        load_regions(by=BY, at=timezone.now())
        call_command("load_policies", by=BY, stdout=self.stderr)
        open_months(clock.now())
        stored = CalendarDay.objects.filter(region_code=NATIONAL)
        years = {day.year for day in stored.dates("day", "year")}
        year = FIRST_YEAR
        while True:
            if year not in years:
                try:
                    rows = national_year(year)
                except MissingYear:
                    return
                import_year(year=year, region=NATIONAL, rows=rows, by=BY, at=timezone.now())
            year += 1
