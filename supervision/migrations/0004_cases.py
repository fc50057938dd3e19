"""Supervision cases, inspections, points, restrictions, complaints: tables, who sees them, what stays."""

import django.contrib.postgres.constraints
import django.db.models.deletion
from django.db import migrations, models

import institutions.models.dated

OWN = "scope_allows(region_code, institution_code)"
#: Who is complained of, or will be inspected, must not know; an institution sees a case once told.
SEEN = {
    "inspectionplan": "scope_allows(region_code, '')",
    "complaint": "scope_allows(region_code, '')",
    "inspectiontask": "scope_allows(region_code, CASE state WHEN 'done' THEN institution_code ELSE '' END)",
    "supervisioncase":
        "scope_allows(region_code, CASE WHEN told_on IS NULL THEN '' ELSE institution_code END)",
    "pointentry": OWN,
    **{
        name: "EXISTS (SELECT FROM supervision_supervisioncase c WHERE c.id = case_id)"
        for name in ("caseinspector", "caseevidence", "sanction", "casepaper")
    },
    "inspectioninspector":
        "EXISTS (SELECT FROM supervision_inspectiontask t WHERE t.id = task_id)",
}  # fmt: skip
SCOPES = "".join(
    f"""
ALTER TABLE supervision_{name} ENABLE ROW LEVEL SECURITY;
ALTER TABLE supervision_{name} FORCE ROW LEVEL SECURITY;
CREATE POLICY scope ON supervision_{name} USING ({seen}) WITH CHECK ({seen});
REVOKE DELETE, TRUNCATE ON supervision_{name} FROM mip_app, mip_settler;
"""
    for name, seen in SEEN.items()
)
#: Whoever settles has to see that a person or practitioner is restricted, wherever insured.
RESTRICTIONS = f"""
ALTER TABLE supervision_restriction ENABLE ROW LEVEL SECURITY;
ALTER TABLE supervision_restriction FORCE ROW LEVEL SECURITY;
CREATE POLICY some_scope ON supervision_restriction
    USING (coalesce(current_setting('app.scope', true), '') <> '') WITH CHECK ({OWN});
REVOKE DELETE, TRUNCATE ON supervision_restriction FROM mip_app, mip_settler;
"""
ADDED_ONLY = ("caseevidence", "casepaper", "pointentry")
APPEND = "".join(
    f"""
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON supervision_{name}
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
REVOKE UPDATE ON supervision_{name} FROM mip_app, mip_settler;
"""
    for name in ADDED_ONLY
)
#: table → (when it is fixed, the columns that stay)
FIXED = {
    "supervisioncase": ("true", "number", "origin", "origin_ref", "subject_kind", "subject_code",
                        "person_id", "region_code", "institution_code", "acted_from", "acted_until"),
    "sanction": ("OLD.state <> 'proposed'", "case_id", "kind", "article", "clause", "target",
                 "amount", "months", "points", "scheme"),
    "inspectionplan": ("OLD.state IN ('drawn', 'closed')", "seed", "pool", "wanted", "per_task",
                       "side", "drawn_by", "drawn_at"),
    "inspectiontask": ("true", "plan_id", "institution_code", "draw_no", "number"),
    "complaint": ("true", "number", "text", "named", "name_cipher", "phone_cipher", "query_hash",
                  "received_at"),
    "restriction": ("true", "kind", "subject_code", "person_id", "valid_from", "clause", "source",
                    "made_by", "made_at"),
}  # fmt: skip
KEPT = """
CREATE FUNCTION refuse_change_of_record() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'what was put on record stays: % %', TG_TABLE_NAME, OLD.id
        USING ERRCODE = 'restrict_violation';
END $$;
""" + "".join(
    f"""
CREATE TRIGGER record_is_fixed BEFORE UPDATE ON supervision_{name} FOR EACH ROW
    WHEN ({when} AND ({" OR ".join(f"OLD.{c} IS DISTINCT FROM NEW.{c}" for c in columns)}))
    EXECUTE FUNCTION refuse_change_of_record();
"""
    for name, (when, *columns) in FIXED.items()
)
TABLES = (*SEEN, "restriction")
UNDO = (
    "".join(f"DROP TRIGGER record_is_fixed ON supervision_{name};" for name in FIXED)
    + "DROP FUNCTION refuse_change_of_record();"
    + "".join(f"DROP TRIGGER append_only ON supervision_{name};" for name in ADDED_ONLY)
    + "".join(f"DROP POLICY scope ON supervision_{name};" for name in SEEN)
    + "DROP POLICY some_scope ON supervision_restriction;"
    + "".join(f"ALTER TABLE supervision_{name} DISABLE ROW LEVEL SECURITY;" for name in TABLES)
)


