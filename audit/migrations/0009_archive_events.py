"""Bodies go only when a sealed event names their archive's range and file; such events keep their own body.

They are what a bundle proves withheld bodies by: without the body nothing would say what was archived.
"""

from django.db import migrations

EMPTYING = """
CREATE OR REPLACE FUNCTION audit_empty_bodies(wanted bigint, begin_seq bigint, end_seq bigint)
RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
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
            AND CASE WHEN event.body = '' THEN false
                ELSE convert_from(event.body, 'UTF8')::jsonb -> 'detail' @> jsonb_build_object(
                    'first', kept.first, 'last', kept.last, 'sm3', kept.sm3) END) THEN
        RAISE EXCEPTION 'the event of archive % is not sealed', wanted
            USING ERRCODE = 'restrict_violation';
    END IF;
    PERFORM set_config('audit.archiving', 'on', true);
    UPDATE audit_event event SET body = '' FROM audit_leaf leaf
    WHERE leaf.event = event.id AND leaf.seq >= begin_seq AND leaf.seq < end_seq
        AND event.body <> '' AND event.action <> 'trail.archive';
    GET DIAGNOSTICS emptied = ROW_COUNT;
    PERFORM set_config('audit.archiving', '', true);
    RETURN emptied;
END $$;
"""


class Migration(migrations.Migration):
    dependencies = (("audit", "0008_scope_speed"),)
    operations = (migrations.RunSQL(EMPTYING, migrations.RunSQL.noop),)
