"""Prescriptions, dispensings, deliveries, evidence: who sees them, what never changes."""

import django.db.models.deletion
from django.db import migrations, models

#: The national code of a drug has 23 characters (国家医保药品编码).
CODES = "ALTER TABLE settlement_claimline ALTER COLUMN item_code TYPE varchar(30);"

SHARED = "scope_allows(region_code, institution_code) OR scope_allows(issuer_region, issuer_code)"
POLICIES = {
    "prescription": """scope_allows(region_code, institution_code) OR EXISTS (
        SELECT FROM settlement_prescriptionrelease r
        WHERE r.prescription_id = settlement_prescription.id AND r.recalled_at IS NULL
            AND scope_allows(r.region_code, r.institution_code))""",
    "prescriptionrelease": SHARED,
    "prescriptioncharge": SHARED,
    "dispensing": SHARED,
    "evidencegap": "scope_allows(region_code, institution_code)",
    **{
        child: f"EXISTS (SELECT FROM settlement_{parent} p WHERE p.id = settlement_{child}.{key}_id)"
        for child, parent, key in (
            ("prescriptionline", "prescription", "prescription"),
            ("dispensingline", "dispensing", "dispensing"),
            ("tracecode", "dispensing", "dispensing"),
            ("delivery", "dispensing", "dispensing"),
            ("deliveryevent", "delivery", "delivery"),
            ("evidencefile", "evidence", "evidence"),
        )
    },
}
APPEND_ONLY = (
    "prescriptioncharge", "dispensing", "dispensingline", "tracecode", "delivery", "deliveryevent",
    "evidencefile",
)  # fmt: skip
GUARDS = "".join(
    f"""
ALTER TABLE settlement_{name} ENABLE ROW LEVEL SECURITY;
ALTER TABLE settlement_{name} FORCE ROW LEVEL SECURITY;
CREATE POLICY scope ON settlement_{name} USING ({rows}) WITH CHECK ({rows});
"""
    for name, rows in POLICIES.items()
) + "".join(
    f"""
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON settlement_{name}
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
REVOKE UPDATE, DELETE, TRUNCATE ON settlement_{name} FROM mip_app, mip_settler;
"""
    for name in APPEND_ONLY
)

#: What a prescription says never changes: its state moves, its drugs are dispensed.
CONTENT = """
CREATE FUNCTION refuse_prescription_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' OR to_jsonb(NEW) - ARRAY['state', 'state_reason', 'review', 'reviewed_by',
            'reviewed_at', 'review_reason'] <> to_jsonb(OLD) - ARRAY['state', 'state_reason',
            'review', 'reviewed_by', 'reviewed_at', 'review_reason']
        OR (OLD.review <> '' AND NEW.review <> OLD.review) THEN
        RAISE EXCEPTION 'the content of prescription % never changes', OLD.id
            USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER prescription_content BEFORE UPDATE OR DELETE ON settlement_prescription
    FOR EACH ROW EXECUTE FUNCTION refuse_prescription_change();

CREATE FUNCTION refuse_prescribed_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' OR to_jsonb(NEW) - 'dispensed' <> to_jsonb(OLD) - 'dispensed'
        OR NEW.dispensed < OLD.dispensed THEN
        RAISE EXCEPTION 'the drugs of prescription % never change', OLD.prescription_id
            USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER prescribed BEFORE UPDATE OR DELETE ON settlement_prescriptionline
    FOR EACH ROW EXECUTE FUNCTION refuse_prescribed_change();
"""

