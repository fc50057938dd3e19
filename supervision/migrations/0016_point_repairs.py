"""Repairs of points that are proposed: their table, who sees it, what stays."""

import django.db.models.deletion
from django.db import migrations, models

SEEN = "scope_allows(region_code, institution_code)"
FIXED = (
    "practitioner_code",
    "year",
    "points",
    "course",
    "document_id",
    "proposed_by",
    "proposed_at",
)
CHANGED = " OR ".join(f"OLD.{column} IS DISTINCT FROM NEW.{column}" for column in FIXED)
GUARD = f"""
ALTER TABLE supervision_pointrepair ENABLE ROW LEVEL SECURITY;
ALTER TABLE supervision_pointrepair FORCE ROW LEVEL SECURITY;
CREATE POLICY scope ON supervision_pointrepair USING ({SEEN}) WITH CHECK ({SEEN});
REVOKE DELETE, TRUNCATE ON supervision_pointrepair FROM mip_app, mip_settler;
CREATE TRIGGER record_is_fixed BEFORE UPDATE ON supervision_pointrepair FOR EACH ROW
    WHEN (OLD.state <> 'proposed' OR {CHANGED}) EXECUTE FUNCTION refuse_change_of_record();
"""
UNDO = """
DROP TRIGGER record_is_fixed ON supervision_pointrepair;
DROP POLICY scope ON supervision_pointrepair;
ALTER TABLE supervision_pointrepair DISABLE ROW LEVEL SECURITY;
"""


class Migration(migrations.Migration):
    dependencies = (
        ("institutions", "0006_department_suspensions"),
        ("supervision", "0015_inspection_papers"),
    )

    operations = (
        migrations.CreateModel(
            name="PointRepair",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("region_code", models.CharField(max_length=6)),
                ("institution_code", models.CharField(max_length=12)),
                ("practitioner_code", models.CharField(max_length=20, verbose_name="医师药师护士")),
                ("year", models.SmallIntegerField(verbose_name="记分年度")),
                ("points", models.SmallIntegerField(verbose_name="修复分值")),
                ("course", models.CharField(max_length=80, verbose_name="修复事由")),
                ("proposed_at", models.DateTimeField()),
                ("proposed_by", models.CharField(max_length=150, verbose_name="提出人")),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("proposed", "待审批"),
                            ("approved", "已修复"),
                            ("refused", "不予修复"),
                        ],
                        default="proposed",
                        max_length=8,
                    ),
                ),
                ("note", models.CharField(blank=True, max_length=200, verbose_name="审批意见")),
                ("decided_at", models.DateTimeField(blank=True, null=True)),
                (
                    "decided_by",
                    models.CharField(blank=True, max_length=150, verbose_name="审批人"),
                ),
                (
                    "document",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="institutions.document",
                    ),
                ),
                (
                    "entry",
                    models.OneToOneField(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="repair",
                        to="supervision.pointentry",
                    ),
                ),
            ],
            options={
                "ordering": ("-pk",),
                "indexes": [
                    models.Index(fields=["practitioner_code", "year"], name="repair_practitioner")
                ],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("points__gt", 0)), name="repair_points_positive"
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            state="proposed",
                            decided_by="",
                            decided_at__isnull=True,
                            entry__isnull=True,
                        )
                        | (
                            models.Q(
                                state="approved", entry__isnull=False, decided_at__isnull=False
                            )
                            & ~models.Q(decided_by="")
                        )
                        | (
                            models.Q(state="refused", entry__isnull=True, decided_at__isnull=False)
                            & ~models.Q(note="")
                            & ~models.Q(decided_by="")
                        ),
                        name="repair_decision_whole",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("decided_by", models.F("proposed_by")), _negated=True),
                        name="repair_second_person",
                    ),
                    models.UniqueConstraint(
                        condition=models.Q(("state", "proposed")),
                        fields=("practitioner_code",),
                        name="repair_one_open",
                    ),
                ],
            },
        ),
        migrations.RunSQL(GUARD, UNDO),
    )
