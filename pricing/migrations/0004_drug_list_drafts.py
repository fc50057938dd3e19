"""Drafts of drug lists keep their sheet; a published list and its drugs never change."""

from django.db import migrations, models

IMMUTABLE = """
CREATE FUNCTION refuse_drug_list_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.state = 'published' AND (
        TG_OP = 'DELETE'
        OR (to_jsonb(NEW) - 'valid_until') <> (to_jsonb(OLD) - 'valid_until')
        OR OLD.valid_until IS NOT NULL
    ) THEN
        RAISE EXCEPTION 'a published drug list never changes (list %)', OLD.id
            USING ERRCODE = 'restrict_violation';
    END IF;
    IF TG_OP = 'DELETE' THEN RETURN OLD; END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER pricing_druglist_immutable BEFORE UPDATE OR DELETE ON pricing_druglist
    FOR EACH ROW EXECUTE FUNCTION refuse_drug_list_change();

CREATE FUNCTION refuse_drug_change() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE wanted bigint := CASE WHEN TG_OP = 'DELETE' THEN OLD.catalogue_id ELSE NEW.catalogue_id END;
BEGIN
    IF TG_OP = 'UPDATE' OR EXISTS (
        SELECT FROM pricing_druglist WHERE id = wanted AND state = 'published'
    ) THEN
        RAISE EXCEPTION 'the drugs of a published list never change (list %)', wanted
            USING ERRCODE = 'restrict_violation';
    END IF;
    IF TG_OP = 'DELETE' THEN RETURN OLD; END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER pricing_drug_immutable BEFORE INSERT OR UPDATE OR DELETE ON pricing_drug
    FOR EACH ROW EXECUTE FUNCTION refuse_drug_change();
CREATE TRIGGER pricing_druglist_no_truncate BEFORE TRUNCATE ON pricing_druglist
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER pricing_drug_no_truncate BEFORE TRUNCATE ON pricing_drug
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE INDEX pricing_drug_diseases ON pricing_drug USING gin (diseases);
"""
UNDO = """
DROP INDEX pricing_drug_diseases;
DROP TRIGGER pricing_drug_no_truncate ON pricing_drug;
DROP TRIGGER pricing_druglist_no_truncate ON pricing_druglist;
DROP TRIGGER pricing_drug_immutable ON pricing_drug;
DROP TRIGGER pricing_druglist_immutable ON pricing_druglist;
DROP FUNCTION refuse_drug_change();
DROP FUNCTION refuse_drug_list_change();
"""


class Migration(migrations.Migration):
    dependencies = [
        ("pricing", "0003_drug_lists"),
    ]

    operations = [
        migrations.AddField(
            model_name="druglist",
            name="errors",
            field=models.JSONField(blank=True, default=list),
        ),
        migrations.AddField(
            model_name="druglist",
            name="file",
            field=models.BinaryField(default=b""),
        ),
        migrations.AddField(
            model_name="druglist",
            name="file_name",
            field=models.CharField(blank=True, max_length=200, verbose_name="文件名"),
        ),
        migrations.AddField(
            model_name="druglist",
            name="rows",
            field=models.IntegerField(default=0, verbose_name="数据行"),
        ),
        migrations.AddConstraint(
            model_name="druglist",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("state", "draft"),
                    models.Q(
                        ("drugs_count__gt", 0), ("errors", []), models.Q(("sm3", ""), _negated=True)
                    ),
                    _connector="OR",
                ),
                name="drug_list_sound_when_published",
            ),
        ),
        migrations.AddConstraint(
            model_name="druglist",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("valid_until__isnull", True),
                    ("valid_until__gte", models.F("valid_from")),
                    _connector="OR",
                ),
                name="drug_list_dates_in_order",
            ),
        ),
        migrations.RunSQL(IMMUTABLE, UNDO),
    ]
