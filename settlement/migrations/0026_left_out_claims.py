"""Claims that a person left out of a batch hold nothing: neither their prescriptions nor their invoices.

A chunk binds the claims it was frozen with.
"""

from django.db import migrations, models

USED = """
CREATE OR REPLACE FUNCTION settlement_prescription_used(wanted bigint, claimant varchar,
    besides bigint)
RETURNS TABLE (drug_code varchar, prescribed bigint, dispensed_mine bigint, dispensed_others bigint,
    charged_mine bigint, charged_others bigint)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
#variable_conflict use_column
DECLARE before text := coalesce(current_setting('app.scope', true), '');
BEGIN
    PERFORM set_config('app.scope', '*', true);
    RETURN QUERY SELECT l.drug_code, l.quantity,
        coalesce(d.mine, 0)::bigint, coalesce(d.others, 0)::bigint,
        coalesce(c.mine, 0)::bigint, coalesce(c.others, 0)::bigint
    FROM settlement_prescriptionline l
    LEFT JOIN LATERAL (
        SELECT sum(x.quantity - b.back) FILTER (WHERE g.institution_code = claimant) AS mine,
            sum(x.quantity - b.back) FILTER (WHERE g.institution_code <> claimant) AS others
        FROM settlement_dispensing g JOIN settlement_dispensingline x ON x.dispensing_id = g.id
        CROSS JOIN LATERAL (SELECT coalesce(sum(r.quantity), 0) AS back
            FROM settlement_dispensingreturnline r WHERE r.line_id = x.id) b
        WHERE g.prescription_id = wanted AND x.drug_code = l.drug_code) d ON true
    LEFT JOIN LATERAL (
        SELECT sum(x.quantity) FILTER (WHERE x.institution_code = claimant) AS mine,
            sum(x.quantity) FILTER (WHERE x.institution_code <> claimant) AS others
        FROM settlement_prescriptioncharge x
        WHERE x.prescription_id = wanted AND x.drug_code = l.drug_code AND x.claim_id <> besides
            AND coalesce(
                (SELECT s.version % 2 = 1 AND s.state <> 'reject' FROM settlement_settlement s
                    WHERE s.claim_id = x.claim_id ORDER BY s.version DESC LIMIT 1),
                NOT settlement_left_out(x.claim_id))
        ) c ON true
    WHERE l.prescription_id = wanted;
    PERFORM set_config('app.scope', before, true);
END $$;
"""

LEFT_OUT = """
CREATE OR REPLACE FUNCTION settlement_left_out(wanted bigint) RETURNS boolean LANGUAGE sql STABLE AS $$
    SELECT EXISTS (SELECT FROM settlement_claim c JOIN settlement_chunk k ON k.batch_id = c.batch_id
        WHERE c.id = wanted AND wanted BETWEEN k.first_claim AND k.last_claim
            AND (k.first_person IS NULL OR c.person_id BETWEEN k.first_person AND k.last_person)
            AND k.state IN ('set_aside', 'cancelled'))
$$;
"""

INVOICES = """
CREATE OR REPLACE FUNCTION refuse_invoice_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.released_at IS NOT NULL OR NEW.released_at IS NULL
        OR (OLD.number, OLD.holder, OLD.used_at) IS DISTINCT FROM (NEW.number, NEW.holder, NEW.used_at)
    THEN
        RAISE EXCEPTION 'the use of an invoice is only released, once' USING ERRCODE = 'check_violation';
    END IF;
    IF OLD.holder LIKE 'claim:%' AND NOT EXISTS (SELECT FROM settlement_claimkey k
        WHERE k.institution_code = OLD.institution_code
            AND k.claim_no = substr(OLD.holder, length('claim:' || OLD.institution_code || '/') + 1)
            AND settlement_left_out(k.claim_id))
    THEN
        RAISE EXCEPTION 'a claim keeps its invoice' USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END $$;
"""


class Migration(migrations.Migration):
    dependencies = (("settlement", "0025_regional_transfers"),)
    operations = (
        migrations.AddField(
            "chunk",
            "manifest_sm3",
            models.CharField(
                blank=True,
                db_default="",
                default="",
                help_text="of its claims, frozen",
                max_length=64,
            ),
        ),
        migrations.RemoveConstraint("einvoice", "einvoice_of_a_claim_stays_used"),
        migrations.RunSQL(LEFT_OUT + USED + INVOICES, migrations.RunSQL.noop),
    )
