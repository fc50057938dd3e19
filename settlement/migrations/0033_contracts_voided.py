"""Maintenance contracts that were registered by mistake are put away by a second person, as lines are."""

from django.db import migrations, models
from django.db.models import F, Q

GUARD = """
CREATE FUNCTION contract_voided_once() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.voided_at IS NOT NULL OR NEW.voided_at IS NOT NULL AND EXISTS (
        SELECT FROM settlement_feeitem i JOIN settlement_feebill b ON b.id = i.bill_id
        WHERE i.contract_id = OLD.id AND b.state <> 'draft') THEN
        RAISE EXCEPTION 'contract % is billed or voided', OLD.id USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER voided_once BEFORE UPDATE ON settlement_maintenancecontract
    FOR EACH ROW EXECUTE FUNCTION contract_voided_once();
"""
UNDO = """
DROP TRIGGER voided_once ON settlement_maintenancecontract;
DROP FUNCTION contract_voided_once();
"""


class Migration(migrations.Migration):
    dependencies = (("settlement", "0032_months_attached"),)
    operations = (
        migrations.AddField(
            "maintenancecontract", "voided_at", models.DateTimeField(blank=True, null=True)
        ),
        migrations.AddField(
            "maintenancecontract",
            "voided_by",
            models.CharField(blank=True, default="", max_length=150),
        ),
        migrations.AddField(
            "maintenancecontract",
            "void_reason",
            models.CharField(blank=True, default="", max_length=200, verbose_name="作废理由"),
        ),
        migrations.AlterField(
            "maintenancecontract",
            "number",
            models.CharField(max_length=60, verbose_name="合同编号"),
        ),
        migrations.AddConstraint(
            "maintenancecontract",
            models.UniqueConstraint(
                fields=("number",), condition=Q(voided_at=None), name="contract_number_once"
            ),
        ),
        migrations.AddConstraint(
            "maintenancecontract",
            models.CheckConstraint(
                condition=Q(voided_at=None, voided_by="", void_reason="")
                | Q(voided_at__isnull=False)
                & ~Q(voided_by="")
                & ~Q(void_reason="")
                & ~Q(voided_by=F("recorded_by")),
                name="contract_voided_by_another",
            ),
        ),
        migrations.RunSQL(GUARD, UNDO),
    )
