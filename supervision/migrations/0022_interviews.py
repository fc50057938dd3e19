"""Open tasks to compare a registration belong to the practitioner; interviews have minutes."""

import django.db.models.deletion
from django.db import migrations, models

#: What a suspension by points opened before: one per practitioner stays open under its own subject.
TASKS = """
SELECT set_config('app.scope', '*', true);
UPDATE audit_task t SET state = 'done', closed_at = now(), closed_by = 'system:migration'
FROM supervision_restriction r
WHERE t.subject = 'restriction:' || r.id AND t.permission = 'registry.check' AND t.state = 'open'
    AND EXISTS (SELECT FROM audit_task o JOIN supervision_restriction q
        ON o.subject = 'restriction:' || q.id
        WHERE q.subject_code = r.subject_code AND o.permission = 'registry.check'
            AND o.state = 'open' AND o.id > t.id);
UPDATE audit_task t SET subject = 'comparison:' || r.subject_code,
    url = '/institutions/' || t.institution_code || '/?tab=practitioners'
FROM supervision_restriction r
WHERE t.subject = 'restriction:' || r.id AND t.permission = 'registry.check' AND t.state = 'open';
"""
SEEN = "EXISTS (SELECT FROM supervision_sanction s WHERE s.id = sanction_id)"
FIXED = (
    "sanction_id", "notice_id", "held_on", "place", "present", "statements", "commitments",
    "recorded_at", "recorded_by",
)  # fmt: skip
CHANGED = " OR ".join(f"OLD.{column} IS DISTINCT FROM NEW.{column}" for column in FIXED)
GUARD = f"""
ALTER TABLE supervision_interview ENABLE ROW LEVEL SECURITY;
ALTER TABLE supervision_interview FORCE ROW LEVEL SECURITY;
CREATE POLICY scope ON supervision_interview USING ({SEEN}) WITH CHECK ({SEEN});
REVOKE DELETE, TRUNCATE ON supervision_interview FROM mip_app, mip_settler;
CREATE TRIGGER record_is_fixed BEFORE UPDATE ON supervision_interview FOR EACH ROW
    WHEN (OLD.agreed IS NOT NULL OR {CHANGED}) EXECUTE FUNCTION refuse_change_of_record();
"""
UNDO = """
DROP TRIGGER record_is_fixed ON supervision_interview;
DROP POLICY scope ON supervision_interview;
"""
KINDS = [
    ("filing", "立案审批表"), ("notice", "处理告知书"), ("evidence", "证据清单"),
    ("request", "当事人申请登记表"), ("recusal", "回避决定书"), ("hearing", "听证通知书"),
    ("nohear", "不予听证通知书"), ("decision", "处理决定书"), ("dismiss", "不予处理决定书"),
    ("transfer", "案件移送书"), ("receipt", "送达回证"), ("inform", "案件通报函"),
    ("closing", "结案报告"), ("talk", "约谈通知书"), ("minutes", "约谈笔录"),
]  # fmt: skip
Q, PROTECT = models.Q, django.db.models.deletion.PROTECT


class Migration(migrations.Migration):
    dependencies = (("supervision", "0021_merged_findings"),)
    operations = (
        migrations.RunSQL(TASKS, migrations.RunSQL.noop),
        migrations.AlterField(
            "casepaper", "kind", models.CharField("文书", choices=KINDS, max_length=8)
        ),
        migrations.CreateModel(
            "Interview",
            [
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False,
                                           verbose_name="ID")),
                ("held_on", models.DateField("约谈日")),
                ("place", models.CharField("约谈时间与地点", max_length=120)),
                ("present", models.CharField("到场人员", max_length=400)),
                ("statements", models.CharField("陈述", max_length=4000)),
                ("commitments", models.CharField("承诺", max_length=4000)),
                ("recorded_at", models.DateTimeField()),
                ("recorded_by", models.CharField("记录人", max_length=150)),
                ("agreed", models.BooleanField("是否确认", null=True, blank=True)),
                ("reason", models.CharField("退回理由", max_length=400, blank=True)),
                ("confirmed_at", models.DateTimeField(null=True, blank=True)),
                ("confirmed_by", models.CharField("确认人", max_length=150, blank=True)),
                ("minutes", models.OneToOneField(
                    "supervision.CasePaper", PROTECT, null=True, blank=True, related_name="+")),
                ("notice", models.ForeignKey("supervision.CasePaper", PROTECT, related_name="+")),
                ("sanction", models.ForeignKey(
                    "supervision.Sanction", PROTECT, related_name="interviews")),
            ],
            options={
                "ordering": ("pk",),
                "constraints": (
                    models.UniqueConstraint(
                        fields=["sanction"], name="interview_minutes_once",
                        condition=~Q(agreed=False) | Q(agreed__isnull=True),
                    ),
                    models.CheckConstraint(
                        condition=Q(agreed__isnull=True, confirmed_by="", confirmed_at__isnull=True,
                                    minutes__isnull=True)
                        | (Q(agreed__isnull=False, confirmed_at__isnull=False)
                           & ~Q(confirmed_by="")
                           & ~Q(confirmed_by=models.F("recorded_by"))),
                        name="interview_confirmed_by_another",
                    ),
                    models.CheckConstraint(
                        condition=Q(agreed__isnull=True) | Q(agreed=True, minutes__isnull=False)
                        | (Q(agreed=False, minutes__isnull=True) & ~Q(reason="")),
                        name="interview_decision_whole",
                    ),
                    models.CheckConstraint(
                        condition=~Q(present="") & ~Q(statements="") & ~Q(commitments=""),
                        name="interview_minutes_whole",
                    ),
                ),
            },
        ),
        migrations.RunSQL(GUARD, UNDO),
    )  # fmt: skip
