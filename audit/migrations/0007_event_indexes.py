"""Searching a great trail: beginnings of subjects, rare acts, what was refused. A claim pays for none of it."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = (("audit", "0006_seal_guards"),)
    operations = (
        migrations.RemoveIndex(model_name="event", name="event_subject"),
        migrations.AddIndex(
            model_name="event",
            index=models.Index(
                fields=["subject", "at"],
                opclasses=["varchar_pattern_ops", "timestamptz_ops"],
                name="event_subject",
            ),
        ),
        migrations.AddIndex(
            model_name="event",
            index=models.Index(
                fields=["action", "at"],
                condition=~models.Q(action="claim.receive"),
                name="event_action",
            ),
        ),
        migrations.AddIndex(
            model_name="event",
            index=models.Index(
                fields=["at"], condition=~models.Q(outcome="ok"), name="event_not_ok"
            ),
        ),
    )
