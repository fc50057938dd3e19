"""Check policy texts without a database."""

import sys
from pathlib import Path

from django.core.management.base import BaseCommand

from pricing.validation import Problem, problems


class Command(BaseCommand):
    """`check_policies FILE…`: `file:line: key path：what is expected`; exit 1 when any is found."""

    help = "校验政策文件和参数集，逐条列出文件、行、键和应为何值"
    requires_system_checks: list[str] = []

    def add_arguments(self, parser):
        parser.add_argument("files", nargs="+", type=Path, metavar="FILE")

    def handle(self, *args, **options):
        found = [problem for path in options["files"] for problem in _check(path)]
        for problem in found:
            self.stdout.write(str(problem))
        self.stdout.write(f"{len(options['files'])} 个文件，{len(found)} 处错误")
        if found:
            sys.exit(1)


def _check(path: Path) -> list[Problem]:
    try:
        return problems(path.read_text(encoding="utf-8"), name=str(path))
    except (OSError, UnicodeDecodeError) as error:
        return [Problem(str(path), 1, "/", f"不能读取：{error}")]
