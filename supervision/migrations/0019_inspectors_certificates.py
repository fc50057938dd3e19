"""Inspectors are named with the number of the certificate that they show."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = (("supervision", "0018_inspection_recusals"),)
    operations = (
        migrations.AddField(
            model_name="inspectioninspector",
            name="certificate",
            field=models.CharField(blank=True, max_length=40, verbose_name="证件号"),
        ),
    )
