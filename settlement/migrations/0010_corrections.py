"""Re-settlement, special adjustments, outages, reconciliation with the hospital."""

import django.db.models.deletion
from django.db import migrations, models

#: Tables with money or personal data: seen and written only inside the scope.
TABLES = (
    "resettlement", "resettlementitem", "adjustment", "outage", "hospitalledger", "ledgerrow",
    "discrepancy",
)  # fmt: skip
GUARDS = "\n".join(
    f"""
ALTER TABLE settlement_{name} ENABLE ROW LEVEL SECURITY;
ALTER TABLE settlement_{name} FORCE ROW LEVEL SECURITY;
CREATE POLICY scope ON settlement_{name}
    USING (scope_allows(region_code, institution_code))
    WITH CHECK (scope_allows(region_code, institution_code));
"""
    for name in TABLES
)
UNDO = "\n".join(
    f"""
DROP POLICY scope ON settlement_{name};
ALTER TABLE settlement_{name} NO FORCE ROW LEVEL SECURITY;
ALTER TABLE settlement_{name} DISABLE ROW LEVEL SECURITY;
"""
    for name in TABLES
)


class Migration(migrations.Migration):
    dependencies = (
        ("settlement", "0009_statements"),
        ("institutions", "0002_registry"),
    )
    operations = (
        migrations.CreateModel(
            name="HospitalLedger",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("region_code", models.CharField(max_length=6)),
                ("institution_code", models.CharField(max_length=12)),
                ("period", models.DateField(verbose_name="结算期")),
                ("file_name", models.CharField(max_length=200)),
                ("file_sm3", models.CharField(max_length=64)),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("checked", "已校验"),
                            ("different", "有差异"),
                            ("balanced", "已对平"),
                            ("superseded", "已被替代"),
                        ],
                        default="checked",
                        max_length=10,
                    ),
                ),
                ("rows", models.IntegerField(default=0, verbose_name="行数")),
                ("errors", models.JSONField(blank=True, default=list)),
                (
                    "totals",
                    models.JSONField(blank=True, default=dict, help_text="theirs and ours, fen"),
                ),
                ("uploaded_at", models.DateTimeField()),
                ("uploaded_by", models.CharField(max_length=150)),
                ("matched_at", models.DateTimeField(blank=True, null=True)),
                ("balanced_at", models.DateTimeField(blank=True, null=True)),
            ],
            options={
                "ordering": ("-pk",),
                "constraints": [
                    models.UniqueConstraint(
                        condition=models.Q(("state__in", ["different", "balanced"])),
                        fields=("institution_code", "period"),
                        name="hospital_ledger_counts_once",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("period__day", 1)), name="hospital_ledger_of_a_month"
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="Resettlement",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "pool",
                    models.SlugField(help_text="policy region of the releases", max_length=30),
                ),
                ("region_code", models.CharField(max_length=6)),
                (
                    "institution_code",
                    models.CharField(blank=True, help_text="empty: all of them", max_length=12),
                ),
                ("first_day", models.DateField(verbose_name="服务日起")),
                ("last_day", models.DateField(verbose_name="服务日止")),
                (
                    "releases",
                    models.JSONField(
                        default=list, help_text="ids that now decide", verbose_name="政策版本"
                    ),
                ),
                ("reason", models.CharField(max_length=200, verbose_name="事由")),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("drawn", "待核准"),
                            ("approved", "入账中"),
                            ("posted", "已入账"),
                            ("refused", "未核准"),
                            ("withdrawn", "已撤回"),
                        ],
                        default="drawn",
                        max_length=9,
                    ),
                ),
                ("claims", models.IntegerField(default=0, verbose_name="应重新结算")),
                ("examined", models.IntegerField(default=0, verbose_name="重算单据")),
                (
                    "totals",
                    models.JSONField(
                        blank=True, default=dict, help_text="sums of the differences, fen"
                    ),
                ),
                ("digest", models.CharField(max_length=64, verbose_name="清单摘要")),
                ("drawn_at", models.DateTimeField()),
                ("drawn_by", models.CharField(max_length=150)),
                ("decided_at", models.DateTimeField(blank=True, null=True)),
                ("decided_by", models.CharField(blank=True, max_length=150)),
                ("note", models.CharField(blank=True, max_length=200, verbose_name="审批意见")),
                ("posted_at", models.DateTimeField(blank=True, null=True)),
            ],
            options={
                "ordering": ("-pk",),
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(
                            ("decided_by", ""),
                            ("state", "withdrawn"),
                            models.Q(("decided_by", models.F("drawn_by")), _negated=True),
                            _connector="OR",
                        ),
                        name="resettlement_second_person",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("last_day__gte", models.F("first_day"))),
                        name="resettlement_span",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="Adjustment",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("number", models.CharField(max_length=40, unique=True, verbose_name="调整单号")),
                ("reason_class", models.SlugField(max_length=40, verbose_name="事由类别")),
                ("reason", models.CharField(max_length=200, verbose_name="说明")),
                (
                    "subject",
                    models.CharField(
                        choices=[
                            ("institution", "医疗机构"),
                            ("person", "参保人员"),
                            ("claim", "单据"),
                        ],
                        max_length=11,
                        verbose_name="对象",
                    ),
                ),
                ("region_code", models.CharField(max_length=6)),
                ("institution_code", models.CharField(blank=True, max_length=12)),
                ("person_id", models.BigIntegerField(blank=True, null=True)),
                ("claim_id", models.BigIntegerField(blank=True, null=True)),
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
                (
                    "amount",
                    models.BigIntegerField(
                        help_text="fen; > 0 paid in addition", verbose_name="金额"
                    ),
                ),
                ("level", models.CharField(max_length=10, verbose_name="审批层级")),
                (
                    "limit",
                    models.BigIntegerField(
                        blank=True,
                        help_text="fen; null: no limit",
                        null=True,
                        verbose_name="本级限额",
                    ),
                ),
                ("example", models.BooleanField(default=False, verbose_name="使用示例参数")),
                ("clause", models.CharField(blank=True, max_length=120)),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("proposed", "待复核"),
                            ("posted", "已入账"),
                            ("refused", "未批准"),
                            ("withdrawn", "已撤回"),
                            ("reversed", "已冲销"),
                        ],
                        default="proposed",
                        max_length=9,
                    ),
                ),
                ("proposed_at", models.DateTimeField()),
                ("proposed_by", models.CharField(max_length=150)),
                ("decided_at", models.DateTimeField(blank=True, null=True)),
                ("decided_by", models.CharField(blank=True, max_length=150)),
                ("note", models.CharField(blank=True, max_length=200, verbose_name="审批意见")),
                ("reversal_asked_by", models.CharField(blank=True, max_length=150)),
                (
                    "reversal_reason",
                    models.CharField(blank=True, max_length=200, verbose_name="冲销原因"),
                ),
                (
                    "document",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        to="institutions.document",
                        verbose_name="附件",
                    ),
                ),
                (
                    "voucher",
                    models.OneToOneField(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="adjustment",
                        to="settlement.voucher",
                    ),
                ),
            ],
            options={
                "ordering": ("-pk",),
                "indexes": [models.Index(fields=["state", "region_code"], name="adjustment_state")],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("amount", 0), _negated=True),
                        name="adjustment_moves_money",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("decided_by", ""),
                            ("state", "withdrawn"),
                            models.Q(("decided_by", models.F("proposed_by")), _negated=True),
                            _connector="OR",
                        ),
                        name="adjustment_second_person",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(
                                ("claim_id", None),
                                ("person_id", None),
                                ("subject", "institution"),
                                models.Q(("institution_code", ""), _negated=True),
                            ),
                            models.Q(
                                ("claim_id", None),
                                ("person_id__isnull", False),
                                ("subject", "person"),
                            ),
                            models.Q(
                                ("claim_id__isnull", False),
                                ("subject", "claim"),
                                models.Q(("institution_code", ""), _negated=True),
                            ),
                            _connector="OR",
                        ),
                        name="adjustment_has_its_subject",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("state__in", ["posted", "reversed"]), _negated=True),
                            ("voucher__isnull", False),
                            _connector="OR",
                        ),
                        name="adjustment_posted_by_voucher",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="Discrepancy",
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
                        choices=[
                            ("only_ours", "中心有、机构无"),
                            ("only_theirs", "机构有、中心无"),
                            ("identity", "人员、日期或项目不符"),
                            ("amount", "金额不符"),
                            ("state", "状态不符"),
                            ("duplicate", "机构账重复"),
                        ],
                        max_length=11,
                        verbose_name="差异类别",
                    ),
                ),
                ("claim_id", models.BigIntegerField(blank=True, null=True)),
                ("claim_no", models.CharField(max_length=40, verbose_name="单据号")),
                ("line_no", models.SmallIntegerField(verbose_name="行号")),
                ("row", models.IntegerField(blank=True, null=True, verbose_name="机构账行")),
                ("service_date", models.DateField(verbose_name="服务日期")),
                ("fee_ours", models.BigIntegerField(blank=True, null=True)),
                ("fee_theirs", models.BigIntegerField(blank=True, null=True)),
                ("fund_ours", models.BigIntegerField(blank=True, null=True)),
                ("fund_theirs", models.BigIntegerField(blank=True, null=True)),
                ("state_ours", models.CharField(blank=True, max_length=8)),
                ("state_theirs", models.CharField(blank=True, max_length=8)),
                (
                    "resolution",
                    models.CharField(
                        blank=True,
                        choices=[
                            ("ours", "以中心为准"),
                            ("reverse", "冲正中心结算"),
                            ("resend", "请机构重新上传"),
                            ("reverse_resend", "冲正并请机构重传"),
                        ],
                        max_length=14,
                    ),
                ),
                ("reason", models.CharField(blank=True, max_length=200, verbose_name="处理说明")),
                ("resolved_at", models.DateTimeField(blank=True, null=True)),
                ("resolved_by", models.CharField(blank=True, max_length=150)),
                (
                    "ledger",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="differences",
                        to="settlement.hospitalledger",
                    ),
                ),
            ],
            options={
                "ordering": ("kind", "claim_no", "line_no", "row"),
                "indexes": [
                    models.Index(
                        condition=models.Q(("resolution", "")),
                        fields=["ledger"],
                        name="discrepancy_open",
                    )
                ],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(
                                ("resolution", ""), ("resolved_at", None), ("resolved_by", "")
                            ),
                            models.Q(
                                models.Q(("resolution", ""), _negated=True),
                                ("resolved_at__isnull", False),
                                models.Q(("resolved_by", ""), _negated=True),
                                models.Q(("reason", ""), _negated=True),
                            ),
                            _connector="OR",
                        ),
                        name="discrepancy_resolved_with_reason",
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="LedgerRow",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("region_code", models.CharField(max_length=6)),
                ("institution_code", models.CharField(max_length=12)),
                ("row", models.IntegerField()),
                ("claim_no", models.CharField(max_length=40)),
                ("line_no", models.SmallIntegerField()),
                ("person_hash", models.BinaryField(max_length=32)),
                ("service_date", models.DateField()),
                ("item_code", models.CharField(max_length=20)),
                ("fee", models.BigIntegerField()),
                ("fund", models.BigIntegerField()),
                (
                    "state",
                    models.CharField(
                        choices=[("settled", "已结算"), ("reversed", "已冲正")], max_length=8
                    ),
                ),
                (
                    "ledger",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="lines",
                        to="settlement.hospitalledger",
                    ),
                ),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(fields=("ledger", "row"), name="ledger_row_once")
                ],
            },
        ),
        migrations.CreateModel(
            name="Outage",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("region_code", models.CharField(max_length=6)),
                ("institution_code", models.CharField(max_length=12)),
                ("began", models.DateTimeField(verbose_name="中断开始")),
                ("ended", models.DateTimeField(verbose_name="恢复时间")),
                ("reason", models.CharField(max_length=200, verbose_name="原因")),
                (
                    "upload_due",
                    models.DateTimeField(blank=True, null=True, verbose_name="补传截止"),
                ),
                ("clause", models.CharField(blank=True, max_length=120)),
                ("example", models.BooleanField(default=False, verbose_name="使用示例参数")),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("reported", "待确认"),
                            ("accepted", "已确认"),
                            ("refused", "不予确认"),
                        ],
                        default="reported",
                        max_length=8,
                    ),
                ),
                ("reported_at", models.DateTimeField()),
                ("reported_by", models.CharField(max_length=150)),
                ("decided_at", models.DateTimeField(blank=True, null=True)),
                ("decided_by", models.CharField(blank=True, max_length=150)),
                ("note", models.CharField(blank=True, max_length=200, verbose_name="意见")),
                (
                    "document",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        to="institutions.document",
                        verbose_name="证明材料",
                    ),
                ),
            ],
            options={
                "ordering": ("-began",),
                "indexes": [
                    models.Index(fields=["institution_code", "began"], name="outage_institution")
                ],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("ended__gt", models.F("began"))), name="outage_span"
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("decided_by", ""),
                            models.Q(("decided_by", models.F("reported_by")), _negated=True),
                            _connector="OR",
                        ),
                        name="outage_second_person",
                    ),
                    models.UniqueConstraint(
                        condition=models.Q(("state", "refused"), _negated=True),
                        fields=("institution_code", "began"),
                        name="outage_once",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="ResettlementItem",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("claim_id", models.BigIntegerField()),
                ("claim_no", models.CharField(max_length=40)),
                (
                    "version",
                    models.SmallIntegerField(help_text="the current, odd version when drawn"),
                ),
                ("region_code", models.CharField(max_length=6)),
                ("institution_code", models.CharField(max_length=12)),
                ("person_id", models.BigIntegerField()),
                ("year", models.SmallIntegerField()),
                (
                    "scheme",
                    models.CharField(
                        choices=[
                            ("employee", "职工医保"),
                            ("resident", "居民医保"),
                            ("lixiu", "离休统筹"),
                        ],
                        max_length=8,
                    ),
                ),
                ("service_date", models.DateField()),
                (
                    "kind",
                    models.CharField(
                        choices=[("direct", "政策变化"), ("consequent", "年度累计连带")],
                        max_length=10,
                    ),
                ),
                ("state_before", models.CharField(max_length=9)),
                ("state_after", models.CharField(max_length=9)),
                ("before", models.JSONField(help_text="totals that stand, fen")),
                ("after", models.JSONField(help_text="totals recomputed, fen")),
                ("fund", models.BigIntegerField(help_text="difference; > 0 the fund pays more")),
                ("account", models.BigIntegerField()),
                ("cash", models.BigIntegerField(help_text="difference; < 0 the patient gets back")),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("waiting", "待入账"),
                            ("posted", "已入账"),
                            ("left_out", "未处理"),
                        ],
                        default="waiting",
                        max_length=8,
                    ),
                ),
                ("reason", models.CharField(blank=True, max_length=200, verbose_name="未处理原因")),
                ("posted_version", models.SmallIntegerField(blank=True, null=True)),
                (
                    "resettlement",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="items",
                        to="settlement.resettlement",
                    ),
                ),
            ],
            options={
                "ordering": ("claim_id",),
                "indexes": [
                    models.Index(
                        fields=["resettlement", "state", "person_id"],
                        name="resettlement_item_waiting",
                    )
                ],
                "constraints": [
                    models.UniqueConstraint(
                        fields=("resettlement", "claim_id"), name="resettlement_claim_once"
                    ),
                    models.UniqueConstraint(
                        condition=models.Q(("state", "posted")),
                        fields=("claim_id", "posted_version"),
                        name="resettlement_effect_once",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("state", "posted"), _negated=True),
                            (
                                "posted_version",
                                django.db.models.expressions.CombinedExpression(
                                    models.F("version"), "+", models.Value(2)
                                ),
                            ),
                            _connector="OR",
                        ),
                        name="resettlement_posts_next_version",
                    ),
                ],
            },
        ),
        migrations.RunSQL(GUARDS, UNDO),
    )