#: Per drug: prescribed, dispensed and charged by a claimant and by others, whoever may see whose rows.
#: A charge counts while its claim is not reversed and not refused.
USED = """
CREATE FUNCTION settlement_prescription_used(wanted bigint, claimant varchar, besides bigint)
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
        SELECT sum(x.quantity) FILTER (WHERE g.institution_code = claimant) AS mine,
            sum(x.quantity) FILTER (WHERE g.institution_code <> claimant) AS others
        FROM settlement_dispensing g JOIN settlement_dispensingline x ON x.dispensing_id = g.id
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
UNDO = (
    "DROP FUNCTION settlement_prescription_used(bigint, varchar, bigint);"
    "DROP TRIGGER prescription_content ON settlement_prescription;"
    "DROP TRIGGER prescribed ON settlement_prescriptionline;"
    "DROP FUNCTION refuse_prescription_change();"
    "DROP FUNCTION refuse_prescribed_change();"
    + "".join(
        f"DROP POLICY scope ON settlement_{name};"
        f"ALTER TABLE settlement_{name} DISABLE ROW LEVEL SECURITY;"
        for name in POLICIES
    )
)


class Migration(migrations.Migration):
    dependencies = [
        ("settlement", "0006_register"),
        ("institutions", "0002_registry"),
    ]

    operations = [
        migrations.CreateModel(
            name="Delivery",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("logistics_code", models.CharField(max_length=12, verbose_name="物流企业")),
                ("waybill", models.CharField(max_length=40, verbose_name="运单号")),
                ("recorded_at", models.DateTimeField()),
                ("recorded_by", models.CharField(max_length=150)),
            ],
            options={
                "ordering": ("pk",),
            },
        ),
        migrations.CreateModel(
            name="Dispensing",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("number", models.CharField(max_length=40, verbose_name="调配单号")),
                ("region_code", models.CharField(max_length=6)),
                ("institution_code", models.CharField(max_length=12, verbose_name="调配机构")),
                ("issuer_region", models.CharField(max_length=6)),
                ("issuer_code", models.CharField(max_length=12)),
                ("dispensed_at", models.DateTimeField(verbose_name="调配时间")),
                (
                    "pharmacist_code",
                    models.CharField(blank=True, max_length=20, verbose_name="调配药师"),
                ),
                ("recorded_at", models.DateTimeField()),
                ("recorded_by", models.CharField(max_length=150)),
                ("content_sm3", models.CharField(max_length=64)),
            ],
            options={
                "ordering": ("pk",),
            },
        ),
        migrations.CreateModel(
            name="DeliveryEvent",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "kind",
                    models.CharField(
                        choices=[
                            ("picked_up", "揽收"),
                            ("delivered", "送达"),
                            ("signed", "签收"),
                            ("returned", "退回"),
                        ],
                        max_length=9,
                    ),
                ),
                ("at", models.DateTimeField()),
                (
                    "relation",
                    models.CharField(
                        blank=True,
                        choices=[
                            ("self", "本人"),
                            ("family", "家属"),
                            ("agent", "代收人"),
                            ("station", "代收点"),
                        ],
                        max_length=7,
                        verbose_name="签收人与患者关系",
                    ),
                ),
                ("recorded_at", models.DateTimeField()),
                ("recorded_by", models.CharField(max_length=150)),
                (
                    "delivery",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="steps",
                        to="settlement.delivery",
                    ),
                ),
            ],
            options={
                "ordering": ("at", "pk"),
            },
        ),
        migrations.AddField(
            model_name="delivery",
            name="dispensing",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.PROTECT,
                related_name="deliveries",
                to="settlement.dispensing",
            ),
        ),
        migrations.CreateModel(
            name="DispensingLine",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("drug_code", models.CharField(max_length=40)),
                ("quantity", models.BigIntegerField(help_text="1/10000 of a unit")),
                (
                    "dispensing",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="lines",
                        to="settlement.dispensing",
                    ),
                ),
            ],
            options={
                "ordering": ("drug_code",),
            },
        ),
        migrations.CreateModel(
            name="EvidenceFile",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "document",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="institutions.document",
                    ),
                ),
                (
                    "evidence",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="file",
                        to="settlement.evidence",
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="EvidenceGap",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("region_code", models.CharField(max_length=6)),
                ("institution_code", models.CharField(max_length=12)),
                ("encounter_id", models.CharField(max_length=60)),
                ("encounter_key", models.BigIntegerField()),
                ("claim_id", models.BigIntegerField()),
                (
                    "kind",
                    models.CharField(
                        choices=[
                            ("record", "电子病历"),
                            ("prescription", "电子处方"),
                            ("purchase", "购药记录"),
                            ("delivery", "配送记录"),
                            ("realname", "实名记录"),
                        ],
                        max_length=12,
                    ),
                ),
                ("due_at", models.DateTimeField(verbose_name="最迟上传时间")),
                (
                    "state",
                    models.CharField(
                        choices=[("missing", "未上传"), ("late", "迟交")], max_length=7
                    ),
                ),
                ("received_at", models.DateTimeField(blank=True, null=True)),
                ("noted_at", models.DateTimeField()),
            ],
            options={
                "ordering": ("-due_at", "-pk"),
                "indexes": [
                    models.Index(
                        fields=["institution_code", "state"], name="evidence_gap_institution"
                    )
                ],
                "constraints": [
                    models.UniqueConstraint(
                        fields=("encounter_key", "institution_code", "kind"),
                        name="evidence_gap_once",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("received_at__isnull", True), ("state", "missing")),
                            models.Q(
                                ("received_at__gt", models.F("due_at")),
                                ("received_at__isnull", False),
                                ("state", "late"),
                            ),
                            _connector="OR",
                        ),
                        name="evidence_gap_says_when",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="Prescription",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("region_code", models.CharField(max_length=6)),
                ("institution_code", models.CharField(max_length=12)),
                ("number", models.CharField(max_length=40, verbose_name="处方号")),
                ("encounter_id", models.CharField(max_length=60)),
                (
                    "encounter_key",
                    models.BigIntegerField(help_text="hash of institution and encounter id"),
                ),
                ("issued_on", models.DateField(verbose_name="开具日")),
                (
                    "visit",
                    models.JSONField(
                        help_text="the encounter of the contract, device and address left out"
                    ),
                ),
                ("physician_code", models.CharField(max_length=20, verbose_name="开方医师")),
                ("signed_by", models.CharField(blank=True, max_length=20, verbose_name="签名医师")),
                ("signed_at", models.DateTimeField(blank=True, null=True)),
                (
                    "signature",
                    models.BinaryField(max_length=32, null=True, verbose_name="电子签名摘要"),
                ),
                (
                    "review",
                    models.CharField(
                        blank=True,
                        choices=[("passed", "审核通过"), ("returned", "审核退回")],
                        max_length=8,
                    ),
                ),
                (
                    "reviewed_by",
                    models.CharField(blank=True, max_length=20, verbose_name="审方药师"),
                ),
                ("reviewed_at", models.DateTimeField(blank=True, null=True)),
                (
                    "review_reason",
                    models.CharField(blank=True, max_length=200, verbose_name="退回原因"),
                ),
                (
                    "source",
                    models.CharField(
                        choices=[("upload", "处方上传"), ("claim", "随结算申请")], max_length=6
                    ),
                ),
                ("uploaded_at", models.DateTimeField()),
                ("uploaded_by", models.CharField(max_length=150)),
                ("expires_on", models.DateField(blank=True, null=True, verbose_name="有效期至")),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("unsigned", "未签名"),
                            ("signed", "待药师审核"),
                            ("returned", "药师退回"),
                            ("reviewed", "已审核"),
                            ("released", "流转中"),
                            ("partly", "部分调配"),
                            ("dispensed", "已调配"),
                            ("expired", "已过期"),
                            ("withdrawn", "已撤回"),
                        ],
                        max_length=9,
                    ),
                ),
                ("state_reason", models.CharField(blank=True, max_length=200)),
                ("content_sm3", models.CharField(max_length=64)),
                (
                    "person",
                    models.ForeignKey(
                        db_constraint=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        to="settlement.insuredperson",
                    ),
                ),
            ],
            options={
                "ordering": ("-pk",),
            },
        ),
        migrations.AddField(
            model_name="dispensing",
            name="prescription",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.PROTECT,
                related_name="dispensings",
                to="settlement.prescription",
            ),
        ),
        migrations.CreateModel(
            name="PrescriptionCharge",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("claim_id", models.BigIntegerField()),
                ("drug_code", models.CharField(blank=True, max_length=40)),
                ("quantity", models.BigIntegerField(help_text="1/10000 of a unit")),
                ("region_code", models.CharField(max_length=6)),
                ("institution_code", models.CharField(max_length=12)),
                ("issuer_region", models.CharField(max_length=6)),
                ("issuer_code", models.CharField(max_length=12)),
                (
                    "prescription",
                    models.ForeignKey(
                        db_constraint=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="charges",
                        to="settlement.prescription",
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="PrescriptionLine",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("drug_code", models.CharField(max_length=40, verbose_name="药品编码")),
                ("quantity", models.BigIntegerField(help_text="1/10000 of a unit")),
                ("days_supply", models.SmallIntegerField(verbose_name="用药天数")),
                ("unit", models.CharField(max_length=20, verbose_name="单位")),
                ("dispensed", models.BigIntegerField(default=0, help_text="1/10000 of a unit")),
                (
                    "prescription",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="lines",
                        to="settlement.prescription",
                    ),
                ),
            ],
            options={
                "ordering": ("drug_code",),
            },
        ),
        migrations.CreateModel(
            name="PrescriptionRelease",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("region_code", models.CharField(help_text="of the pharmacy", max_length=6)),
                ("institution_code", models.CharField(max_length=12, verbose_name="零售药店")),
                ("issuer_region", models.CharField(max_length=6)),
                ("issuer_code", models.CharField(max_length=12)),
                ("released_at", models.DateTimeField()),
                ("released_by", models.CharField(max_length=150)),
                ("recalled_at", models.DateTimeField(blank=True, null=True)),
                ("recalled_by", models.CharField(blank=True, max_length=150)),
                (
                    "prescription",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="releases",
                        to="settlement.prescription",
                    ),
                ),
            ],
            options={
                "ordering": ("pk",),
            },
        ),
        migrations.CreateModel(
            name="TraceCode",
            fields=[
                (
                    "code",
                    models.CharField(
                        max_length=40, primary_key=True, serialize=False, verbose_name="药品追溯码"
                    ),
                ),
                ("drug_code", models.CharField(max_length=40)),
                (
                    "dispensing",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="traces",
                        to="settlement.dispensing",
                    ),
                ),
            ],
            options={
                "ordering": ("code",),
            },
        ),
        migrations.AddConstraint(
            model_name="deliveryevent",
            constraint=models.UniqueConstraint(
                fields=("delivery", "kind"), name="delivery_step_once"
            ),
        ),
        migrations.AddConstraint(
            model_name="deliveryevent",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("kind", "signed"), models.Q(("relation", ""), _negated=True)),
                    models.Q(models.Q(("kind", "signed"), _negated=True), ("relation", "")),
                    _connector="OR",
                ),
                name="delivery_signed_by_somebody",
            ),
        ),
        migrations.AddConstraint(
            model_name="delivery",
            constraint=models.UniqueConstraint(
                fields=("logistics_code", "waybill"), name="delivery_waybill"
            ),
        ),
        migrations.AddConstraint(
            model_name="dispensingline",
            constraint=models.UniqueConstraint(
                fields=("dispensing", "drug_code"), name="dispensing_drug_once"
            ),
        ),
        migrations.AddConstraint(
            model_name="dispensingline",
            constraint=models.CheckConstraint(
                condition=models.Q(("quantity__gt", 0)), name="dispensing_moves_goods"
            ),
        ),
        migrations.AddIndex(
            model_name="prescription",
            index=models.Index(fields=["encounter_key"], name="prescription_encounter"),
        ),
        migrations.AddIndex(
            model_name="prescription",
            index=models.Index(fields=["person", "-issued_on"], name="prescription_person"),
        ),
        migrations.AddIndex(
            model_name="prescription",
            index=models.Index(fields=["institution_code", "-id"], name="prescription_institution"),
        ),
        migrations.AddIndex(
            model_name="prescription",
            index=models.Index(
                condition=models.Q(("state__in", ["signed", "reviewed", "released"])),
                fields=["expires_on"],
                name="prescription_open",
            ),
        ),
        migrations.AddConstraint(
            model_name="prescription",
            constraint=models.UniqueConstraint(
                fields=("institution_code", "number"), name="prescription_number"
            ),
        ),
        migrations.AddConstraint(
            model_name="prescription",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("signed_at__isnull", True), ("signed_by", "")),
                    models.Q(
                        models.Q(("signed_by", ""), _negated=True), ("signed_at__isnull", False)
                    ),
                    _connector="OR",
                ),
                name="prescription_signature_whole",
            ),
        ),
        migrations.AddConstraint(
            model_name="prescription",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("review", ""), ("reviewed_at__isnull", True), ("reviewed_by", "")),
                    models.Q(
                        models.Q(("review", ""), _negated=True),
                        models.Q(("reviewed_by", ""), _negated=True),
                        ("reviewed_at__isnull", False),
                    ),
                    _connector="OR",
                ),
                name="prescription_review_whole",
            ),
        ),
        migrations.AddConstraint(
            model_name="prescription",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("reviewed_by", ""),
                    models.Q(("reviewed_by", models.F("signed_by")), _negated=True),
                    _connector="OR",
                ),
                name="prescription_second_person_reviews",
            ),
        ),
        migrations.AddConstraint(
            model_name="prescription",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("review", "returned"), _negated=True),
                    models.Q(("review_reason", ""), _negated=True),
                    _connector="OR",
                ),
                name="prescription_return_has_reason",
            ),
        ),
        migrations.AddConstraint(
            model_name="prescription",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(
                        ("state__in", ["reviewed", "released", "partly", "dispensed"]),
                        _negated=True,
                    ),
                    models.Q(("review", "passed"), ("signed_at__isnull", False)),
                    _connector="OR",
                ),
                name="prescription_signed_and_reviewed",
            ),
        ),
        migrations.AddConstraint(
            model_name="prescription",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("expires_on__isnull", True),
                    ("expires_on__gte", models.F("issued_on")),
                    _connector="OR",
                ),
                name="prescription_dates_in_order",
            ),
        ),
        migrations.AddConstraint(
            model_name="dispensing",
            constraint=models.UniqueConstraint(
                fields=("institution_code", "number"), name="dispensing_number"
            ),
        ),
        migrations.AddIndex(
            model_name="prescriptioncharge",
            index=models.Index(fields=["claim_id"], name="prescription_charge_claim"),
        ),
        migrations.AddConstraint(
            model_name="prescriptioncharge",
            constraint=models.UniqueConstraint(
                fields=("prescription", "claim_id", "drug_code"), name="prescription_charge_once"
            ),
        ),
        migrations.AddConstraint(
            model_name="prescriptioncharge",
            constraint=models.CheckConstraint(
                condition=models.Q(("quantity__gte", 0)), name="prescription_charge_quantity"
            ),
        ),
        migrations.AddConstraint(
            model_name="prescriptionline",
            constraint=models.UniqueConstraint(
                fields=("prescription", "drug_code"), name="prescription_drug_once"
            ),
        ),
        migrations.AddConstraint(
            model_name="prescriptionline",
            constraint=models.CheckConstraint(
                condition=models.Q(("days_supply__gte", 0), ("quantity__gt", 0)),
                name="prescription_line_sane",
            ),
        ),
        migrations.AddConstraint(
            model_name="prescriptionline",
            constraint=models.CheckConstraint(
                condition=models.Q(("dispensed__gte", 0), ("dispensed__lte", models.F("quantity"))),
                name="prescription_not_dispensed_twice",
            ),
        ),
        migrations.AddIndex(
            model_name="prescriptionrelease",
            index=models.Index(fields=["institution_code", "-id"], name="prescription_released_to"),
        ),
        migrations.AddConstraint(
            model_name="prescriptionrelease",
            constraint=models.UniqueConstraint(
                condition=models.Q(("recalled_at__isnull", True)),
                fields=("prescription", "institution_code"),
                name="prescription_released_once",
            ),
        ),
        migrations.AddConstraint(
            model_name="prescriptionrelease",
            constraint=models.CheckConstraint(
                condition=models.Q(("institution_code", models.F("issuer_code")), _negated=True),
                name="release_to_another",
            ),
        ),
        migrations.RunSQL(CODES, migrations.RunSQL.noop),
        migrations.RunSQL(GUARDS + CONTENT + USED, UNDO),
    ]
