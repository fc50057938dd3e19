"""Suspended departments of institutions: read wherever a visit is settled; a row keeps what it says."""

import django.db.models.deletion
from django.db import migrations, models

GUARDS = """
CREATE TRIGGER keep_suspension BEFORE UPDATE ON institutions_departmentsuspension
    FOR EACH ROW EXECUTE FUNCTION keep_suspension();
ALTER TABLE institutions_departmentsuspension ENABLE ROW LEVEL SECURITY;
ALTER TABLE institutions_departmentsuspension FORCE ROW LEVEL SECURITY;
CREATE POLICY some_scope ON institutions_departmentsuspension
    USING (coalesce(current_setting('app.scope', true), '') <> '');
REVOKE DELETE, TRUNCATE ON institutions_departmentsuspension FROM mip_app, mip_settler;
"""
UNDO = """
DROP TRIGGER keep_suspension ON institutions_departmentsuspension;
DROP POLICY some_scope ON institutions_departmentsuspension;
"""


class Migration(migrations.Migration):
    dependencies = [
        ("institutions", "0005_client_keys"),
    ]

    operations = [
        migrations.CreateModel(
            name="DepartmentSuspension",
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
                ("department", models.CharField(max_length=20, verbose_name="诊疗科目")),
                (
                    "institution",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="department_suspensions",
                        to="institutions.institution",
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
                        name="departmentsuspension_known_once",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("valid_until__isnull", True),
                            ("valid_until__gte", models.F("valid_from")),
                            _connector="OR",
                        ),
                        name="departmentsuspension_days",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("clause", ""), _negated=True),
                            models.Q(("source", ""), _negated=True),
                            models.Q(("recorded_by", ""), _negated=True),
                        ),
                        name="departmentsuspension_says_why",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("department", ""), _negated=True),
                        name="departmentsuspension_of_one",
                    ),
                ],
            },
        ),
        migrations.RunSQL(GUARDS, UNDO),
    ]
