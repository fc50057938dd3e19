"""What two persons undo: approved advances, posted transfers between regions; lines put away as mistakes."""

from django.db import migrations, models

#: Amounts and deciders never change; states move only as the commands move them.
GUARDS = """
CREATE OR REPLACE FUNCTION advance_decided_once() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF (OLD.state, NEW.state) NOT IN (('proposed', 'proposed'), ('proposed', 'approved'),
            ('proposed', 'refused'), ('approved', 'withdrawing'), ('withdrawing', 'withdrawn'),
            ('withdrawing', 'approved'))
        OR (NEW.institution_code, NEW.scheme, NEW.amount, NEW.file_id, NEW.proposed_by)
        IS DISTINCT FROM (OLD.institution_code, OLD.scheme, OLD.amount, OLD.file_id,
            OLD.proposed_by)
        OR OLD.state <> 'proposed' AND (NEW.decided_by, NEW.decided_at, NEW.decision)
        IS DISTINCT FROM (OLD.decided_by, OLD.decided_at, OLD.decision) THEN
        RAISE EXCEPTION 'advance % is decided once', OLD.id USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE OR REPLACE FUNCTION regional_transfer_fixed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF (OLD.state, NEW.state) NOT IN (('recorded', 'recorded'), ('recorded', 'posted'),
            ('recorded', 'refused'), ('posted', 'reversing'), ('reversing', 'reversed'),
            ('reversing', 'posted'))
        OR (NEW.region_code, NEW.receiver_code, NEW.payer, NEW.receiver, NEW.amount, NEW.paid_on,
            NEW.bank_serial, NEW.recorded_by)
        IS DISTINCT FROM (OLD.region_code, OLD.receiver_code, OLD.payer, OLD.receiver, OLD.amount,
            OLD.paid_on, OLD.bank_serial, OLD.recorded_by)
        OR OLD.state <> 'recorded' AND (NEW.decided_by, NEW.decided_at, NEW.reason)
        IS DISTINCT FROM (OLD.decided_by, OLD.decided_at, OLD.reason) THEN
        RAISE EXCEPTION 'transfer % is decided once', OLD.id USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE FUNCTION line_voided_once() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.voided_at IS NOT NULL OR NEW.voided_at IS NOT NULL AND EXISTS (
        SELECT FROM settlement_feeitem i JOIN settlement_feebill b ON b.id = i.bill_id
        WHERE i.line_id = OLD.id AND b.state <> 'draft') THEN
        RAISE EXCEPTION 'line % is billed or voided', OLD.id USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER voided_once BEFORE UPDATE ON settlement_networkline
    FOR EACH ROW EXECUTE FUNCTION line_voided_once();
"""
UNDO = """
DROP TRIGGER voided_once ON settlement_networkline;
DROP FUNCTION line_voided_once();
"""


