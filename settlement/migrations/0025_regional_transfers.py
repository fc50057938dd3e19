"""The account between regions is cleared by transfers that both regions see and a person of each signs."""

from django.db import migrations, models

GUARDS = """
ALTER TABLE settlement_regionaltransfer ENABLE ROW LEVEL SECURITY;
ALTER TABLE settlement_regionaltransfer FORCE ROW LEVEL SECURITY;
CREATE POLICY scope ON settlement_regionaltransfer
    USING (scope_allows(region_code, '') OR scope_allows(receiver_code, ''))
    WITH CHECK (scope_allows(region_code, '') OR scope_allows(receiver_code, ''));
CREATE TRIGGER kept BEFORE DELETE OR TRUNCATE ON settlement_regionaltransfer
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE FUNCTION regional_transfer_fixed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.state <> 'recorded' OR (NEW.region_code, NEW.receiver_code, NEW.payer, NEW.receiver,
            NEW.amount, NEW.paid_on, NEW.bank_serial, NEW.recorded_by)
        IS DISTINCT FROM (OLD.region_code, OLD.receiver_code, OLD.payer, OLD.receiver,
            OLD.amount, OLD.paid_on, OLD.bank_serial, OLD.recorded_by) THEN
        RAISE EXCEPTION 'transfer % is decided once', OLD.id USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER decided_once BEFORE UPDATE ON settlement_regionaltransfer
    FOR EACH ROW EXECUTE FUNCTION regional_transfer_fixed();
-- the claims that other regions owe: few of all
CREATE INDEX settlement_insured_elsewhere ON settlement_settlement (region_code, insured_pool)
    WHERE insured_pool <> '';
"""
UNDO = """
DROP INDEX settlement_insured_elsewhere;
DROP TRIGGER decided_once ON settlement_regionaltransfer;
DROP FUNCTION regional_transfer_fixed();
"""


class Migration(migrations.Migration):
    dependencies = [
        ("settlement", "0024_advances_by_lists"),
    ]

    operations = [
        migrations.AlterField(
            model_name="voucher",
            name="kind",
            field=models.CharField(
                choices=[
                    ("deduction", "审核扣款"),
                    ("deposit", "质量保证金预留"),
                    ("deposit_return", "质量保证金返还"),
                    ("advance", "拨付预付款"),
                    ("set_off", "预付款冲抵"),
                    ("assessment", "考核扣减"),
                    ("payment", "拨付"),
                    ("bank_return", "银行退票"),
                    ("refund", "退回基金"),
                    ("adjustment", "特殊调整"),
                    ("clearing", "年终清算"),
                    ("reimbursement", "手工报销支付"),
                    ("regional", "异地清算"),
                    ("regional_paid", "异地清算划款"),
                    ("consultation", "会诊费收取"),
                    ("split", "会诊费分配"),
                    ("line_fee", "专线与维保费应缴"),
                    ("line_payment", "专线与维保费缴纳"),
                ],
                max_length=14,
            ),
        ),
        migrations.CreateModel(
            name="RegionalTransfer",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("region_code", models.CharField(max_length=6)),
                ("receiver_code", models.CharField(max_length=6)),
                ("payer", models.SlugField(max_length=30, verbose_name="付款统筹区")),
                ("receiver", models.SlugField(max_length=30, verbose_name="收款统筹区")),
                ("amount", models.BigIntegerField(help_text="fen", verbose_name="金额")),
                ("paid_on", models.DateField(verbose_name="付款日")),
                ("bank_serial", models.CharField(max_length=60, verbose_name="银行流水号")),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("recorded", "待到账核对"),
                            ("posted", "已入账"),
                            ("refused", "退回"),
                        ],
                        default="recorded",
                        max_length=8,
                    ),
                ),
                ("recorded_at", models.DateTimeField()),
                ("recorded_by", models.CharField(max_length=150, verbose_name="登记人")),
                ("decided_at", models.DateTimeField(blank=True, null=True)),
                ("decided_by", models.CharField(blank=True, max_length=150, verbose_name="核对人")),
                ("reason", models.CharField(blank=True, max_length=200, verbose_name="退回理由")),
            ],
            options={
                "ordering": ("-pk",),
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(
                            ("amount__gt", 0),
                            models.Q(("payer", models.F("receiver")), _negated=True),
                        ),
                        name="regional_transfer_moves_money",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("decided_by", ""),
                            models.Q(("decided_by", models.F("recorded_by")), _negated=True),
                            _connector="OR",
                        ),
                        name="regional_transfer_second_person",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("decided_by", ""), ("state", "recorded")),
                            models.Q(
                                models.Q(("state", "recorded"), _negated=True),
                                models.Q(("decided_by", ""), _negated=True),
                            ),
                            _connector="OR",
                        ),
                        name="regional_transfer_decided_by_a_person",
                    ),
                    models.UniqueConstraint(
                        condition=models.Q(("state", "refused"), _negated=True),
                        fields=("payer", "bank_serial"),
                        name="regional_transfer_serial_once",
                    ),
                ],
            },
        ),
        migrations.RunSQL(GUARDS, UNDO),
    ]
