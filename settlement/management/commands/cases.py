"""Run case files against the published releases."""

import sys
from pathlib import Path

from django.core.management.base import BaseCommand, CommandError
from django.db import Error

from institutions.access import EVERYTHING, scoped
from pricing import releases
from settlement.cases import Courtroom, run_file

NOT_SET_UP = (
    "数据库尚未建立或没有已发布的政策文件：请先运行 make run，或以 make cases FILES='…' 运行案例"
)


class Command(BaseCommand):
    """`cases FILE…`: one line per case, then the totals; exit 1 when any failed."""

    help = "按已发布的政策文件运行案例文件，逐例输出 ok 或 FAIL"
    requires_system_checks: list[str] = []

    def add_arguments(self, parser):
        parser.add_argument("files", nargs="+", type=Path, metavar="FILE")

    def handle(self, *args, **options):
        passed = failed = 0
        with scoped(EVERYTHING):
            court = Courtroom(published())
            for path in options["files"]:
                for outcome in run_file(path, court):
                    self.stdout.write(str(outcome))
                    passed, failed = passed + outcome.passed, failed + (not outcome.passed)
        self.stdout.write(f"{passed} passed, {failed} failed")
        if failed:
            sys.exit(1)


def published() -> releases.Catalogue:
    """The published releases, or one line saying how to get them."""
    try:
        catalogue = releases.current()
    except Error as error:
        raise CommandError(NOT_SET_UP) from error
    if not catalogue.policies:
        raise CommandError(NOT_SET_UP)
    return catalogue
