"""`check_trail`: every entry of the log recomputed, the columns it is searched by compared with its body."""

from django.core.management.base import BaseCommand, CommandError

from audit import proven

SHOWN = 20  #: faults that are named


class Command(BaseCommand):
    """Exit status 1 when anything differs; the first fault is named first."""

    help = "逐条重算留痕：叶哈希、树根，以及时间、参保人等检索字段是否与封存的正文一致"

    def add_arguments(self, parser):
        parser.add_argument(
            "--signatures", action="store_true", help="校验每一个检查点的签名，不只最新的一个"
        )

    def handle(self, *, signatures, **options):
        found = proven.walk(signatures=signatures)
        for fault in found.faults[:SHOWN]:
            self.stdout.write(fault)
        if found.faults:
            raise CommandError(f"不一致 {len(found.faults)} 处，第一处：{found.faults[0]}")
        told = f"；{found.unbound} 条早于参保人哈希写入正文，该字段未绑定" if found.unbound else ""
        told += f"；{found.bare} 条正文已归档" if found.bare else ""
        self.stdout.write(f"一致：日志 {found.entries} 条，检查点 {found.size} 条{told}")
