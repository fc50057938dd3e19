"""Conduct of our own staff, disclosures, loans of the archive: tables, who sees them, what stays."""

import django.db.models.deletion
from django.db import migrations, models

#: flags and unpublished disclosures are the region's own; what was published is everybody's
SEEN = {
    "conductflag": "scope_allows(region_code, '')",
    "disclosure": "approved_by <> '' OR scope_allows(region_code, '')",
    "archiveloan": "EXISTS (SELECT FROM supervision_supervisioncase c WHERE c.id = case_id)",
}
CHECKED = {"disclosure": "scope_allows(region_code, '')"}
SCOPES = "".join(
    f"""
ALTER TABLE supervision_{name} ENABLE ROW LEVEL SECURITY;
ALTER TABLE supervision_{name} FORCE ROW LEVEL SECURITY;
CREATE POLICY scope ON supervision_{name} USING ({seen})
    WITH CHECK ({CHECKED.get(name, seen)});
REVOKE DELETE, TRUNCATE ON supervision_{name} FROM mip_app, mip_settler;
"""
    for name, seen in SEEN.items()
)
#: table → (when it is fixed, the columns that stay)
FIXED = {
    "conductflag": ("true", "kind", "actor", "other", "day", "count", "message", "evidence", "key"),
    "disclosure": ("OLD.approved_by <> ''", "case_id", "subject", "title", "text", "measures",
                   "decision_no", "decided_on", "first_day", "last_day", "approved_by"),
    "archiveloan": ("true", "case_id", "asked_by", "asked_at", "purpose"),
}  # fmt: skip
KEPT = "".join(
    f"""
CREATE TRIGGER record_is_fixed BEFORE UPDATE ON supervision_{name} FOR EACH ROW
    WHEN ({when} AND ({" OR ".join(f"OLD.{c} IS DISTINCT FROM NEW.{c}" for c in columns)}))
    EXECUTE FUNCTION refuse_change_of_record();
"""
    for name, (when, *columns) in FIXED.items()
)
UNDO = "".join(
    f"DROP TRIGGER record_is_fixed ON supervision_{name};"
    f"DROP POLICY scope ON supervision_{name};"
    f"ALTER TABLE supervision_{name} DISABLE ROW LEVEL SECURITY;"
    for name in SEEN
)


