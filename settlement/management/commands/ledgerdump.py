"""`ledgerdump`: the canonical dump of the ledger to standard output or a file, and its SM3."""

import sys
from contextlib import nullcontext
from pathlib import Path

from django.core.management.base import BaseCommand
from django.db import connections

from settlement import dump


class Command(BaseCommand):
    help = "输出账务的规范文本（不含内部编号和时间）及其 SM3，用于比对两次运行"

    def add_arguments(self, parser):
        parser.add_argument("--out", help="a file; without it standard output")
        parser.add_argument("--sm3", action="store_true", help="only the SM3")

    def handle(self, *args, **options):
        out = options["out"]
        with connections["settler"].cursor() as cursor:
            if options["sm3"]:
                self.stdout.write(dump.write(len, cursor))
                return
            with Path(out).open("wb") if out else nullcontext(sys.stdout.buffer) as file:
                digest = dump.write(file.write, cursor)
        self.stderr.write(f"SM3 {digest}")
