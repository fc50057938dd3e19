"""Suspended practitioners: known to whoever settles; a row keeps what it says."""

import django.db.models.deletion
from django.db import migrations, models

GUARDS = """
CREATE FUNCTION keep_suspension() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.superseded_at IS NOT NULL
        OR to_jsonb(OLD) - 'superseded_at' <> to_jsonb(NEW) - 'superseded_at' THEN
        RAISE EXCEPTION 'a suspension is replaced by a later row, never changed'
            USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER keep_suspension BEFORE UPDATE ON institutions_servicesuspension
    FOR EACH ROW EXECUTE FUNCTION keep_suspension();
ALTER TABLE institutions_servicesuspension ENABLE ROW LEVEL SECURITY;
ALTER TABLE institutions_servicesuspension FORCE ROW LEVEL SECURITY;
CREATE POLICY some_scope ON institutions_servicesuspension
    USING (coalesce(current_setting('app.scope', true), '') <> '');
REVOKE DELETE, TRUNCATE ON institutions_servicesuspension FROM mip_app, mip_settler;
"""
UNDO = """
DROP TRIGGER keep_suspension ON institutions_servicesuspension;
DROP FUNCTION keep_suspension();
DROP POLICY some_scope ON institutions_servicesuspension;
"""


class Migration(migrations.Migration):
    dependencies = [
        ("institutions", "0002_registry"),
    ]

    operations = [
        migrations.CreateModel(
            name="ServiceSuspension",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("valid_from", models.DateField(verbose_name="起日")),
                ("valid_until", models.DateField(blank=True, null=True, verbose_name="止日")),
                ("clause", models.CharField(max_length=160, verbose_name="依据")),
                (
                    "source",
                    models.CharField(
                        help_text="the decision: one row of it is known",
                        max_length=80,
                        verbose_name="来源",
                    ),
                ),
                ("recorded_at", models.DateTimeField()),
                ("recorded_by", models.CharField(max_length=150)),
                ("superseded_at", models.DateTimeField(blank=True, null=True)),
                (
                    "physician",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="suspensions",
                        to="institutions.physician",
                    ),
                ),
            ],
            options={
                "ordering": ("-valid_from", "-pk"),
                "abstract": False,
                "constraints": [
                    models.UniqueConstraint(
                        condition=models.Q(("superseded_at__isnull", True)),
                        fields=("source",),
                        name="servicesuspension_known_once",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("valid_until__isnull", True),
                            ("valid_until__gte", models.F("valid_from")),
                            _connector="OR",
                        ),
                        name="servicesuspension_days",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("clause", ""), _negated=True),
                            models.Q(("source", ""), _negated=True),
                            models.Q(("recorded_by", ""), _negated=True),
                        ),
                        name="servicesuspension_says_why",
                    ),
                ],
            },
        ),
        migrations.RunSQL(GUARDS, UNDO),
    ]
