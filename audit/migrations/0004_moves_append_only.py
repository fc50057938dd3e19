"""Moves of procedures are append-only like the trail."""

from django.db import migrations

GUARD = """
CREATE TRIGGER audit_move_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_move
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
REVOKE UPDATE, DELETE, TRUNCATE ON audit_move FROM mip_app, mip_settler;
"""

UNDO = """
DROP TRIGGER audit_move_append_only ON audit_move;
GRANT UPDATE, DELETE ON audit_move TO mip_app, mip_settler;
"""


class Migration(migrations.Migration):
    dependencies = (("audit", "0003_procedures"),)
    operations = (migrations.RunSQL(GUARD, UNDO),)
