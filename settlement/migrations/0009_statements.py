"""Statements, deductions, advances, budgets and clearings: figures that add up, guarded by the database."""

import django.db.models.deletion
import django.db.models.expressions
from django.db import migrations, models

SCOPED = ("statement", "deduction", "objection", "advance", "budgetentry", "clearing")

#: Rows of institutions are seen inside their scope; nothing here is ever deleted.
GUARDS = "\n".join(
    f"""
ALTER TABLE settlement_{name} ENABLE ROW LEVEL SECURITY;
ALTER TABLE settlement_{name} FORCE ROW LEVEL SECURITY;
CREATE POLICY scope ON settlement_{name}
    USING (scope_allows(region_code, institution_code))
    WITH CHECK (scope_allows(region_code, institution_code));
"""
    for name in SCOPED
) + "\n".join(
    f"""
CREATE TRIGGER kept BEFORE DELETE OR TRUNCATE ON settlement_{name}
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
"""
    for name in (*SCOPED, "reopening")
)

#: A final statement keeps its figures until its month is reopened (a new edition). What is deducted
#: for a claim never exceeds what the fund paid for it. Amounts and decisions are written once.
TRIGGERS = """
CREATE FUNCTION statement_keeps_figures() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF (NEW.institution_code, NEW.scheme, NEW.period, NEW.region_code)
        IS DISTINCT FROM (OLD.institution_code, OLD.scheme, OLD.period, OLD.region_code) THEN
        RAISE EXCEPTION 'statement %: its institution, scheme and month never change', OLD.id
            USING ERRCODE = 'check_violation';
    END IF;
    IF OLD.finalised_at IS NOT NULL AND NEW.edition = OLD.edition
        AND (NEW.state, NEW.declared, NEW.deducted, NEW.deposit, NEW.set_off, NEW.assessment,
             NEW.adjustments, NEW.carried, NEW.payable, NEW.finalised_at)
        IS DISTINCT FROM (OLD.state, OLD.declared, OLD.deducted, OLD.deposit, OLD.set_off,
             OLD.assessment, OLD.adjustments, OLD.carried, OLD.payable, OLD.finalised_at) THEN
        RAISE EXCEPTION 'statement % is final', OLD.id USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER keeps_figures BEFORE UPDATE ON settlement_statement
    FOR EACH ROW EXECUTE FUNCTION statement_keeps_figures();

CREATE FUNCTION deduction_within_fund() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    paid bigint;
    taken bigint;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('deduction ' || NEW.claim_id, 0));
    paid := (SELECT coalesce(sum(fund), 0) FROM settlement_settlement
        WHERE claim_id = NEW.claim_id);
    taken := (SELECT coalesce(sum(amount), 0) FROM settlement_deduction
        WHERE claim_id = NEW.claim_id AND state <> 'withdrawn');
    IF NEW.amount > 0 AND taken + NEW.amount > paid THEN
        RAISE EXCEPTION 'deductions of claim % exceed what the fund paid', NEW.claim_id
            USING ERRCODE = 'check_violation', CONSTRAINT = 'deduction_within_fund';
    END IF;
    IF NEW.amount < 0 AND taken + NEW.amount < 0 THEN
        RAISE EXCEPTION 'more is given back for claim % than was deducted', NEW.claim_id
            USING ERRCODE = 'check_violation', CONSTRAINT = 'deduction_within_fund';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER within_fund BEFORE INSERT ON settlement_deduction
    FOR EACH ROW EXECUTE FUNCTION deduction_within_fund();

CREATE FUNCTION deduction_keeps_amount() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF (NEW.claim_id, NEW.line_no, NEW.amount, NEW.reason, NEW.clause, NEW.made_by, NEW.scheme)
        IS DISTINCT FROM (OLD.claim_id, OLD.line_no, OLD.amount, OLD.reason, OLD.clause,
            OLD.made_by, OLD.scheme) OR OLD.state IN ('kept', 'withdrawn')
        AND (NEW.state, NEW.answer, NEW.answered_by)
        IS DISTINCT FROM (OLD.state, OLD.answer, OLD.answered_by) THEN
        RAISE EXCEPTION 'deduction % is not changed', OLD.id USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER keeps_amount BEFORE UPDATE ON settlement_deduction
    FOR EACH ROW EXECUTE FUNCTION deduction_keeps_amount();

CREATE FUNCTION budget_decided_once() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.state <> 'proposed'
        OR (NEW.institution_code, NEW.scheme, NEW.year, NEW.kind, NEW.amount, NEW.reason,
            NEW.document, NEW.proposed_by)
        IS DISTINCT FROM (OLD.institution_code, OLD.scheme, OLD.year, OLD.kind, OLD.amount,
            OLD.reason, OLD.document, OLD.proposed_by) THEN
        RAISE EXCEPTION 'the history of budget % is not changed', OLD.id
            USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER decided_once BEFORE UPDATE ON settlement_budgetentry
    FOR EACH ROW EXECUTE FUNCTION budget_decided_once();

CREATE FUNCTION advance_decided_once() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.state <> 'proposed'
        OR (NEW.institution_code, NEW.scheme, NEW.amount, NEW.proposed_by)
        IS DISTINCT FROM (OLD.institution_code, OLD.scheme, OLD.amount, OLD.proposed_by) THEN
        RAISE EXCEPTION 'advance % is decided once', OLD.id USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER decided_once BEFORE UPDATE ON settlement_advance
    FOR EACH ROW EXECUTE FUNCTION advance_decided_once();

CREATE FUNCTION clearing_keeps_figures() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF (NEW.institution_code, NEW.scheme, NEW.year, NEW.budget, NEW.used, NEW.retained, NEW.borne,
        NEW.deposit_held, NEW.returned, NEW.forfeited, NEW.proposed_by)
        IS DISTINCT FROM (OLD.institution_code, OLD.scheme, OLD.year, OLD.budget, OLD.used,
            OLD.retained, OLD.borne, OLD.deposit_held, OLD.returned, OLD.forfeited,
            OLD.proposed_by)
        OR OLD.state IN ('refused', 'reversed') THEN
        RAISE EXCEPTION 'clearing % keeps its figures', OLD.id USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER keeps_figures BEFORE UPDATE ON settlement_clearing
    FOR EACH ROW EXECUTE FUNCTION clearing_keeps_figures();
"""

