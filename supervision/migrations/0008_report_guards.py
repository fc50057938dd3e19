"""Reports and samples: seen inside one's scope only; what a sample holds never changes."""

from django.db import migrations

SCOPED = ("reportorder", "reportpart", "sample", "sampledclaim")
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
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON supervision_sample
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE FUNCTION keep_sampled_claim() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    moves text[] := ARRAY['verdict', 'remark', 'judged_at', 'judged_by'];
BEGIN
    IF to_jsonb(OLD) - moves <> to_jsonb(NEW) - moves THEN
        RAISE EXCEPTION 'a drawn claim keeps its place' USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER keep_sampled_claim BEFORE UPDATE ON supervision_sampledclaim
    FOR EACH ROW EXECUTE FUNCTION keep_sampled_claim();
CREATE FUNCTION keep_report_order() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.state IN ('done', 'failed', 'cancelled') THEN
        RAISE EXCEPTION 'an ended report order stays as it is' USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER keep_report_order BEFORE UPDATE ON supervision_reportorder
    FOR EACH ROW EXECUTE FUNCTION keep_report_order();
REVOKE UPDATE, DELETE, TRUNCATE ON supervision_sample FROM mip_app, mip_settler;
REVOKE DELETE, TRUNCATE ON supervision_sampledclaim FROM mip_app, mip_settler;
REVOKE DELETE, TRUNCATE ON supervision_reportorder FROM mip_app, mip_settler;
"""
UNDO = """
GRANT DELETE ON supervision_reportorder TO mip_app, mip_settler;
GRANT DELETE ON supervision_sampledclaim TO mip_app, mip_settler;
GRANT UPDATE, DELETE ON supervision_sample TO mip_app, mip_settler;
DROP TRIGGER keep_report_order ON supervision_reportorder;
DROP FUNCTION keep_report_order();
DROP TRIGGER keep_sampled_claim ON supervision_sampledclaim;
DROP FUNCTION keep_sampled_claim();
DROP TRIGGER append_only ON supervision_sample;
""" + "\n".join(
    f"DROP POLICY scope ON supervision_{name};"
    f" ALTER TABLE supervision_{name} DISABLE ROW LEVEL SECURITY;"
    for name in SCOPED
)


class Migration(migrations.Migration):
    dependencies = (("supervision", "0007_reports"), ("audit", "0006_seal_guards"))
    operations = (migrations.RunSQL(ROWS + KEPT, UNDO),)
