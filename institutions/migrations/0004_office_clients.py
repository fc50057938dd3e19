"""A client belongs to exactly one institution, or to the office of exactly one region."""

import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("institutions", "0003_suspensions"),
    ]

    operations = [
        migrations.AddField(
            model_name="apiclient",
            name="region",
            field=models.ForeignKey(
                blank=True,
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="api_clients",
                to="institutions.region",
            ),
        ),
        migrations.RemoveConstraint(
            model_name="apiclient",
            name="api_client_bound_to_institution",
        ),
        migrations.AddConstraint(
            model_name="apiclient",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("authorization_grant_type", "client-credentials"), _negated=True),
                    models.Q(("institution__isnull", False), ("region__isnull", True)),
                    models.Q(("institution__isnull", True), ("region__isnull", False)),
                    _connector="OR",
                ),
                name="api_client_bound_to_one",
            ),
        ),
    ]
