"""Who came to a consultation; supplementary bills of a year of lines and maintenance."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = (("settlement", "0022_adjustments_of_persons"),)
    operations = (
        migrations.AddField(
            model_name="participant",
            name="attended",
            field=models.BooleanField(blank=True, null=True, verbose_name="到会"),
        ),
        migrations.AlterModelOptions(
            name="feebill", options={"ordering": ("-year", "institution_id", "part")}
        ),
        migrations.RemoveConstraint(model_name="feebill", name="fee_bill_once_a_year"),
        migrations.AddField(
            model_name="feebill",
            name="part",
            field=models.PositiveSmallIntegerField(default=1, verbose_name="份次"),
        ),
        migrations.AddConstraint(
            model_name="feebill",
            constraint=models.UniqueConstraint(
                fields=("institution", "year", "part"), name="fee_bill_part_of_a_year"
            ),
        ),
        migrations.AddConstraint(
            model_name="feebill",
            constraint=models.UniqueConstraint(
                condition=models.Q(("state", "draft")),
                fields=("institution", "year"),
                name="fee_bill_one_draft_of_a_year",
            ),
        ),
        migrations.AddConstraint(
            model_name="feebill",
            constraint=models.CheckConstraint(
                condition=models.Q(("part__gt", 0)), name="fee_bill_part"
            ),
        ),
    )
