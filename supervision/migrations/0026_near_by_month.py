"""A visit's neighbours are read from the months they can lie in: a claim costs the same after many years.

Without the months, lines and results are looked for in every partition there is.
"""

from importlib import import_module

from django.db import migrations

BEFORE = import_module("supervision.migrations.0005_rules").NEAR
BEFORE = BEFORE[BEFORE.index("CREATE FUNCTION supervision_near(") : BEFORE.index("REVOKE ALL")]
BEFORE = BEFORE.replace("CREATE FUNCTION", "CREATE OR REPLACE FUNCTION")
NEAR = """
CREATE OR REPLACE FUNCTION supervision_near(
    the_person bigint, the_physician text, the_day date, since date, but bigint
) RETURNS TABLE (
    id bigint, institution text, physician text, person bigint, day date, began double precision,
    ended double precision, medium text, disease text, encounter bigint, fee bigint, lines json
) LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    before text := coalesce(current_setting('app.scope', true), '');
    first_month date := date_trunc('month', since)::date;
BEGIN
    PERFORM set_config('app.scope', '*', true);
    RETURN QUERY
    WITH found AS (
        SELECT c.id, c.period FROM settlement_claim c
        WHERE c.person_id = the_person AND c.service_date >= since AND c.service_date <= the_day
            AND c.period >= first_month AND c.id <> but
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
                AND r.period = s.period AND r.period >= first_month
            WHERE l.claim_id = c.id AND l.period = c.period AND l.period >= first_month)
    FROM found f
    JOIN settlement_claim c ON c.id = f.id AND c.period = f.period AND c.period >= first_month
    LEFT JOIN LATERAL (
        SELECT version, s.period FROM settlement_settlement s WHERE claim_id = c.id
        ORDER BY version DESC LIMIT 1) s ON true
    WHERE s.version IS NULL OR s.version % 2 = 1;
    PERFORM set_config('app.scope', before, true);
END $$;
"""


class Migration(migrations.Migration):
    dependencies = (("supervision", "0025_growing_findings"), ("settlement", "0021_leg_months"))
    operations = (migrations.RunSQL(NEAR, BEFORE),)
