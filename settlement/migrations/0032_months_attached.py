"""A month's tables are made beside the ledger and then attached: opening a month waits for no reader.

CREATE TABLE … PARTITION OF locks everybody out of the parent until the transaction ends, and waits for
everybody who reads it. ATTACH PARTITION lets reading and writing go on.
"""

from django.db import migrations

ATTACHED = """
CREATE OR REPLACE FUNCTION settlement_open_period(month date) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    name text;
    leaf text;
BEGIN
    IF month <> date_trunc('month', month) THEN
        RAISE EXCEPTION 'a period is the first day of a month';
    END IF;
    PERFORM pg_advisory_xact_lock(hashtext('settlement_open_period'));
    FOREACH name IN ARRAY ARRAY['claim', 'claimline', 'lineresult', 'leg'] LOOP
        leaf := format('settlement_%s_%s', name, to_char(month, 'YYYY_MM'));
        IF to_regclass(leaf) IS NULL THEN
            EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING ALL)', leaf, 'settlement_' || name);
            EXECUTE format('REVOKE ALL ON %I FROM mip_app, mip_settler', leaf);
            EXECUTE format(
                'CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON %I
                 FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()', leaf);
            IF name = 'leg' THEN
                PERFORM settlement_leg_refusals(leaf);
            END IF;
            EXECUTE format('ALTER TABLE %I ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)',
                'settlement_' || name, leaf, month, month + interval '1 month');
        END IF;
    END LOOP;
END $$;
"""


class Migration(migrations.Migration):
    dependencies = (("settlement", "0031_taken_back"),)
    operations = (migrations.RunSQL(ATTACHED, migrations.RunSQL.noop),)
