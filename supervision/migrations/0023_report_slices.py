"""A part of a report carries the slice that it is laid out from; what was under way is gathered anew."""

from django.db import migrations, models
from django.db.models import Q

ANEW = """
SELECT set_config('app.scope', '*', true);
DELETE FROM supervision_reportpart p USING supervision_reportorder o
    WHERE o.id = p.order_id AND (o.state = 'printing' OR p.done_at IS NULL);
UPDATE supervision_reportorder SET state = 'waiting', attempts = 0, document = NULL, rows = 0, pages = 0,
    parts_total = 0, parts_done = 0 WHERE state = 'printing';
"""


class Migration(migrations.Migration):
    dependencies = (("supervision", "0022_interviews"),)
    operations = (
        migrations.AddField(
            model_name="reportpart",
            name="slice",
            field=models.BinaryField(null=True, help_text="until it is laid out"),
        ),
        migrations.RunSQL(ANEW, migrations.RunSQL.noop),
        migrations.AddConstraint(
            model_name="reportpart",
            constraint=models.CheckConstraint(
                condition=Q(done_at__isnull=False) | Q(slice__isnull=False),
                name="report_part_waits_with_its_slice",
            ),
        ),
    )