class Migration(migrations.Migration):
    dependencies = [
        ("institutions", "0006_department_suspensions"),
        ("settlement", "0027_first_claim"),
    ]

    operations = [
        migrations.RemoveConstraint(
            model_name="regionaltransfer",
            name="regional_transfer_serial_once",
        ),
        migrations.AddField(
            model_name="advance",
            name="undo_asked_at",
            field=models.DateTimeField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name="advance",
            name="undo_asked_by",
            field=models.CharField(blank=True, default="", max_length=150),
        ),
        migrations.AddField(
            model_name="advance",
            name="undo_reason",
            field=models.CharField(
                blank=True, default="", max_length=200, verbose_name="撤回或冲销理由"
            ),
        ),
        migrations.AddField(
            model_name="advance",
            name="undone_at",
            field=models.DateTimeField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name="advance",
            name="undone_by",
            field=models.CharField(blank=True, default="", max_length=150),
        ),
        migrations.AddField(
            model_name="networkline",
            name="void_reason",
            field=models.CharField(blank=True, default="", max_length=200, verbose_name="作废理由"),
        ),
        migrations.AddField(
            model_name="networkline",
            name="voided_at",
            field=models.DateTimeField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name="networkline",
            name="voided_by",
            field=models.CharField(blank=True, default="", max_length=150),
        ),
        migrations.AddField(
            model_name="regionaltransfer",
            name="undo_asked_at",
            field=models.DateTimeField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name="regionaltransfer",
            name="undo_asked_by",
            field=models.CharField(blank=True, default="", max_length=150),
        ),
        migrations.AddField(
            model_name="regionaltransfer",
            name="undo_pool",
            field=models.SlugField(
                blank=True, default="", max_length=30, verbose_name="申请冲销的统筹区"
            ),
        ),
        migrations.AddField(
            model_name="regionaltransfer",
            name="undo_reason",
            field=models.CharField(
                blank=True, default="", max_length=200, verbose_name="撤回或冲销理由"
            ),
        ),
        migrations.AddField(
            model_name="regionaltransfer",
            name="undone_at",
            field=models.DateTimeField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name="regionaltransfer",
            name="undone_by",
            field=models.CharField(blank=True, default="", max_length=150),
        ),
        migrations.AlterField(
            model_name="advance",
            name="state",
            field=models.CharField(
                choices=[
                    ("proposed", "待复核"),
                    ("approved", "已同意"),
                    ("refused", "不予拨付"),
                    ("withdrawing", "待撤回复核"),
                    ("withdrawn", "已撤回"),
                ],
                default="proposed",
                max_length=11,
            ),
        ),
        migrations.AlterField(
            model_name="networkline",
            name="number",
            field=models.CharField(max_length=40, verbose_name="线路编号"),
        ),
        migrations.AlterField(
            model_name="regionaltransfer",
            name="state",
            field=models.CharField(
                choices=[
                    ("recorded", "待到账核对"),
                    ("posted", "已入账"),
                    ("refused", "退回"),
                    ("reversing", "待冲销复核"),
                    ("reversed", "已冲销"),
                ],
                default="recorded",
                max_length=9,
            ),
        ),
        migrations.AddConstraint(
            model_name="advance",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(
                        ("state", "withdrawing"),
                        ("undone_by", ""),
                        models.Q(("undo_asked_by", ""), _negated=True),
                    ),
                    models.Q(
                        ("state", "withdrawn"),
                        models.Q(("undone_by", ""), _negated=True),
                        models.Q(("undo_asked_by", ""), _negated=True),
                        models.Q(("undone_by", models.F("undo_asked_by")), _negated=True),
                    ),
                    models.Q(
                        models.Q(("state__in", ("withdrawing", "withdrawn")), _negated=True),
                        ("undo_asked_by", ""),
                        ("undone_by", ""),
                    ),
                    _connector="OR",
                ),
                name="advance_withdrawn_by_two",
            ),
        ),
        migrations.AddConstraint(
            model_name="networkline",
            constraint=models.UniqueConstraint(
                condition=models.Q(("voided_at", None)), fields=("number",), name="line_number_once"
            ),
        ),
        migrations.AddConstraint(
            model_name="networkline",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("void_reason", ""), ("voided_at", None), ("voided_by", "")),
                    models.Q(
                        ("voided_at__isnull", False),
                        models.Q(("voided_by", ""), _negated=True),
                        models.Q(("void_reason", ""), _negated=True),
                        models.Q(("voided_by", models.F("recorded_by")), _negated=True),
                    ),
                    _connector="OR",
                ),
                name="line_voided_by_another",
            ),
        ),
        migrations.AddConstraint(
            model_name="regionaltransfer",
            constraint=models.UniqueConstraint(
                condition=models.Q(("state__in", ("refused", "reversed")), _negated=True),
                fields=("payer", "bank_serial"),
                name="regional_transfer_serial_once",
            ),
        ),
        migrations.AddConstraint(
            model_name="regionaltransfer",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(
                        ("state", "reversing"),
                        ("undone_by", ""),
                        models.Q(("undo_asked_by", ""), _negated=True),
                    ),
                    models.Q(
                        ("state", "reversed"),
                        models.Q(("undone_by", ""), _negated=True),
                        models.Q(("undo_asked_by", ""), _negated=True),
                        models.Q(("undone_by", models.F("undo_asked_by")), _negated=True),
                    ),
                    models.Q(
                        models.Q(("state__in", ("reversing", "reversed")), _negated=True),
                        ("undo_asked_by", ""),
                        ("undone_by", ""),
                    ),
                    _connector="OR",
                ),
                name="regional_transfer_reversed_by_two",
            ),
        ),
        migrations.RunSQL(GUARDS, UNDO),
    ]
