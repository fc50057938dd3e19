"""What a visit is compared with at once: the person's recent claims, the physician's of that day.

The function looks beyond the caller's scope (a physician works at several institutions, a person fetches
drugs at several); it gives no name and no number of a person. The index holds only claims that come one
by one: batches, which are audited afterwards, load as fast as before.
"""

from django.db import migrations

NEAR = """
CREATE INDEX settlement_claim_session
    ON settlement_claim ((document #>> '{physician,code}'), service_date) WHERE batch_id IS NULL;

CREATE FUNCTION supervision_near(
    the_person bigint, the_physician text, the_day date, since date, but bigint
) RETURNS TABLE (
    id bigint, institution text, physician text, person bigint, day date, began double precision,
    ended double precision, medium text, disease text, encounter bigint, fee bigint, lines json
) LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE before text := coalesce(current_setting('app.scope', true), '');
BEGIN
    PERFORM set_config('app.scope', '*', true);
    RETURN QUERY
    WITH found AS (
        SELECT c.id, c.period FROM settlement_claim c
        WHERE c.person_id = the_person AND c.service_date >= since AND c.service_date <= the_day
            AND c.period >= date_trunc('month', since)::date AND c.id <> but
        UNION
        SELECT c.id, c.period FROM settlement_claim c
        WHERE c.document #>> '{physician,code}' = the_physician AND c.service_date = the_day
            AND c.batch_id IS NULL AND c.period >= date_trunc('month', the_day)::date AND c.id <> but
    )
    SELECT c.id, c.institution_code::text, c.document #>> '{physician,code}', c.person_id,
        c.service_date, extract(epoch FROM (c.document #>> '{encounter,started_at}')::timestamptz)
            ::double precision,
        extract(epoch FROM (c.document #>> '{encounter,ended_at}')::timestamptz)::double precision,
        c.document #>> '{encounter,session,medium}',
        jsonb_path_query_first(c.document, '$.encounter.diagnoses[*] ? (@.main == true).code')
            #>> '{}',
        c.encounter_key, c.fee,
        (SELECT coalesce(json_agg(json_build_array(l.line_no, l.service, l.item_code, l.quantity,
                l.unit_price, l.fee, coalesce(r.decision, 0), (
                    SELECT max((d ->> 'days_supply')::integer)
                    FROM jsonb_path_query(c.document, '$.prescriptions[*].lines[*]') d
                    WHERE d ->> 'drug_code' = l.item_code))), '[]')
            FROM settlement_claimline l
            LEFT JOIN settlement_lineresult r ON r.claim_id = l.claim_id
                AND r.version = s.version AND r.line_no = l.line_no
            WHERE l.claim_id = c.id AND l.period = c.period)
    FROM found f
    JOIN settlement_claim c ON c.id = f.id AND c.period = f.period
    LEFT JOIN LATERAL (
        SELECT max(version) AS version FROM settlement_settlement WHERE claim_id = c.id) s ON true
    WHERE s.version IS NULL OR s.version % 2 = 1;
    PERFORM set_config('app.scope', before, true);
END $$;
REVOKE ALL ON FUNCTION supervision_near(bigint, text, date, date, bigint) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION supervision_near(bigint, text, date, date, bigint)
    TO mip_app, mip_settler;
"""
UNDO = """
DROP FUNCTION supervision_near(bigint, text, date, date, bigint);
DROP INDEX settlement_claim_session;
"""


class Migration(migrations.Migration):
    dependencies = (("supervision", "0004_cases"), ("settlement", "0010_corrections"))
    operations = (migrations.RunSQL(NEAR, UNDO),)
