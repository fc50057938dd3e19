"""The refusal of rows of a closed month looks at regions only when some pool has closed such a month."""

from django.db import migrations

REFUSE = """
CREATE OR REPLACE FUNCTION refuse_closed_period() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE wrong text;
BEGIN
    IF NOT EXISTS (SELECT FROM settlement_period p
            WHERE p.state <> 'open' AND p.month = ANY (ARRAY(SELECT DISTINCT period FROM inserted))) THEN
        RETURN NULL;
    END IF;
    SELECT p.pool || ' ' || to_char(p.month, 'YYYY-MM') INTO wrong
        FROM (SELECT DISTINCT region_code, period FROM inserted) i
        JOIN institutions_region r ON r.code = i.region_code
        JOIN settlement_period p ON p.pool = r.policy_region AND p.month = i.period
        WHERE p.state <> 'open' LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'period % is closed', wrong USING ERRCODE = 'check_violation';
    END IF;
    RETURN NULL;
END $$;
"""


class Migration(migrations.Migration):
    dependencies = (("settlement", "0018_suspensions"),)
    operations = (migrations.RunSQL(REFUSE, migrations.RunSQL.noop),)
