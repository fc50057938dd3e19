"""Register the certificate of an authority whose signing certificates are to be trusted."""

from pathlib import Path

from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from agreements import keys
from agreements.identities import SigningError


class Command(BaseCommand):
    """`signing_authority authority.pem`: the root that signing certificates must lead to."""

    help = "登记签名证书颁发机构的证书（PEM），其颁发的签名证书方可登记和通过验证"

    def add_arguments(self, parser):
        parser.add_argument("file", type=Path, metavar="FILE.pem")
        parser.add_argument("--by", default="signing_authority", help="操作人（写入留痕）")

    def handle(self, *args, **options):
        try:
            content = options["file"].read_bytes()
        except OSError as fault:
            raise CommandError(f"无法读取文件：{options['file']}") from fault
        try:
            made = keys.register_authority(certificate=content, by=options["by"], at=timezone.now())
        except SigningError as refused:
            raise CommandError(refused.detail[0]) from refused
        self.stdout.write(f"已登记：{made.subject}，有效期至 {made.valid_until}")
