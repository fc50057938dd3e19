"""A prescription names the claim that brought it: that claim need not ask who else used it."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = (("settlement", "0026_left_out_claims"),)
    operations = (
        migrations.AddField(
            "prescription",
            "first_claim",
            models.BigIntegerField(
                help_text="the claim that brought it; empty: uploaded, or in a file", null=True
            ),
        ),
    )
