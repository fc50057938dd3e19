"""手工报销 and payments: requests, invoices used once, slots, lists by two persons, orders, refunds."""

import django.db.models.deletion
from django.db import migrations, models

GUARDED = ("paymentlist", "paymentorder", "refund", "reimbursement", "appointmentslot")

SCOPES = "\n".join(
    f"""
ALTER TABLE settlement_{name} ENABLE ROW LEVEL SECURITY;
ALTER TABLE settlement_{name} FORCE ROW LEVEL SECURITY;
CREATE POLICY scope ON settlement_{name}
    USING (scope_allows(region_code, institution_code))
    WITH CHECK (scope_allows(region_code, institution_code));
REVOKE DELETE, TRUNCATE ON settlement_{name} FROM mip_app, mip_settler;
"""
    for name in GUARDED
)

#: An invoice may not be used twice anywhere: whoever has any scope sees whether it was used.
INVOICES = """
ALTER TABLE settlement_einvoice ENABLE ROW LEVEL SECURITY;
ALTER TABLE settlement_einvoice FORCE ROW LEVEL SECURITY;
CREATE POLICY some_scope ON settlement_einvoice
    USING (coalesce(current_setting('app.scope', true), '') <> '');
REVOKE DELETE, TRUNCATE ON settlement_einvoice FROM mip_app, mip_settler;

CREATE FUNCTION refuse_invoice_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.released_at IS NOT NULL OR NEW.released_at IS NULL
        OR (OLD.number, OLD.holder, OLD.used_at) IS DISTINCT FROM (NEW.number, NEW.holder, NEW.used_at)
    THEN
        RAISE EXCEPTION 'the use of an invoice is only released, once' USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER einvoice_fixed BEFORE UPDATE ON settlement_einvoice
    FOR EACH ROW EXECUTE FUNCTION refuse_invoice_change();
"""

#: What was approved is what is paid: sums and orders of a list stay as they were prepared.
FIXED = """
CREATE FUNCTION refuse_payment_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF (OLD.list_id, OLD.number, OLD.subject, OLD.attempt, OLD.amount, OLD.way, OLD.number_cipher,
            OLD.payee_institution_id, OLD.payee_person_id)
        IS DISTINCT FROM
        (NEW.list_id, NEW.number, NEW.subject, NEW.attempt, NEW.amount, NEW.way, NEW.number_cipher,
            NEW.payee_institution_id, NEW.payee_person_id)
        OR OLD.state IN ('returned', 'rejected', 'dropped')
    THEN
        RAISE EXCEPTION 'a payment order is not changed' USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER payment_order_fixed BEFORE UPDATE ON settlement_paymentorder
    FOR EACH ROW EXECUTE FUNCTION refuse_payment_change();

CREATE FUNCTION refuse_payment_list_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF (OLD.number, OLD.prepared_by) IS DISTINCT FROM (NEW.number, NEW.prepared_by)
        OR OLD.state <> 'prepared' AND (OLD.count, OLD.total, OLD.approved_by)
            IS DISTINCT FROM (NEW.count, NEW.total, NEW.approved_by)
        OR OLD.state IN ('done', 'refused')
    THEN
        RAISE EXCEPTION 'an approved list is not changed' USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER payment_list_fixed BEFORE UPDATE ON settlement_paymentlist
    FOR EACH ROW EXECUTE FUNCTION refuse_payment_list_change();
"""

UNDO = """
DROP TRIGGER payment_list_fixed ON settlement_paymentlist;
DROP FUNCTION refuse_payment_list_change();
DROP TRIGGER payment_order_fixed ON settlement_paymentorder;
DROP FUNCTION refuse_payment_change();
DROP TRIGGER einvoice_fixed ON settlement_einvoice;
DROP FUNCTION refuse_invoice_change();
"""


