"""A confirmed finding says since when its institution knows of it."""

from django.db import migrations, models
from django.db.models import Q

KEPT = """
CREATE OR REPLACE FUNCTION keep_finding() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    moves text[] := ARRAY['state', 'merged_into_id', 'assignee', 'decided_at', 'decided_by', 'reason',
        'told_at', 'told_by'];
BEGIN
    IF to_jsonb(OLD) - moves <> to_jsonb(NEW) - moves
        OR OLD.told_at IS NOT NULL AND (OLD.told_at, OLD.told_by) IS DISTINCT FROM (NEW.told_at, NEW.told_by)
    THEN
        RAISE EXCEPTION 'a finding keeps its content' USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END $$;
"""
BEFORE = """
CREATE OR REPLACE FUNCTION keep_finding() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    moves text[] := ARRAY['state', 'merged_into_id', 'assignee', 'decided_at', 'decided_by', 'reason'];
BEGIN
    IF to_jsonb(OLD) - moves <> to_jsonb(NEW) - moves THEN
        RAISE EXCEPTION 'a finding keeps its content' USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END $$;
"""


class Migration(migrations.Migration):
    dependencies = (("supervision", "0012_monthly"),)
    operations = (
        migrations.AddField(
            "finding", "told_at", models.DateTimeField("告知机构", null=True, blank=True)
        ),
        migrations.AddField(
            "finding", "told_by",
            models.CharField(blank=True, default="", db_default="", max_length=150),
        ),
        migrations.AddConstraint(
            "finding",
            models.CheckConstraint(
                condition=Q(told_at__isnull=True, told_by="")
                | (Q(told_at__isnull=False, state="confirmed") & ~Q(told_by="")),
                name="finding_told_when_confirmed",
            ),
        ),
        migrations.RunSQL(KEPT, BEFORE),
    )  # fmt: skip
