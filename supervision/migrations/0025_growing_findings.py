"""An open finding grows with each later look; what is found after a decision is the next of its sequence."""

from importlib import import_module

from django.db import migrations, models
from django.db.models import Q

BEFORE = import_module("supervision.migrations.0021_merged_findings").GROWS
LOOKED = """
CREATE OR REPLACE FUNCTION keep_finding() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    moves text[] := ARRAY['state', 'merged_into_id', 'assignee', 'decided_at', 'decided_by', 'reason',
        'told_at', 'told_by', 'fixed'];
    grows text[] := ARRAY['claims', 'fee', 'fund', 'first_day', 'last_day', 'parameters'];
    looks text[] := ARRAY['severity', 'clause', 'figures', 'records'];
    listed record;
BEGIN
    IF to_jsonb(OLD) - moves - grows - looks <> to_jsonb(NEW) - moves - grows - looks
        OR OLD.told_at IS NOT NULL AND (OLD.told_at, OLD.told_by) IS DISTINCT FROM (NEW.told_at, NEW.told_by)
        OR OLD.fixed AND NOT NEW.fixed
    THEN
        RAISE EXCEPTION 'a finding keeps its content' USING ERRCODE = 'check_violation';
    END IF;
    IF to_jsonb(OLD) - moves = to_jsonb(NEW) - moves THEN
        RETURN NEW;
    END IF;
    IF OLD.told_at IS NOT NULL OR NEW.claims < OLD.claims OR NEW.fee < OLD.fee OR NEW.fund < OLD.fund
        OR NEW.first_day > OLD.first_day OR NEW.last_day < OLD.last_day
    THEN
        RAISE EXCEPTION 'a finding keeps its content' USING ERRCODE = 'check_violation';
    END IF;
    IF EXISTS (SELECT FROM supervision_finding m WHERE m.merged_into_id = OLD.id)
        AND OLD.parameters - 'shares' = NEW.parameters - 'shares'
        AND (OLD.severity, OLD.clause, OLD.figures, OLD.records)
            = (NEW.severity, NEW.clause, NEW.figures, NEW.records)
    THEN
        RETURN NEW;
    END IF;
    SELECT count(*) AS claims, coalesce(sum(lines), 0) AS records, coalesce(sum(fee), 0) AS fee,
        coalesce(sum(fund), 0) AS fund INTO listed
    FROM (SELECT count(*) AS lines, max(fee) AS fee, max(fund) AS fund FROM supervision_findingclaim
        WHERE finding_id = OLD.id GROUP BY claim_id) e;
    IF OLD.state <> 'open' OR NEW.state <> 'open' OR OLD.fixed
        OR NEW.records <= OLD.records OR NEW.records <> listed.records
        OR NEW.claims > greatest(OLD.claims, listed.claims) OR NEW.fee > greatest(OLD.fee, listed.fee)
        OR NEW.fund > greatest(OLD.fund, listed.fund)
    THEN
        RAISE EXCEPTION 'a finding keeps its content' USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END $$;
"""


class Migration(migrations.Migration):
    dependencies = (("supervision", "0024_fair_cases"),)
    operations = (
        migrations.AddField(
            "finding", "sequence", models.SmallIntegerField(default=1, db_default=1)
        ),
        migrations.AddField(
            "finding", "fixed", models.BooleanField(default=False, db_default=False)
        ),
        migrations.AddField("finding", "records", models.IntegerField(default=0, db_default=0)),
        migrations.AlterField("finding", "key", models.BinaryField(max_length=32)),
        migrations.AddConstraint(
            "finding", models.UniqueConstraint(fields=["key", "sequence"], name="finding_once")
        ),
        migrations.AddField(
            "findingclaim", "fee", models.BigIntegerField("费用", null=True, blank=True)
        ),
        migrations.AddField(
            "findingclaim", "fund", models.BigIntegerField("基金", null=True, blank=True)
        ),
        migrations.AlterField(
            "findingclaim",
            "finding",
            models.ForeignKey(
                on_delete=models.PROTECT,
                related_name="evidence",
                to="supervision.finding",
                db_index=False,
            ),
        ),
        migrations.RunSQL(LOOKED, BEFORE),
        migrations.AddField(
            "sanction",
            "condition",
            models.CharField(
                "情形",
                max_length=8,
                blank=True,
                default="",
                db_default="",
                choices=[
                    ("defiance", "拒不改正"),
                    ("grave", "造成严重后果"),
                    ("fraud", "骗取医疗保障基金"),
                ],
            ),
        ),
        migrations.AddConstraint(
            "sanction",
            models.CheckConstraint(
                condition=Q(condition="")
                | (Q(condition__in=["defiance", "grave", "fraud"]) & ~Q(note="")),
                name="sanction_condition_with_facts",
            ),
        ),
    )
