"""Dispensed drugs that come back (退药): never more than was handed out, each package once."""

import django.db.models.deletion
from django.db import migrations, models
from django.db.models import F, Q

SHARED = "scope_allows(region_code, institution_code) OR scope_allows(issuer_region, issuer_code)"
POLICIES = {
    "dispensingreturn": SHARED,
    **{
        child: "EXISTS (SELECT FROM settlement_dispensingreturn p"
        f" WHERE p.id = settlement_{child}.taken_back_id)"
        for child in ("dispensingreturnline", "tracereturn")
    },
}
GUARDS = "".join(
    f"""
ALTER TABLE settlement_{name} ENABLE ROW LEVEL SECURITY;
ALTER TABLE settlement_{name} FORCE ROW LEVEL SECURITY;
CREATE POLICY scope ON settlement_{name} USING ({rows}) WITH CHECK ({rows});
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON settlement_{name}
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
REVOKE UPDATE, DELETE, TRUNCATE ON settlement_{name} FROM mip_app, mip_settler;
"""
    for name, rows in POLICIES.items()
)

#: A return belongs to its dispensing: not earlier, not more of a drug, only its own packages.
SOUND = """
CREATE FUNCTION refuse_unsound_return() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE given settlement_dispensing;
BEGIN
    SELECT * INTO given FROM settlement_dispensing WHERE id = NEW.dispensing_id;
    IF given.id IS NULL OR given.institution_code <> NEW.institution_code
        OR given.issuer_code <> NEW.issuer_code OR NEW.returned_at < given.dispensed_at THEN
        RAISE EXCEPTION 'return % does not fit dispensing %', NEW.number, NEW.dispensing_id
            USING ERRCODE = 'check_violation', CONSTRAINT = 'dispensing_return_fits';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER return_fits BEFORE INSERT ON settlement_dispensingreturn
    FOR EACH ROW EXECUTE FUNCTION refuse_unsound_return();

CREATE FUNCTION refuse_too_much_returned() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE given settlement_dispensingline; back bigint;
BEGIN
    SELECT l.* INTO given FROM settlement_dispensingline l JOIN settlement_dispensingreturn r
        ON r.dispensing_id = l.dispensing_id WHERE l.id = NEW.line_id AND r.id = NEW.taken_back_id;
    SELECT coalesce(sum(quantity), 0) INTO back FROM settlement_dispensingreturnline
        WHERE line_id = NEW.line_id;
    IF given.id IS NULL OR back > given.quantity THEN
        RAISE EXCEPTION 'more of dispensed line % came back than was handed out', NEW.line_id
            USING ERRCODE = 'check_violation', CONSTRAINT = 'returned_within_dispensed';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER returned_within_dispensed AFTER INSERT ON settlement_dispensingreturnline
    FOR EACH ROW EXECUTE FUNCTION refuse_too_much_returned();

CREATE FUNCTION refuse_foreign_package() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM settlement_tracecode t JOIN settlement_dispensingreturn r
            ON r.dispensing_id = t.dispensing_id
            WHERE t.code = NEW.trace_id AND r.id = NEW.taken_back_id) THEN
        RAISE EXCEPTION 'package % was not handed out by this dispensing', NEW.trace_id
            USING ERRCODE = 'check_violation', CONSTRAINT = 'returned_package_own';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER returned_package_own BEFORE INSERT ON settlement_tracereturn
    FOR EACH ROW EXECUTE FUNCTION refuse_foreign_package();
"""

#: What is dispensed and what came back only grow.
PRESCRIBED = """
CREATE OR REPLACE FUNCTION refuse_prescribed_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' OR to_jsonb(NEW) - ARRAY['dispensed', 'returned']
            <> to_jsonb(OLD) - ARRAY['dispensed', 'returned']
        OR NEW.dispensed < OLD.dispensed OR NEW.returned < OLD.returned THEN
        RAISE EXCEPTION 'the drugs of prescription % never change', OLD.prescription_id
            USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END $$;
"""

