"""Who came to a consultation."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = (("settlement", "0021_leg_months"),)
    operations = (
        migrations.AddField(
            model_name="participant",
            name="attended",
            field=models.BooleanField(blank=True, null=True, verbose_name="到会"),
        ),
    )
