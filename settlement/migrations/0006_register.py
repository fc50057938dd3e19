"""The register in two times: filed diseases, filings, extracts; who may see them."""

import django.contrib.postgres.constraints
import django.db.models.deletion
from django.db import migrations, models

import institutions.models.dated

#: What was filed before filings had a second time was known from its first day on.
RECORDED = """
UPDATE settlement_chronicdisease
    SET recorded_at = valid_from::timestamp AT TIME ZONE 'Asia/Shanghai';
"""

#: Entitlements are read wherever a person is treated; the rest belongs to the person's own agency.
GUARDS = """
ALTER TABLE settlement_entitlement ENABLE ROW LEVEL SECURITY;
ALTER TABLE settlement_entitlement FORCE ROW LEVEL SECURITY;
CREATE POLICY some_scope ON settlement_entitlement
    USING (coalesce(current_setting('app.scope', true), '') <> '');
""" + "".join(
    f"""
ALTER TABLE settlement_{name} ENABLE ROW LEVEL SECURITY;
ALTER TABLE settlement_{name} FORCE ROW LEVEL SECURITY;
CREATE POLICY scope ON settlement_{name}
    USING (scope_allows(region_code, institution_code))
    WITH CHECK (scope_allows(region_code, institution_code));
"""
    for name in ("diseasefiling", "registersheet", "registerdifference")
)
UNDO = """
DROP POLICY some_scope ON settlement_entitlement;
ALTER TABLE settlement_entitlement DISABLE ROW LEVEL SECURITY;
ALTER TABLE settlement_entitlement NO FORCE ROW LEVEL SECURITY;
"""


