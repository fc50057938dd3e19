"""Remote consultations and the fees of lines: tables, who sees them, what is fixed once money moved."""

import django.contrib.postgres.constraints
import django.contrib.postgres.fields
import django.db.models.deletion
import django.db.models.expressions
from django.db import migrations, models

import institutions.models.dated

TABLES = (
    "splitagreement", "consultation", "participant", "receipt", "accountreport", "networkline",
    "maintenancecontract", "feebill", "feeitem",
)  # fmt: skip
OWN = "scope_allows(region_code, institution_code)"
#: Rows of two hospitals: either of them, and whoever oversees the inviting one.
SEEN = {
    "splitagreement": f"{OWN} OR scope_allows('', invited_id)",
    "consultation": f"{OWN} OR EXISTS (SELECT FROM unnest(parties) p WHERE scope_allows('', p))",
    "participant": f"{OWN} OR scope_allows('', hospital_id)",
    "receipt": f"{OWN} OR scope_allows('', hospital_id)",
}
#: Columns that nobody changes once a condition holds.
FIXED = {
    "consultation": ("OLD.collected_at IS NOT NULL", "amount", "charge_count", "unit_price",
                     "invoice_no", "patient_hash", "session_on"),
    "participant": ("OLD.paid_at IS NOT NULL", "share", "fee", "agreement_id", "payment_no"),
    "receipt": ("true", "participant_id", "hospital_id", "number", "amount", "issued_on"),
    "splitagreement": ("OLD.confirmed_at IS NOT NULL", "ratio_invited", "inviting_id",
                       "invited_id", "valid_from"),
    "feebill": ("OLD.state <> 'draft'", "amount", "commission", "by_month", "year",
                "institution_id"),
}  # fmt: skip
SCOPES = "".join(
    f"""
ALTER TABLE settlement_{name} ENABLE ROW LEVEL SECURITY;
ALTER TABLE settlement_{name} FORCE ROW LEVEL SECURITY;
CREATE POLICY scope ON settlement_{name}
    USING ({SEEN.get(name, OWN)}) WITH CHECK ({SEEN.get(name, OWN)});
"""
    for name in TABLES
)
KEPT = "".join(
    f"REVOKE DELETE, TRUNCATE ON settlement_{name} FROM mip_app, mip_settler;\n"
    for name in TABLES
    if name != "feeitem"  # the items of a draft are drawn anew
)
REFUSE = """
CREATE FUNCTION refuse_change_of_money() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'money that has moved is not changed: % %', TG_TABLE_NAME, OLD.id
        USING ERRCODE = 'restrict_violation';
END $$;
"""
GUARDS = "".join(
    f"""
CREATE TRIGGER money_is_fixed BEFORE UPDATE ON settlement_{name} FOR EACH ROW
    WHEN ({when} AND ({" OR ".join(f"OLD.{c} IS DISTINCT FROM NEW.{c}" for c in columns)}))
    EXECUTE FUNCTION refuse_change_of_money();
"""
    for name, (when, *columns) in FIXED.items()
)
UNDO = (
    "".join(f"DROP TRIGGER money_is_fixed ON settlement_{name};" for name in FIXED)
    + "DROP FUNCTION refuse_change_of_money();"
    + "".join(f"DROP POLICY scope ON settlement_{name};" for name in TABLES)
)


