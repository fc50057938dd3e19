"""Lists of millions of claims find a rare item or reason by an index, not by looking at every line."""

from django.db import migrations, models

INDEXES = """
CREATE INDEX settlement_claimline_item ON settlement_claimline (item_code, claim_id);
CREATE INDEX settlement_lineresult_reason ON settlement_lineresult (reason, claim_id)
    WHERE reason <> 0;
"""
UNDO = "DROP INDEX settlement_claimline_item, settlement_lineresult_reason;"


class Migration(migrations.Migration):
    dependencies = (("settlement", "0019_closed_months"),)
    operations = (
        migrations.RunSQL(INDEXES, UNDO),
        migrations.AddIndex(
            model_name="chunk",
            index=models.Index(
                condition=models.Q(("state__in", ["done", "split"]), _negated=True),
                fields=["first_claim"],
                name="chunk_undone",
            ),
        ),
    )
