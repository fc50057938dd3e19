"""Suspended online settlement of persons: read wherever a person is treated; a row keeps what it says."""

import django.db.models.deletion
from django.db import migrations, models

GUARDS = """
CREATE TRIGGER keep_suspension BEFORE UPDATE ON settlement_onlinesuspension
    FOR EACH ROW EXECUTE FUNCTION keep_suspension();
ALTER TABLE settlement_onlinesuspension ENABLE ROW LEVEL SECURITY;
ALTER TABLE settlement_onlinesuspension FORCE ROW LEVEL SECURITY;
CREATE POLICY some_scope ON settlement_onlinesuspension
    USING (coalesce(current_setting('app.scope', true), '') <> '');
REVOKE DELETE, TRUNCATE ON settlement_onlinesuspension FROM mip_app, mip_settler;
"""
UNDO = """
DROP TRIGGER keep_suspension ON settlement_onlinesuspension;
DROP POLICY some_scope ON settlement_onlinesuspension;
"""


class Migration(migrations.Migration):
    dependencies = [
        ("institutions", "0003_suspensions"),
        ("settlement", "0017_ledger_item_codes"),
    ]

    operations = [
        migrations.AlterField(
            model_name="reimbursement",
            name="cause",
            field=models.CharField(
                choices=[
                    ("no_function", "机构没有联网结算功能"),
                    ("outage", "就诊当日结算系统故障"),
                    ("suspended", "就诊当日本人被暂停联网结算"),
                ],
                max_length=11,
                verbose_name="未联网结算原因",
            ),
        ),
        migrations.CreateModel(
            name="OnlineSuspension",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("valid_from", models.DateField(verbose_name="起日")),
                ("valid_until", models.DateField(blank=True, null=True, verbose_name="止日")),
                ("clause", models.CharField(max_length=160, verbose_name="依据")),
                (
                    "source",
                    models.CharField(
                        help_text="the decision: one row of it is known",
                        max_length=80,
                        verbose_name="来源",
                    ),
                ),
                ("recorded_at", models.DateTimeField()),
                ("recorded_by", models.CharField(max_length=150)),
                ("superseded_at", models.DateTimeField(blank=True, null=True)),
                (
                    "person",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="suspensions",
                        to="settlement.insuredperson",
                    ),
                ),
            ],
            options={
                "ordering": ("-valid_from", "-pk"),
                "abstract": False,
                "constraints": [
                    models.UniqueConstraint(
                        condition=models.Q(("superseded_at__isnull", True)),
                        fields=("source",),
                        name="onlinesuspension_known_once",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("valid_until__isnull", True),
                            ("valid_until__gte", models.F("valid_from")),
                            _connector="OR",
                        ),
                        name="onlinesuspension_days",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("clause", ""), _negated=True),
                            models.Q(("source", ""), _negated=True),
                            models.Q(("recorded_by", ""), _negated=True),
                        ),
                        name="onlinesuspension_says_why",
                    ),
                ],
            },
        ),
        migrations.RunSQL(GUARDS, UNDO),
    ]
