from django.db import migrations


class Migration(migrations.Migration):
    dependencies = (("settlement", "0010_corrections"),)
    operations = ()
