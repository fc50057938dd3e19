"""Recusals in inspections: a request and its decision on paper; nobody decides on the own recusal."""

from django.db import migrations, models

KINDS = [
    ("notice", "检查通知书"), ("receipt", "送达回证"), ("request", "回避申请登记表"),
    ("recusal", "回避决定书"),
]  # fmt: skip
# NOT VALID: until now an inspector might have recorded the own recusal
GUARD = """
ALTER TABLE supervision_inspectioninspector ADD CONSTRAINT inspection_recused_by_another
    CHECK (recused_by <> username) NOT VALID;
"""
UNDO = """
ALTER TABLE supervision_inspectioninspector DROP CONSTRAINT inspection_recused_by_another;
"""


class Migration(migrations.Migration):
    dependencies = (("supervision", "0017_payouts"),)
    operations = (
        migrations.AlterField(
            "inspectionpaper", "kind", models.CharField("文书", choices=KINDS, max_length=8)
        ),
        migrations.RunSQL(GUARD, UNDO),
    )
