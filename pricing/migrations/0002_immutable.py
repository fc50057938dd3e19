"""A published release never changes; only its open end may be set once, by a later release."""

from django.db import migrations

IMMUTABLE = """
CREATE FUNCTION refuse_release_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.state = 'published' AND (
        TG_OP = 'DELETE'
        OR (to_jsonb(NEW) - 'valid_until') <> (to_jsonb(OLD) - 'valid_until')
        OR OLD.valid_until IS NOT NULL
    ) THEN
        RAISE EXCEPTION 'a published release never changes (release %)', OLD.id
            USING ERRCODE = 'restrict_violation';
    END IF;
    IF TG_OP = 'DELETE' THEN RETURN OLD; END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER pricing_release_immutable BEFORE UPDATE OR DELETE ON pricing_release
    FOR EACH ROW EXECUTE FUNCTION refuse_release_change();
CREATE TRIGGER pricing_release_no_truncate BEFORE TRUNCATE ON pricing_release
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
"""

UNDO = """
DROP TRIGGER pricing_release_no_truncate ON pricing_release;
DROP TRIGGER pricing_release_immutable ON pricing_release;
DROP FUNCTION refuse_release_change();
"""


class Migration(migrations.Migration):
    dependencies = (("pricing", "0001_initial"),)
    operations = (migrations.RunSQL(IMMUTABLE, UNDO),)
