"""Claims that the agency entered for a person's request (手工报销): the person's, not the institution's."""

import django.db.models.deletion
from django.db import migrations, models

GUARDS = """
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON settlement_enteredclaim
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
REVOKE UPDATE, DELETE, TRUNCATE ON settlement_enteredclaim FROM mip_app, mip_settler;
"""
#: Claims entered before this table stood bear the request's number, or that and a count.
EARLIER = """
SELECT set_config('app.scope', '*', true);
INSERT INTO settlement_enteredclaim (claim_id, reimbursement_id, entered_at)
SELECT c.id, r.id, c.received_at
FROM settlement_reimbursement r
JOIN settlement_claimkey k ON k.institution_code = r.provider_id
    AND (k.claim_no = r.number OR starts_with(k.claim_no, r.number || '-'))
JOIN settlement_claim c ON c.id = k.claim_id;
"""


class Migration(migrations.Migration):
    dependencies = (("settlement", "0015_resettlement_drawing"),)
    operations = (
        migrations.CreateModel(
            "EnteredClaim",
            fields=[
                ("claim_id", models.BigIntegerField(primary_key=True, serialize=False)),
                ("entered_at", models.DateTimeField()),
                (
                    "reimbursement",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="entered",
                        to="settlement.reimbursement",
                    ),
                ),
            ],
        ),
        migrations.RunSQL(EARLIER + GUARDS, migrations.RunSQL.noop),
    )
