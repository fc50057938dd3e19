"""Restrictions that were made before settlement read them: what they say is recorded where it looks."""

from django.db import migrations

RECORDED = """
SELECT set_config('app.scope', '*', true);
INSERT INTO institutions_servicesuspension (physician_id, valid_from, valid_until, clause, source,
    recorded_at, recorded_by)
SELECT d.code, r.valid_from, r.valid_until, r.clause, 'restriction:' || r.id, r.made_at, r.made_by
FROM supervision_restriction r JOIN institutions_physician d ON d.code = r.subject_code
WHERE r.kind IN ('practitioner', 'terminated');
INSERT INTO settlement_onlinesuspension (person_id, valid_from, valid_until, clause, source,
    recorded_at, recorded_by)
SELECT p.id, r.valid_from, r.valid_until, r.clause, 'restriction:' || r.id, r.made_at, r.made_by
FROM supervision_restriction r JOIN settlement_insuredperson p ON p.id = r.person_id
WHERE r.kind = 'online';
SELECT set_config('app.scope', '', true);
"""


class Migration(migrations.Migration):
    dependencies = (
        ("institutions", "0003_suspensions"),
        ("settlement", "0018_suspensions"),
        ("supervision", "0010_credit"),
    )
    operations = (migrations.RunSQL(RECORDED, migrations.RunSQL.noop),)
