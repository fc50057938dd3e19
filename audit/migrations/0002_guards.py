"""Append-only trail: refused by privilege and by trigger, TRUNCATE included. Shared by later apps."""

from django.db import migrations

GUARDS = """
CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'append-only: % on % is refused', TG_OP, TG_TABLE_NAME
        USING ERRCODE = 'restrict_violation';
END $$;

CREATE TRIGGER audit_event_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_event
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
REVOKE UPDATE, DELETE, TRUNCATE ON audit_event FROM mip_app, mip_settler;

CREATE FUNCTION scope_allows(region text, institution text) RETURNS boolean
LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT current_setting('app.scope', true) = '*' OR EXISTS (
        SELECT 1 FROM unnest(string_to_array(nullif(current_setting('app.scope', true), ''), ',')) s
        WHERE (s LIKE 'R:%' AND starts_with(region, substr(s, 3)))
           OR (s LIKE 'I:%' AND institution = substr(s, 3)))
$$;
"""

UNDO = """
DROP FUNCTION scope_allows(text, text);
DROP TRIGGER audit_event_append_only ON audit_event;
DROP FUNCTION refuse_change();
GRANT UPDATE, DELETE ON audit_event TO mip_app, mip_settler;
"""


class Migration(migrations.Migration):
    dependencies = (("audit", "0001_initial"),)
    operations = (migrations.RunSQL(GUARDS, UNDO),)
