"""Trial settlement of JSON Lines."""

import json
import sys
from contextlib import nullcontext
from pathlib import Path

from django.core.management.base import BaseCommand, CommandError

from institutions.access import EVERYTHING, scoped
from settlement.fault import FactError, problem, read_json
from settlement.management.commands.cases import published
from settlement.trial import run


class Command(BaseCommand):
    """`trial FILE|-`: an object per line in, an answer or problem per line out; exit 1 on one."""

    help = "试算：逐行读取 JSON 事实，逐行输出答复；不保存任何内容"
    requires_system_checks: list[str] = []

    def add_arguments(self, parser):
        parser.add_argument("file", metavar="FILE|-")
        parser.add_argument("--examples", action="store_true", help="同时使用示例参数")

    def handle(self, *args, **options):
        failed = False
        with scoped(EVERYTHING), self._lines(options["file"]) as lines:
            catalogue = published()
            for number, line in enumerate(lines, 1):
                if not line.strip():
                    continue
                try:
                    answer = run(read_json(line), catalogue, examples=options["examples"])
                except FactError as error:
                    failed, answer = True, problem(error) | {"line": number}
                self.stdout.write(json.dumps(answer, ensure_ascii=False))
        if failed:
            sys.exit(1)

    def _lines(self, name: str):
        if name == "-":
            return nullcontext(sys.stdin)
        try:
            return Path(name).open(encoding="utf-8-sig")
        except OSError as error:
            raise CommandError(f"不能读取 {name}：{error.strerror}") from error