#: As before (0007), what came back no longer counting as dispensed.
USED = """
CREATE OR REPLACE FUNCTION settlement_prescription_used(wanted bigint, claimant varchar,
    besides bigint)
RETURNS TABLE (drug_code varchar, prescribed bigint, dispensed_mine bigint, dispensed_others bigint,
    charged_mine bigint, charged_others bigint)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
#variable_conflict use_column
DECLARE before text := coalesce(current_setting('app.scope', true), '');
BEGIN
    PERFORM set_config('app.scope', '*', true);
    RETURN QUERY SELECT l.drug_code, l.quantity,
        coalesce(d.mine, 0)::bigint, coalesce(d.others, 0)::bigint,
        coalesce(c.mine, 0)::bigint, coalesce(c.others, 0)::bigint
    FROM settlement_prescriptionline l
    LEFT JOIN LATERAL (
        SELECT sum(x.quantity - b.back) FILTER (WHERE g.institution_code = claimant) AS mine,
            sum(x.quantity - b.back) FILTER (WHERE g.institution_code <> claimant) AS others
        FROM settlement_dispensing g JOIN settlement_dispensingline x ON x.dispensing_id = g.id
        CROSS JOIN LATERAL (SELECT coalesce(sum(r.quantity), 0) AS back
            FROM settlement_dispensingreturnline r WHERE r.line_id = x.id) b
        WHERE g.prescription_id = wanted AND x.drug_code = l.drug_code) d ON true
    LEFT JOIN LATERAL (
        SELECT sum(x.quantity) FILTER (WHERE x.institution_code = claimant) AS mine,
            sum(x.quantity) FILTER (WHERE x.institution_code <> claimant) AS others
        FROM settlement_prescriptioncharge x
        WHERE x.prescription_id = wanted AND x.drug_code = l.drug_code AND x.claim_id <> besides
            AND (SELECT s.version % 2 = 1 AND s.state <> 'reject' FROM settlement_settlement s
                WHERE s.claim_id = x.claim_id ORDER BY s.version DESC LIMIT 1) IS NOT FALSE
        ) c ON true
    WHERE l.prescription_id = wanted;
    PERFORM set_config('app.scope', before, true);
END $$;
"""


class Migration(migrations.Migration):
    dependencies = [("settlement", "0013_regional_vouchers")]

    operations = [
        migrations.RemoveConstraint("prescriptionline", "prescription_not_dispensed_twice"),
        migrations.AddField(
            "prescriptionline",
            "returned",
            models.BigIntegerField(db_default=0, default=0, help_text="1/10000 of a unit"),
        ),
        migrations.AddConstraint(
            "prescriptionline",
            models.CheckConstraint(
                condition=Q(
                    dispensed__gte=F("returned"),
                    dispensed__lte=F("quantity") + F("returned"),
                    returned__gte=0,
                ),
                name="prescription_not_dispensed_twice",
            ),
        ),
        migrations.CreateModel(
            name="DispensingReturn",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("number", models.CharField(max_length=40, verbose_name="退药单号")),
                ("region_code", models.CharField(max_length=6)),
                ("institution_code", models.CharField(max_length=12, verbose_name="退药机构")),
                ("issuer_region", models.CharField(max_length=6)),
                ("issuer_code", models.CharField(max_length=12)),
                ("returned_at", models.DateTimeField(verbose_name="退药时间")),
                (
                    "reason",
                    models.CharField(
                        choices=[
                            ("quality", "药品质量问题"),
                            ("wrong", "调配差错"),
                            ("refused", "患者拒收"),
                            ("undelivered", "无法送达"),
                            ("recall", "药品召回"),
                            ("changed", "医嘱变更或停用"),
                        ],
                        max_length=11,
                        verbose_name="退药原因",
                    ),
                ),
                ("note", models.CharField(blank=True, max_length=200, verbose_name="说明")),
                (
                    "pharmacist_code",
                    models.CharField(blank=True, max_length=20, verbose_name="接收药师"),
                ),
                (
                    "claims",
                    models.JSONField(
                        default=list,
                        help_text="ids of the claims reversed by it",
                        verbose_name="冲正的申请",
                    ),
                ),
                ("recorded_at", models.DateTimeField()),
                ("recorded_by", models.CharField(max_length=150)),
                ("content_sm3", models.CharField(max_length=64)),
                (
                    "dispensing",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="returns",
                        to="settlement.dispensing",
                    ),
                ),
            ],
            options={
                "ordering": ("returned_at", "pk"),
                "constraints": [
                    models.UniqueConstraint(
                        fields=["institution_code", "number"], name="dispensing_return_number"
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="DispensingReturnLine",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("quantity", models.BigIntegerField(help_text="1/10000 of a unit")),
                (
                    "line",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="returns",
                        to="settlement.dispensingline",
                    ),
                ),
                (
                    "taken_back",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="lines",
                        to="settlement.dispensingreturn",
                    ),
                ),
            ],
            options={
                "ordering": ("line__drug_code",),
                "constraints": [
                    models.UniqueConstraint(
                        fields=["taken_back", "line"], name="dispensing_return_drug_once"
                    ),
                    models.CheckConstraint(
                        condition=Q(quantity__gt=0), name="dispensing_return_moves_goods"
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="TraceReturn",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "taken_back",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="traces",
                        to="settlement.dispensingreturn",
                    ),
                ),
                (
                    "trace",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="came_back",
                        to="settlement.tracecode",
                    ),
                ),
            ],
            options={"ordering": ("trace",)},
        ),
        migrations.RunSQL(GUARDS + SOUND + PRESCRIBED + USED, migrations.RunSQL.noop),
    ]
