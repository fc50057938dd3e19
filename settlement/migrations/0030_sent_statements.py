"""What a statement holds stays while it is sent, and while its money is on a payment list."""

from django.db import migrations

#: The list may be of an agency above the region of whoever reopens the month: it counts all the same.
STATEMENTS = """
CREATE FUNCTION statement_is_not_on_its_way() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    before text := coalesce(current_setting('app.scope', true), '');
    listed boolean;
BEGIN
    PERFORM set_config('app.scope', '*', true);
    listed := EXISTS (SELECT FROM settlement_paymentorder
        WHERE subject = 'statement:' || OLD.id AND state IN ('listed', 'sent'));
    PERFORM set_config('app.scope', before, true);
    IF listed THEN
        RAISE EXCEPTION 'statement % is on a payment list', OLD.id USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER not_on_its_way BEFORE UPDATE ON settlement_statement FOR EACH ROW
    WHEN (OLD.finalised_at IS NOT NULL AND NEW.finalised_at IS NULL)
    EXECUTE FUNCTION statement_is_not_on_its_way();
"""

DEDUCTIONS = """
CREATE FUNCTION deduction_was_not_sent() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM settlement_statement
        WHERE id = OLD.statement_id AND state NOT IN ('draft', 'objected')) THEN
        RAISE EXCEPTION 'the statement of deduction % was sent', OLD.id
            USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER not_sent BEFORE UPDATE ON settlement_deduction FOR EACH ROW
    WHEN (NEW.state = 'withdrawn' AND OLD.state <> 'withdrawn')
    EXECUTE FUNCTION deduction_was_not_sent();
"""

UNDO = """
DROP TRIGGER not_on_its_way ON settlement_statement;
DROP FUNCTION statement_is_not_on_its_way();
DROP TRIGGER not_sent ON settlement_deduction;
DROP FUNCTION deduction_was_not_sent();
"""


class Migration(migrations.Migration):
    dependencies = (("settlement", "0029_checking_and_requests"),)
    operations = (migrations.RunSQL(STATEMENTS + DEDUCTIONS, UNDO),)