UNDO = "".join(
    f"DROP TRIGGER {name} ON settlement_{table}; DROP FUNCTION {function}();"
    for name, table, function in (
        ("keeps_figures", "statement", "statement_keeps_figures"),
        ("within_fund", "deduction", "deduction_within_fund"),
        ("keeps_amount", "deduction", "deduction_keeps_amount"),
        ("decided_once", "budgetentry", "budget_decided_once"),
        ("decided_once", "advance", "advance_decided_once"),
        ("keeps_figures", "clearing", "clearing_keeps_figures"),
    )
)


class Migration(migrations.Migration):
    dependencies = [
        ("settlement", "0008_reimbursements"),
    ]

    operations = [
        migrations.CreateModel(
            name="Advance",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("region_code", models.CharField(max_length=6)),
                ("institution_code", models.CharField(max_length=12)),
                (
                    "scheme",
                    models.CharField(
                        choices=[
                            ("employee", "职工医保"),
                            ("resident", "居民医保"),
                            ("lixiu", "离休统筹"),
                        ],
                        max_length=8,
                    ),
                ),
                ("amount", models.BigIntegerField()),
                ("reason", models.CharField(max_length=200, verbose_name="事由")),
                ("document", models.CharField(blank=True, max_length=120, verbose_name="依据文件")),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("proposed", "待复核"),
                            ("paid", "已拨付"),
                            ("refused", "不予拨付"),
                        ],
                        default="proposed",
                        max_length=8,
                    ),
                ),
                ("proposed_at", models.DateTimeField()),
                ("proposed_by", models.CharField(max_length=150, verbose_name="提出人")),
                ("decided_at", models.DateTimeField(blank=True, null=True)),
                ("decided_by", models.CharField(blank=True, max_length=150, verbose_name="复核人")),
                ("decision", models.CharField(blank=True, max_length=200, verbose_name="复核意见")),
                ("voucher_id", models.BigIntegerField(blank=True, null=True, unique=True)),
            ],
            options={
                "ordering": ("-pk",),
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("amount__gt", 0)), name="advance_moves_money"
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("decided_by", ""),
                            models.Q(("decided_by", models.F("proposed_by")), _negated=True),
                            _connector="OR",
                        ),
                        name="advance_second_person",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(
                                ("decided_by", ""),
                                ("state", "proposed"),
                                ("voucher_id__isnull", True),
                            ),
                            models.Q(
                                ("state", "paid"),
                                ("voucher_id__isnull", False),
                                models.Q(("decided_by", ""), _negated=True),
                            ),
                            models.Q(
                                ("state", "refused"),
                                ("voucher_id__isnull", True),
                                models.Q(("decided_by", ""), _negated=True),
                            ),
                            _connector="OR",
                        ),
                        name="advance_paid_by_voucher",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="BudgetEntry",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("region_code", models.CharField(max_length=6)),
                ("institution_code", models.CharField(max_length=12)),
                (
                    "scheme",
                    models.CharField(
                        choices=[
                            ("employee", "职工医保"),
                            ("resident", "居民医保"),
                            ("lixiu", "离休统筹"),
                        ],
                        max_length=8,
                        verbose_name="险种",
                    ),
                ),
                ("year", models.SmallIntegerField(verbose_name="年度")),
                (
                    "kind",
                    models.CharField(
                        choices=[("initial", "年初下达"), ("adjustment", "年中调整")], max_length=10
                    ),
                ),
                ("amount", models.BigIntegerField(verbose_name="金额")),
                ("reason", models.CharField(max_length=200, verbose_name="理由")),
                ("document", models.CharField(max_length=120, verbose_name="依据文件")),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("proposed", "待复核"),
                            ("approved", "已生效"),
                            ("refused", "不予同意"),
                        ],
                        default="proposed",
                        max_length=8,
                    ),
                ),
                ("proposed_at", models.DateTimeField()),
                ("proposed_by", models.CharField(max_length=150, verbose_name="提出人")),
                ("decided_at", models.DateTimeField(blank=True, null=True)),
                ("decided_by", models.CharField(blank=True, max_length=150, verbose_name="复核人")),
                ("decision", models.CharField(blank=True, max_length=200, verbose_name="复核意见")),
            ],
            options={
                "ordering": ("pk",),
                "indexes": [
                    models.Index(fields=["institution_code", "year"], name="budget_institution")
                ],
                "constraints": [
                    models.UniqueConstraint(
                        condition=models.Q(
                            ("kind", "initial"), models.Q(("state", "refused"), _negated=True)
                        ),
                        fields=("institution_code", "scheme", "year"),
                        name="budget_set_once",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("amount__gt", 0), ("kind", "initial")),
                            models.Q(
                                ("kind", "adjustment"), models.Q(("amount", 0), _negated=True)
                            ),
                            _connector="OR",
                        ),
                        name="budget_amount",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("decided_by", ""),
                            models.Q(("decided_by", models.F("proposed_by")), _negated=True),
                            _connector="OR",
                        ),
                        name="budget_second_person",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("decided_by", ""), ("state", "proposed")),
                            models.Q(
                                models.Q(("state", "proposed"), _negated=True),
                                models.Q(("decided_by", ""), _negated=True),
                            ),
                            _connector="OR",
                        ),
                        name="budget_decided_by_a_person",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("reason", ""), _negated=True),
                            models.Q(("document", ""), _negated=True),
                        ),
                        name="budget_has_a_reason",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="Clearing",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("region_code", models.CharField(max_length=6)),
                ("institution_code", models.CharField(max_length=12)),
                (
                    "scheme",
                    models.CharField(
                        choices=[
                            ("employee", "职工医保"),
                            ("resident", "居民医保"),
                            ("lixiu", "离休统筹"),
                        ],
                        max_length=8,
                        verbose_name="险种",
                    ),
                ),
                ("year", models.SmallIntegerField(verbose_name="服务年度")),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("proposed", "待复核"),
                            ("approved", "已清算"),
                            ("refused", "不予通过"),
                            ("reversed", "已冲销"),
                        ],
                        default="proposed",
                        max_length=8,
                    ),
                ),
                ("budget", models.BigIntegerField(verbose_name="年度总额指标")),
                ("used", models.BigIntegerField(verbose_name="统筹基金使用")),
                ("claims", models.IntegerField(default=0, verbose_name="结算笔数")),
                ("retained", models.BigIntegerField(default=0, verbose_name="结余留用")),
                ("borne", models.BigIntegerField(default=0, verbose_name="超支分担（机构）")),
                ("deposit_held", models.BigIntegerField(default=0, verbose_name="保证金余额")),
                ("returned", models.BigIntegerField(default=0, verbose_name="返还保证金")),
                ("forfeited", models.BigIntegerField(default=0, verbose_name="不予返还保证金")),
                ("return_ratio", models.IntegerField(default=0, verbose_name="返还比例（万分比）")),
                (
                    "score",
                    models.IntegerField(blank=True, null=True, verbose_name="考核得分（万分比）"),
                ),
                ("grade", models.CharField(blank=True, max_length=20, verbose_name="考核等次")),
                (
                    "tiers",
                    models.JSONField(
                        default=list,
                        help_text="how the difference was shared",
                        verbose_name="分担档次",
                    ),
                ),
                (
                    "deposits",
                    models.JSONField(default=dict, help_text="institution code → fen held"),
                ),
                ("basis", models.JSONField(default=dict)),
                ("example", models.BooleanField(default=False, verbose_name="使用示例参数")),
                ("proposed_at", models.DateTimeField()),
                ("proposed_by", models.CharField(max_length=150, verbose_name="提出人")),
                ("decided_at", models.DateTimeField(blank=True, null=True)),
                ("decided_by", models.CharField(blank=True, max_length=150, verbose_name="复核人")),
                ("decision", models.CharField(blank=True, max_length=200, verbose_name="复核意见")),
                ("reversed_at", models.DateTimeField(blank=True, null=True)),
                ("reversed_by", models.CharField(blank=True, max_length=150)),
                ("reversal_reason", models.CharField(blank=True, max_length=200)),
            ],
            options={
                "ordering": ("-year", "institution_code", "scheme", "-pk"),
                "constraints": [
                    models.UniqueConstraint(
                        condition=models.Q(("state__in", ("proposed", "approved"))),
                        fields=("institution_code", "scheme", "year"),
                        name="clearing_once_a_year",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("decided_by", ""),
                            models.Q(("decided_by", models.F("proposed_by")), _negated=True),
                            _connector="OR",
                        ),
                        name="clearing_second_person",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("borne__gte", 0),
                            ("forfeited__gte", 0),
                            ("retained__gte", 0),
                            ("returned__gte", 0),
                            models.Q(("retained", 0), ("borne", 0), _connector="OR"),
                            (
                                "deposit_held",
                                django.db.models.expressions.CombinedExpression(
                                    models.F("returned"), "+", models.F("forfeited")
                                ),
                            ),
                        ),
                        name="clearing_parts_add_up",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("retained__lte", 0),
                            (
                                "retained__lte",
                                django.db.models.expressions.CombinedExpression(
                                    models.F("budget"), "-", models.F("used")
                                ),
                            ),
                            _connector="OR",
                        ),
                        name="clearing_within_surplus",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("borne__lte", 0),
                            (
                                "borne__lte",
                                django.db.models.expressions.CombinedExpression(
                                    models.F("used"), "-", models.F("budget")
                                ),
                            ),
                            _connector="OR",
                        ),
                        name="clearing_within_overrun",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="Reopening",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("pool", models.SlugField(max_length=30)),
                ("month", models.DateField()),
                ("reason", models.CharField(max_length=200, verbose_name="理由")),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("proposed", "待复核"),
                            ("done", "已反关账"),
                            ("refused", "不予反关账"),
                        ],
                        default="proposed",
                        max_length=8,
                    ),
                ),
                ("proposed_at", models.DateTimeField()),
                ("proposed_by", models.CharField(max_length=150)),
                ("decided_at", models.DateTimeField(blank=True, null=True)),
                ("decided_by", models.CharField(blank=True, max_length=150)),
                ("decision", models.CharField(blank=True, max_length=200)),
            ],
            options={
                "ordering": ("-pk",),
                "constraints": [
                    models.UniqueConstraint(
                        condition=models.Q(("state", "proposed")),
                        fields=("pool", "month"),
                        name="reopening_one_open",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("decided_by", ""),
                            models.Q(("decided_by", models.F("proposed_by")), _negated=True),
                            _connector="OR",
                        ),
                        name="reopening_second_person",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("decided_by", ""), ("state", "proposed")),
                            models.Q(
                                models.Q(("state", "proposed"), _negated=True),
                                models.Q(("decided_by", ""), _negated=True),
                            ),
                            _connector="OR",
                        ),
                        name="reopening_decided_by_a_person",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="Statement",
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
                (
                    "scheme",
                    models.CharField(
                        choices=[
                            ("employee", "职工医保"),
                            ("resident", "居民医保"),
                            ("lixiu", "离休统筹"),
                        ],
                        max_length=8,
                        verbose_name="险种",
                    ),
                ),
                (
                    "period",
                    models.DateField(help_text="first day of the month", verbose_name="结算期"),
                ),
                ("pool", models.SlugField(help_text="policy region, as in Period", max_length=30)),
                ("claims", models.IntegerField(default=0, verbose_name="结算笔数")),
                ("reversals", models.IntegerField(default=0, verbose_name="冲正笔数")),
                ("held_claims", models.IntegerField(default=0, verbose_name="待审笔数")),
                ("fee", models.BigIntegerField(default=0, verbose_name="费用总额")),
                ("held", models.BigIntegerField(default=0, verbose_name="待审金额")),
                ("fund", models.BigIntegerField(default=0, verbose_name="申报统筹基金")),
                ("account", models.BigIntegerField(default=0, verbose_name="申报个人账户")),
                ("declared", models.BigIntegerField(default=0, verbose_name="申报金额")),
                (
                    "deducted",
                    models.BigIntegerField(
                        default=0, help_text="returned deductions negative", verbose_name="审核扣款"
                    ),
                ),
                ("deposit", models.BigIntegerField(default=0, verbose_name="质量保证金")),
                ("set_off", models.BigIntegerField(default=0, verbose_name="预付款冲抵")),
                ("assessment", models.BigIntegerField(default=0, verbose_name="考核扣减")),
                (
                    "adjustments",
                    models.BigIntegerField(
                        default=0, help_text="owed more > 0 > owed less", verbose_name="特殊调整"
                    ),
                ),
                (
                    "carried",
                    models.BigIntegerField(
                        default=0, help_text="never above zero", verbose_name="上期结转"
                    ),
                ),
                ("payable", models.BigIntegerField(default=0, verbose_name="应付金额")),
                (
                    "deposit_ratio",
                    models.IntegerField(default=0, verbose_name="保证金比例（万分比）"),
                ),
                (
                    "set_off_ratio",
                    models.IntegerField(default=0, verbose_name="预付冲抵比例（万分比）"),
                ),
                (
                    "coefficient",
                    models.IntegerField(default=10000, verbose_name="考核系数（万分比）"),
                ),
                ("example", models.BooleanField(default=False, verbose_name="使用示例参数")),
                (
                    "basis",
                    models.JSONField(
                        blank=True, default=dict, help_text="step → label and clause behind it"
                    ),
                ),
                (
                    "digest",
                    models.CharField(
                        blank=True, help_text="SM3 of the figures as signed", max_length=64
                    ),
                ),
                (
                    "edition",
                    models.SmallIntegerField(
                        default=1,
                        help_text="raised when the month is reopened",
                        verbose_name="版次",
                    ),
                ),
                ("round", models.SmallIntegerField(default=0, verbose_name="送达次数")),
                (
                    "signed_name",
                    models.CharField(blank=True, max_length=60, verbose_name="机构确认人"),
                ),
                (
                    "signed_at",
                    models.DateTimeField(blank=True, null=True, verbose_name="机构确认时间"),
                ),
                ("finalised_at", models.DateTimeField(blank=True, null=True)),
            ],
            options={
                "ordering": ("-period", "institution_code", "scheme"),
                "indexes": [
                    models.Index(fields=["pool", "period"], name="statement_period"),
                    models.Index(fields=["state", "period"], name="statement_state"),
                ],
                "constraints": [
                    models.UniqueConstraint(
                        fields=("institution_code", "scheme", "period"), name="statement_once"
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("period__day", 1)), name="statement_of_a_month"
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            (
                                "declared",
                                django.db.models.expressions.CombinedExpression(
                                    models.F("fund"), "+", models.F("account")
                                ),
                            )
                        ),
                        name="statement_declared_adds_up",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            (
                                "payable",
                                django.db.models.expressions.CombinedExpression(
                                    django.db.models.expressions.CombinedExpression(
                                        django.db.models.expressions.CombinedExpression(
                                            django.db.models.expressions.CombinedExpression(
                                                django.db.models.expressions.CombinedExpression(
                                                    django.db.models.expressions.CombinedExpression(
                                                        models.F("declared"),
                                                        "-",
                                                        models.F("deducted"),
                                                    ),
                                                    "-",
                                                    models.F("deposit"),
                                                ),
                                                "-",
                                                models.F("set_off"),
                                            ),
                                            "-",
                                            models.F("assessment"),
                                        ),
                                        "+",
                                        models.F("adjustments"),
                                    ),
                                    "+",
                                    models.F("carried"),
                                ),
                            )
                        ),
                        name="statement_parts_add_up",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("assessment__gte", 0),
                            ("carried__lte", 0),
                            ("deposit__gte", 0),
                            ("set_off__gte", 0),
                        ),
                        name="statement_signs",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("coefficient__range", (0, 10000)),
                            ("deposit_ratio__range", (0, 10000)),
                            ("set_off_ratio__range", (0, 10000)),
                        ),
                        name="statement_ratios",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(
                                ("finalised_at__isnull", False),
                                ("state__in", ("confirmed", "decided")),
                            ),
                            models.Q(
                                models.Q(("state__in", ("confirmed", "decided")), _negated=True),
                                ("finalised_at__isnull", True),
                            ),
                            _connector="OR",
                        ),
                        name="statement_final_has_a_time",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("state", "confirmed"), _negated=True),
                            models.Q(("signed_name", ""), _negated=True),
                            _connector="OR",
                        ),
                        name="statement_confirmed_is_signed",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="Objection",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("region_code", models.CharField(max_length=6)),
                ("institution_code", models.CharField(max_length=12)),
                ("round", models.SmallIntegerField()),
                ("reason", models.CharField(max_length=500, verbose_name="异议理由")),
                ("claims", models.JSONField(blank=True, default=list, verbose_name="涉及单据")),
                ("made_at", models.DateTimeField()),
                ("made_by", models.CharField(max_length=150)),
                ("signed_name", models.CharField(max_length=60, verbose_name="提出人")),
                ("answer", models.CharField(blank=True, max_length=500, verbose_name="答复")),
                ("answered_at", models.DateTimeField(blank=True, null=True)),
                ("answered_by", models.CharField(blank=True, max_length=150)),
                (
                    "statement",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="objections",
                        to="settlement.statement",
                    ),
                ),
            ],
            options={
                "ordering": ("round",),
                "constraints": [
                    models.UniqueConstraint(
                        fields=("statement", "round"), name="objection_once_a_round"
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("answered_by", ""),
                            models.Q(("answered_by", models.F("made_by")), _negated=True),
                            _connector="OR",
                        ),
                        name="objection_second_person",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="Deduction",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("region_code", models.CharField(max_length=6)),
                ("institution_code", models.CharField(max_length=12)),
                (
                    "scheme",
                    models.CharField(
                        choices=[
                            ("employee", "职工医保"),
                            ("resident", "居民医保"),
                            ("lixiu", "离休统筹"),
                        ],
                        max_length=8,
                    ),
                ),
                ("claim_id", models.BigIntegerField(db_index=True)),
                ("line_no", models.SmallIntegerField(blank=True, null=True, verbose_name="行号")),
                ("amount", models.BigIntegerField(help_text="fen", verbose_name="扣款金额")),
                (
                    "reason",
                    models.CharField(
                        choices=[
                            ("fictitious", "虚构医药服务"),
                            ("split", "分解服务"),
                            ("forced", "强制服务"),
                            ("inflated", "虚报价格"),
                            ("substituted", "串换项目"),
                            ("duplicate", "重复收费"),
                            ("not_follow_up", "不符合复诊规定"),
                            ("not_in_list", "不符合病种、目录或用药规定"),
                            ("records", "病历、处方等材料不全"),
                            ("other", "其他违规"),
                            ("returned", "冲正退回扣款"),
                        ],
                        max_length=14,
                        verbose_name="扣款类别",
                    ),
                ),
                ("note", models.CharField(max_length=200, verbose_name="说明")),
                ("clause", models.CharField(max_length=120, verbose_name="依据")),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("made", "已扣款"),
                            ("disputed", "机构有异议"),
                            ("kept", "维持"),
                            ("withdrawn", "撤销"),
                        ],
                        default="made",
                        max_length=9,
                    ),
                ),
                ("made_at", models.DateTimeField()),
                ("made_by", models.CharField(max_length=150, verbose_name="审核人")),
                ("dispute", models.CharField(blank=True, max_length=500, verbose_name="机构异议")),
                ("answer", models.CharField(blank=True, max_length=500, verbose_name="答复")),
                ("answered_at", models.DateTimeField(blank=True, null=True)),
                (
                    "answered_by",
                    models.CharField(blank=True, max_length=150, verbose_name="答复人"),
                ),
                (
                    "statement",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="deductions",
                        to="settlement.statement",
                    ),
                ),
            ],
            options={
                "ordering": ("pk",),
                "indexes": [
                    models.Index(
                        fields=["institution_code", "scheme"], name="deduction_institution"
                    )
                ],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(
                                ("amount__gt", 0), models.Q(("reason", "returned"), _negated=True)
                            ),
                            models.Q(("amount__lt", 0), ("reason", "returned")),
                            _connector="OR",
                        ),
                        name="deduction_sign",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("answered_by", ""),
                            models.Q(("answered_by", models.F("made_by")), _negated=True),
                            _connector="OR",
                        ),
                        name="deduction_second_person",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("state__in", ("kept", "withdrawn")), _negated=True),
                            models.Q(
                                models.Q(("answered_by", ""), _negated=True),
                                models.Q(("answer", ""), _negated=True),
                                ("answered_at__isnull", False),
                            ),
                            _connector="OR",
                        ),
                        name="deduction_answered",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("state", "disputed"), _negated=True),
                            models.Q(("dispute", ""), _negated=True),
                            _connector="OR",
                        ),
                        name="deduction_dispute_says_why",
                    ),
                ],
            },
        ),
        migrations.RunSQL(GUARDS + TRIGGERS, UNDO),
    ]
