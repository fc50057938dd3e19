"""A prescription that a claim charges is not withdrawn."""

from django.db import migrations

#: Whether a claim charges a prescription: any that was not reversed or left out of its batch, whosever it is.
CHARGED = """
CREATE FUNCTION settlement_prescription_charged(wanted bigint) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    before text := coalesce(current_setting('app.scope', true), '');
    found boolean;
BEGIN
    PERFORM set_config('app.scope', '*', true);
    found := EXISTS (SELECT FROM settlement_prescriptioncharge x
        WHERE x.prescription_id = wanted AND x.quantity > 0 AND coalesce(
            (SELECT s.version % 2 = 1 FROM settlement_settlement s
                WHERE s.claim_id = x.claim_id ORDER BY s.version DESC LIMIT 1),
            NOT settlement_left_out(x.claim_id)));
    PERFORM set_config('app.scope', before, true);
    RETURN found;
END $$;
CREATE FUNCTION refuse_charged_withdrawal() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF settlement_prescription_charged(NEW.id) THEN
        RAISE EXCEPTION 'prescription % is charged by a claim', NEW.id
            USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER prescription_charged BEFORE UPDATE ON settlement_prescription FOR EACH ROW
    WHEN (NEW.state = 'withdrawn' AND OLD.state <> 'withdrawn')
    EXECUTE FUNCTION refuse_charged_withdrawal();
"""
UNCHARGED = """
DROP TRIGGER prescription_charged ON settlement_prescription;
DROP FUNCTION refuse_charged_withdrawal();
DROP FUNCTION settlement_prescription_charged(bigint);
"""


class Migration(migrations.Migration):
    dependencies = (("settlement", "0027_first_claim"),)
    operations = (
        migrations.RunSQL(CHARGED, UNCHARGED),
    )
