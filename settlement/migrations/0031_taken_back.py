"""Taken back by whom and from whom: deductions by payer, charged prescriptions, mistyped claim numbers."""

from importlib import import_module

from django.db import migrations, models
from django.db.models import F, Q

#: Whether a claim charges a prescription: any that was not reversed or left out of its batch, whosever it is.
CHARGED = """
CREATE FUNCTION settlement_prescription_charged(wanted bigint) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    before text := coalesce(current_setting('app.scope', true), '');
    found boolean;
BEGIN
    PERFORM set_config('app.scope', '*', true);
    found := EXISTS (SELECT FROM settlement_prescriptioncharge x
        WHERE x.prescription_id = wanted AND x.quantity > 0 AND coalesce(
            (SELECT s.version % 2 = 1 FROM settlement_settlement s
                WHERE s.claim_id = x.claim_id ORDER BY s.version DESC LIMIT 1),
            NOT settlement_left_out(x.claim_id)));
    PERFORM set_config('app.scope', before, true);
    RETURN found;
END $$;
CREATE FUNCTION refuse_charged_withdrawal() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF settlement_prescription_charged(NEW.id) THEN
        RAISE EXCEPTION 'prescription % is charged by a claim', NEW.id
            USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER prescription_charged BEFORE UPDATE ON settlement_prescription FOR EACH ROW
    WHEN (NEW.state = 'withdrawn' AND OLD.state <> 'withdrawn')
    EXECUTE FUNCTION refuse_charged_withdrawal();
"""
UNCHARGED = """
DROP TRIGGER prescription_charged ON settlement_prescription;
DROP FUNCTION refuse_charged_withdrawal();
DROP FUNCTION settlement_prescription_charged(bigint);
"""

#: As before (0009), over all that was paid through the statement: each payer has back at most what it paid.
WITHIN = """
CREATE OR REPLACE FUNCTION deduction_within_fund() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    paid_by bigint[];
    given bigint[] := ARRAY[NEW.amount - NEW.major - NEW.assistance - NEW.account, NEW.major,
        NEW.assistance, NEW.account];
    taken_by bigint[];
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('deduction ' || NEW.claim_id, 0));
    SELECT ARRAY[coalesce(sum(fund), 0), coalesce(sum(major), 0), coalesce(sum(assistance), 0),
        coalesce(sum(account), 0)] INTO paid_by
    FROM settlement_settlement WHERE claim_id = NEW.claim_id;
    SELECT ARRAY[coalesce(sum(amount - major - assistance - account), 0), coalesce(sum(major), 0),
        coalesce(sum(assistance), 0), coalesce(sum(account), 0)] INTO taken_by
    FROM settlement_deduction WHERE claim_id = NEW.claim_id AND state <> 'withdrawn';
    IF NEW.amount > 0 AND EXISTS (SELECT FROM unnest(paid_by, taken_by, given) p (paid, taken, more)
            WHERE more > 0 AND taken + more > paid) THEN
        RAISE EXCEPTION 'deductions of claim % exceed what was paid', NEW.claim_id
            USING ERRCODE = 'check_violation', CONSTRAINT = 'deduction_within_fund';
    END IF;
    IF NEW.amount < 0 AND EXISTS (SELECT FROM unnest(taken_by, given) p (taken, more)
            WHERE taken + more < 0) THEN
        RAISE EXCEPTION 'more is given back for claim % than was deducted', NEW.claim_id
            USING ERRCODE = 'check_violation', CONSTRAINT = 'deduction_within_fund';
    END IF;
    RETURN NEW;
END $$;
"""
BEFORE = import_module("settlement.migrations.0009_statements").TRIGGERS
BEFORE = BEFORE[BEFORE.index("CREATE FUNCTION deduction_within_fund") :]
BEFORE = BEFORE[: BEFORE.index("CREATE TRIGGER")].replace(
    "CREATE FUNCTION", "CREATE OR REPLACE FUNCTION"
)


class Migration(migrations.Migration):
    dependencies = (("settlement", "0030_sent_statements"),)
    operations = (
        migrations.AddConstraint(
            "voucher",
            models.CheckConstraint(
                condition=~Q(kind="deduction", institution_code="") | Q(detail__has_key="side"),
                name="voucher_deduction_of_whom",
            ),
        ),
        migrations.RunSQL(CHARGED, UNCHARGED),
        *(
            migrations.AddField(
                "deduction", name, models.BigIntegerField(default=0, verbose_name=f"{payer}部分")
            )
            for name, payer in (
                ("major", "大病保险"),
                ("assistance", "医疗救助"),
                ("account", "个人账户"),
            )
        ),
        migrations.AddConstraint(
            "deduction",
            models.CheckConstraint(
                condition=Q(
                    amount__gt=0,
                    major__gte=0,
                    assistance__gte=0,
                    account__gte=0,
                    amount__gte=F("major") + F("assistance") + F("account"),
                )
                | Q(
                    amount__lt=0,
                    major__lte=0,
                    assistance__lte=0,
                    account__lte=0,
                    amount__lte=F("major") + F("assistance") + F("account"),
                ),
                name="deduction_parts",
            ),
        ),
        migrations.RunSQL(WITHIN, BEFORE),
        migrations.AlterField(
            "discrepancy",
            "kind",
            models.CharField(
                choices=[
                    ("only_ours", "中心有、机构无"),
                    ("only_theirs", "机构有、中心无"),
                    ("number", "单据号不一致"),
                    ("identity", "人员、日期或项目不符"),
                    ("amount", "金额不符"),
                    ("state", "状态不符"),
                    ("duplicate", "机构账重复"),
                ],
                max_length=11,
                verbose_name="差异类别",
            ),
        ),
        migrations.AddField(
            "discrepancy",
            "claim_no_theirs",
            models.CharField(
                blank=True,
                default="",
                help_text="theirs with its line, where it is another",
                max_length=50,
                verbose_name="机构单据号",
            ),
            preserve_default=False,
        ),
        migrations.AddConstraint(
            "discrepancy",
            models.CheckConstraint(
                condition=Q(kind="number") & ~Q(claim_no_theirs="")
                | ~Q(kind="number") & Q(claim_no_theirs=""),
                name="discrepancy_names_their_number",
            ),
        ),
        migrations.AddConstraint(
            "discrepancy",
            models.CheckConstraint(
                condition=~Q(kind="number", resolution__in=("reverse", "resend")),
                name="discrepancy_number_is_settled_once",
            ),
        ),
    )
