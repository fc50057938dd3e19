"""Periods and vouchers: one ledger, versions of a settlement, no posting into a closed month."""

from django.db import migrations

#: A reversal is an even version: 1 settled, 2 reversed, 3 settled again, 4 reversed again …
VERSIONS = """
ALTER TABLE settlement_settlement DROP CONSTRAINT settlement_reversal_is_second;
ALTER TABLE settlement_settlement ADD CONSTRAINT settlement_reversal_is_even
    CHECK ((state = 'reversed') = (version % 2 = 0));
CREATE INDEX settlement_settlement_period ON settlement_settlement USING brin (period);
ALTER TABLE settlement_leg DROP CONSTRAINT settlement_leg_account_check;
ALTER TABLE settlement_leg ADD CONSTRAINT settlement_leg_account_check
    CHECK (account BETWEEN 1 AND 24);
"""

POSTING = """
CREATE FUNCTION settlement_posting_month(region varchar, wanted date) RETURNS date
LANGUAGE plpgsql AS $$
DECLARE
    of_pool varchar;
    found varchar;
    at_month date := wanted;
BEGIN
    SELECT policy_region INTO of_pool FROM institutions_region WHERE code = region;
    LOOP
        PERFORM pg_advisory_xact_lock_shared(
            hashtext('period ' || of_pool), at_month - date '2000-01-01');
        found := (SELECT p.state FROM settlement_period p
            WHERE p.pool = of_pool AND p.month = at_month);
        EXIT WHEN found IS NULL OR found = 'open';
        at_month := at_month + interval '1 month';
    END LOOP;
    IF to_regclass(format('settlement_leg_%s', to_char(at_month, 'YYYY_MM'))) IS NULL THEN
        PERFORM settlement_open_period(at_month);
    END IF;
    RETURN at_month;
END $$;

CREATE FUNCTION refuse_closed_period() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE wrong text;
BEGIN
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
POSTED = ("settlement", "leg", "voucher")
TRIGGERS = "\n".join(
    f"""
CREATE TRIGGER settlement_{name}_period AFTER INSERT ON settlement_{name}
    REFERENCING NEW TABLE AS inserted FOR EACH STATEMENT EXECUTE FUNCTION refuse_closed_period();
"""
    for name in POSTED
)

VOUCHERS = """
ALTER TABLE settlement_voucher ENABLE ROW LEVEL SECURITY;
ALTER TABLE settlement_voucher FORCE ROW LEVEL SECURITY;
CREATE POLICY scope ON settlement_voucher
    USING (scope_allows(region_code, institution_code))
    WITH CHECK (scope_allows(region_code, institution_code));
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON settlement_voucher
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
REVOKE UPDATE, DELETE, TRUNCATE ON settlement_voucher FROM mip_app, mip_settler;
"""

UNDO = (
    "".join(f"DROP TRIGGER settlement_{name}_period ON settlement_{name};" for name in POSTED)
    + """
DROP POLICY scope ON settlement_voucher;
DROP TRIGGER append_only ON settlement_voucher;
ALTER TABLE settlement_voucher DISABLE ROW LEVEL SECURITY;
GRANT UPDATE, DELETE ON settlement_voucher TO mip_app, mip_settler;
DROP FUNCTION refuse_closed_period();
DROP FUNCTION settlement_posting_month(varchar, date);
DROP INDEX settlement_settlement_period;
ALTER TABLE settlement_settlement DROP CONSTRAINT settlement_reversal_is_even;
ALTER TABLE settlement_settlement ADD CONSTRAINT settlement_reversal_is_second
    CHECK ((state = 'reversed') = (version = 2));
ALTER TABLE settlement_leg DROP CONSTRAINT settlement_leg_account_check;
ALTER TABLE settlement_leg ADD CONSTRAINT settlement_leg_account_check
    CHECK (account BETWEEN 1 AND 7);
"""
)


class Migration(migrations.Migration):
    dependencies = (("settlement", "0003_periods_vouchers"),)
    operations = (migrations.RunSQL(VERSIONS + POSTING + TRIGGERS + VOUCHERS, UNDO),)