class Migration(migrations.Migration):
    dependencies = [
        ("institutions", "0002_registry"),
        ("settlement", "0010_corrections"),
    ]

    operations = [
        migrations.CreateModel(
            name="SplitAgreement",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("number", models.CharField(max_length=60, verbose_name="协议编号")),
                (
                    "ratio_invited",
                    models.IntegerField(help_text="per ten thousand", verbose_name="受邀方比例"),
                ),
                ("valid_from", models.DateField()),
                ("valid_until", models.DateField(blank=True, null=True)),
                ("region_code", models.CharField(max_length=6)),
                ("institution_code", models.CharField(max_length=12)),
                ("recorded_at", models.DateTimeField()),
                ("recorded_by", models.CharField(max_length=150)),
                ("confirmed_at", models.DateTimeField(blank=True, null=True)),
                ("confirmed_by", models.CharField(blank=True, max_length=150)),
                ("superseded_at", models.DateTimeField(blank=True, null=True)),
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
                    "invited",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="institutions.institution",
                    ),
                ),
                (
                    "inviting",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="institutions.institution",
                    ),
                ),
            ],
            options={
                "ordering": ("-valid_from", "-id"),
                "constraints": [
                    django.contrib.postgres.constraints.ExclusionConstraint(
                        condition=models.Q(("superseded_at__isnull", True)),
                        expressions=[
                            (
                                institutions.models.dated.DateRange("valid_from", "valid_until"),
                                "&&",
                            ),
                            (models.F("inviting"), "="),
                            (models.F("invited"), "="),
                        ],
                        name="split_agreement_no_overlap",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("ratio_invited__gte", 0), ("ratio_invited__lte", 10000)
                        ),
                        name="split_ratio_is_a_part",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("inviting", models.F("invited")), _negated=True),
                        name="split_between_two_hospitals",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("valid_until__isnull", True),
                            ("valid_until__gte", models.F("valid_from")),
                            _connector="OR",
                        ),
                        name="split_agreement_span",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("institution_code", models.F("inviting"))),
                        name="split_belongs_to_inviting",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="Consultation",
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
                ("number", models.CharField(max_length=40, unique=True, verbose_name="会诊编号")),
                (
                    "parties",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.CharField(max_length=12), size=None
                    ),
                ),
                ("patient_hash", models.BinaryField(max_length=32)),
                ("patient_masked", models.CharField(max_length=24, verbose_name="证件号码")),
                ("inpatient_no", models.CharField(max_length=40, verbose_name="住院号")),
                ("department", models.CharField(max_length=40, verbose_name="申请科室")),
                ("purpose", models.TextField(verbose_name="会诊目的")),
                ("wanted_on", models.DateField(verbose_name="拟会诊日期")),
                (
                    "explained_price",
                    models.BigIntegerField(blank=True, help_text="fen per hospital", null=True),
                ),
                ("consented_at", models.DateTimeField(blank=True, null=True)),
                (
                    "consenter",
                    models.CharField(
                        blank=True,
                        choices=[
                            ("patient", "患者本人"),
                            ("relative", "近亲属"),
                            ("guardian", "监护人"),
                        ],
                        max_length=8,
                    ),
                ),
                ("session_on", models.DateField(blank=True, null=True, verbose_name="会诊日期")),
                (
                    "minutes",
                    models.PositiveSmallIntegerField(blank=True, null=True, verbose_name="时长"),
                ),
                ("summary", models.TextField(blank=True, verbose_name="会诊意见")),
                ("release_id", models.IntegerField(blank=True, null=True)),
                ("unit_price", models.BigIntegerField(blank=True, null=True)),
                ("example", models.BooleanField(default=False)),
                ("charge_count", models.SmallIntegerField(blank=True, null=True)),
                (
                    "amount",
                    models.BigIntegerField(blank=True, help_text="fen: count × price", null=True),
                ),
                ("entry", models.CharField(blank=True, max_length=80, verbose_name="住院病历记录")),
                ("entered_at", models.DateTimeField(blank=True, null=True)),
                ("invoice_no", models.CharField(blank=True, max_length=40, verbose_name="票据号")),
                ("collected_at", models.DateTimeField(blank=True, null=True)),
                ("distributed_at", models.DateTimeField(blank=True, null=True)),
                ("settled_on", models.DateField(blank=True, null=True)),
                (
                    "late_reason",
                    models.CharField(blank=True, max_length=200, verbose_name="逾期原因"),
                ),
                (
                    "refund_no",
                    models.CharField(blank=True, max_length=40, verbose_name="退费票据号"),
                ),
                ("refunded_at", models.DateTimeField(blank=True, null=True)),
                (
                    "claim_id",
                    models.BigIntegerField(
                        blank=True, null=True, unique=True, verbose_name="结算单据"
                    ),
                ),
                (
                    "inviting",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="institutions.institution",
                    ),
                ),
            ],
            options={
                "ordering": ("-id",),
                "indexes": [
                    models.Index(
                        fields=["institution_code", "session_on"], name="consultation_inviting"
                    ),
                    models.Index(fields=["state", "due"], name="consultation_clock"),
                ],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("institution_code", models.F("inviting"))),
                        name="consultation_of_inviting",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("minutes__isnull", True), ("minutes__gt", 0), _connector="OR"
                        ),
                        name="consultation_lasts",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("amount__isnull", True),
                            models.Q(
                                (
                                    "amount",
                                    django.db.models.expressions.CombinedExpression(
                                        models.F("charge_count"), "*", models.F("unit_price")
                                    ),
                                ),
                                ("amount__gt", 0),
                            ),
                            _connector="OR",
                        ),
                        name="consultation_amount",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("collected_at__isnull", True), ("invoice_no", "")),
                            models.Q(
                                ("amount__isnull", False),
                                ("collected_at__isnull", False),
                                ("consented_at__isnull", False),
                                ("entered_at__isnull", False),
                                models.Q(("invoice_no", ""), _negated=True),
                            ),
                            _connector="OR",
                        ),
                        name="consultation_charged_by_invoice",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("session_on__isnull", True),
                            ("consented_at__isnull", False),
                            _connector="OR",
                        ),
                        name="consultation_after_consent",
                    ),
                    models.UniqueConstraint(
                        condition=models.Q(("invoice_no", ""), _negated=True),
                        fields=("institution_code", "invoice_no"),
                        name="consultation_invoice_once",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="Participant",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("region_code", models.CharField(max_length=6)),
                (
                    "institution_code",
                    models.CharField(help_text="the inviting hospital", max_length=12),
                ),
                ("tier", models.CharField(max_length=20, verbose_name="层级")),
                (
                    "experts",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.CharField(max_length=40),
                        blank=True,
                        default=list,
                        size=None,
                    ),
                ),
                (
                    "answer",
                    models.CharField(
                        blank=True,
                        choices=[("", "待确认"), ("accepted", "已接受"), ("declined", "已婉拒")],
                        default="",
                        max_length=8,
                    ),
                ),
                ("answered_at", models.DateTimeField(blank=True, null=True)),
                ("answered_by", models.CharField(blank=True, max_length=150)),
                ("note", models.CharField(blank=True, max_length=200)),
                (
                    "fee",
                    models.BigIntegerField(
                        blank=True, help_text="fen charged for it; None: open", null=True
                    ),
                ),
                (
                    "share",
                    models.BigIntegerField(blank=True, help_text="fen of the fee", null=True),
                ),
                ("paid_at", models.DateTimeField(blank=True, null=True)),
                ("paid_by", models.CharField(blank=True, max_length=150)),
                (
                    "payment_no",
                    models.CharField(blank=True, max_length=60, verbose_name="付款凭据"),
                ),
                (
                    "reversed_at",
                    models.DateTimeField(blank=True, null=True, verbose_name="冲减收入时间"),
                ),
                (
                    "returned_at",
                    models.DateTimeField(blank=True, null=True, verbose_name="退回时间"),
                ),
                (
                    "consultation",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="participants",
                        to="settlement.consultation",
                    ),
                ),
                (
                    "hospital",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="institutions.institution",
                    ),
                ),
                (
                    "agreement",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        to="settlement.splitagreement",
                    ),
                ),
            ],
            options={
                "ordering": ("id",),
                "constraints": [
                    models.UniqueConstraint(
                        fields=("consultation", "hospital"), name="participant_once_per_session"
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("institution_code", models.F("hospital")), _negated=True
                        ),
                        name="participant_is_invited",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("share__isnull", True),
                            models.Q(
                                ("agreement__isnull", False),
                                ("share__gte", 0),
                                ("share__lte", models.F("fee")),
                            ),
                            _connector="OR",
                        ),
                        name="participant_share_by_agreement",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("paid_at__isnull", True),
                            models.Q(("share__gt", 0), ("share__isnull", False)),
                            _connector="OR",
                        ),
                        name="participant_paid_a_share",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("reversed_at__isnull", True),
                            ("paid_at__isnull", False),
                            _connector="OR",
                        ),
                        name="participant_reversed_after_payment",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="Receipt",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("region_code", models.CharField(max_length=6)),
                (
                    "institution_code",
                    models.CharField(help_text="the inviting hospital", max_length=12),
                ),
                ("number", models.CharField(max_length=40, verbose_name="票据号")),
                ("amount", models.BigIntegerField(help_text="fen")),
                ("issued_on", models.DateField(verbose_name="开票日")),
                ("recorded_at", models.DateTimeField()),
                ("recorded_by", models.CharField(max_length=150)),
                ("void_at", models.DateTimeField(blank=True, null=True, verbose_name="作废时间")),
                ("void_reason", models.CharField(blank=True, max_length=200)),
                (
                    "hospital",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="institutions.institution",
                    ),
                ),
                (
                    "participant",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="receipts",
                        to="settlement.participant",
                    ),
                ),
            ],
            options={
                "ordering": ("id",),
                "constraints": [
                    models.UniqueConstraint(fields=("hospital", "number"), name="receipt_once"),
                    models.CheckConstraint(
                        condition=models.Q(("amount__gt", 0)), name="receipt_over_money"
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="AccountReport",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("month", models.DateField()),
                ("account_name", models.CharField(max_length=80, verbose_name="专账名称")),
                ("staff_pay", models.BigIntegerField(help_text="fen", verbose_name="劳务补贴支出")),
                ("note", models.CharField(blank=True, max_length=200, verbose_name="说明")),
                ("region_code", models.CharField(max_length=6)),
                ("institution_code", models.CharField(max_length=12)),
                ("reported_at", models.DateTimeField()),
                ("reported_by", models.CharField(max_length=150)),
                (
                    "institution",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="institutions.institution",
                    ),
                ),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(
                        fields=("institution", "month"), name="account_report_once_a_month"
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("month__day", 1), ("staff_pay__gte", 0)),
                        name="account_report_sane",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="NetworkLine",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("number", models.CharField(max_length=40, unique=True, verbose_name="线路编号")),
                (
                    "service",
                    models.CharField(
                        choices=[("single", "单业务"), ("multi", "多业务")],
                        max_length=6,
                        verbose_name="业务",
                    ),
                ),
                ("bandwidth_mb", models.PositiveIntegerField(verbose_name="带宽（兆）")),
                ("count", models.PositiveSmallIntegerField(default=1, verbose_name="条数")),
                (
                    "tier",
                    models.CharField(
                        choices=[
                            ("provincial", "省级"),
                            ("municipal", "市级"),
                            ("county", "县级"),
                            ("township", "乡镇"),
                            ("community", "社区"),
                        ],
                        max_length=10,
                        verbose_name="层级",
                    ),
                ),
                ("opened_on", models.DateField(verbose_name="开通日")),
                ("closed_on", models.DateField(blank=True, null=True, verbose_name="停用日")),
                (
                    "construction_note",
                    models.CharField(blank=True, max_length=200, verbose_name="开通工程"),
                ),
                (
                    "construction_fee",
                    models.BigIntegerField(
                        blank=True, help_text="fen", null=True, verbose_name="工程费用"
                    ),
                ),
                (
                    "construction_payer",
                    models.CharField(blank=True, max_length=80, verbose_name="工程费用承担方"),
                ),
                ("region_code", models.CharField(max_length=6)),
                ("institution_code", models.CharField(max_length=12)),
                ("recorded_at", models.DateTimeField()),
                ("recorded_by", models.CharField(max_length=150)),
                (
                    "institution",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="institutions.institution",
                    ),
                ),
            ],
            options={
                "ordering": ("institution_id", "opened_on", "id"),
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("bandwidth_mb__gt", 0), ("count__gt", 0)),
                        name="line_has_width",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("closed_on__isnull", True),
                            ("closed_on__gte", models.F("opened_on")),
                            _connector="OR",
                        ),
                        name="line_closed_after_opening",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("construction_fee__isnull", True),
                            ("construction_fee__gte", 0),
                            _connector="OR",
                        ),
                        name="line_construction_fee",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="MaintenanceContract",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("number", models.CharField(max_length=60, unique=True, verbose_name="合同编号")),
                ("base", models.BigIntegerField(help_text="fen", verbose_name="协议金额")),
                (
                    "rate",
                    models.IntegerField(help_text="per ten thousand", verbose_name="维保费率"),
                ),
                ("accepted_on", models.DateField(blank=True, null=True, verbose_name="验收合格日")),
                ("starts_on", models.DateField(verbose_name="维保起始日")),
                ("ends_on", models.DateField(blank=True, null=True, verbose_name="终止日")),
                ("region_code", models.CharField(max_length=6)),
                ("institution_code", models.CharField(max_length=12)),
                ("recorded_at", models.DateTimeField()),
                ("recorded_by", models.CharField(max_length=150)),
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
                    "institution",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="institutions.institution",
                    ),
                ),
            ],
            options={
                "ordering": ("institution_id", "starts_on", "id"),
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("base__gte", 0), ("rate__gt", 0), ("rate__lte", 10000)),
                        name="maintenance_rate",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("ends_on__isnull", True),
                            ("ends_on__gte", models.F("starts_on")),
                            _connector="OR",
                        ),
                        name="maintenance_span",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="FeeBill",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("year", models.SmallIntegerField()),
                ("number", models.CharField(max_length=40, unique=True, verbose_name="账单号")),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("draft", "待确认"),
                            ("confirmed", "待缴"),
                            ("paid", "已缴清"),
                            ("nothing", "无须缴纳"),
                        ],
                        default="draft",
                        max_length=9,
                    ),
                ),
                (
                    "amount",
                    models.BigIntegerField(default=0, help_text="fen, borne by the institution"),
                ),
                (
                    "commission",
                    models.BigIntegerField(default=0, help_text="fen, borne by the commission"),
                ),
                ("by_month", models.BigIntegerField(default=0, help_text="fen, the other reading")),
                ("open_items", models.SmallIntegerField(default=0)),
                ("due_on", models.DateField(verbose_name="缴费期限")),
                ("release_id", models.IntegerField()),
                ("region_code", models.CharField(max_length=6)),
                ("institution_code", models.CharField(max_length=12)),
                ("made_at", models.DateTimeField()),
                ("made_by", models.CharField(max_length=150)),
                ("confirmed_at", models.DateTimeField(blank=True, null=True)),
                ("confirmed_by", models.CharField(blank=True, max_length=150)),
                ("paid_on", models.DateField(blank=True, null=True, verbose_name="缴费日")),
                ("paid_by", models.CharField(blank=True, max_length=150)),
                (
                    "payment_no",
                    models.CharField(blank=True, max_length=60, verbose_name="缴费凭据"),
                ),
                ("commission_paid_on", models.DateField(blank=True, null=True)),
                ("commission_payment_no", models.CharField(blank=True, max_length=60)),
                ("handled_on", models.DateField(blank=True, null=True, verbose_name="处理日")),
                (
                    "handled_note",
                    models.CharField(blank=True, max_length=200, verbose_name="逾期处理"),
                ),
                ("handled_by", models.CharField(blank=True, max_length=150)),
                (
                    "institution",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="institutions.institution",
                    ),
                ),
            ],
            options={
                "ordering": ("-year", "institution_id"),
                "indexes": [models.Index(fields=["state", "due_on"], name="fee_bill_due")],
                "constraints": [
                    models.UniqueConstraint(
                        fields=("institution", "year"), name="fee_bill_once_a_year"
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("amount__gte", 0),
                            ("by_month__gte", 0),
                            ("commission__gte", 0),
                            ("open_items__gte", 0),
                        ),
                        name="fee_bill_amounts",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("confirmed_at__isnull", True), ("state", "draft")),
                            models.Q(
                                models.Q(("state", "draft"), _negated=True),
                                ("confirmed_at__isnull", False),
                                ("open_items", 0),
                            ),
                            _connector="OR",
                        ),
                        name="fee_bill_confirmed",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(
                                ("amount__gt", 0), ("paid_on__isnull", False), ("state", "paid")
                            ),
                            models.Q(
                                models.Q(("state", "paid"), _negated=True),
                                ("paid_on__isnull", True),
                            ),
                            _connector="OR",
                        ),
                        name="fee_bill_paid",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("state", "confirmed"), _negated=True),
                            ("amount__gt", 0),
                            _connector="OR",
                        ),
                        name="fee_bill_owed",
                    ),
                    models.UniqueConstraint(
                        condition=models.Q(("payment_no", ""), _negated=True),
                        fields=("payment_no",),
                        name="fee_payment_once",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="FeeItem",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("number", models.SmallIntegerField(help_text="which service or maintenance year")),
                ("first", models.DateField()),
                ("last", models.DateField()),
                (
                    "amount",
                    models.BigIntegerField(blank=True, help_text="fen, institution", null=True),
                ),
                ("commission", models.BigIntegerField(blank=True, null=True)),
                ("decision", models.CharField(max_length=8)),
                ("reason", models.CharField(blank=True, max_length=30)),
                ("clause", models.CharField(max_length=20)),
                (
                    "decided_note",
                    models.CharField(blank=True, max_length=200, verbose_name="认定说明"),
                ),
                ("decided_by", models.CharField(blank=True, max_length=150)),
                ("region_code", models.CharField(max_length=6)),
                ("institution_code", models.CharField(max_length=12)),
                (
                    "bill",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="items",
                        to="settlement.feebill",
                    ),
                ),
                (
                    "contract",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        to="settlement.maintenancecontract",
                    ),
                ),
                (
                    "line",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        to="settlement.networkline",
                    ),
                ),
            ],
            options={
                "ordering": ("id",),
                "constraints": [
                    models.UniqueConstraint(
                        fields=("line", "number"), name="line_year_billed_once"
                    ),
                    models.UniqueConstraint(
                        fields=("contract", "number"), name="maintenance_year_billed_once"
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("contract__isnull", True), ("line__isnull", False)),
                            models.Q(("contract__isnull", False), ("line__isnull", True)),
                            _connector="OR",
                        ),
                        name="fee_item_of_line_or_contract",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("first__lte", models.F("last")), ("number__gt", 0)),
                        name="fee_item_span",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("amount__isnull", True), ("commission__isnull", True)),
                            models.Q(("amount__gte", 0), ("commission__gte", 0)),
                            _connector="OR",
                        ),
                        name="fee_item_amounts",
                    ),
                ],
            },
        ),
        migrations.RunSQL(SCOPES + KEPT + REFUSE + GUARDS, UNDO),
    ]
