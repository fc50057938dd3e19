"""The sealed log: what the sealer finds new events by, what may never change, who may take bodies out.

`audit_event.tx` is the transaction that wrote the event, filled by the database and by nobody else (no
privilege to insert it, unknown to the model). The sealer keeps the snapshot of its last run and asks for
transactions that this snapshot could not see: an index range and a few open ones, whenever they commit.
"""

from django.db import migrations

WRITTEN = (
    "id, at, actor, action, subject, outcome, region_code, institution_code, person_hash, alg, body,"
    " leaf"
)

TRANSACTION = f"""
ALTER TABLE audit_event ADD COLUMN tx xid8 NOT NULL DEFAULT '0';
ALTER TABLE audit_event ALTER COLUMN tx SET DEFAULT pg_current_xact_id();
CREATE INDEX event_tx ON audit_event (tx);
REVOKE INSERT ON audit_event FROM mip_app, mip_settler;
GRANT INSERT ({WRITTEN}) ON audit_event TO mip_app, mip_settler;
"""

NO_TRANSACTION = """
GRANT INSERT ON audit_event TO mip_app, mip_settler;
DROP INDEX event_tx;
ALTER TABLE audit_event DROP COLUMN tx;
"""

KEPT = ("leaf", "node", "sealkey", "checkpoint", "archive", "report", "reportbody")

GUARDS = "".join(
    f"""
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_{name}
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
REVOKE UPDATE, DELETE, TRUNCATE ON audit_{name} FROM mip_app, mip_settler;
"""
    for name in KEPT
)

NO_GUARDS = "".join(
    f"""
DROP TRIGGER append_only ON audit_{name};
GRANT UPDATE, DELETE ON audit_{name} TO mip_app, mip_settler;
"""
    for name in KEPT
)

HASHES = """
ALTER TABLE audit_leaf ADD CONSTRAINT leaf_is_counted CHECK (seq >= 0 AND length(hash) = 32);
ALTER TABLE audit_node ADD CONSTRAINT node_is_above
    CHECK (level BETWEEN 1 AND 62 AND idx >= 0 AND length(hash) = 32);
ALTER TABLE audit_checkpoint ADD CONSTRAINT checkpoint_root CHECK (length(root) = 32);
"""

NO_HASHES = """
ALTER TABLE audit_checkpoint DROP CONSTRAINT checkpoint_root;
ALTER TABLE audit_node DROP CONSTRAINT node_is_above;
ALTER TABLE audit_leaf DROP CONSTRAINT leaf_is_counted;
"""

SCOPE = """
ALTER TABLE audit_reportbody ENABLE ROW LEVEL SECURITY;
ALTER TABLE audit_reportbody FORCE ROW LEVEL SECURITY;
CREATE POLICY scope ON audit_reportbody
    USING (scope_allows(region_code, institution_code))
    WITH CHECK (scope_allows(region_code, institution_code));
"""

NO_SCOPE = """
DROP POLICY scope ON audit_reportbody;
ALTER TABLE audit_reportbody DISABLE ROW LEVEL SECURITY;
"""

# The owner's own function is the only one that may empty bodies, of entries whose archive is recorded,
# sealed as an event and long past. Rows, their hashes and their places stay.
ARCHIVING = """
CREATE FUNCTION refuse_change_but_archive() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'UPDATE' AND current_setting('audit.archiving', true) = 'on'
        AND current_user = (SELECT pg_get_userbyid(relowner) FROM pg_class WHERE oid = TG_RELID) THEN
        RETURN NULL;
    END IF;
    RAISE EXCEPTION 'append-only: % on % is refused', TG_OP, TG_TABLE_NAME
        USING ERRCODE = 'restrict_violation';
END $$;
DROP TRIGGER audit_event_append_only ON audit_event;
CREATE TRIGGER audit_event_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_event
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change_but_archive();

CREATE FUNCTION audit_empty_bodies(wanted bigint, begin_seq bigint, end_seq bigint) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    kept audit_archive;
    emptied bigint;
BEGIN
    SELECT * INTO kept FROM audit_archive WHERE id = wanted;
    IF kept.id IS NULL OR begin_seq < kept.first OR end_seq > kept.last THEN
        RAISE EXCEPTION 'no archive % of the entries [%, %)', wanted, begin_seq, end_seq
            USING ERRCODE = 'restrict_violation';
    END IF;
    IF NOT EXISTS (
        SELECT FROM audit_event event JOIN audit_leaf leaf ON leaf.event = event.id
        WHERE event.subject = 'archive:' || wanted AND event.action = 'trail.archive'
            AND position(kept.sm3 IN convert_from(event.body, 'UTF8')) > 0) THEN
        RAISE EXCEPTION 'the event of archive % is not sealed', wanted
            USING ERRCODE = 'restrict_violation';
    END IF;
    PERFORM set_config('audit.archiving', 'on', true);
    UPDATE audit_event event SET body = '' FROM audit_leaf leaf
    WHERE leaf.event = event.id AND leaf.seq >= begin_seq AND leaf.seq < end_seq
        AND event.body <> '';
    GET DIAGNOSTICS emptied = ROW_COUNT;
    PERFORM set_config('audit.archiving', '', true);
    RETURN emptied;
END $$;
REVOKE EXECUTE ON FUNCTION audit_empty_bodies(bigint, bigint, bigint) FROM PUBLIC;
"""

NO_ARCHIVING = """
DROP FUNCTION audit_empty_bodies(bigint, bigint, bigint);
DROP TRIGGER audit_event_append_only ON audit_event;
CREATE TRIGGER audit_event_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_event
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
DROP FUNCTION refuse_change_but_archive();
"""

STATE = (
    "INSERT INTO audit_sealstate (id, upper, open, cluster, ran_at) VALUES (1, 0, '[]', '', now());"
)


class Migration(migrations.Migration):
    dependencies = (("audit", "0005_sealed_log"),)
    operations = (
        migrations.RunSQL(TRANSACTION, NO_TRANSACTION),
        migrations.RunSQL(GUARDS, NO_GUARDS),
        migrations.RunSQL(HASHES, NO_HASHES),
        migrations.RunSQL(SCOPE, NO_SCOPE),
        migrations.RunSQL(ARCHIVING, NO_ARCHIVING),
        migrations.RunSQL(STATE, migrations.RunSQL.noop),
    )
