"""Keys of the interface: what for, how often, since when, until when; one key in use per purpose."""

import django.contrib.postgres.fields
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("institutions", "0004_office_clients"),
    ]

    operations = [
        migrations.AddField(
            model_name="apiclient",
            name="ended_at",
            field=models.DateTimeField(blank=True, null=True, verbose_name="停用时间"),
        ),
        migrations.AddField(
            model_name="apiclient",
            name="ended_by",
            field=models.CharField(blank=True, max_length=150, verbose_name="停用人"),
        ),
        migrations.AddField(
            model_name="apiclient",
            name="ended_for",
            field=models.CharField(blank=True, max_length=200, verbose_name="停用事由"),
        ),
        migrations.AddField(
            model_name="apiclient",
            name="issued_at",
            field=models.DateTimeField(blank=True, null=True, verbose_name="发放时间"),
        ),
        migrations.AddField(
            model_name="apiclient",
            name="issued_by",
            field=models.CharField(blank=True, max_length=150, verbose_name="发放人"),
        ),
        migrations.AddField(
            model_name="apiclient",
            name="purpose",
            field=models.CharField(blank=True, max_length=60, verbose_name="用途"),
        ),
        migrations.AddField(
            model_name="apiclient",
            name="rate",
            field=models.CharField(
                choices=[("client", "标准"), ("client_low", "低频"), ("client_trial", "联调")],
                default="client",
                max_length=20,
                verbose_name="频率",
            ),
        ),
        migrations.AddField(
            model_name="apiclient",
            name="rotated_at",
            field=models.DateTimeField(blank=True, null=True, verbose_name="换发时间"),
        ),
        migrations.AddField(
            model_name="apiclient",
            name="rotated_by",
            field=models.CharField(blank=True, max_length=150, verbose_name="换发人"),
        ),
        migrations.AddField(
            model_name="apiclient",
            name="scopes",
            field=django.contrib.postgres.fields.ArrayField(
                base_field=models.CharField(max_length=40), blank=True, default=list, size=None
            ),
        ),
        migrations.AddField(
            model_name="apiclient",
            name="secret_no",
            field=models.SmallIntegerField(default=1, verbose_name="密钥次数"),
        ),
        migrations.AddField(
            model_name="apiclient",
            name="used_at",
            field=models.DateTimeField(blank=True, null=True, verbose_name="最近领取令牌"),
        ),
        migrations.AddConstraint(
            model_name="apiclient",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("rate__in", ["client", "client_low", "client_trial"]), ("secret_no__gte", 1)
                ),
                name="api_client_known_rate",
            ),
        ),
        migrations.AddConstraint(
            model_name="apiclient",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("ended_at", None), ("ended_by", ""), ("ended_for", "")),
                    models.Q(
                        ("ended_at__isnull", False),
                        models.Q(("ended_by", ""), _negated=True),
                        models.Q(("ended_for", ""), _negated=True),
                    ),
                    _connector="OR",
                ),
                name="api_client_ended_for_a_reason",
            ),
        ),
        migrations.AddConstraint(
            model_name="apiclient",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("rotated_at", None), ("rotated_by", ""), ("secret_no", 1)),
                    models.Q(
                        ("rotated_at__isnull", False),
                        ("secret_no__gt", 1),
                        models.Q(("rotated_by", ""), _negated=True),
                    ),
                    _connector="OR",
                ),
                name="api_client_rotated_by_a_person",
            ),
        ),
        migrations.AddConstraint(
            model_name="apiclient",
            constraint=models.UniqueConstraint(
                condition=models.Q(("ended_at", None), models.Q(("purpose", ""), _negated=True)),
                fields=("institution", "purpose"),
                name="api_client_institution_purpose",
            ),
        ),
        migrations.AddConstraint(
            model_name="apiclient",
            constraint=models.UniqueConstraint(
                condition=models.Q(("ended_at", None), models.Q(("purpose", ""), _negated=True)),
                fields=("region", "purpose"),
                name="api_client_region_purpose",
            ),
        ),
    ]
