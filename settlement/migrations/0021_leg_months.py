"""Legs of a month may be written into their month directly, under the same refusals.

A statement trigger that sees the new rows makes PostgreSQL write a partitioned table row by row; on the
month itself it does not. A chunk's legs are copied there.
"""

from django.db import migrations

REFUSALS = """
CREATE OR REPLACE FUNCTION settlement_leg_refusals(leaf text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('CREATE OR REPLACE TRIGGER settlement_leg_balance AFTER INSERT ON %I
        REFERENCING NEW TABLE AS inserted FOR EACH STATEMENT EXECUTE FUNCTION legs_balance()', leaf);
    EXECUTE format('CREATE OR REPLACE TRIGGER settlement_leg_period AFTER INSERT ON %I
        REFERENCING NEW TABLE AS inserted FOR EACH STATEMENT EXECUTE FUNCTION refuse_closed_period()', leaf);
    EXECUTE format('GRANT INSERT ON %I TO mip_settler', leaf);
END $$;
REVOKE ALL ON FUNCTION settlement_leg_refusals(text) FROM public;

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
            EXECUTE format(
                'CREATE TABLE %I PARTITION OF %I FOR VALUES FROM (%L) TO (%L)',
                leaf, 'settlement_' || name, month, month + interval '1 month');
            EXECUTE format('REVOKE ALL ON %I FROM mip_app, mip_settler', leaf);
            EXECUTE format(
                'CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON %I
                 FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()', leaf);
            IF name = 'leg' THEN
                PERFORM settlement_leg_refusals(leaf);
            END IF;
        END IF;
    END LOOP;
END $$;

SELECT settlement_leg_refusals(inhrelid::regclass::text) FROM pg_inherits
WHERE inhparent = 'settlement_leg'::regclass;
"""


class Migration(migrations.Migration):
    dependencies = (("settlement", "0020_list_indexes"),)
    operations = (migrations.RunSQL(REFUSALS, migrations.RunSQL.noop),)
