"""Fee reviews: tables, seen inside one's scope only; content that stays, samples that never change."""

import django.db.models.deletion
import django.db.models.expressions
from django.db import migrations, models

SCOPED = ("samplingplan", "review", "reviewline", "reviewreply")
ROWS = "\n".join(
    f"""
ALTER TABLE supervision_{name} ENABLE ROW LEVEL SECURITY;
ALTER TABLE supervision_{name} FORCE ROW LEVEL SECURITY;
CREATE POLICY scope ON supervision_{name}
    USING (scope_allows(region_code, institution_code))
    WITH CHECK (scope_allows(region_code, institution_code));
"""
    for name in SCOPED
)
KEPT = """
CREATE FUNCTION keep_review() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    fixed text[] := ARRAY['claim_id', 'claim_no', 'claim_version', 'person_id', 'service_date',
        'scheme', 'pool', 'source', 'reason', 'finding_id', 'plan_id', 'fee', 'stake', 'region_code',
        'institution_code', 'opened_at', 'opened_by'];
    name text;
BEGIN
    IF OLD.closed_at IS NOT NULL THEN
        RAISE EXCEPTION 'a closed review stays' USING ERRCODE = 'check_violation';
    END IF;
    FOREACH name IN ARRAY fixed LOOP
        IF to_jsonb(OLD) -> name IS DISTINCT FROM to_jsonb(NEW) -> name THEN
            RAISE EXCEPTION 'a review keeps its %', name USING ERRCODE = 'check_violation';
        END IF;
    END LOOP;
    RETURN NEW;
END $$;
CREATE TRIGGER keep_review BEFORE UPDATE ON supervision_review
    FOR EACH ROW EXECUTE FUNCTION keep_review();
CREATE FUNCTION keep_review_line() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    moves text[] := ARRAY['verdict', 'amount', 'category', 'note', 'clause', 'marked_by', 'marked_at',
        'deduction_id'];
BEGIN
    IF to_jsonb(OLD) - moves <> to_jsonb(NEW) - moves THEN
        RAISE EXCEPTION 'a line in question keeps its content' USING ERRCODE = 'check_violation';
    END IF;
    IF EXISTS (SELECT FROM supervision_review WHERE id = OLD.review_id AND closed_at IS NOT NULL) THEN
        RAISE EXCEPTION 'the verdicts of a closed review stay' USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER keep_review_line BEFORE UPDATE ON supervision_reviewline
    FOR EACH ROW EXECUTE FUNCTION keep_review_line();
CREATE FUNCTION keep_review_reply() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    moves text[] := ARRAY['answer', 'answered_at', 'answered_by'];
BEGIN
    IF to_jsonb(OLD) - moves <> to_jsonb(NEW) - moves OR OLD.answered_at IS NOT NULL THEN
        RAISE EXCEPTION 'what an institution said stays' USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER keep_review_reply BEFORE UPDATE ON supervision_reviewreply
    FOR EACH ROW EXECUTE FUNCTION keep_review_reply();
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON supervision_samplingplan
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
REVOKE UPDATE, DELETE, TRUNCATE ON supervision_samplingplan FROM mip_app, mip_settler;
REVOKE DELETE, TRUNCATE ON supervision_review, supervision_reviewline, supervision_reviewreply
    FROM mip_app, mip_settler;
"""
UNDO = """
GRANT UPDATE, DELETE ON supervision_samplingplan TO mip_app, mip_settler;
GRANT DELETE ON supervision_review, supervision_reviewline, supervision_reviewreply
    TO mip_app, mip_settler;
DROP TRIGGER append_only ON supervision_samplingplan;
DROP TRIGGER keep_review_reply ON supervision_reviewreply;
DROP FUNCTION keep_review_reply();
DROP TRIGGER keep_review_line ON supervision_reviewline;
DROP FUNCTION keep_review_line();
DROP TRIGGER keep_review ON supervision_review;
DROP FUNCTION keep_review();
""" + "\n".join(
    f"DROP POLICY scope ON supervision_{name};"
    f" ALTER TABLE supervision_{name} DISABLE ROW LEVEL SECURITY;"
    for name in SCOPED
)


