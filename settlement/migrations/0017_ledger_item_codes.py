"""A hospital's ledger names drugs by the national code of 23 characters, as claims do."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = (("settlement", "0016_entered_claims"),)
    operations = (migrations.AlterField("ledgerrow", "item_code", models.CharField(max_length=30)),)