class Migration(migrations.Migration):
    dependencies = [
        ("institutions", "0002_registry"),
        ("supervision", "0003_reviews"),
        ("audit", "0002_guards"),
        ("settlement", "0002_ledger"),
    ]

    operations = [
        migrations.CreateModel(
            name="InspectionPlan",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("number", models.CharField(max_length=40, unique=True, verbose_name="计划号")),
                ("region_code", models.CharField(max_length=6)),
                ("institution_code", models.CharField(blank=True, max_length=12)),
                ("title", models.CharField(max_length=120, verbose_name="计划名称")),
                (
                    "side",
                    models.CharField(
                        choices=[("agency", "经办稽核巡查"), ("bureau", "行政执法检查")],
                        max_length=6,
                        verbose_name="检查类别",
                    ),
                ),
                ("reason", models.CharField(max_length=400, verbose_name="检查事项")),
                ("first_day", models.DateField(verbose_name="检查期间起")),
                ("last_day", models.DateField(verbose_name="检查期间止")),
                ("service_from", models.DateField(verbose_name="核查服务日起")),
                ("service_until", models.DateField(verbose_name="核查服务日止")),
                ("wanted", models.SmallIntegerField(verbose_name="抽取机构数")),
                ("per_task", models.SmallIntegerField(verbose_name="每家检查人数")),
                (
                    "checklist",
                    models.JSONField(
                        default=list, help_text="[{key, text, clause}]", verbose_name="检查清单"
                    ),
                ),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("draft", "待批准"),
                            ("approved", "待抽取"),
                            ("drawn", "检查中"),
                            ("closed", "已完成"),
                            ("refused", "未批准"),
                        ],
                        default="draft",
                        max_length=8,
                    ),
                ),
                ("made_at", models.DateTimeField()),
                ("made_by", models.CharField(max_length=150)),
                ("approved_at", models.DateTimeField(blank=True, null=True)),
                ("approved_by", models.CharField(blank=True, max_length=150)),
                ("note", models.CharField(blank=True, max_length=400, verbose_name="审批意见")),
                ("seed", models.CharField(blank=True, max_length=80, verbose_name="随机种子")),
                ("drawn_at", models.DateTimeField(blank=True, null=True)),
                ("drawn_by", models.CharField(blank=True, max_length=150)),
                (
                    "pool",
                    models.JSONField(
                        blank=True,
                        default=dict,
                        help_text="institutions, inspectors: as drawn from",
                        verbose_name="抽取名单",
                    ),
                ),
                ("result", models.CharField(blank=True, max_length=2000, verbose_name="总结")),
            ],
            options={
                "ordering": ("-pk",),
                "indexes": [
                    models.Index(fields=["region_code", "-id"], name="inspection_plan_region")
                ],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(
                            ("last_day__gte", models.F("first_day")),
                            ("service_until__gte", models.F("service_from")),
                        ),
                        name="inspection_plan_days",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("per_task__gte", 1), ("wanted__gte", 1)),
                        name="inspection_plan_sizes",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("approved_by", ""),
                            models.Q(("approved_by", models.F("made_by")), _negated=True),
                            _connector="OR",
                        ),
                        name="inspection_plan_second_person",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("state__in", ["drawn", "closed"]), _negated=True),
                            models.Q(
                                models.Q(("seed", ""), _negated=True),
                                models.Q(("drawn_by", ""), _negated=True),
                            ),
                            _connector="OR",
                        ),
                        name="inspection_plan_drawn_by_a_seed",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="PointEntry",
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
                (
                    "kind",
                    models.CharField(
                        choices=[("points", "记分"), ("repair", "修复")], max_length=6
                    ),
                ),
                ("points", models.SmallIntegerField(verbose_name="分值")),
                ("behaviour", models.CharField(max_length=80, verbose_name="行为")),
                ("clause", models.CharField(max_length=160, verbose_name="依据")),
                ("example", models.BooleanField(default=False, verbose_name="使用示例参数")),
                (
                    "source",
                    models.CharField(
                        help_text="the case, or the course that repairs",
                        max_length=80,
                        verbose_name="来源",
                    ),
                ),
                ("proposed_by", models.CharField(max_length=150)),
                ("entered_at", models.DateTimeField()),
                ("entered_by", models.CharField(max_length=150)),
            ],
            options={
                "ordering": ("-pk",),
                "indexes": [
                    models.Index(fields=["practitioner_code", "year"], name="point_practitioner"),
                    models.Index(fields=["region_code", "-id"], name="point_region"),
                ],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("kind", "points"), ("points__gt", 0)),
                            models.Q(("kind", "repair"), ("points__lt", 0)),
                            _connector="OR",
                        ),
                        name="point_sign",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("entered_by", models.F("proposed_by")), _negated=True),
                        name="point_second_person",
                    ),
                    models.UniqueConstraint(
                        fields=("source", "practitioner_code", "kind"), name="point_once_per_source"
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="Restriction",
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
                            ("practitioner", "暂停医保服务资格"),
                            ("terminated", "终止医保服务资格"),
                            ("department", "科室暂停医药服务"),
                            ("online", "暂停联网结算"),
                        ],
                        max_length=12,
                    ),
                ),
                ("subject_code", models.CharField(max_length=64, verbose_name="对象")),
                ("person_id", models.BigIntegerField(blank=True, null=True)),
                ("valid_from", models.DateField(verbose_name="起日")),
                ("valid_until", models.DateField(blank=True, null=True, verbose_name="止日")),
                ("clause", models.CharField(max_length=160, verbose_name="依据")),
                ("source", models.CharField(max_length=80, verbose_name="来源")),
                ("made_at", models.DateTimeField()),
                ("made_by", models.CharField(max_length=150)),
                ("lifted_at", models.DateTimeField(blank=True, null=True)),
                ("lifted_by", models.CharField(blank=True, max_length=150)),
                (
                    "lift_reason",
                    models.CharField(blank=True, max_length=400, verbose_name="提前解除理由"),
                ),
            ],
            options={
                "ordering": ("-pk",),
                "indexes": [
                    models.Index(
                        condition=models.Q(("person_id__isnull", False)),
                        fields=["person_id"],
                        name="restriction_person",
                    )
                ],
                "constraints": [
                    django.contrib.postgres.constraints.ExclusionConstraint(
                        expressions=[
                            (
                                institutions.models.dated.DateRange("valid_from", "valid_until"),
                                "&&",
                            ),
                            (models.F("kind"), "="),
                            (models.F("institution_code"), "="),
                            (models.F("subject_code"), "="),
                        ],
                        name="restriction_no_overlap",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("valid_until__isnull", True),
                            ("valid_until__gte", models.F("valid_from")),
                            _connector="OR",
                        ),
                        name="restriction_days",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(
                                ("lift_reason", ""), ("lifted_at__isnull", True), ("lifted_by", "")
                            ),
                            models.Q(
                                ("lifted_at__isnull", False),
                                models.Q(("lift_reason", ""), _negated=True),
                                models.Q(("lifted_by", ""), _negated=True),
                                models.Q(("lifted_by", models.F("made_by")), _negated=True),
                            ),
                            _connector="OR",
                        ),
                        name="restriction_lifted_by_another",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("kind", "online"), ("person_id__isnull", False)),
                            models.Q(
                                models.Q(("kind", "online"), _negated=True),
                                ("person_id__isnull", True),
                            ),
                            _connector="OR",
                        ),
                        name="restriction_person_named",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="SupervisionCase",
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
                ("number", models.CharField(max_length=40, unique=True, verbose_name="案号")),
                ("title", models.CharField(max_length=120, verbose_name="案由")),
                (
                    "origin",
                    models.CharField(
                        choices=[
                            ("finding", "审核疑点"),
                            ("complaint", "举报投诉"),
                            ("inspection", "稽核检查"),
                            ("transfer", "其他部门移交"),
                            ("hand", "自行发现"),
                        ],
                        max_length=10,
                        verbose_name="来源",
                    ),
                ),
                (
                    "origin_ref",
                    models.CharField(blank=True, max_length=80, verbose_name="来源编号"),
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
                        verbose_name="对象类别",
                    ),
                ),
                ("subject_code", models.CharField(max_length=64, verbose_name="对象编码")),
                ("subject_name", models.CharField(max_length=120, verbose_name="对象名称")),
                ("person_id", models.BigIntegerField(blank=True, null=True)),
                ("behaviour", models.CharField(blank=True, max_length=40, verbose_name="行为")),
                ("acted_from", models.DateField(verbose_name="行为起日")),
                ("acted_until", models.DateField(verbose_name="行为止日")),
                ("summary", models.TextField(max_length=2000, verbose_name="线索摘要")),
                ("facts", models.TextField(blank=True, max_length=4000, verbose_name="查明的事实")),
                (
                    "loss",
                    models.BigIntegerField(default=0, help_text="fen", verbose_name="造成基金损失"),
                ),
                (
                    "route",
                    models.CharField(
                        blank=True,
                        choices=[
                            ("agreement", "协议处理"),
                            ("penalty", "行政处罚"),
                            ("transfer", "移送公安机关"),
                        ],
                        max_length=9,
                        verbose_name="拟办途径",
                    ),
                ),
                ("article", models.CharField(blank=True, max_length=8, verbose_name="适用条款")),
                (
                    "statement",
                    models.TextField(blank=True, max_length=4000, verbose_name="陈述申辩"),
                ),
                ("statement_at", models.DateTimeField(blank=True, null=True)),
                ("statement_by", models.CharField(blank=True, max_length=150)),
                ("told_on", models.DateField(blank=True, null=True, verbose_name="告知日")),
                ("handled_by", models.CharField(blank=True, max_length=150, verbose_name="承办人")),
                ("decided_by", models.CharField(blank=True, max_length=150, verbose_name="决定人")),
                ("decided_on", models.DateField(blank=True, null=True, verbose_name="决定日")),
                ("final_on", models.DateField(blank=True, null=True, verbose_name="生效日")),
                ("archive_no", models.CharField(blank=True, max_length=40, verbose_name="档号")),
            ],
            options={
                "ordering": ("-pk",),
                "indexes": [
                    models.Index(fields=["region_code", "-id"], name="case_region"),
                    models.Index(fields=["institution_code", "-id"], name="case_institution"),
                    models.Index(fields=["subject_kind", "subject_code"], name="case_subject"),
                ],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("acted_until__gte", models.F("acted_from"))),
                        name="case_days_in_order",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("loss__gte", 0)), name="case_loss_not_negative"
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("decided_by", ""),
                            models.Q(("decided_by", models.F("handled_by")), _negated=True),
                            _connector="OR",
                        ),
                        name="case_decided_by_another",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("decided_by", ""), ("decided_on__isnull", True)),
                            models.Q(
                                models.Q(("decided_by", ""), _negated=True),
                                ("decided_on__isnull", False),
                            ),
                            _connector="OR",
                        ),
                        name="case_decision_whole",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("person_id__isnull", False), ("subject_kind", "person")),
                            models.Q(
                                models.Q(("subject_kind", "person"), _negated=True),
                                ("person_id__isnull", True),
                            ),
                            _connector="OR",
                        ),
                        name="case_person_named",
                    ),
                    models.UniqueConstraint(
                        condition=models.Q(("archive_no", ""), _negated=True),
                        fields=("archive_no",),
                        name="case_archive_no_once",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="InspectionTask",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("number", models.CharField(max_length=40, unique=True, verbose_name="检查号")),
                ("region_code", models.CharField(max_length=6)),
                ("institution_code", models.CharField(max_length=12)),
                ("draw_no", models.SmallIntegerField(verbose_name="抽取次序")),
                (
                    "state",
                    models.CharField(
                        choices=[("open", "待检查"), ("done", "已检查")],
                        default="open",
                        max_length=4,
                    ),
                ),
                ("answers", models.JSONField(blank=True, default=dict, verbose_name="检查记录")),
                ("visited_on", models.DateField(blank=True, null=True, verbose_name="检查日")),
                (
                    "result",
                    models.CharField(
                        blank=True,
                        choices=[
                            ("clean", "未发现问题"),
                            ("advice", "责令改正"),
                            ("case", "移交立案"),
                        ],
                        max_length=6,
                        verbose_name="结果",
                    ),
                ),
                ("report", models.TextField(blank=True, max_length=4000, verbose_name="检查报告")),
                ("done_at", models.DateTimeField(blank=True, null=True)),
                ("done_by", models.CharField(blank=True, max_length=150)),
                (
                    "plan",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="tasks",
                        to="supervision.inspectionplan",
                    ),
                ),
                (
                    "case",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="inspections",
                        to="supervision.supervisioncase",
                    ),
                ),
            ],
            options={
                "ordering": ("draw_no",),
            },
        ),
        migrations.CreateModel(
            name="Complaint",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("number", models.CharField(max_length=40, unique=True, verbose_name="举报编号")),
                (
                    "query_hash",
                    models.BinaryField(help_text="keyed hash of the query code", max_length=32),
                ),
                ("region_code", models.CharField(max_length=6)),
                ("institution_code", models.CharField(blank=True, max_length=12)),
                ("about", models.CharField(max_length=120, verbose_name="被举报对象")),
                ("behaviour", models.CharField(blank=True, max_length=40, verbose_name="行为")),
                ("text", models.TextField(max_length=4000, verbose_name="举报内容")),
                ("named", models.BooleanField(default=False, verbose_name="实名")),
                ("name_masked", models.CharField(blank=True, max_length=20)),
                ("name_cipher", models.BinaryField(blank=True, null=True)),
                ("phone_masked", models.CharField(blank=True, max_length=20)),
                ("phone_cipher", models.BinaryField(blank=True, null=True)),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("received", "待受理"),
                            ("accepted", "核查中"),
                            ("proven", "查实"),
                            ("unproven", "未查实"),
                            ("declined", "不予受理"),
                        ],
                        default="received",
                        max_length=8,
                    ),
                ),
                ("received_at", models.DateTimeField()),
                ("due", models.DateField(blank=True, null=True, verbose_name="答复期限")),
                ("clause", models.CharField(blank=True, max_length=160)),
                ("handled_by", models.CharField(blank=True, max_length=150, verbose_name="承办人")),
                ("answer", models.CharField(blank=True, max_length=1000, verbose_name="答复")),
                ("answered_at", models.DateTimeField(blank=True, null=True)),
                (
                    "recovered",
                    models.BigIntegerField(default=0, help_text="fen", verbose_name="查实金额"),
                ),
                (
                    "reward",
                    models.BigIntegerField(default=0, help_text="fen", verbose_name="奖励金额"),
                ),
                ("reward_basis", models.CharField(blank=True, max_length=200)),
                ("reward_example", models.BooleanField(default=False)),
                ("reward_proposed_by", models.CharField(blank=True, max_length=150)),
                ("reward_approved_by", models.CharField(blank=True, max_length=150)),
                ("reward_approved_at", models.DateTimeField(blank=True, null=True)),
                (
                    "case",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="complaints",
                        to="supervision.supervisioncase",
                    ),
                ),
            ],
            options={
                "ordering": ("-pk",),
            },
        ),
        migrations.CreateModel(
            name="CasePaper",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "kind",
                    models.CharField(
                        choices=[
                            ("filing", "立案审批表"),
                            ("notice", "处理告知书"),
                            ("evidence", "证据清单"),
                            ("hearing", "听证通知书"),
                            ("decision", "处理决定书"),
                            ("transfer", "案件移送书"),
                            ("receipt", "送达回证"),
                            ("inform", "案件通报函"),
                            ("closing", "结案报告"),
                        ],
                        max_length=8,
                        verbose_name="文书",
                    ),
                ),
                ("number", models.CharField(max_length=60, unique=True, verbose_name="文号")),
                ("addressee", models.CharField(max_length=120, verbose_name="受文者")),
                ("content", models.JSONField()),
                ("digest", models.CharField(max_length=64, verbose_name="摘要（SM3）")),
                ("made_on", models.DateField(verbose_name="制作日")),
                ("made_at", models.DateTimeField()),
                ("made_by", models.CharField(max_length=150)),
                (
                    "serves",
                    models.OneToOneField(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="receipt",
                        to="supervision.casepaper",
                        verbose_name="所送达的文书",
                    ),
                ),
                (
                    "case",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="papers",
                        to="supervision.supervisioncase",
                    ),
                ),
            ],
            options={
                "ordering": ("pk",),
            },
        ),
        migrations.CreateModel(
            name="CaseInspector",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("username", models.CharField(max_length=150, verbose_name="检查人员")),
                (
                    "role",
                    models.CharField(choices=[("lead", "主办"), ("member", "协办")], max_length=6),
                ),
                ("certificate", models.CharField(max_length=40, verbose_name="执法证号")),
                ("named_at", models.DateTimeField()),
                ("named_by", models.CharField(max_length=150)),
                (
                    "recusal",
                    models.CharField(
                        blank=True,
                        choices=[
                            ("declared", "自行回避"),
                            ("asked", "当事人申请回避"),
                            ("ordered", "指令回避"),
                        ],
                        max_length=8,
                    ),
                ),
                (
                    "recusal_reason",
                    models.CharField(blank=True, max_length=400, verbose_name="回避理由"),
                ),
                ("recusal_by", models.CharField(blank=True, max_length=150, verbose_name="提出人")),
                ("recusal_at", models.DateTimeField(blank=True, null=True)),
                ("recused", models.BooleanField(blank=True, null=True, verbose_name="是否回避")),
                ("decided_by", models.CharField(blank=True, max_length=150)),
                ("decided_at", models.DateTimeField(blank=True, null=True)),
                (
                    "replaced_by",
                    models.CharField(blank=True, max_length=150, verbose_name="接替人"),
                ),
                (
                    "case",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="inspectors",
                        to="supervision.supervisioncase",
                    ),
                ),
            ],
            options={
                "ordering": ("role", "pk"),
            },
        ),
        migrations.CreateModel(
            name="CaseEvidence",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("no", models.SmallIntegerField(verbose_name="序号")),
                (
                    "kind",
                    models.CharField(
                        choices=[
                            ("finding", "审核疑点"),
                            ("claim", "结算单据"),
                            ("document", "书证与电子文件"),
                            ("record", "检查与询问笔录"),
                        ],
                        max_length=8,
                        verbose_name="类别",
                    ),
                ),
                ("reference", models.CharField(max_length=80, verbose_name="编号")),
                ("title", models.CharField(max_length=300, verbose_name="名称与证明内容")),
                ("content", models.JSONField(help_text="canonical JSON: what was taken")),
                ("digest", models.CharField(max_length=64, verbose_name="摘要（SM3）")),
                (
                    "loss",
                    models.BigIntegerField(default=0, help_text="fen", verbose_name="涉及基金"),
                ),
                ("claim_id", models.BigIntegerField(blank=True, null=True)),
                ("taken_at", models.DateTimeField()),
                ("taken_by", models.CharField(max_length=150)),
                (
                    "document",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        to="institutions.document",
                    ),
                ),
                (
                    "case",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="evidence",
                        to="supervision.supervisioncase",
                    ),
                ),
            ],
            options={
                "ordering": ("no",),
            },
        ),
        migrations.CreateModel(
            name="InspectionInspector",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("username", models.CharField(max_length=150, verbose_name="检查人员")),
                ("recused_at", models.DateTimeField(blank=True, null=True)),
                ("recused_by", models.CharField(blank=True, max_length=150)),
                ("reason", models.CharField(blank=True, max_length=400, verbose_name="回避理由")),
                (
                    "task",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="inspectors",
                        to="supervision.inspectiontask",
                    ),
                ),
            ],
            options={
                "ordering": ("pk",),
                "constraints": [
                    models.UniqueConstraint(
                        fields=("task", "username"), name="inspection_inspector_once"
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(
                                ("reason", ""), ("recused_at__isnull", True), ("recused_by", "")
                            ),
                            models.Q(
                                ("recused_at__isnull", False),
                                models.Q(("recused_by", ""), _negated=True),
                                models.Q(("reason", ""), _negated=True),
                            ),
                            _connector="OR",
                        ),
                        name="inspection_recusal_has_reason",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="Sanction",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("kind", models.CharField(max_length=20, verbose_name="措施")),
                ("article", models.CharField(blank=True, max_length=8, verbose_name="条款")),
                ("clause", models.CharField(max_length=160, verbose_name="依据")),
                (
                    "target",
                    models.CharField(
                        blank=True,
                        help_text="practitioner, department",
                        max_length=64,
                        verbose_name="对象",
                    ),
                ),
                (
                    "amount",
                    models.BigIntegerField(
                        blank=True, help_text="fen", null=True, verbose_name="金额"
                    ),
                ),
                (
                    "months",
                    models.SmallIntegerField(blank=True, null=True, verbose_name="期限（月）"),
                ),
                ("points", models.SmallIntegerField(blank=True, null=True, verbose_name="分值")),
                ("scheme", models.CharField(blank=True, max_length=8, verbose_name="险种")),
                ("note", models.CharField(blank=True, max_length=400, verbose_name="说明")),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("proposed", "拟议"),
                            ("ordered", "待执行"),
                            ("done", "已执行"),
                            ("dropped", "未采纳"),
                        ],
                        default="proposed",
                        max_length=8,
                    ),
                ),
                ("proposed_at", models.DateTimeField()),
                ("proposed_by", models.CharField(max_length=150)),
                ("done_on", models.DateField(blank=True, null=True, verbose_name="执行日")),
                ("done_at", models.DateTimeField(blank=True, null=True)),
                ("done_by", models.CharField(blank=True, max_length=150, verbose_name="执行人")),
                ("record", models.CharField(blank=True, max_length=400, verbose_name="执行记录")),
                ("effects", models.JSONField(blank=True, default=list, verbose_name="落实")),
                (
                    "case",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="sanctions",
                        to="supervision.supervisioncase",
                    ),
                ),
            ],
            options={
                "ordering": ("pk",),
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("amount__isnull", True), ("amount__gt", 0), _connector="OR"),
                            models.Q(("months__isnull", True), ("months__gt", 0), _connector="OR"),
                            models.Q(("points__isnull", True), ("points__gt", 0), _connector="OR"),
                        ),
                        name="sanction_sizes_positive",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("kind__in", ["fine", "recovery"]), _negated=True),
                            ("amount__isnull", False),
                            _connector="OR",
                        ),
                        name="sanction_money_has_amount",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(
                                models.Q(("state", "done"), _negated=True),
                                ("done_by", ""),
                                ("done_on__isnull", True),
                            ),
                            models.Q(
                                ("done_on__isnull", False),
                                ("state", "done"),
                                models.Q(("done_by", ""), _negated=True),
                                models.Q(("record", ""), _negated=True),
                            ),
                            _connector="OR",
                        ),
                        name="sanction_execution_whole",
                    ),
                ],
            },
        ),
        migrations.AddIndex(
            model_name="inspectiontask",
            index=models.Index(fields=["institution_code", "-id"], name="inspection_institution"),
        ),
        migrations.AddConstraint(
            model_name="inspectiontask",
            constraint=models.UniqueConstraint(
                fields=("plan", "institution_code"), name="inspection_once_in_a_plan"
            ),
        ),
        migrations.AddConstraint(
            model_name="inspectiontask",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(
                        ("done_by", ""),
                        ("result", ""),
                        ("state", "open"),
                        ("visited_on__isnull", True),
                    ),
                    models.Q(
                        ("state", "done"),
                        ("visited_on__isnull", False),
                        models.Q(("result", ""), _negated=True),
                        models.Q(("report", ""), _negated=True),
                        models.Q(("done_by", ""), _negated=True),
                    ),
                    _connector="OR",
                ),
                name="inspection_result_whole",
            ),
        ),
        migrations.AddIndex(
            model_name="complaint",
            index=models.Index(fields=["region_code", "state", "-id"], name="complaint_region"),
        ),
        migrations.AddConstraint(
            model_name="complaint",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(
                        ("name_cipher__isnull", True),
                        ("named", False),
                        ("phone_cipher__isnull", True),
                    ),
                    models.Q(("name_cipher__isnull", False), ("named", True)),
                    _connector="OR",
                ),
                name="complaint_named_or_not",
            ),
        ),
        migrations.AddConstraint(
            model_name="complaint",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("state__in", ["received", "accepted"]),
                    models.Q(
                        models.Q(("answer", ""), _negated=True),
                        ("answered_at__isnull", False),
                        models.Q(("handled_by", ""), _negated=True),
                    ),
                    _connector="OR",
                ),
                name="complaint_answer_whole",
            ),
        ),
        migrations.AddConstraint(
            model_name="complaint",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("reward", 0),
                    models.Q(
                        ("named", True),
                        ("reward__gt", 0),
                        ("state", "proven"),
                        models.Q(("reward_proposed_by", ""), _negated=True),
                    ),
                    _connector="OR",
                ),
                name="complaint_reward_of_a_proven_named_one",
            ),
        ),
        migrations.AddConstraint(
            model_name="complaint",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("reward_approved_by", ""),
                    models.Q(("reward_approved_by", models.F("reward_proposed_by")), _negated=True),
                    _connector="OR",
                ),
                name="complaint_reward_second_person",
            ),
        ),
        migrations.AddConstraint(
            model_name="casepaper",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("kind", "receipt"), ("serves__isnull", False)),
                    models.Q(
                        models.Q(("kind", "receipt"), _negated=True), ("serves__isnull", True)
                    ),
                    _connector="OR",
                ),
                name="case_receipt_of_a_paper",
            ),
        ),
        migrations.AddConstraint(
            model_name="caseinspector",
            constraint=models.UniqueConstraint(
                fields=("case", "username"), name="case_inspector_once"
            ),
        ),
        migrations.AddConstraint(
            model_name="caseinspector",
            constraint=models.UniqueConstraint(
                condition=models.Q(
                    ("role", "lead"),
                    models.Q(("recused", False), ("recused", None), _connector="OR"),
                ),
                fields=("case",),
                name="case_one_lead",
            ),
        ),
        migrations.AddConstraint(
            model_name="caseinspector",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("recusal", ""), ("recused", None)),
                    models.Q(
                        models.Q(("recusal", ""), _negated=True),
                        models.Q(("recusal_reason", ""), _negated=True),
                        models.Q(("recusal_by", ""), _negated=True),
                    ),
                    _connector="OR",
                ),
                name="case_recusal_has_reason",
            ),
        ),
        migrations.AddConstraint(
            model_name="caseinspector",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("recused", None),
                    models.Q(
                        models.Q(("decided_by", ""), _negated=True),
                        models.Q(("recusal", "asked"), _negated=True),
                    ),
                    models.Q(
                        ("recusal", "asked"),
                        models.Q(("decided_by", ""), _negated=True),
                        models.Q(("decided_by", models.F("recusal_by")), _negated=True),
                    ),
                    _connector="OR",
                ),
                name="case_recusal_decided_by_another",
            ),
        ),
        migrations.AddConstraint(
            model_name="caseevidence",
            constraint=models.UniqueConstraint(fields=("case", "no"), name="case_evidence_no"),
        ),
        migrations.AddConstraint(
            model_name="caseevidence",
            constraint=models.UniqueConstraint(
                fields=("case", "kind", "reference"), name="case_evidence_once"
            ),
        ),
        migrations.AddConstraint(
            model_name="caseevidence",
            constraint=models.CheckConstraint(
                condition=models.Q(("digest__regex", "^[0-9a-f]{64}$"), ("loss__gte", 0)),
                name="case_evidence_sane",
            ),
        ),
        migrations.RunSQL(SCOPES + RESTRICTIONS + APPEND + KEPT, UNDO),
    ]
