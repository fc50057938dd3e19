"""Load the shipped policy documents as releases."""

from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from institutions.access import EVERYTHING, scoped
from pricing.commands import ReleaseError, load_shipped

OUTCOMES = {
    "unchanged": "已载入，无变化",
    "published": "已发布",
    "draft": "与已发布版本不同，已存为草案，须由人确定生效日后发布",
}


class Command(BaseCommand):
    """`load_policies`: idempotent; a published text is never changed."""

    help = "将随系统提供的政策文件和示例参数载入为首批版本（可重复执行）"
    requires_system_checks: list[str] = []

    def add_arguments(self, parser):
        parser.add_argument("--by", default="load_policies", help="操作人（写入留痕）")

    def handle(self, *args, **options):
        try:
            with scoped(EVERYTHING):
                loaded = load_shipped(by=options["by"], at=timezone.now())
        except ReleaseError as error:
            raise CommandError(str(error)) from error
        for entry in loaded:
            self.stdout.write(
                f"{entry.name}：{OUTCOMES[entry.outcome]}（{entry.release.sm3[:12]}）"
            )