class Migration(migrations.Migration):
    dependencies = (("supervision", "0002_guards"),)

    operations = [
        migrations.CreateModel(
            name="SamplingPlan",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("number", models.CharField(max_length=40, unique=True, verbose_name="方案号")),
                ("name", models.CharField(max_length=80, verbose_name="名称")),
                ("pool", models.SlugField(max_length=30)),
                ("region_code", models.CharField(max_length=6)),
                ("institution_code", models.CharField(blank=True, max_length=12)),
                ("first_day", models.DateField(verbose_name="服务日起")),
                ("last_day", models.DateField(verbose_name="服务日止")),
                ("seed", models.CharField(max_length=80, verbose_name="随机种子")),
                (
                    "shares",
                    models.JSONField(
                        help_text="per ten thousand, by stratum", verbose_name="抽样比例"
                    ),
                ),
                ("population", models.IntegerField(verbose_name="总体单据数")),
                ("population_sm3", models.CharField(max_length=64)),
                ("drawn", models.IntegerField(verbose_name="抽中单据数")),
                (
                    "strata",
                    models.JSONField(
                        help_text="[{institution, band, rule, population, share, drawn}]",
                        verbose_name="各层",
                    ),
                ),
                ("drawn_sm3", models.CharField(max_length=64)),
                ("drawn_at", models.DateTimeField()),
                ("drawn_by", models.CharField(max_length=150, verbose_name="抽样人")),
            ],
            options={
                "ordering": ("-pk",),
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("last_day__gte", models.F("first_day"))),
                        name="sampling_days",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("drawn__gt", 0), ("population__gte", models.F("drawn"))
                        ),
                        name="sampling_within_population",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("seed", ""), _negated=True), name="sampling_has_a_seed"
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="Review",
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
                ("claim_id", models.BigIntegerField()),
                ("claim_no", models.CharField(max_length=40, verbose_name="单据号")),
                ("claim_version", models.SmallIntegerField(verbose_name="结算版本")),
                ("person_id", models.BigIntegerField()),
                ("service_date", models.DateField(verbose_name="服务日")),
                (
                    "scheme",
                    models.CharField(
                        choices=[
                            ("employee", "职工医保"),
                            ("resident", "居民医保"),
                            ("lixiu", "离休统筹"),
                        ],
                        max_length=8,
                        verbose_name="险种",
                    ),
                ),
                ("pool", models.SlugField(max_length=30)),
                (
                    "source",
                    models.CharField(
                        choices=[
                            ("held", "待审结算"),
                            ("finding", "疑点"),
                            ("sample", "抽样"),
                            ("manual", "人工发起"),
                        ],
                        max_length=7,
                        verbose_name="来源",
                    ),
                ),
                (
                    "severity",
                    models.SmallIntegerField(
                        choices=[(1, "一般"), (2, "可疑"), (3, "严重")], verbose_name="程度"
                    ),
                ),
                ("reason", models.CharField(max_length=400, verbose_name="事由")),
                ("fee", models.BigIntegerField(verbose_name="费用")),
                ("stake", models.BigIntegerField(verbose_name="涉审金额")),
                ("cut", models.BigIntegerField(default=0, verbose_name="核减金额")),
                ("round", models.SmallIntegerField(default=0, verbose_name="申诉轮次")),
                ("decided_by", models.CharField(blank=True, max_length=150, verbose_name="初审人")),
                ("decided_at", models.DateTimeField(blank=True, null=True)),
                (
                    "seconded_by",
                    models.CharField(blank=True, max_length=150, verbose_name="复核人"),
                ),
                ("seconded_at", models.DateTimeField(blank=True, null=True)),
                ("ruled_by", models.CharField(blank=True, max_length=150, verbose_name="复审人")),
                ("ruled_at", models.DateTimeField(blank=True, null=True)),
                (
                    "posted_version",
                    models.SmallIntegerField(blank=True, null=True, verbose_name="重新结算版本"),
                ),
                ("example", models.BooleanField(default=False, verbose_name="使用示例参数")),
                (
                    "finding",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="reviews",
                        to="supervision.finding",
                    ),
                ),
                (
                    "plan",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="reviews",
                        to="supervision.samplingplan",
                    ),
                ),
            ],
            options={
                "ordering": (
                    models.OrderBy(models.F("due"), nulls_last=True),
                    "-severity",
                    "-stake",
                    "pk",
                ),
            },
        ),
        migrations.CreateModel(
            name="ReviewLine",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("region_code", models.CharField(max_length=6)),
                ("institution_code", models.CharField(max_length=12)),
                ("line_no", models.SmallIntegerField(verbose_name="行号")),
                (
                    "kind",
                    models.CharField(choices=[("held", "待审"), ("paid", "已支付")], max_length=4),
                ),
                ("item_code", models.CharField(max_length=30, verbose_name="项目")),
                ("held_for", models.CharField(blank=True, max_length=40, verbose_name="待审原因")),
                ("fee", models.BigIntegerField(verbose_name="费用")),
                ("overcharge", models.BigIntegerField(default=0, verbose_name="多收")),
                ("fund", models.BigIntegerField(default=0, verbose_name="统筹基金")),
                (
                    "verdict",
                    models.CharField(
                        blank=True,
                        choices=[
                            ("pass", "通过"),
                            ("cut", "核减"),
                            ("hold", "暂缓"),
                            ("refuse", "拒付（机构承担）"),
                            ("self_paid", "转个人自费"),
                        ],
                        max_length=9,
                    ),
                ),
                ("amount", models.BigIntegerField(default=0, verbose_name="核减金额")),
                (
                    "category",
                    models.CharField(
                        blank=True,
                        choices=[
                            ("fictitious", "虚构医药服务"),
                            ("split", "分解服务"),
                            ("forced", "强制服务"),
                            ("inflated", "虚报价格"),
                            ("substituted", "串换项目"),
                            ("duplicate", "重复收费"),
                            ("not_follow_up", "不符合复诊规定"),
                            ("not_in_list", "不符合病种、目录或用药规定"),
                            ("records", "病历、处方等材料不全"),
                            ("other", "其他违规"),
                            ("returned", "冲正退回扣款"),
                        ],
                        max_length=14,
                        verbose_name="违规类别",
                    ),
                ),
                ("note", models.CharField(blank=True, max_length=200, verbose_name="审核意见")),
                ("clause", models.CharField(blank=True, max_length=120, verbose_name="依据")),
                ("marked_by", models.CharField(blank=True, max_length=150)),
                ("marked_at", models.DateTimeField(blank=True, null=True)),
                ("deduction_id", models.BigIntegerField(blank=True, null=True)),
                (
                    "review",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="lines",
                        to="supervision.review",
                    ),
                ),
            ],
            options={
                "ordering": ("review_id", "line_no"),
                "indexes": [
                    models.Index(
                        fields=["institution_code", "item_code", "held_for"],
                        name="review_line_alike",
                    )
                ],
                "constraints": [
                    models.UniqueConstraint(fields=("review", "line_no"), name="review_line_once"),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(
                                ("marked_at__isnull", True), ("marked_by", ""), ("verdict", "")
                            ),
                            models.Q(
                                models.Q(("verdict", ""), _negated=True),
                                models.Q(("marked_by", ""), _negated=True),
                                ("marked_at__isnull", False),
                            ),
                            _connector="OR",
                        ),
                        name="review_line_marked_whole",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("verdict", "cut"), ("amount__gt", 0)),
                            models.Q(models.Q(("verdict", "cut"), _negated=True), ("amount", 0)),
                            _connector="OR",
                        ),
                        name="review_line_cut_has_amount",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(
                                ("kind", "held"),
                                models.Q(
                                    ("amount", 0), ("amount__lt", models.F("fee")), _connector="OR"
                                ),
                            ),
                            models.Q(
                                ("amount__lte", models.F("fund")),
                                ("kind", "paid"),
                                ("verdict__in", ["", "pass", "cut"]),
                            ),
                            _connector="OR",
                        ),
                        name="review_line_cut_within",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("verdict__in", ["", "pass", "hold"]),
                            models.Q(
                                models.Q(("note", ""), _negated=True),
                                models.Q(("clause", ""), _negated=True),
                                models.Q(("category", ""), _negated=True),
                            ),
                            _connector="OR",
                        ),
                        name="review_line_adverse_has_reason",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="ReviewReply",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("region_code", models.CharField(max_length=6)),
                ("institution_code", models.CharField(max_length=12)),
                (
                    "kind",
                    models.CharField(
                        choices=[("supplement", "补充材料"), ("objection", "申诉")], max_length=10
                    ),
                ),
                ("text", models.CharField(max_length=500, verbose_name="内容")),
                ("made_at", models.DateTimeField()),
                ("made_by", models.CharField(max_length=150)),
                ("signed_name", models.CharField(blank=True, max_length=60, verbose_name="经办人")),
                ("answer", models.CharField(blank=True, max_length=500, verbose_name="答复")),
                ("answered_at", models.DateTimeField(blank=True, null=True)),
                ("answered_by", models.CharField(blank=True, max_length=150)),
                (
                    "review",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="replies",
                        to="supervision.review",
                    ),
                ),
            ],
            options={
                "ordering": ("pk",),
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(
                                ("answer", ""), ("answered_at__isnull", True), ("answered_by", "")
                            ),
                            models.Q(
                                models.Q(("answer", ""), _negated=True),
                                models.Q(("answered_by", ""), _negated=True),
                                ("answered_at__isnull", False),
                            ),
                            _connector="OR",
                        ),
                        name="review_reply_answer_whole",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("answered_by", ""),
                            models.Q(("answered_by", models.F("made_by")), _negated=True),
                            _connector="OR",
                        ),
                        name="review_reply_second_person",
                    ),
                ],
            },
        ),
        migrations.AddIndex(
            model_name="review",
            index=models.Index(fields=["region_code", "state", "due"], name="review_region"),
        ),
        migrations.AddIndex(
            model_name="review",
            index=models.Index(
                fields=["institution_code", "state", "due"], name="review_institution"
            ),
        ),
        migrations.AddIndex(
            model_name="review",
            index=models.Index(fields=["claim_id"], name="review_claim"),
        ),
        migrations.AddIndex(
            model_name="review",
            index=models.Index(
                condition=models.Q(("closed_at__isnull", True)), fields=["due"], name="review_open"
            ),
        ),
        migrations.AddConstraint(
            model_name="review",
            constraint=models.UniqueConstraint(
                condition=models.Q(("closed_at__isnull", True)),
                fields=("claim_id",),
                name="review_one_open",
            ),
        ),
        migrations.AddConstraint(
            model_name="review",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("seconded_by", ""),
                    models.Q(("seconded_by", models.F("decided_by")), _negated=True),
                    _connector="OR",
                ),
                name="review_second_person",
            ),
        ),
        migrations.AddConstraint(
            model_name="review",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("ruled_by", ""),
                    models.Q(
                        models.Q(("ruled_by", models.F("decided_by")), _negated=True),
                        models.Q(("ruled_by", models.F("seconded_by")), _negated=True),
                    ),
                    _connector="OR",
                ),
                name="review_third_person",
            ),
        ),
        migrations.AddConstraint(
            model_name="review",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("ruled_by", ""), ("seconded_by", "")),
                    models.Q(("decided_by", ""), _negated=True),
                    _connector="OR",
                ),
                name="review_decided_first",
            ),
        ),
        migrations.AddConstraint(
            model_name="review",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("state", "done"), _negated=True),
                    models.Q(("decided_by", ""), _negated=True),
                    _connector="OR",
                ),
                name="review_done_by_a_person",
            ),
        ),
        migrations.AddConstraint(
            model_name="review",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("claim_version__gt", 0), ("cut__gte", 0), ("fee__gte", 0), ("stake__gte", 0)
                ),
                name="review_sane",
            ),
        ),
        migrations.AddConstraint(
            model_name="review",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(
                        models.Q(("source", "finding"), _negated=True),
                        ("finding__isnull", False),
                        _connector="OR",
                    ),
                    models.Q(
                        models.Q(("source", "sample"), _negated=True),
                        ("plan__isnull", False),
                        _connector="OR",
                    ),
                ),
                name="review_has_its_source",
            ),
        ),
        migrations.RunSQL(ROWS + KEPT, UNDO),
    ]
