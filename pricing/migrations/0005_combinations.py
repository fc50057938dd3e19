"""Parameter sets that held together have one number of their own, which settlements name."""

import django.contrib.postgres.fields
from django.db import migrations, models

KEPT = """
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON pricing_combination
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
REVOKE UPDATE, DELETE, TRUNCATE ON pricing_combination FROM mip_app, mip_settler;
"""
UNDO = "DROP TRIGGER append_only ON pricing_combination;"


class Migration(migrations.Migration):
    dependencies = (("audit", "0002_guards"), ("pricing", "0004_drug_list_drafts"))
    operations = (
        migrations.CreateModel(
            name="Combination",
            fields=[
                (
                    "id",
                    models.BigIntegerField(
                        db_default=models.Func(
                            models.Value("pricing_release_id_seq"), function="nextval"
                        ),
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                (
                    "releases",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.BigIntegerField(), size=None, unique=True
                    ),
                ),
                ("sm3", models.CharField(max_length=64)),
            ],
            options={
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(releases__len__gte=2), name="combination_of_several"
                    )
                ]
            },
        ),
        migrations.RunSQL(KEPT, UNDO),
    )
