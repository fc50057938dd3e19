"""Findings: seen inside one's scope only; their content never changes, their evidence only grows."""

from django.db import migrations

SCOPED = ("run", "finding", "findingclaim")
ROWS = "\n".join(
    f"""
ALTER TABLE supervision_{name} ENABLE ROW LEVEL SECURITY;
ALTER TABLE supervision_{name} FORCE ROW LEVEL SECURITY;
CREATE POLICY scope ON supervision_{name}
    USING (scope_allows(region_code, institution_code))
    WITH CHECK (scope_allows(region_code, institution_code));
"""
    for name in SCOPED
)
KEPT = """
CREATE FUNCTION keep_finding() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    moves text[] := ARRAY['state', 'merged_into_id', 'assignee', 'decided_at', 'decided_by', 'reason'];
BEGIN
    IF to_jsonb(OLD) - moves <> to_jsonb(NEW) - moves THEN
        RAISE EXCEPTION 'a finding keeps its content' USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER keep_finding BEFORE UPDATE ON supervision_finding
    FOR EACH ROW EXECUTE FUNCTION keep_finding();
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON supervision_findingclaim
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
REVOKE UPDATE, DELETE, TRUNCATE ON supervision_findingclaim FROM mip_app, mip_settler;
REVOKE DELETE, TRUNCATE ON supervision_finding FROM mip_app, mip_settler;
"""
UNDO = """
GRANT UPDATE, DELETE ON supervision_findingclaim TO mip_app, mip_settler;
GRANT DELETE ON supervision_finding TO mip_app, mip_settler;
DROP TRIGGER append_only ON supervision_findingclaim;
DROP TRIGGER keep_finding ON supervision_finding;
DROP FUNCTION keep_finding();
""" + "\n".join(
    f"DROP POLICY scope ON supervision_{name};"
    f" ALTER TABLE supervision_{name} DISABLE ROW LEVEL SECURITY;"
    for name in SCOPED
)


class Migration(migrations.Migration):
    dependencies = (
        ("supervision", "0001_findings"),
        ("audit", "0002_guards"),
        ("institutions", "0001_initial"),
        ("settlement", "0002_ledger"),
    )
    operations = (migrations.RunSQL(ROWS + KEPT, UNDO),)