class Migration(migrations.Migration):
    dependencies = [
        ("institutions", "0002_registry"),
        ("settlement", "0007_medicines"),
    ]

    operations = [
        migrations.CreateModel(
            name="AppointmentSlot",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("region_code", models.CharField(max_length=6)),
                ("institution_code", models.CharField(blank=True, max_length=12)),
                ("day", models.DateField()),
                ("starts", models.TimeField(verbose_name="开始")),
                ("ends", models.TimeField(verbose_name="结束")),
                ("capacity", models.SmallIntegerField(verbose_name="可预约数")),
                ("booked", models.SmallIntegerField(default=0, verbose_name="已预约数")),
                ("made_at", models.DateTimeField()),
                ("made_by", models.CharField(max_length=150)),
                (
                    "office",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="slots",
                        to="institutions.office",
                    ),
                ),
            ],
            options={
                "ordering": ("day", "starts"),
            },
        ),
        migrations.CreateModel(
            name="EInvoice",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("number", models.CharField(max_length=40, verbose_name="电子发票号")),
                (
                    "holder",
                    models.CharField(
                        help_text="claim:<institution>/<claim number> or reimbursement:<id>",
                        max_length=80,
                        verbose_name="使用者",
                    ),
                ),
                ("region_code", models.CharField(max_length=6)),
                ("institution_code", models.CharField(blank=True, max_length=12)),
                ("used_at", models.DateTimeField()),
                ("released_at", models.DateTimeField(blank=True, null=True)),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(
                        condition=models.Q(("released_at__isnull", True)),
                        fields=("number",),
                        name="einvoice_used_once",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("released_at__isnull", True),
                            ("holder__startswith", "reimbursement:"),
                            _connector="OR",
                        ),
                        name="einvoice_of_a_claim_stays_used",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="PaymentList",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("number", models.CharField(max_length=40, unique=True, verbose_name="清单号")),
                ("region_code", models.CharField(max_length=6)),
                ("institution_code", models.CharField(blank=True, max_length=12)),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("prepared", "待复核"),
                            ("approved", "已复核，待导出"),
                            ("exported", "已送银行"),
                            ("done", "已办结"),
                            ("refused", "复核退回"),
                        ],
                        default="prepared",
                        max_length=8,
                    ),
                ),
                ("count", models.IntegerField(verbose_name="笔数")),
                ("total", models.BigIntegerField(help_text="fen", verbose_name="金额")),
                ("note", models.CharField(blank=True, max_length=200, verbose_name="用途")),
                ("prepared_at", models.DateTimeField()),
                ("prepared_by", models.CharField(max_length=150, verbose_name="制单")),
                ("approved_at", models.DateTimeField(blank=True, null=True)),
                ("approved_by", models.CharField(blank=True, max_length=150, verbose_name="复核")),
                ("refusal", models.CharField(blank=True, max_length=200, verbose_name="退回理由")),
                ("exports", models.IntegerField(default=0, verbose_name="导出次数")),
                (
                    "exported_at",
                    models.DateTimeField(blank=True, null=True, verbose_name="首次导出"),
                ),
                ("exported_by", models.CharField(blank=True, max_length=150)),
                (
                    "file_sm3",
                    models.JSONField(
                        blank=True,
                        default=dict,
                        help_text="format → hash",
                        verbose_name="银行文件 SM3",
                    ),
                ),
                ("closed_at", models.DateTimeField(blank=True, null=True)),
            ],
            options={
                "ordering": ("-pk",),
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("count__gt", 0), ("total__gt", 0)),
                        name="payment_list_moves_money",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("approved_by", ""),
                            models.Q(("approved_by", models.F("prepared_by")), _negated=True),
                            _connector="OR",
                        ),
                        name="payment_list_second_person",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("approved_by", ""), ("state", "prepared")),
                            models.Q(
                                models.Q(("state", "prepared"), _negated=True),
                                models.Q(("approved_by", ""), _negated=True),
                                ("approved_at__isnull", False),
                            ),
                            _connector="OR",
                        ),
                        name="payment_list_approved_by_a_person",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("state", "exported"), _negated=True),
                            ("exports__gt", 0),
                            _connector="OR",
                        ),
                        name="payment_list_exported_before_sent",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("institution_code", "")),
                        name="payment_list_is_the_agencys",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="PaymentOrder",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("bank", models.CharField(blank=True, max_length=120, verbose_name="开户行")),
                (
                    "holder_masked",
                    models.CharField(blank=True, max_length=120, verbose_name="户名"),
                ),
                ("number_tail", models.CharField(blank=True, max_length=4)),
                ("holder_cipher", models.BinaryField(blank=True, default=b"")),
                ("number_cipher", models.BinaryField(blank=True, default=b"")),
                ("number_hash", models.BinaryField(blank=True, max_length=32, null=True)),
                ("number", models.CharField(max_length=48, unique=True, verbose_name="指令号")),
                ("region_code", models.CharField(max_length=6)),
                ("institution_code", models.CharField(blank=True, max_length=12)),
                ("subject", models.CharField(max_length=80, verbose_name="款项来源")),
                ("attempt", models.SmallIntegerField(default=1, verbose_name="第几次支付")),
                (
                    "payee",
                    models.CharField(
                        choices=[("institution", "定点医疗机构"), ("person", "参保人员")],
                        max_length=11,
                        verbose_name="收款方",
                    ),
                ),
                ("scheme", models.CharField(blank=True, max_length=8)),
                ("purpose", models.CharField(max_length=120, verbose_name="用途")),
                (
                    "way",
                    models.CharField(
                        choices=[("bank", "银行转账"), ("account", "划入医保个人账户")],
                        default="bank",
                        max_length=8,
                    ),
                ),
                ("amount", models.BigIntegerField(help_text="fen", verbose_name="金额")),
                ("warning", models.CharField(blank=True, max_length=200, verbose_name="疑似重复")),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("listed", "在清单"),
                            ("sent", "已送银行"),
                            ("paid", "已支付"),
                            ("returned", "银行退票"),
                            ("rejected", "银行拒付"),
                            ("dropped", "已撤下"),
                        ],
                        default="listed",
                        max_length=8,
                    ),
                ),
                (
                    "bank_serial",
                    models.CharField(blank=True, max_length=60, verbose_name="银行流水号"),
                ),
                ("result_on", models.DateField(blank=True, null=True, verbose_name="银行处理日")),
                (
                    "reason",
                    models.CharField(blank=True, max_length=200, verbose_name="退票或拒付原因"),
                ),
                ("result_at", models.DateTimeField(blank=True, null=True)),
                (
                    "result_by",
                    models.CharField(blank=True, max_length=150, verbose_name="结果登记人"),
                ),
                (
                    "list",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="orders",
                        to="settlement.paymentlist",
                    ),
                ),
                (
                    "payee_institution",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        to="institutions.institution",
                    ),
                ),
                (
                    "payee_person",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        to="settlement.insuredperson",
                    ),
                ),
            ],
            options={
                "ordering": ("pk",),
            },
        ),
        migrations.CreateModel(
            name="Refund",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("number", models.CharField(max_length=40, unique=True, verbose_name="退款单号")),
                ("region_code", models.CharField(max_length=6)),
                ("institution_code", models.CharField(blank=True, max_length=12)),
                ("amount", models.BigIntegerField(help_text="fen", verbose_name="金额")),
                (
                    "way",
                    models.CharField(
                        choices=[("bank", "银行转账"), ("account", "划入医保个人账户")],
                        max_length=8,
                        verbose_name="退回途径",
                    ),
                ),
                (
                    "bank_serial",
                    models.CharField(blank=True, max_length=60, verbose_name="银行流水号"),
                ),
                ("received_on", models.DateField(verbose_name="到账日")),
                ("reason", models.CharField(max_length=200, verbose_name="退款事由")),
                ("clause", models.CharField(blank=True, max_length=120, verbose_name="依据")),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("recorded", "待复核"),
                            ("posted", "已入账"),
                            ("refused", "复核退回"),
                        ],
                        default="recorded",
                        max_length=8,
                    ),
                ),
                ("recorded_at", models.DateTimeField()),
                ("recorded_by", models.CharField(max_length=150, verbose_name="登记人")),
                ("decided_at", models.DateTimeField(blank=True, null=True)),
                ("decided_by", models.CharField(blank=True, max_length=150, verbose_name="复核人")),
                (
                    "order",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="refunds",
                        to="settlement.paymentorder",
                    ),
                ),
            ],
            options={
                "ordering": ("-pk",),
            },
        ),
        migrations.CreateModel(
            name="Reimbursement",
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
                ("bank", models.CharField(blank=True, max_length=120, verbose_name="开户行")),
                (
                    "holder_masked",
                    models.CharField(blank=True, max_length=120, verbose_name="户名"),
                ),
                ("number_tail", models.CharField(blank=True, max_length=4)),
                ("holder_cipher", models.BinaryField(blank=True, default=b"")),
                ("number_cipher", models.BinaryField(blank=True, default=b"")),
                ("number_hash", models.BinaryField(blank=True, max_length=32, null=True)),
                ("number", models.CharField(max_length=40, unique=True, verbose_name="申请号")),
                (
                    "kind",
                    models.CharField(
                        choices=[
                            ("mail", "邮寄报销"),
                            ("appointment", "预约报销"),
                            ("deferred", "延时报销"),
                        ],
                        max_length=11,
                        verbose_name="报销方式",
                    ),
                ),
                ("credential_cipher", models.BinaryField()),
                ("phone_cipher", models.BinaryField(blank=True, default=b"")),
                ("phone_tail", models.CharField(blank=True, max_length=4, verbose_name="联系电话")),
                (
                    "cause",
                    models.CharField(
                        choices=[
                            ("no_function", "机构没有联网结算功能"),
                            ("outage", "就诊当日结算系统故障"),
                        ],
                        max_length=11,
                        verbose_name="未联网结算原因",
                    ),
                ),
                ("service_date", models.DateField(verbose_name="就诊日期")),
                ("e_invoice_no", models.CharField(max_length=40, verbose_name="电子发票号")),
                ("amount", models.BigIntegerField(help_text="fen", verbose_name="发票金额")),
                (
                    "way",
                    models.CharField(
                        choices=[("bank", "银行转账"), ("account", "划入医保个人账户")],
                        default="bank",
                        max_length=8,
                        verbose_name="收款方式",
                    ),
                ),
                (
                    "tracking_no",
                    models.CharField(blank=True, max_length=60, verbose_name="快递单号"),
                ),
                (
                    "deferred_until",
                    models.DateField(blank=True, null=True, verbose_name="约定提交日"),
                ),
                (
                    "pending_account",
                    models.JSONField(blank=True, default=dict, verbose_name="待复核的账户更正"),
                ),
                ("pending_by", models.CharField(blank=True, max_length=150)),
                ("claim_id", models.BigIntegerField(blank=True, null=True, unique=True)),
                (
                    "payable",
                    models.BigIntegerField(
                        blank=True, help_text="fen", null=True, verbose_name="应付个人"
                    ),
                ),
                (
                    "calculated_by",
                    models.CharField(blank=True, max_length=150, verbose_name="计算人"),
                ),
                (
                    "approved_by",
                    models.CharField(blank=True, max_length=150, verbose_name="复核人"),
                ),
                (
                    "person",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, to="settlement.insuredperson"
                    ),
                ),
                (
                    "provider",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="institutions.institution",
                    ),
                ),
                (
                    "slot",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="requests",
                        to="settlement.appointmentslot",
                    ),
                ),
            ],
            options={
                "ordering": ("-pk",),
            },
        ),
        migrations.AddConstraint(
            model_name="appointmentslot",
            constraint=models.UniqueConstraint(
                fields=("office", "day", "starts"), name="slot_once"
            ),
        ),
        migrations.AddConstraint(
            model_name="appointmentslot",
            constraint=models.CheckConstraint(
                condition=models.Q(("ends__gt", models.F("starts"))), name="slot_lasts"
            ),
        ),
        migrations.AddConstraint(
            model_name="appointmentslot",
            constraint=models.CheckConstraint(
                condition=models.Q(("booked__gte", 0), ("booked__lte", models.F("capacity"))),
                name="slot_not_overbooked",
            ),
        ),
        migrations.AddIndex(
            model_name="paymentorder",
            index=models.Index(fields=["subject"], name="payment_order_subject"),
        ),
        migrations.AddConstraint(
            model_name="paymentorder",
            constraint=models.UniqueConstraint(
                condition=models.Q(("state__in", ("listed", "sent"))),
                fields=("subject",),
                name="payment_one_live_order",
            ),
        ),
        migrations.AddConstraint(
            model_name="paymentorder",
            constraint=models.UniqueConstraint(
                fields=("subject", "attempt"), name="payment_attempt_once"
            ),
        ),
        migrations.AddConstraint(
            model_name="paymentorder",
            constraint=models.UniqueConstraint(
                condition=models.Q(("bank_serial", ""), _negated=True),
                fields=("region_code", "bank_serial"),
                name="payment_bank_serial_once",
            ),
        ),
        migrations.AddConstraint(
            model_name="paymentorder",
            constraint=models.CheckConstraint(
                condition=models.Q(("amount__gt", 0)), name="payment_moves_money"
            ),
        ),
        migrations.AddConstraint(
            model_name="paymentorder",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(
                        ("payee", "institution"),
                        ("payee_institution__isnull", False),
                        ("payee_person__isnull", True),
                    ),
                    models.Q(
                        ("payee", "person"),
                        ("payee_institution__isnull", True),
                        ("payee_person__isnull", False),
                    ),
                    _connector="OR",
                ),
                name="payment_has_its_payee",
            ),
        ),
        migrations.AddConstraint(
            model_name="paymentorder",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(
                        models.Q(("bank", ""), _negated=True),
                        models.Q(("number_tail", ""), _negated=True),
                        ("way", "bank"),
                    ),
                    models.Q(("payee", "person"), ("way", "account")),
                    _connector="OR",
                ),
                name="payment_knows_its_way",
            ),
        ),
        migrations.AddConstraint(
            model_name="paymentorder",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("state__in", ("paid", "returned", "rejected")), _negated=True),
                    models.Q(("result_by", ""), _negated=True),
                    _connector="OR",
                ),
                name="payment_result_has_a_name",
            ),
        ),
        migrations.AddConstraint(
            model_name="paymentorder",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("state__in", ("returned", "rejected")), _negated=True),
                    models.Q(("reason", ""), _negated=True),
                    _connector="OR",
                ),
                name="payment_failure_says_why",
            ),
        ),
        migrations.AddConstraint(
            model_name="paymentorder",
            constraint=models.CheckConstraint(
                condition=models.Q(("institution_code", "")), name="payment_order_is_the_agencys"
            ),
        ),
        migrations.AddConstraint(
            model_name="refund",
            constraint=models.CheckConstraint(
                condition=models.Q(("amount__gt", 0)), name="refund_moves_money"
            ),
        ),
        migrations.AddConstraint(
            model_name="refund",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("decided_by", ""),
                    models.Q(("decided_by", models.F("recorded_by")), _negated=True),
                    _connector="OR",
                ),
                name="refund_second_person",
            ),
        ),
        migrations.AddConstraint(
            model_name="refund",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("decided_by", ""), ("state", "recorded")),
                    models.Q(
                        models.Q(("state", "recorded"), _negated=True),
                        models.Q(("decided_by", ""), _negated=True),
                    ),
                    _connector="OR",
                ),
                name="refund_decided_by_a_person",
            ),
        ),
        migrations.AddConstraint(
            model_name="refund",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("bank_serial", ""), _negated=True),
                    ("way", "account"),
                    _connector="OR",
                ),
                name="refund_names_its_serial",
            ),
        ),
        migrations.AddConstraint(
            model_name="refund",
            constraint=models.UniqueConstraint(
                condition=models.Q(
                    models.Q(("bank_serial", ""), _negated=True),
                    models.Q(("state", "refused"), _negated=True),
                ),
                fields=("region_code", "bank_serial"),
                name="refund_serial_once",
            ),
        ),
        migrations.AddConstraint(
            model_name="refund",
            constraint=models.CheckConstraint(
                condition=models.Q(("institution_code", "")), name="refund_is_the_agencys"
            ),
        ),
        migrations.AddIndex(
            model_name="reimbursement",
            index=models.Index(fields=["person"], name="reimbursement_person"),
        ),
        migrations.AddIndex(
            model_name="reimbursement",
            index=models.Index(fields=["region_code", "state"], name="reimbursement_state"),
        ),
        migrations.AddConstraint(
            model_name="reimbursement",
            constraint=models.UniqueConstraint(
                condition=models.Q(("state__in", ("refused", "withdrawn")), _negated=True),
                fields=("e_invoice_no",),
                name="reimbursement_invoice_once",
            ),
        ),
        migrations.AddConstraint(
            model_name="reimbursement",
            constraint=models.CheckConstraint(
                condition=models.Q(("amount__gt", 0)), name="reimbursement_of_money"
            ),
        ),
        migrations.AddConstraint(
            model_name="reimbursement",
            constraint=models.CheckConstraint(
                condition=models.Q(("institution_code", "")), name="reimbursement_is_the_agencys"
            ),
        ),
        migrations.AddConstraint(
            model_name="reimbursement",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(
                        ("state__in", ("approved", "paying", "paid", "returned", "account_check")),
                        _negated=True,
                    ),
                    models.Q(
                        ("claim_id__isnull", False),
                        ("payable__gt", 0),
                        models.Q(("approved_by", ""), _negated=True),
                    ),
                    _connector="OR",
                ),
                name="reimbursement_paid_for_a_claim",
            ),
        ),
        migrations.AddConstraint(
            model_name="reimbursement",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("approved_by", ""),
                    models.Q(("approved_by", models.F("calculated_by")), _negated=True),
                    _connector="OR",
                ),
                name="reimbursement_second_person",
            ),
        ),
        migrations.AddConstraint(
            model_name="reimbursement",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("way", "account"),
                    models.Q(
                        models.Q(("bank", ""), _negated=True),
                        models.Q(("number_tail", ""), _negated=True),
                    ),
                    _connector="OR",
                ),
                name="reimbursement_knows_its_way",
            ),
        ),
        migrations.AddConstraint(
            model_name="reimbursement",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("slot__isnull", True), ("kind", "appointment"), _connector="OR"
                ),
                name="reimbursement_slot_of_an_appointment",
            ),
        ),
        migrations.RunSQL(SCOPES + INVOICES + FIXED, UNDO),
    ]