class Migration(migrations.Migration):
    dependencies = [
        ("supervision", "0008_report_guards"),
    ]

    operations = [
        migrations.CreateModel(
            name="ConductFlag",
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
                    "kind",
                    models.CharField(
                        choices=[
                            ("self_dealing", "一人两岗"),
                            ("mass_reveal", "大量查看个人信息"),
                            ("off_hours", "非工作时间办理"),
                        ],
                        max_length=12,
                        verbose_name="类别",
                    ),
                ),
                ("actor", models.CharField(max_length=150, verbose_name="人员")),
                ("other", models.CharField(blank=True, max_length=150, verbose_name="另一账号")),
                ("day", models.DateField(verbose_name="日期")),
                ("count", models.IntegerField(verbose_name="次数")),
                ("message", models.CharField(max_length=300, verbose_name="说明")),
                ("example", models.BooleanField(default=False, verbose_name="使用示例参数")),
                (
                    "evidence",
                    models.JSONField(
                        default=list, help_text="ids of events", verbose_name="留痕记录"
                    ),
                ),
                ("key", models.BinaryField(max_length=32, unique=True)),
                ("found_at", models.DateTimeField()),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("open", "待核查"),
                            ("explained", "情况属实且合理"),
                            ("referred", "移交处理"),
                        ],
                        default="open",
                        max_length=9,
                    ),
                ),
                ("note", models.CharField(blank=True, max_length=400, verbose_name="核查意见")),
                ("decided_at", models.DateTimeField(blank=True, null=True)),
                ("decided_by", models.CharField(blank=True, max_length=150)),
            ],
            options={
                "ordering": ("-pk",),
                "indexes": [
                    models.Index(fields=["region_code", "state", "-id"], name="conduct_region")
                ],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("count__gte", 1)), name="conduct_counts"
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(
                                ("decided_at__isnull", True), ("decided_by", ""), ("state", "open")
                            ),
                            models.Q(
                                models.Q(("state", "open"), _negated=True),
                                models.Q(("note", ""), _negated=True),
                                models.Q(("decided_by", ""), _negated=True),
                                ("decided_at__isnull", False),
                            ),
                            _connector="OR",
                        ),
                        name="conduct_decision_whole",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("decided_by", ""),
                            models.Q(
                                models.Q(("decided_by", models.F("actor")), _negated=True),
                                models.Q(("decided_by", models.F("other")), _negated=True),
                            ),
                            _connector="OR",
                        ),
                        name="conduct_decided_by_another",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="ArchiveLoan",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("purpose", models.CharField(max_length=300, verbose_name="借阅事由")),
                ("until", models.DateField(verbose_name="应还日")),
                ("asked_by", models.CharField(max_length=150, verbose_name="借阅人")),
                ("asked_at", models.DateTimeField()),
                (
                    "approved_by",
                    models.CharField(blank=True, max_length=150, verbose_name="批准人"),
                ),
                ("approved_at", models.DateTimeField(blank=True, null=True)),
                ("returned_at", models.DateTimeField(blank=True, null=True, verbose_name="归还")),
                (
                    "returned_to",
                    models.CharField(blank=True, max_length=150, verbose_name="收回人"),
                ),
                (
                    "case",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="loans",
                        to="supervision.supervisioncase",
                    ),
                ),
            ],
            options={
                "ordering": ("-pk",),
                "constraints": [
                    models.UniqueConstraint(
                        condition=models.Q(("returned_at__isnull", True)),
                        fields=("case",),
                        name="loan_one_at_a_time",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("approved_by", ""),
                            models.Q(("approved_by", models.F("asked_by")), _negated=True),
                            _connector="OR",
                        ),
                        name="loan_second_person",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("returned_at__isnull", True), ("returned_to", "")),
                            models.Q(
                                ("returned_at__isnull", False),
                                models.Q(("returned_to", ""), _negated=True),
                            ),
                            _connector="OR",
                        ),
                        name="loan_return_whole",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="Disclosure",
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
                    "subject",
                    models.CharField(
                        help_text="persons are masked", max_length=120, verbose_name="当事人"
                    ),
                ),
                (
                    "subject_kind",
                    models.CharField(
                        choices=[
                            ("institution", "定点医疗机构"),
                            ("physician", "医保服务医师"),
                            ("pharmacist", "药师"),
                            ("nurse", "护士"),
                            ("person", "参保人员"),
                        ],
                        max_length=11,
                    ),
                ),
                ("title", models.CharField(max_length=120, verbose_name="案由")),
                ("decision_no", models.CharField(max_length=60, verbose_name="决定书文号")),
                ("decided_on", models.DateField(verbose_name="决定日")),
                ("text", models.TextField(max_length=2000, verbose_name="公开内容")),
                ("measures", models.JSONField(default=list, verbose_name="处理结果")),
                ("first_day", models.DateField(verbose_name="公布日")),
                ("last_day", models.DateField(blank=True, null=True, verbose_name="公布期满")),
                ("example", models.BooleanField(default=False, verbose_name="使用示例参数")),
                ("proposed_by", models.CharField(max_length=150)),
                ("proposed_at", models.DateTimeField()),
                ("approved_by", models.CharField(blank=True, max_length=150)),
                ("approved_at", models.DateTimeField(blank=True, null=True)),
                ("withdrawn_at", models.DateTimeField(blank=True, null=True)),
                ("withdrawn_by", models.CharField(blank=True, max_length=150)),
                (
                    "withdrawn_for",
                    models.CharField(blank=True, max_length=300, verbose_name="撤下理由"),
                ),
                (
                    "case",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="disclosure",
                        to="supervision.supervisioncase",
                    ),
                ),
            ],
            options={
                "ordering": ("-first_day", "-pk"),
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(
                            ("last_day__isnull", True),
                            ("last_day__gte", models.F("first_day")),
                            _connector="OR",
                        ),
                        name="disclosure_days",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("approved_by", ""),
                            models.Q(("approved_by", models.F("proposed_by")), _negated=True),
                            _connector="OR",
                        ),
                        name="disclosure_second_person",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(
                                ("withdrawn_at__isnull", True),
                                ("withdrawn_by", ""),
                                ("withdrawn_for", ""),
                            ),
                            models.Q(
                                ("withdrawn_at__isnull", False),
                                models.Q(("withdrawn_by", ""), _negated=True),
                                models.Q(("withdrawn_for", ""), _negated=True),
                            ),
                            _connector="OR",
                        ),
                        name="disclosure_withdrawn_for_a_reason",
                    ),
                ],
            },
        ),
        migrations.RunSQL(SCOPES + KEPT, UNDO),
    ]
