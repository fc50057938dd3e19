"""Credit scores: versions that are only added."""

from django.db import migrations, models

#: an institution sees its own and its practitioners'; persons' have no institution
GUARDS = """
ALTER TABLE supervision_creditscore ENABLE ROW LEVEL SECURITY;
ALTER TABLE supervision_creditscore FORCE ROW LEVEL SECURITY;
CREATE POLICY scope ON supervision_creditscore
    USING (scope_allows(region_code, institution_code))
    WITH CHECK (scope_allows(region_code, institution_code));
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON supervision_creditscore
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
REVOKE UPDATE, DELETE, TRUNCATE ON supervision_creditscore FROM mip_app, mip_settler;
"""
UNDO = """
DROP TRIGGER append_only ON supervision_creditscore;
DROP POLICY scope ON supervision_creditscore;
ALTER TABLE supervision_creditscore DISABLE ROW LEVEL SECURITY;
"""


class Migration(migrations.Migration):
    dependencies = [
        ("supervision", "0009_conduct"),
    ]

    operations = [
        migrations.CreateModel(
            name="CreditScore",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("region_code", models.CharField(max_length=6)),
                ("institution_code", models.CharField(blank=True, max_length=12)),
                (
                    "subject_kind",
                    models.CharField(
                        choices=[
                            ("institution", "定点医疗机构"),
                            ("practitioner", "医师药师护士"),
                            ("person", "参保人员"),
                        ],
                        max_length=12,
                        verbose_name="对象类别",
                    ),
                ),
                ("subject_code", models.CharField(max_length=64, verbose_name="对象")),
                ("year", models.SmallIntegerField(verbose_name="年度")),
                ("version", models.SmallIntegerField(verbose_name="版本")),
                ("start", models.SmallIntegerField(verbose_name="基准分")),
                ("parts", models.JSONField(default=list, verbose_name="构成")),
                ("score", models.SmallIntegerField(verbose_name="得分")),
                ("level", models.CharField(max_length=20, verbose_name="等级")),
                ("clause", models.CharField(max_length=160, verbose_name="依据")),
                ("example", models.BooleanField(default=False, verbose_name="使用示例参数")),
                ("made_at", models.DateTimeField()),
                ("made_by", models.CharField(max_length=150)),
            ],
            options={
                "ordering": ("-year", "score", "-pk"),
                "indexes": [
                    models.Index(fields=["region_code", "year", "score"], name="credit_region")
                ],
                "constraints": [
                    models.UniqueConstraint(
                        fields=("subject_kind", "subject_code", "year", "version"),
                        name="credit_version",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("score__gte", 0), ("version__gte", 1)),
                        name="credit_not_negative",
                    ),
                ],
            },
        ),
        migrations.RunSQL(GUARDS, UNDO),
    ]
