"""Open tasks to compare a registration belong to the practitioner; interviews have minutes."""

from django.db import migrations

#: What a suspension by points opened before: one per practitioner stays open under its own subject.
TASKS = """
SELECT set_config('app.scope', '*', true);
UPDATE audit_task t SET state = 'done', closed_at = now(), closed_by = 'system:migration'
FROM supervision_restriction r
WHERE t.subject = 'restriction:' || r.id AND t.permission = 'registry.check' AND t.state = 'open'
    AND EXISTS (SELECT FROM audit_task o JOIN supervision_restriction q
        ON o.subject = 'restriction:' || q.id
        WHERE q.subject_code = r.subject_code AND o.permission = 'registry.check'
            AND o.state = 'open' AND o.id > t.id);
UPDATE audit_task t SET subject = 'comparison:' || r.subject_code,
    url = '/institutions/' || t.institution_code || '/?tab=practitioners'
FROM supervision_restriction r
WHERE t.subject = 'restriction:' || r.id AND t.permission = 'registry.check' AND t.state = 'open';
"""


class Migration(migrations.Migration):
    dependencies = (("supervision", "0021_merged_findings"),)
    operations = (migrations.RunSQL(TASKS, migrations.RunSQL.noop),)
