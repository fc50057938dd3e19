"""`manage.py demo`: the demonstration data of a fixed today, made once."""

import time

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from config.demo import CLAIMS, CLIENT_KEY, LOGIN_KEY, PAUSED_CLAIMS, TODAY
from config.demo.accounts import ACCOUNTS, client_id
from config.demo.applicants import code_of
from config.demo.hospitals import HOSPITALS
from config.demo.marks import made
from config.roles import ROLES
from institutions.models import Institution, Region

SHOWN_CLIENT = "nt1"


class Command(BaseCommand):
    """Makes what is missing of the demonstration; a second run says that all is there."""

    help = "生成演示数据（固定日期，全部标明示例；可重复运行）"

    requires_system_checks = []

    def add_arguments(self, parser):
        parser.add_argument("--claims", type=int, default=CLAIMS, help="已结算的申报张数")
        parser.add_argument("--paused", type=int, default=PAUSED_CLAIMS, help="暂停批次的申报张数")

    def handle(self, *args, **options):
        if settings.PRODUCTION:
            raise CommandError("生产环境不生成演示数据")
        if made():
            self.stdout.write(f"演示数据已存在（演示日期 {TODAY}）")
            return
        self._make(options["claims"], options["paused"])

    def _make(self, claims, paused):
        from config.demo.steps import Size, run  # the whole settlement: loaded when needed

        began = time.monotonic()
        for what, how_much in run(Size(claims, paused)):
            self.stdout.write(f"  {time.monotonic() - began:5.1f} s  {what}：{how_much}")
        self.stdout.write(f"演示数据已就绪，演示日期 {TODAY}（DEMO_TODAY={TODAY}）")
        self._print_logins()

    def _print_logins(self):
        regions = dict(Region.objects.values_list("code", "name"))
        hospitals = dict(Institution.objects.values_list("code", "name"))
        self.stdout.write(f"登录账号（密码均为 {LOGIN_KEY}）：")
        for account in ACCOUNTS:
            code = code_of(account.place)
            place = hospitals[code] if code else regions.get(account.place, "全系统")
            self.stdout.write(f"  {account.username:<20} {ROLES[account.role].label}，{place}")
        self.stdout.write(
            f"接口客户端示例：client_id={client_id(SHOWN_CLIENT)} client_secret={CLIENT_KEY}"
            f"（{HOSPITALS[SHOWN_CLIENT].name}）"
        )
