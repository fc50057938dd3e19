"""What was drawn from a personal account before its balance was last reported: the account can be proved."""

from django.db import migrations, models

#: Vouchers on the accounts of persons: payments to them, what came back. Credits (< 0) raise what is left.
POSTINGS = """
CREATE FUNCTION settlement_account_postings() RETURNS TABLE (person_id bigint, amount bigint)
LANGUAGE sql STABLE AS $$
    SELECT o.payee_person_id, l.amount FROM settlement_paymentorder o
    CROSS JOIN LATERAL (
        SELECT 'order:' || o.id || '/payment' UNION ALL SELECT 'order:' || o.id || '/return'
        UNION ALL SELECT 'refund:' || r.id FROM settlement_refund r WHERE r.order_id = o.id
    ) moved (effect)
    JOIN settlement_voucher v ON v.effect = moved.effect
    JOIN settlement_leg l ON l.claim_id = v.id AND l.period = v.period AND l.account = 2
    WHERE o.way = 'account'
$$;
"""
#: Nobody kept when a balance came: what is left today is where the proof of an account begins.
BEGIN = """
SELECT set_config('app.scope', '*', true);
UPDATE settlement_personalaccount a
SET drawn_before = a.account_left - p.account_balance + drawn.amount
FROM settlement_insuredperson p, (
    SELECT person_id, sum(amount) AS amount FROM (
        SELECT person_id, account FROM settlement_settlement
        UNION ALL SELECT person_id, amount FROM settlement_account_postings()
        UNION ALL SELECT person_id, 0 FROM settlement_personalaccount) every (person_id, amount)
    GROUP BY 1) drawn
WHERE p.id = a.person_id AND drawn.person_id = a.person_id;
SELECT set_config('app.scope', '', true);
"""
#: What a person drew by the ledger, less what was put on the account, in every region; of all persons at
#: once: settlement.ledger.PROVEN.
DRAWN = """
CREATE FUNCTION settlement_drawn(wanted bigint) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    before text := coalesce(current_setting('app.scope', true), '');
    found bigint;
BEGIN
    PERFORM set_config('app.scope', '*', true);
    SELECT coalesce(sum(amount), 0) INTO found FROM (
        SELECT s.account AS amount FROM settlement_claim c
        JOIN settlement_settlement s ON s.claim_id = c.id WHERE c.person_id = wanted
        UNION ALL SELECT amount FROM settlement_account_postings()
        WHERE person_id = wanted) every;
    PERFORM set_config('app.scope', before, true);
    RETURN found;
END $$;
"""
#: The balance opens the account or replaces what is left; the account is locked before what was drawn is
#: asked, so that a claim under way is in it. A claim that opens the account meanwhile is waited for.
REPORTED = """
CREATE OR REPLACE FUNCTION settlement_balance_reported() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO settlement_personalaccount (person_id, account_left, region_code)
        VALUES (NEW.id, NEW.account_balance, NEW.region_code) ON CONFLICT (person_id) DO NOTHING;
    IF NOT FOUND THEN
        UPDATE settlement_personalaccount SET account_left = NEW.account_balance
            WHERE person_id = NEW.id;
        UPDATE settlement_personalaccount SET drawn_before = settlement_drawn(NEW.id)
            WHERE person_id = NEW.id;
    END IF;
    RETURN NULL;
END $$;
"""
BEFORE = """
CREATE OR REPLACE FUNCTION settlement_balance_reported() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE settlement_personalaccount SET account_left = NEW.account_balance
        WHERE person_id = NEW.id;
    RETURN NULL;
END $$;
DROP FUNCTION settlement_drawn(bigint);
DROP FUNCTION settlement_account_postings();
"""


class Migration(migrations.Migration):
    dependencies = (("settlement", "0033_contracts_voided"),)
    operations = (
        migrations.AddField(
            "personalaccount",
            "drawn_before",
            models.BigIntegerField(
                default=0, db_default=0, help_text="fen, till the balance was last reported"
            ),
        ),
        migrations.RunSQL(POSTINGS + BEGIN + DRAWN + REPORTED, BEFORE),
    )
