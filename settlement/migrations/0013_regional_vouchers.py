"""The voucher of a claim in the region of a person insured elsewhere (异地清算): what it must name."""

from django.db import migrations, models
from django.db.models import Q


class Migration(migrations.Migration):
    dependencies = (("settlement", "0012_exactly_once"),)
    operations = (
        migrations.AddConstraint(
            "voucher",
            models.CheckConstraint(
                condition=~Q(kind="regional")
                | (Q(institution_code="", subject__startswith="claim:") & ~Q(scheme="")),
                name="voucher_regional_of_a_claim",
            ),
        ),
    )
