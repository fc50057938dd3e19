"""A file is checked by a worker: until then it only lies there, and one sound may start by itself."""

from django.db import migrations, models

MOVES = """
CREATE OR REPLACE FUNCTION batch_goes_forward() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.state <> NEW.state AND NOT (OLD.state || '>' || NEW.state) = ANY (ARRAY[
        ADDED'checked>loading', 'checked>cancelled', 'loading>running', 'loading>failed',
        'loading>cancelled', 'running>paused', 'running>closed', 'running>failed',
        'running>cancelled', 'paused>running', 'paused>closed', 'paused>failed', 'paused>cancelled',
        'failed>reversing', 'cancelled>reversing', 'reversing>reversed'])
    THEN
        RAISE EXCEPTION 'a batch does not go from % to %', OLD.state, NEW.state
            USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END $$;
"""
CHECKING = "'checking>checked', 'checking>failed', 'checking>cancelled', "
STATES = [
    ("checking", "检查中"), ("checked", "已试算校验"), ("loading", "装载中"), ("running", "结算中"),
    ("paused", "已暂停"), ("closed", "已完成"), ("failed", "失败"), ("cancelled", "已取消"),
    ("reversing", "冲正中"), ("reversed", "已冲正"),
]  # fmt: skip


class Migration(migrations.Migration):
    dependencies = (("settlement", "0027_first_claim"),)
    operations = (
        migrations.AlterField("batch", "state", models.CharField(choices=STATES, max_length=9)),
        migrations.AlterField(
            "batch",
            "attempts",
            models.IntegerField(default=0, help_text="of checking it, then of loading it"),
        ),
        migrations.AddField(
            "batch",
            "start_when_sound",
            models.BooleanField(default=False, help_text="without another word of a person"),
        ),
        migrations.RunSQL(MOVES.replace("ADDED", CHECKING), MOVES.replace("ADDED", "")),
    )
