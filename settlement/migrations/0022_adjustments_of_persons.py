"""Adjustments of persons: the account that is paid to, and what came back from the person."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("institutions", "0006_department_suspensions"),
        ("settlement", "0021_leg_months"),
    ]

    operations = [
        migrations.RemoveConstraint(
            model_name="adjustment",
            name="adjustment_has_its_subject",
        ),
        migrations.AddField(
            model_name="adjustment",
            name="bank",
            field=models.CharField(blank=True, max_length=120, verbose_name="开户行"),
        ),
        migrations.AddField(
            model_name="adjustment",
            name="collected_by",
            field=models.CharField(blank=True, max_length=150, verbose_name="追回登记人"),
        ),
        migrations.AddField(
            model_name="adjustment",
            name="collected_on",
            field=models.DateField(blank=True, null=True, verbose_name="追回到账日"),
        ),
        migrations.AddField(
            model_name="adjustment",
            name="collected_serial",
            field=models.CharField(blank=True, max_length=60, verbose_name="追回银行流水号"),
        ),
        migrations.AddField(
            model_name="adjustment",
            name="holder_cipher",
            field=models.BinaryField(blank=True, default=b""),
        ),
        migrations.AddField(
            model_name="adjustment",
            name="holder_masked",
            field=models.CharField(blank=True, max_length=120, verbose_name="户名"),
        ),
        migrations.AddField(
            model_name="adjustment",
            name="number_cipher",
            field=models.BinaryField(blank=True, default=b""),
        ),
        migrations.AddField(
            model_name="adjustment",
            name="number_hash",
            field=models.BinaryField(blank=True, max_length=32, null=True),
        ),
        migrations.AddField(
            model_name="adjustment",
            name="number_tail",
            field=models.CharField(blank=True, max_length=4),
        ),
        migrations.AddField(
            model_name="adjustment",
            name="way",
            field=models.CharField(
                choices=[("bank", "银行转账"), ("account", "划入医保个人账户")],
                default="bank",
                max_length=8,
                verbose_name="收款方式",
            ),
        ),
        migrations.AddConstraint(
            model_name="adjustment",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(
                        ("claim_id", None),
                        ("person_id", None),
                        ("subject", "institution"),
                        models.Q(("institution_code", ""), _negated=True),
                    ),
                    models.Q(
                        ("claim_id", None), ("person_id__isnull", False), ("subject", "person")
                    ),
                    models.Q(
                        ("claim_id__isnull", False),
                        ("subject", "claim"),
                        models.Q(
                            models.Q(("institution_code", ""), _negated=True),
                            ("person_id__isnull", False),
                            _connector="OR",
                        ),
                    ),
                    _connector="OR",
                ),
                name="adjustment_has_its_subject",
            ),
        ),
        migrations.AddConstraint(
            model_name="adjustment",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(
                        ("collected_by", ""),
                        ("collected_on__isnull", True),
                        ("collected_serial", ""),
                    ),
                    models.Q(
                        ("amount__lt", 0),
                        ("collected_on__isnull", False),
                        ("institution_code", ""),
                        models.Q(("collected_by", ""), _negated=True),
                        models.Q(("collected_serial", ""), _negated=True),
                    ),
                    _connector="OR",
                ),
                name="adjustment_collected_from_a_person",
            ),
        ),
        migrations.AddConstraint(
            model_name="adjustment",
            constraint=models.UniqueConstraint(
                condition=models.Q(("collected_serial", ""), _negated=True),
                fields=("region_code", "collected_serial"),
                name="adjustment_collected_once",
            ),
        ),
    ]
