"""Monthly reports upward: seen inside one's scope; what a version says never changes."""

import django.db.models.deletion
from django.db import migrations, models

#: a report changes only as its table moves it; a version is only added
GUARDS = """
ALTER TABLE supervision_monthlyreport ENABLE ROW LEVEL SECURITY;
ALTER TABLE supervision_monthlyreport FORCE ROW LEVEL SECURITY;
CREATE POLICY scope ON supervision_monthlyreport
    USING (scope_allows(region_code, institution_code))
    WITH CHECK (scope_allows(region_code, institution_code));
ALTER TABLE supervision_monthlyversion ENABLE ROW LEVEL SECURITY;
ALTER TABLE supervision_monthlyversion FORCE ROW LEVEL SECURITY;
CREATE POLICY scope ON supervision_monthlyversion
    USING (scope_allows(region_code, institution_code))
    WITH CHECK (scope_allows(region_code, institution_code));
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON supervision_monthlyversion
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
REVOKE DELETE, TRUNCATE ON supervision_monthlyreport FROM mip_app, mip_settler;
REVOKE UPDATE, DELETE, TRUNCATE ON supervision_monthlyversion FROM mip_app, mip_settler;
"""
UNDO = """
GRANT DELETE ON supervision_monthlyreport TO mip_app, mip_settler;
DROP TRIGGER append_only ON supervision_monthlyversion;
DROP POLICY scope ON supervision_monthlyversion;
ALTER TABLE supervision_monthlyversion DISABLE ROW LEVEL SECURITY;
DROP POLICY scope ON supervision_monthlyreport;
ALTER TABLE supervision_monthlyreport DISABLE ROW LEVEL SECURITY;
"""


class Migration(migrations.Migration):
    dependencies = [
        ("supervision", "0011_suspensions"),
    ]

    operations = [
        migrations.CreateModel(
            name="MonthlyReport",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("procedure", models.SlugField(max_length=40)),
                ("state", models.SlugField(max_length=40)),
                ("entered_on", models.DateField(verbose_name="进入本状态日")),
                ("due", models.DateField(blank=True, null=True)),
                (
                    "due_nominal",
                    models.DateField(blank=True, null=True, verbose_name="顺延前的末日"),
                ),
                ("due_clause", models.CharField(blank=True, max_length=120)),
                ("due_unknown", models.SmallIntegerField(blank=True, null=True)),
                ("stopped", models.BooleanField(default=False)),
                ("version", models.PositiveIntegerField(default=0)),
                ("region_code", models.CharField(max_length=6)),
                ("institution_code", models.CharField(blank=True, max_length=12)),
                ("opened_at", models.DateTimeField()),
                ("opened_by", models.CharField(max_length=150)),
                ("closed_at", models.DateTimeField(blank=True, null=True)),
                ("number", models.CharField(max_length=60, unique=True, verbose_name="文号")),
                ("month", models.DateField(verbose_name="月份")),
                ("to_region", models.CharField(max_length=6, verbose_name="上级区域")),
                ("latest", models.SmallIntegerField(default=0, verbose_name="版本")),
                ("made_by", models.CharField(max_length=150, verbose_name="编制人")),
                (
                    "submitted_at",
                    models.DateTimeField(blank=True, null=True, verbose_name="首次报送"),
                ),
                (
                    "submitted_by",
                    models.CharField(blank=True, max_length=150, verbose_name="报送人"),
                ),
                ("received_at", models.DateTimeField(blank=True, null=True, verbose_name="接收")),
                (
                    "received_by",
                    models.CharField(blank=True, max_length=150, verbose_name="接收人"),
                ),
                (
                    "returned_for",
                    models.CharField(blank=True, max_length=400, verbose_name="退回理由"),
                ),
            ],
            options={
                "ordering": ("-month", "region_code"),
                "indexes": [models.Index(fields=["to_region", "month"], name="monthly_above")],
                "constraints": [
                    models.UniqueConstraint(fields=("region_code", "month"), name="monthly_once"),
                    models.CheckConstraint(
                        condition=models.Q(("month__day", 1)), name="monthly_of_a_whole_month"
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("region_code", models.F("to_region")), _negated=True),
                        name="monthly_goes_upward",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("submitted_by", ""),
                            models.Q(("submitted_by", models.F("made_by")), _negated=True),
                            _connector="OR",
                        ),
                        name="monthly_second_person",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("state__in", ["made", "returned"]),
                            models.Q(
                                ("submitted_at__isnull", False),
                                models.Q(("submitted_by", ""), _negated=True),
                            ),
                            _connector="OR",
                        ),
                        name="monthly_submitted_by_a_person",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(
                                models.Q(("state", "received"), _negated=True),
                                ("received_at__isnull", True),
                                ("received_by", ""),
                            ),
                            models.Q(
                                ("received_at__isnull", False),
                                ("state", "received"),
                                models.Q(("received_by", ""), _negated=True),
                            ),
                            _connector="OR",
                        ),
                        name="monthly_received_whole",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("state", "returned"), _negated=True),
                            models.Q(("returned_for", ""), _negated=True),
                            _connector="OR",
                        ),
                        name="monthly_returned_for_a_reason",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="MonthlyVersion",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("version", models.SmallIntegerField(verbose_name="版本")),
                ("region_code", models.CharField(max_length=6)),
                ("institution_code", models.CharField(blank=True, max_length=12)),
                ("figures", models.JSONField(help_text="supervision/monthly_counts.py")),
                ("digest", models.CharField(max_length=64, verbose_name="摘要（SM3）")),
                ("made_at", models.DateTimeField(verbose_name="编制时间")),
                ("made_by", models.CharField(max_length=150, verbose_name="编制人")),
                (
                    "report",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="versions",
                        to="supervision.monthlyreport",
                    ),
                ),
            ],
            options={
                "ordering": ("report", "-version"),
                "constraints": [
                    models.UniqueConstraint(
                        fields=("report", "version"), name="monthly_version_once"
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("digest__regex", "^[0-9a-f]{64}$"), ("version__gte", 1)
                        ),
                        name="monthly_version_sane",
                    ),
                ],
            },
        ),
        migrations.RunSQL(GUARDS, UNDO),
    ]
