"""A measure that cannot be carried out ends, a case is dismissed by a paper, a run says that it lives."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("supervision", "0019_inspectors_certificates"),
    ]

    operations = [
        migrations.RemoveConstraint(
            model_name="sanction",
            name="sanction_execution_whole",
        ),
        migrations.AddField(
            model_name="run",
            name="alive_at",
            field=models.DateTimeField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name="run",
            name="attempts",
            field=models.SmallIntegerField(db_default=0, default=0),
        ),
        migrations.AlterField(
            model_name="casepaper",
            name="kind",
            field=models.CharField(
                choices=[
                    ("filing", "立案审批表"),
                    ("notice", "处理告知书"),
                    ("evidence", "证据清单"),
                    ("request", "当事人申请登记表"),
                    ("recusal", "回避决定书"),
                    ("hearing", "听证通知书"),
                    ("nohear", "不予听证通知书"),
                    ("decision", "处理决定书"),
                    ("dismiss", "不予处理决定书"),
                    ("transfer", "案件移送书"),
                    ("receipt", "送达回证"),
                    ("inform", "案件通报函"),
                    ("closing", "结案报告"),
                ],
                max_length=8,
                verbose_name="文书",
            ),
        ),
        migrations.AlterField(
            model_name="sanction",
            name="state",
            field=models.CharField(
                choices=[
                    ("proposed", "拟议"),
                    ("ordered", "待执行"),
                    ("done", "已执行"),
                    ("dropped", "未采纳"),
                    ("ended", "终结执行"),
                ],
                default="proposed",
                max_length=8,
            ),
        ),
        migrations.AddConstraint(
            model_name="sanction",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(
                        models.Q(("state__in", ["done", "ended"]), _negated=True),
                        ("done_by", ""),
                        ("done_on__isnull", True),
                    ),
                    models.Q(
                        ("done_on__isnull", False),
                        ("state__in", ["done", "ended"]),
                        models.Q(("done_by", ""), _negated=True),
                        models.Q(("record", ""), _negated=True),
                    ),
                    _connector="OR",
                ),
                name="sanction_execution_whole",
            ),
        ),
    ]
