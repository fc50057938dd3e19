"""Papers of inspections; an institution knows of its inspection once told; recusals decided with a reason."""

import django.db.models.deletion
from django.db import migrations, models

TOLD = "(state = 'done' OR told_on IS NOT NULL)"
SEEN = "EXISTS (SELECT FROM supervision_inspectiontask t WHERE t.id = task_id)"


def _task(when):
    seen = f"scope_allows(region_code, CASE WHEN {when} THEN institution_code ELSE '' END)"
    return f"""
DROP POLICY scope ON supervision_inspectiontask;
CREATE POLICY scope ON supervision_inspectiontask USING ({seen}) WITH CHECK ({seen});
"""


GUARD = f"""
ALTER TABLE supervision_inspectionpaper ENABLE ROW LEVEL SECURITY;
ALTER TABLE supervision_inspectionpaper FORCE ROW LEVEL SECURITY;
CREATE POLICY scope ON supervision_inspectionpaper USING ({SEEN}) WITH CHECK ({SEEN});
REVOKE UPDATE, DELETE, TRUNCATE ON supervision_inspectionpaper FROM mip_app, mip_settler;
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON supervision_inspectionpaper
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER told_once BEFORE UPDATE ON supervision_inspectiontask FOR EACH ROW
    WHEN (OLD.told_on IS NOT NULL AND OLD.told_on IS DISTINCT FROM NEW.told_on)
    EXECUTE FUNCTION refuse_change_of_record();
"""
UNDO = """
DROP TRIGGER told_once ON supervision_inspectiontask;
DROP TRIGGER append_only ON supervision_inspectionpaper;
DROP POLICY scope ON supervision_inspectionpaper;
"""
KINDS = [
    ("filing", "立案审批表"), ("notice", "处理告知书"), ("evidence", "证据清单"),
    ("request", "当事人申请登记表"), ("recusal", "回避决定书"), ("hearing", "听证通知书"),
    ("nohear", "不予听证通知书"), ("decision", "处理决定书"), ("transfer", "案件移送书"),
    ("receipt", "送达回证"), ("inform", "案件通报函"), ("closing", "结案报告"),
]  # fmt: skip


class Migration(migrations.Migration):
    dependencies = (("supervision", "0014_department_suspensions"),)
    operations = (
        migrations.AlterField(
            "casepaper", "kind", models.CharField("文书", choices=KINDS, max_length=8)
        ),
        migrations.AddField(
            "caseinspector", "recusal_for",
            models.CharField("申请人", max_length=120, blank=True, default=""),
            preserve_default=False,
        ),
        migrations.AddField(
            "caseinspector", "recusal_on", models.DateField("申请日", null=True, blank=True)
        ),
        migrations.AddField(
            "caseinspector", "decision_reason",
            models.CharField("决定理由", max_length=400, blank=True, default=""),
            preserve_default=False,
        ),
        migrations.RemoveConstraint("caseinspector", "case_recusal_decided_by_another"),
        migrations.AddConstraint(
            "caseinspector",
            models.CheckConstraint(
                condition=models.Q(recused=None)
                | (~models.Q(decided_by="") & ~models.Q(decision_reason="")
                   & ~models.Q(decided_by=models.F("recusal_by"))
                   & ~models.Q(decided_by=models.F("username")))
                | (~models.Q(decided_by="") & models.Q(decision_reason="", recusal_on=None)
                   & (~models.Q(recusal="asked") | ~models.Q(decided_by=models.F("recusal_by")))),
                name="case_recusal_decided_by_another",
            ),
        ),
        migrations.AddField(
            "inspectiontask", "told_on", models.DateField("通知日", null=True, blank=True)
        ),
        migrations.CreateModel(
            name="InspectionPaper",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False,
                                           verbose_name="ID")),
                ("number", models.CharField("文号", max_length=60, unique=True)),
                ("addressee", models.CharField("受文者", max_length=120)),
                ("content", models.JSONField()),
                ("digest", models.CharField("摘要（SM3）", max_length=64)),
                ("made_on", models.DateField("制作日")),
                ("made_at", models.DateTimeField()),
                ("made_by", models.CharField(max_length=150)),
                ("kind", models.CharField("文书", max_length=8, choices=[
                    ("notice", "检查通知书"), ("receipt", "送达回证")])),
                ("serves", models.OneToOneField(
                    blank=True, null=True, on_delete=django.db.models.deletion.PROTECT,
                    related_name="receipt", to="supervision.inspectionpaper",
                    verbose_name="所送达的文书")),
                ("task", models.ForeignKey(
                    on_delete=django.db.models.deletion.PROTECT, related_name="papers",
                    to="supervision.inspectiontask")),
            ],
            options={
                "ordering": ("pk",),
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(kind="receipt", serves__isnull=False)
                        | (~models.Q(kind="receipt") & models.Q(serves__isnull=True)),
                        name="inspection_receipt_of_a_paper",
                    ),
                ],
            },
        ),
        migrations.RunSQL(_task(TOLD) + GUARD, UNDO + _task("state = 'done'")),
    )  # fmt: skip