class Migration(migrations.Migration):
    dependencies = [
        ("settlement", "0005_benefits"),
    ]

    operations = [
        migrations.CreateModel(
            name="RegisterDifference",
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
                            ("only_here", "仅本门户登记"),
                            ("only_there", "仅核对表列有"),
                            ("scheme", "险种不同"),
                            ("standing", "参保状态不同"),
                            ("dates", "起止日不同"),
                        ],
                        max_length=10,
                    ),
                ),
                ("id_hash", models.BinaryField(max_length=32)),
                ("id_masked", models.CharField(max_length=24)),
                ("name_masked", models.CharField(max_length=20)),
                (
                    "row",
                    models.PositiveIntegerField(blank=True, null=True, verbose_name="核对表的行"),
                ),
                ("ours", models.JSONField(default=dict)),
                ("theirs", models.JSONField(default=dict)),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("open", "待处理"),
                            ("adopted", "已按核对表更正"),
                            ("kept", "保留本门户登记"),
                        ],
                        default="open",
                        max_length=7,
                    ),
                ),
                ("reason", models.CharField(blank=True, max_length=200, verbose_name="理由")),
                ("decided_at", models.DateTimeField(blank=True, null=True)),
                ("decided_by", models.CharField(blank=True, max_length=150)),
                ("region_code", models.CharField(max_length=6)),
                ("institution_code", models.CharField(blank=True, max_length=12)),
            ],
            options={
                "ordering": ("pk",),
            },
        ),
        migrations.CreateModel(
            name="RegisterSheet",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "purpose",
                    models.CharField(
                        choices=[("import", "导入参保信息"), ("compare", "核对参保信息")],
                        max_length=7,
                    ),
                ),
                ("file_name", models.CharField(max_length=200)),
                ("file_cipher", models.BinaryField()),
                ("file_sm3", models.CharField(max_length=64)),
                ("plan_sm3", models.CharField(max_length=64, verbose_name="计划的摘要")),
                ("on", models.DateField(blank=True, null=True, verbose_name="核对时点")),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("checked", "待确认"),
                            ("waiting", "正在导入"),
                            ("done", "已完成"),
                            ("failed", "未导入"),
                        ],
                        default="checked",
                        max_length=7,
                    ),
                ),
                ("rows", models.PositiveIntegerField()),
                ("counts", models.JSONField(default=dict)),
                ("errors", models.JSONField(default=list)),
                ("region_code", models.CharField(max_length=6)),
                ("institution_code", models.CharField(blank=True, max_length=12)),
                ("created_at", models.DateTimeField()),
                ("created_by", models.CharField(max_length=150)),
                ("confirmed_at", models.DateTimeField(blank=True, null=True)),
                ("confirmed_by", models.CharField(blank=True, max_length=150)),
                ("finished_at", models.DateTimeField(blank=True, null=True)),
            ],
            options={
                "ordering": ("-pk",),
            },
        ),
        migrations.AlterModelOptions(
            name="chronicdisease",
            options={"ordering": ("valid_from", "recorded_at")},
        ),
        migrations.AddField(
            model_name="chronicdisease",
            name="recorded_at",
            field=models.DateTimeField(null=True),
        ),
        migrations.RunSQL(RECORDED, migrations.RunSQL.noop),
        migrations.AlterField(
            model_name="chronicdisease",
            name="recorded_at",
            field=models.DateTimeField(),
        ),
        migrations.AddField(
            model_name="chronicdisease",
            name="recorded_by",
            field=models.CharField(blank=True, max_length=150),
        ),
        migrations.AddField(
            model_name="chronicdisease",
            name="superseded_at",
            field=models.DateTimeField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name="insuredperson",
            name="phone_cipher",
            field=models.BinaryField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name="insuredperson",
            name="phone_masked",
            field=models.CharField(
                blank=True, db_default="", default="", max_length=20, verbose_name="电话"
            ),
        ),
        migrations.CreateModel(
            name="DiseaseFiling",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("procedure", models.SlugField(max_length=40)),
                ("state", models.SlugField(max_length=40)),
                ("entered_on", models.DateField(verbose_name="进入本状态日")),
                ("due", models.DateField(blank=True, null=True)),
                (
                    "due_nominal",
                    models.DateField(blank=True, null=True, verbose_name="顺延前的末日"),
                ),
                ("due_clause", models.CharField(blank=True, max_length=120)),
                ("due_unknown", models.SmallIntegerField(blank=True, null=True)),
                ("stopped", models.BooleanField(default=False)),
                ("version", models.PositiveIntegerField(default=0)),
                ("region_code", models.CharField(max_length=6)),
                ("institution_code", models.CharField(blank=True, max_length=12)),
                ("opened_at", models.DateTimeField()),
                ("opened_by", models.CharField(max_length=150)),
                ("closed_at", models.DateTimeField(blank=True, null=True)),
                ("number", models.CharField(max_length=40, unique=True, verbose_name="认定号")),
                ("code", models.CharField(max_length=20, verbose_name="病种编码")),
                ("name", models.CharField(max_length=60, verbose_name="病种")),
                ("reason", models.CharField(blank=True, max_length=500, verbose_name="申请说明")),
                ("valid_from", models.DateField(blank=True, null=True, verbose_name="有效期自")),
                ("valid_until", models.DateField(blank=True, null=True, verbose_name="有效期至")),
                (
                    "person",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="filings",
                        to="settlement.insuredperson",
                    ),
                ),
                (
                    "renews",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="renewals",
                        to="settlement.chronicdisease",
                    ),
                ),
            ],
            options={
                "ordering": ("-opened_at", "-pk"),
            },
        ),
        migrations.AddField(
            model_name="chronicdisease",
            name="filing",
            field=models.ForeignKey(
                blank=True,
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="diseases",
                to="settlement.diseasefiling",
            ),
        ),
        migrations.AddConstraint(
            model_name="chronicdisease",
            constraint=django.contrib.postgres.constraints.ExclusionConstraint(
                condition=models.Q(("superseded_at__isnull", True)),
                expressions=[
                    (institutions.models.dated.DateRange("valid_from", "valid_until"), "&&"),
                    (models.F("person"), "="),
                    (models.F("code"), "="),
                ],
                name="chronic_disease_no_overlap",
            ),
        ),
        migrations.AddConstraint(
            model_name="chronicdisease",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("valid_until__isnull", True),
                    ("valid_until__gte", models.F("valid_from")),
                    _connector="OR",
                ),
                name="chronic_disease_span",
            ),
        ),
        migrations.AddField(
            model_name="registerdifference",
            name="person",
            field=models.ForeignKey(
                blank=True,
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                to="settlement.insuredperson",
            ),
        ),
        migrations.AddConstraint(
            model_name="registersheet",
            constraint=models.UniqueConstraint(
                condition=models.Q(("state", "failed"), _negated=True),
                fields=("purpose", "region_code", "file_sm3", "on"),
                name="register_sheet_once",
                nulls_distinct=False,
            ),
        ),
        migrations.AddConstraint(
            model_name="registersheet",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("on__isnull", True), ("purpose", "import")),
                    models.Q(("on__isnull", False), ("purpose", "compare")),
                    _connector="OR",
                ),
                name="register_sheet_day",
            ),
        ),
        migrations.AddField(
            model_name="registerdifference",
            name="sheet",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.PROTECT,
                related_name="differences",
                to="settlement.registersheet",
            ),
        ),
        migrations.AddIndex(
            model_name="diseasefiling",
            index=models.Index(fields=["region_code", "-opened_at"], name="disease_filing_region"),
        ),
        migrations.AddIndex(
            model_name="diseasefiling",
            index=models.Index(
                fields=["institution_code", "-opened_at"], name="disease_filing_institution"
            ),
        ),
        migrations.AddConstraint(
            model_name="diseasefiling",
            constraint=models.UniqueConstraint(
                condition=models.Q(("closed_at__isnull", True)),
                fields=("person", "code"),
                name="disease_filing_one_open",
            ),
        ),
        migrations.AddConstraint(
            model_name="diseasefiling",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("valid_until__isnull", True),
                    ("valid_until__gte", models.F("valid_from")),
                    _connector="OR",
                ),
                name="disease_filing_span",
            ),
        ),
        migrations.AddIndex(
            model_name="registerdifference",
            index=models.Index(fields=["sheet", "state", "kind"], name="register_difference_of"),
        ),
        migrations.AddConstraint(
            model_name="registerdifference",
            constraint=models.UniqueConstraint(
                fields=("sheet", "id_hash"), name="register_difference_once"
            ),
        ),
        migrations.AddConstraint(
            model_name="registerdifference",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("decided_at__isnull", True), ("state", "open")),
                    models.Q(
                        models.Q(("state", "open"), _negated=True),
                        ("decided_at__isnull", False),
                        models.Q(("reason", ""), _negated=True),
                    ),
                    _connector="OR",
                ),
                name="register_difference_decided",
            ),
        ),
        migrations.AddConstraint(
            model_name="registerdifference",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("kind", "only_there"), ("person__isnull", False), _connector="OR"
                ),
                name="register_difference_person",
            ),
        ),
        migrations.RunSQL(GUARDS, UNDO),
    ]
