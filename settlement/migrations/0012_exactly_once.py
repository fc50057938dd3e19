"""A batch goes forward only; chunks split, are set aside or cancelled; records carry their layout."""

from django.db import migrations, models

#: From where to where a batch may go. Nothing leads back to checked: what was settled stays settled.
MOVES = """
CREATE FUNCTION batch_goes_forward() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.state <> NEW.state AND NOT (OLD.state || '>' || NEW.state) = ANY (ARRAY[
        'checked>loading', 'checked>cancelled', 'loading>running', 'loading>failed',
        'loading>cancelled', 'running>paused', 'running>closed', 'running>failed',
        'running>cancelled', 'paused>running', 'paused>closed', 'paused>failed', 'paused>cancelled',
        'failed>reversing', 'cancelled>reversing', 'reversing>reversed'])
    THEN
        RAISE EXCEPTION 'a batch does not go from % to %', OLD.state, NEW.state
            USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER settlement_batch_forward BEFORE UPDATE OF state ON settlement_batch
    FOR EACH ROW EXECUTE FUNCTION batch_goes_forward();

CREATE FUNCTION chunk_ends_once() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.state <> NEW.state AND OLD.state IN ('done', 'split', 'set_aside', 'cancelled') THEN
        RAISE EXCEPTION 'a chunk that is % does not become %', OLD.state, NEW.state
            USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER settlement_chunk_once BEFORE UPDATE OF state ON settlement_chunk
    FOR EACH ROW EXECUTE FUNCTION chunk_ends_once();
"""
UNDO = """
DROP TRIGGER settlement_batch_forward ON settlement_batch;
DROP TRIGGER settlement_chunk_once ON settlement_chunk;
DROP FUNCTION batch_goes_forward();
DROP FUNCTION chunk_ends_once();
"""
BATCH_STATES = [
    ("checked", "已试算校验"), ("loading", "装载中"), ("running", "结算中"), ("paused", "已暂停"),
    ("closed", "已完成"), ("failed", "失败"), ("cancelled", "已取消"), ("reversing", "冲正中"),
    ("reversed", "已冲正"),
]  # fmt: skip
CHUNK_STATES = [
    ("waiting", "等待"), ("done", "完成"), ("quarantined", "隔离"), ("split", "已拆分"),
    ("set_aside", "已剔除"), ("cancelled", "已取消"),
]  # fmt: skip


class Migration(migrations.Migration):
    dependencies = (("settlement", "0011_consultations"),)
    operations = (
        migrations.AddField(
            "batch", "attempts", models.IntegerField(default=0, help_text="of loading it")
        ),
        migrations.AddField(
            "batch",
            "set_aside_claims",
            models.IntegerField(default=0, help_text="left out by a person's decision"),
        ),
        migrations.AddField("batch", "set_aside_fee", models.BigIntegerField(default=0)),
        migrations.AddField(
            "batch",
            "reason",
            models.CharField(
                blank=True, default="", help_text="of leaving out or cancelling", max_length=200
            ),
            preserve_default=False,
        ),
        migrations.AddField("chunk", "first_person", models.BigIntegerField(null=True)),
        migrations.AddField("chunk", "last_person", models.BigIntegerField(null=True)),
        migrations.AddField("chunk", "fee", models.BigIntegerField(default=0)),
        migrations.AddField(
            "chunk",
            "part_of",
            models.IntegerField(help_text="number of the chunk that was split", null=True),
        ),
        migrations.AddField(
            "chunk",
            "layout",
            models.CharField(
                default="", help_text="of the records (settlement.batch.layout)", max_length=8
            ),
            preserve_default=False,
        ),
        migrations.AlterField(
            "batch", "state", models.CharField(choices=BATCH_STATES, max_length=9)
        ),
        migrations.AlterField(
            "chunk",
            "state",
            models.CharField(choices=CHUNK_STATES, default="waiting", max_length=11),
        ),
        migrations.AddConstraint(
            "batch",
            models.CheckConstraint(
                name="batch_cancelled_with_reason",
                condition=~models.Q(state__in=("cancelled", "reversing", "reversed"))
                | ~models.Q(reason=""),
            ),
        ),
        migrations.AddConstraint(
            "chunk",
            models.CheckConstraint(
                name="chunk_done_with_digest",
                condition=models.Q(state="done", digest__isnull=False, done_at__isnull=False)
                | (~models.Q(state="done") & models.Q(digest__isnull=True)),
            ),
        ),
        migrations.AddConstraint(
            "chunk",
            models.CheckConstraint(
                name="chunk_has_claims",
                condition=models.Q(claims__gt=0, first_claim__lte=models.F("last_claim")),
            ),
        ),
        migrations.RunSQL(MOVES, UNDO),
    )
