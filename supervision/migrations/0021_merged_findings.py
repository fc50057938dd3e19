"""A finding grows by what is merged into it; a complaint says which calendar its deadline waits for."""

from importlib import import_module

from django.db import migrations, models

BEFORE = import_module("supervision.migrations.0013_told_findings").KEPT
GROWS = """
CREATE OR REPLACE FUNCTION keep_finding() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    moves text[] := ARRAY['state', 'merged_into_id', 'assignee', 'decided_at', 'decided_by', 'reason',
        'told_at', 'told_by'];
    grows text[] := ARRAY['claims', 'fee', 'fund', 'first_day', 'last_day', 'parameters'];
BEGIN
    IF to_jsonb(OLD) - moves - grows <> to_jsonb(NEW) - moves - grows
        OR OLD.told_at IS NOT NULL AND (OLD.told_at, OLD.told_by) IS DISTINCT FROM (NEW.told_at, NEW.told_by)
    THEN
        RAISE EXCEPTION 'a finding keeps its content' USING ERRCODE = 'check_violation';
    END IF;
    IF to_jsonb(OLD) - moves <> to_jsonb(NEW) - moves AND (
        OLD.told_at IS NOT NULL OR NEW.claims < OLD.claims OR NEW.fee < OLD.fee OR NEW.fund < OLD.fund
        OR NEW.first_day > OLD.first_day OR NEW.last_day < OLD.last_day
        OR OLD.parameters - 'shares' <> NEW.parameters - 'shares'
        OR NOT EXISTS (SELECT FROM supervision_finding m WHERE m.merged_into_id = OLD.id))
    THEN
        RAISE EXCEPTION 'a finding keeps its content' USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END $$;
"""


class Migration(migrations.Migration):
    dependencies = (("supervision", "0020_ended_measures"),)
    operations = (
        migrations.AddField(
            model_name="complaint",
            name="due_unknown",
            field=models.SmallIntegerField(blank=True, null=True, verbose_name="缺少的日历年"),
        ),
        migrations.RunSQL(GROWS, BEFORE),
    )
