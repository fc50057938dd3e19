"""Advances are paid by payment lists: a row says what was decided, its vouchers what the bank paid."""

import django.db.models.deletion
from django.db import migrations, models

#: What was paid on approval stays paid: its voucher of kind `advance` names the row.
APPROVED = """
SELECT set_config('app.scope', '*', true);
ALTER TABLE settlement_advance DISABLE TRIGGER decided_once;
UPDATE settlement_advance SET state = 'approved' WHERE state = 'paid';
ALTER TABLE settlement_advance ENABLE TRIGGER decided_once;
SELECT set_config('app.scope', '', true);
"""
KEPT = """
CREATE OR REPLACE FUNCTION advance_decided_once() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.state <> 'proposed'
        OR (NEW.institution_code, NEW.scheme, NEW.amount, NEW.file_id, NEW.proposed_by)
        IS DISTINCT FROM (OLD.institution_code, OLD.scheme, OLD.amount, OLD.file_id,
            OLD.proposed_by) THEN
        RAISE EXCEPTION 'advance % is decided once', OLD.id USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END $$;
"""


class Migration(migrations.Migration):
    dependencies = [
        ("institutions", "0006_department_suspensions"),
        ("settlement", "0023_jilin"),
    ]

    operations = [
        migrations.RemoveConstraint("advance", "advance_paid_by_voucher"),
        migrations.RunSQL(APPROVED, migrations.RunSQL.noop),
        migrations.RemoveField("advance", "voucher_id"),
        migrations.AddField(
            "advance",
            "file",
            models.ForeignKey(
                blank=True,
                help_text="附件",
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="+",
                to="institutions.document",
            ),
        ),
        migrations.AlterField(
            "advance",
            "document",
            models.CharField(blank=True, max_length=120, verbose_name="依据文号"),
        ),
        migrations.AlterField(
            "advance",
            "state",
            models.CharField(
                choices=[("proposed", "待复核"), ("approved", "已同意"), ("refused", "不予拨付")],
                default="proposed",
                max_length=8,
            ),
        ),
        migrations.AddConstraint(
            "advance",
            models.CheckConstraint(
                condition=models.Q(
                    models.Q(("decided_by", ""), ("state", "proposed")),
                    models.Q(
                        models.Q(("state", "proposed"), _negated=True),
                        models.Q(("decided_by", ""), _negated=True),
                    ),
                    _connector="OR",
                ),
                name="advance_decided_by_a_person",
            ),
        ),
        migrations.RunSQL(KEPT, migrations.RunSQL.noop),
    ]
